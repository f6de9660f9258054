/* GRU and minimal gated units with options at run time; equations and sources: rnnfast/reference/gru_options.py.
 * Gates r z, or f alone in the place of both (r = f, z = 1 - f), then the candidate n: G in all, K = G - 1 of them gates.
 *
 *             slots without a normalisation        with one
 *   after     n gates u (u = U_n h + b_hn)         gates n of the inputs, gates n of the state
 *   before    gates n                              the same
 *
 * Saved: activations and u; with a normalisation the normalised products, and the scales of the four parts of each row
 * (gates and candidate, of inputs and state), while activations are computed again. */

INLINE V gru_z(const int K, const V *gates)
{
    return either(K == 1, v_set1(1) - gates[0], gates[K - 1]);
}

/* The gates of one panel of units: sigmoids of x, peepholes added. */
INLINE void gru_gates(const int K, const rf_options *q, int peephole, ptrdiff_t p, V h_prev, V *x)
{
    for (int k = 0; k < K; k++)
        x[k] = v_sigmoid(peephole ? v_fma(vector_of(q, k, p), h_prev, x[k]) : x[k]);
}

/* Gradients of their arguments from those of r and z, and what of them reaches h_prev. */
INLINE V gru_gates_back(const int K, const rf_options *q, int peephole, real *sums, ptrdiff_t p, V h_prev, const V *gates,
                        V dr, V dz, V *d)
{
    V dh = v_set1(0);
    d[0] = dr;
    if (K == 1)
        d[0] -= dz;
    else
        d[1] = dz;
    for (int k = 0; k < K; k++) {
        d[k] *= v_fnma(gates[k], gates[k], gates[k]);
        if (peephole) {
            dh = v_fma(d[k], vector_of(q, k, p), dh);
            add_vector(q, sums, k, p, d[k] * h_prev);
        }
    }
    return dh;
}

/* Rows of the vectors with a normalisation. */
#define GAIN_X(k) (K + (k))
#define GAIN_H(k) (K + G + (k))
#define BIAS_X(k) (K + 2 * G + (k))
#define BIAS_H(k) (K + 3 * G + (k))
enum { GRU_X, GRU_XN, GRU_H, GRU_HN }; /* the four parts: gates and candidate of the inputs, of the state */

/* The arguments of the gates from the normalised slots a. */
INLINE void gru_norm_arguments(const int K, const rf_options *q, const real *a, ptrdiff_t p, V *x)
{
    const int G = K + 1;
    for (int k = 0; k < K; k++)
        x[k] = v_fma(v_load(a + k * W), vector_of(q, GAIN_X(k), p),
                     v_fma(v_load(a + (G + k) * W), vector_of(q, GAIN_H(k), p),
                           vector_of(q, BIAS_X(k), p) + vector_of(q, BIAS_H(k), p)));
}

INLINE V gru_norm_x(const int K, const rf_options *q, const real *a, ptrdiff_t p)
{
    const int G = K + 1;
    return v_fma(v_load(a + K * W), vector_of(q, GAIN_X(K), p), vector_of(q, BIAS_X(K), p));
}

INLINE V gru_norm_u(const int K, const rf_options *q, const real *a, ptrdiff_t p)
{
    const int G = K + 1;
    return v_fma(v_load(a + (G + K) * W), vector_of(q, GAIN_H(K), p), vector_of(q, BIAS_H(K), p));
}

#define GRU_ROW                                                                                                       \
    const int G = K + 1, S = norm ? 2 * G : after ? G + 1 : G;                                                        \
    const rf_options *q = s->options;                                                                                 \
    const int peephole = q && q->peephole;                                                                            \
    real *row = (real *)s->gates + r * s->ld_gates;                                                                   \
    const real *h_prev = (const real *)s->h_prev + r * s->ld_state;                                                   \
    real *stats = norm ? (real *)s->stats + r * NORM_STATS : NULL;                                                    \
    (void)row, (void)h_prev, (void)stats, (void)peephole, (void)S;

INLINE void gru_after_row(const int K, const int norm, const int save, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0,
                          ptrdiff_t panel1)
{
    const int after = 1;
    GRU_ROW
    real *h = (real *)s->h + r * s->ld_state;
    if (norm) {
        stats[GRU_X] = norm_slots(K, row, S * W, panel1, q->units);
        stats[GRU_XN] = norm_slots(1, row + K * W, S * W, panel1, q->units);
        stats[GRU_H] = norm_slots(K, row + G * W, S * W, panel1, q->units);
        stats[GRU_HN] = norm_slots(1, row + (G + K) * W, S * W, panel1, q->units);
    }
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W);
        V gates[2], x, u;
        if (norm) {
            gru_norm_arguments(K, q, a, p, gates);
            x = gru_norm_x(K, q, a, p), u = gru_norm_u(K, q, a, p);
        } else {
            for (int k = 0; k < K; k++)
                gates[k] = v_load(a + (1 + k) * W);
            x = v_load(a), u = v_load(a + G * W);
        }
        gru_gates(K, q, peephole, p, before, gates);
        const V n = v_tanh(v_fma(gates[0], u, x));
        v_store(h + p * W, v_fma(gru_z(K, gates), before - n, n));
        if (save && !norm) {
            v_store(a, n);
            for (int k = 0; k < K; k++)
                v_store(a + (1 + k) * W, gates[k]);
        }
    }
}

INLINE void gru_after_back(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const int after = 1, norm = 0;
    GRU_ROW
    real *dh = (real *)s->dh + r * s->ld_state, *sums = peephole ? (real *)s->dvectors + r * q->rows * q->ld : NULL;
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W), n = v_load(a), u = v_load(a + G * W), d_h = v_load(dh + p * W);
        V gates[2], d[2];
        for (int k = 0; k < K; k++)
            gates[k] = v_load(a + (1 + k) * W);
        const V z = gru_z(K, gates), dn = v_fnma(z, d_h, d_h) * v_fnma(n, n, v_set1(1));
        const V more = gru_gates_back(K, q, peephole, sums, p, before, gates, dn * u, d_h * (before - n), d);
        v_store(a, dn);
        for (int k = 0; k < K; k++)
            v_store(a + (1 + k) * W, d[k]);
        v_store(a + G * W, dn * gates[0]);
        v_store(dh + p * W, v_fma(d_h, z, more));
    }
}

/* Behind the sums of a row's vectors there is room for G + 1 rows: gradients of the arguments of gates and of n, and of
 * u_n. */
INLINE void gru_after_norm_back(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panels)
{
    const int after = 1, norm = 1;
    GRU_ROW
    const V zero = v_set1(0);
    real *dh = (real *)s->dh + r * s->ld_state;
    real *sums = (real *)s->dvectors + r * q->rows * q->ld, *room = sums + (K + 4 * G) * q->ld;
    norm_sums part[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
    for (ptrdiff_t p = 0; p < panels; p++) {
        const real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W), u = gru_norm_u(K, q, a, p), d_h = v_load(dh + p * W);
        V gates[2], d[3];
        gru_norm_arguments(K, q, a, p, gates);
        gru_gates(K, q, peephole, p, before, gates);
        const V reset = gates[0], z = gru_z(K, gates);
        const V n = v_tanh(v_fma(reset, u, gru_norm_x(K, q, a, p)));
        const V dn = v_fnma(z, d_h, d_h) * v_fnma(n, n, v_set1(1));
        const V more = gru_gates_back(K, q, peephole, sums, p, before, gates, dn * u, d_h * (before - n), d);
        d[K] = dn;
        for (int k = 0; k < G; k++) {
            const V x = v_load(a + k * W), h = v_load(a + (G + k) * W), du = either(k == K, dn * reset, d[k]);
            v_store(room + k * q->ld + p * W, d[k]);
            add_vector(q, sums, GAIN_X(k), p, d[k] * x);
            add_vector(q, sums, BIAS_X(k), p, d[k]);
            add_vector(q, sums, GAIN_H(k), p, du * h);
            add_vector(q, sums, BIAS_H(k), p, du);
            norm_add(&part[k == K ? GRU_XN : GRU_X], d[k] * vector_of(q, GAIN_X(k), p), x);
            norm_add(&part[k == K ? GRU_HN : GRU_H], du * vector_of(q, GAIN_H(k), p), h);
        }
        v_store(room + G * q->ld + p * W, dn * reset);
        v_store(dh + p * W, v_fma(d_h, z, more));
    }
    norm_means means[4];
    for (int k = 0; k < 4; k++)
        means[k] = norm_finish(&part[k], (k & 1 ? 1 : K) * q->units, stats[k]);
    for (ptrdiff_t p = 0; p < panels; p++)
        for (int k = 0; k < G; k++) {
            real *x = row + (p * S + k) * W, *h = x + G * W;
            const V d = v_load(room + k * q->ld + p * W);
            const V du = either(k == K, v_load(room + G * q->ld + p * W), d);
            v_store(x, norm_gradient(&means[k == K ? GRU_XN : GRU_X], d * vector_of(q, GAIN_X(k), p), v_load(x)));
            v_store(h, norm_gradient(&means[k == K ? GRU_HN : GRU_H], du * vector_of(q, GAIN_H(k), p), v_load(h)));
        }
}

/* Reset before, first phase: the gates and aux = r h_prev. With a normalisation z waits where h will be. */
INLINE void gru_before_row_0(const int K, const int norm, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0,
                             ptrdiff_t panel1)
{
    const int after = 0;
    GRU_ROW
    real *aux = (real *)s->aux + r * s->ld_state, *h = (real *)s->h + r * s->ld_state;
    if (norm) {
        stats[GRU_X] = norm_slots(K, row, S * W, panel1, q->units);
        stats[GRU_XN] = norm_slots(1, row + K * W, S * W, panel1, q->units);
        stats[GRU_H] = norm_slots(K, row + G * W, S * W, panel1, q->units);
    }
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W);
        V gates[2];
        if (norm)
            gru_norm_arguments(K, q, a, p, gates);
        else
            for (int k = 0; k < K; k++)
                gates[k] = v_load(a + k * W);
        gru_gates(K, q, peephole, p, before, gates);
        if (norm)
            v_store(h + p * W, gru_z(K, gates));
        else
            for (int k = 0; k < K; k++)
                v_store(a + k * W, gates[k]);
        v_store(aux + p * W, gates[0] * before);
    }
}

INLINE void gru_before_row_1(const int K, const int norm, const int save, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0,
                             ptrdiff_t panel1)
{
    const int after = 0;
    GRU_ROW
    real *h = (real *)s->h + r * s->ld_state;
    if (norm)
        stats[GRU_HN] = norm_slots(1, row + (G + K) * W, S * W, panel1, q->units);
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        V z, n;
        if (norm) {
            z = v_load(h + p * W);
            n = v_tanh(gru_norm_x(K, q, a, p) + gru_norm_u(K, q, a, p));
        } else {
            V gates[2];
            for (int k = 0; k < K; k++)
                gates[k] = v_load(a + k * W);
            z = gru_z(K, gates);
            n = v_tanh(v_load(a + K * W));
            if (save)
                v_store(a + K * W, n);
        }
        v_store(h + p * W, v_fma(z, v_load(h_prev + p * W) - n, n));
    }
}

/* Backward the phases change places. The later one leaves dz, the gradient of z, in the room of the row. */
INLINE void gru_before_back_1(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const int after = 0, norm = 0;
    GRU_ROW
    real *dh = (real *)s->dh + r * s->ld_state, *room = (real *)s->dvectors + (r * q->rows + K) * q->ld;
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        V gates[2];
        for (int k = 0; k < K; k++)
            gates[k] = v_load(a + k * W);
        const V z = gru_z(K, gates), n = v_load(a + K * W), d_h = v_load(dh + p * W);
        v_store(room + p * W, d_h * (v_load(h_prev + p * W) - n));
        v_store(a + K * W, v_fnma(z, d_h, d_h) * v_fnma(n, n, v_set1(1)));
        v_store(dh + p * W, d_h * z);
    }
}

INLINE void gru_before_back_0(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const int after = 0, norm = 0;
    GRU_ROW
    const real *daux = (const real *)s->daux + r * s->ld_state;
    real *dh = (real *)s->dh + r * s->ld_state, *sums = (real *)s->dvectors + r * q->rows * q->ld;
    const real *room = sums + K * q->ld;
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W), d_aux = v_load(daux + p * W);
        V gates[2], d[2];
        for (int k = 0; k < K; k++)
            gates[k] = v_load(a + k * W);
        const V more = gru_gates_back(K, q, peephole, sums, p, before, gates, d_aux * before, v_load(room + p * W), d);
        for (int k = 0; k < K; k++)
            v_store(a + k * W, d[k]);
        v_store(dh + p * W, v_fma(d_aux, gates[0], v_load(dh + p * W)) + more);
    }
}

/* The same with a normalisation: rows of the room are dz and the gradients of the arguments. */
INLINE void gru_before_norm_back_1(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panels)
{
    const int after = 0, norm = 1;
    GRU_ROW
    const V zero = v_set1(0);
    real *dh = (real *)s->dh + r * s->ld_state;
    real *sums = (real *)s->dvectors + r * q->rows * q->ld, *room = sums + (K + 4 * G) * q->ld;
    norm_sums of_x = {zero, zero}, of_h = {zero, zero};
    for (ptrdiff_t p = 0; p < panels; p++) {
        const real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W), d_h = v_load(dh + p * W);
        V gates[2];
        gru_norm_arguments(K, q, a, p, gates);
        gru_gates(K, q, peephole, p, before, gates);
        const V z = gru_z(K, gates), n = v_tanh(gru_norm_x(K, q, a, p) + gru_norm_u(K, q, a, p));
        const V dn = v_fnma(z, d_h, d_h) * v_fnma(n, n, v_set1(1));
        const V x = v_load(a + K * W), h = v_load(a + (G + K) * W);
        add_vector(q, sums, GAIN_X(K), p, dn * x);
        add_vector(q, sums, BIAS_X(K), p, dn);
        add_vector(q, sums, GAIN_H(K), p, dn * h);
        add_vector(q, sums, BIAS_H(K), p, dn);
        norm_add(&of_x, dn * vector_of(q, GAIN_X(K), p), x);
        norm_add(&of_h, dn * vector_of(q, GAIN_H(K), p), h);
        v_store(room + p * W, d_h * (before - n));
        v_store(room + q->ld + p * W, dn);
        v_store(dh + p * W, d_h * z);
    }
    const norm_means x_means = norm_finish(&of_x, q->units, stats[GRU_XN]);
    const norm_means h_means = norm_finish(&of_h, q->units, stats[GRU_HN]);
    for (ptrdiff_t p = 0; p < panels; p++) {
        real *x = row + (p * S + K) * W, *h = x + G * W;
        const V dn = v_load(room + q->ld + p * W);
        v_store(x, norm_gradient(&x_means, dn * vector_of(q, GAIN_X(K), p), v_load(x)));
        v_store(h, norm_gradient(&h_means, dn * vector_of(q, GAIN_H(K), p), v_load(h)));
    }
}

INLINE void gru_before_norm_back_0(const int K, const rf_step *s, ptrdiff_t r, ptrdiff_t panels)
{
    const int after = 0, norm = 1;
    GRU_ROW
    const V zero = v_set1(0);
    const real *daux = (const real *)s->daux + r * s->ld_state;
    real *dh = (real *)s->dh + r * s->ld_state;
    real *sums = (real *)s->dvectors + r * q->rows * q->ld, *room = sums + (K + 4 * G) * q->ld;
    norm_sums of_x = {zero, zero}, of_h = {zero, zero};
    for (ptrdiff_t p = 0; p < panels; p++) {
        const real *a = row + p * S * W;
        const V before = v_load(h_prev + p * W), d_aux = v_load(daux + p * W);
        V gates[2], d[2];
        gru_norm_arguments(K, q, a, p, gates);
        gru_gates(K, q, peephole, p, before, gates);
        const V more = gru_gates_back(K, q, peephole, sums, p, before, gates, d_aux * before, v_load(room + p * W), d);
        v_store(dh + p * W, v_fma(d_aux, gates[0], v_load(dh + p * W)) + more);
        for (int k = 0; k < K; k++) {
            const V x = v_load(a + k * W), h = v_load(a + (G + k) * W);
            v_store(room + k * q->ld + p * W, d[k]);
            add_vector(q, sums, GAIN_X(k), p, d[k] * x);
            add_vector(q, sums, BIAS_X(k), p, d[k]);
            add_vector(q, sums, GAIN_H(k), p, d[k] * h);
            add_vector(q, sums, BIAS_H(k), p, d[k]);
            norm_add(&of_x, d[k] * vector_of(q, GAIN_X(k), p), x);
            norm_add(&of_h, d[k] * vector_of(q, GAIN_H(k), p), h);
        }
    }
    const norm_means x_means = norm_finish(&of_x, K * q->units, stats[GRU_X]);
    const norm_means h_means = norm_finish(&of_h, K * q->units, stats[GRU_H]);
    for (ptrdiff_t p = 0; p < panels; p++)
        for (int k = 0; k < K; k++) {
            real *x = row + (p * S + k) * W, *h = x + G * W;
            const V d = v_load(room + k * q->ld + p * W);
            v_store(x, norm_gradient(&x_means, d * vector_of(q, GAIN_X(k), p), v_load(x)));
            v_store(h, norm_gradient(&h_means, d * vector_of(q, GAIN_H(k), p), v_load(h)));
        }
}

#define GRU_FUNCTION(name, row)                                                                                       \
    static void RF(name)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)        \
    {                                                                                                                 \
        (void)panel0;                                                                                                 \
        for (ptrdiff_t r = row0; r < row1; r++)                                                                       \
            row;                                                                                                      \
    }

/* x_gates and gates: the candidate first, where the reset comes after without a normalisation. */
#define GRU_AFTER(name_, K, norm_, back, room_, ...)                                                                  \
    GRU_FUNCTION(name_##_forward, gru_after_row(K, norm_, 1, s, r, panel0, panel1))                                   \
    GRU_FUNCTION(name_##_infer, gru_after_row(K, norm_, 0, s, r, panel0, panel1))                                     \
    GRU_FUNCTION(name_##_backward, back)                                                                              \
    static const rf_cell name_ = {                                                                                    \
        .name = #name_,                                                                                               \
        .slots = norm_ ? 2 * (K + 1) : K + 2,                                                                         \
        .gates = K + 1,                                                                                               \
        .options = 1,                                                                                                 \
        .norm = norm_,                                                                                                \
        .room = room_,                                                                                                \
        .x_slots = K + 1,                                                                                             \
        .x_gates = __VA_ARGS__,                                                                                       \
        .phases = 1,                                                                                                  \
        .phase = {{.first = norm_ ? K + 1 : 1,                                                                        \
                   .slots = K + 1,                                                                                    \
                   .gates = {0, 1, 2},                                                                                \
                   .forward = RF(name_##_forward),                                                                    \
                   .infer = RF(name_##_infer),                                                                        \
                   .backward = RF(name_##_backward)}},                                                                \
    };

#define GRU_BEFORE(name_, K, norm_, back_0, back_1, room_)                                                            \
    GRU_FUNCTION(name_##_forward_0, gru_before_row_0(K, norm_, s, r, panel0, panel1))                                 \
    GRU_FUNCTION(name_##_forward_1, gru_before_row_1(K, norm_, 1, s, r, panel0, panel1))                              \
    GRU_FUNCTION(name_##_infer_1, gru_before_row_1(K, norm_, 0, s, r, panel0, panel1))                                \
    GRU_FUNCTION(name_##_backward_0, back_0)                                                                          \
    GRU_FUNCTION(name_##_backward_1, back_1)                                                                          \
    static const rf_cell name_ = {                                                                                    \
        .name = #name_,                                                                                               \
        .slots = norm_ ? 2 * (K + 1) : K + 1,                                                                         \
        .gates = K + 1,                                                                                               \
        .has_aux = 1,                                                                                                 \
        .options = 1,                                                                                                 \
        .norm = norm_,                                                                                                \
        .room = room_,                                                                                                \
        .x_slots = K + 1,                                                                                             \
        .x_gates = {0, 1, 2},                                                                                         \
        .phases = 2,                                                                                                  \
        .phase = {{.first = norm_ ? K + 1 : 0,                                                                        \
                   .slots = K,                                                                                        \
                   .gates = {0, 1},                                                                                   \
                   .forward = RF(name_##_forward_0),                                                                  \
                   .infer = RF(name_##_forward_0),                                                                    \
                   .backward = RF(name_##_backward_0)},                                                               \
                  {.from_aux = 1,                                                                                     \
                   .first = norm_ ? 2 * K + 1 : K,                                                                    \
                   .slots = 1,                                                                                        \
                   .gates = {K},                                                                                      \
                   .forward = RF(name_##_forward_1),                                                                  \
                   .infer = RF(name_##_infer_1),                                                                      \
                   .backward = RF(name_##_backward_1)}},                                                              \
    };

GRU_AFTER(gru_options, 2, 0, gru_after_back(2, s, r, panel0, panel1), 0, {2, 0, 1})
GRU_AFTER(gru_norm, 2, 1, gru_after_norm_back(2, s, r, panel1), 4, {0, 1, 2})
GRU_AFTER(mgu_reset_after, 1, 0, gru_after_back(1, s, r, panel0, panel1), 0, {1, 0})
GRU_AFTER(mgu_reset_after_norm, 1, 1, gru_after_norm_back(1, s, r, panel1), 3, {0, 1})
GRU_BEFORE(gru_reset_before_options, 2, 0, gru_before_back_0(2, s, r, panel0, panel1),
           gru_before_back_1(2, s, r, panel0, panel1), 1)
GRU_BEFORE(gru_reset_before_norm, 2, 1, gru_before_norm_back_0(2, s, r, panel1),
           gru_before_norm_back_1(2, s, r, panel1), 2)
GRU_BEFORE(mgu, 1, 0, gru_before_back_0(1, s, r, panel0, panel1), gru_before_back_1(1, s, r, panel0, panel1), 1)
GRU_BEFORE(mgu_norm, 1, 1, gru_before_norm_back_0(1, s, r, panel1), gru_before_norm_back_1(1, s, r, panel1), 2)
#undef GRU_FUNCTION
#undef GRU_AFTER
#undef GRU_BEFORE
#undef GRU_ROW
#undef GAIN_X
#undef GAIN_H
#undef BIAS_X
#undef BIAS_H
