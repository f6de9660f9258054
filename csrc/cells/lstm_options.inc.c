/* LSTM with options at run time; equations and sources: rnnfast/reference/lstm_options.py. Slots f g o or i f g o, of G
 * gates (coupled: i = 1 - f). With a normalisation the recurrent product has slots of its own behind those of the inputs.
 *
 * Saved: the activations in place of the pre-activations; with a normalisation the normalised products, and of each
 * row their scales and the mean and scale of c, while activations are computed again. c is computed again from c_prev,
 * for zoneout may have overwritten it. Flags are the same for all of a loop and cost little beside exp and tanh. */

typedef struct lstm_values {
    V i, f, g, o, raw, c;
} lstm_values;

typedef struct lstm_flags {
    int peephole, clips;
    V top;
} lstm_flags;

INLINE lstm_flags lstm_flags_of(const rf_options *q)
{
    const int clips = q && q->clip > 0;
    return (lstm_flags){q && q->peephole, clips, v_set1(clips ? (real)q->clip : 0)};
}

/* One panel of units from its slots a. */
INLINE lstm_values lstm_unit_of(const int coupled, const int norm, lstm_flags flags, const rf_options *q, const real *a,
                              ptrdiff_t p, V c_prev)
{
    const int F = !coupled, G = 3 + F;
    lstm_values u;
    V x[4];
    for (int k = 0; k < G; k++) {
        x[k] = v_load(a + k * W);
        if (norm)
            x[k] = v_fma(x[k], vector_of(q, G - 1 + k, p),
                         v_fma(v_load(a + (G + k) * W), vector_of(q, 2 * G - 1 + k, p),
                               vector_of(q, 3 * G - 1 + k, p) + vector_of(q, 4 * G - 1 + k, p)));
    }
    if (flags.peephole)
        for (int k = 0; k <= F; k++)
            x[k] = v_fma(vector_of(q, k, p), c_prev, x[k]);
    u.f = v_sigmoid(x[F]);
    u.i = either(coupled, v_set1(1) - u.f, v_sigmoid(x[0]));
    u.g = v_tanh(x[F + 1]);
    u.raw = u.c = v_fma(u.f, c_prev, u.i * u.g);
    if (flags.clips)
        u.c = v_min(flags.top, v_max(v_set1(0) - flags.top, u.raw));
    if (flags.peephole)
        x[F + 2] = v_fma(vector_of(q, F + 1, p), u.c, x[F + 2]);
    u.o = v_sigmoid(x[F + 2]);
    return u;
}

INLINE void lstm_options_step(const int coupled, const int norm, const int save, const rf_step *s, ptrdiff_t row0,
                              ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const int F = !coupled, G = 3 + F, S = norm ? 2 * G : G;
    const rf_options *q = s->options;
    const lstm_flags flags = lstm_flags_of(q);
    for (ptrdiff_t r = row0; r < row1; r++) {
        real *row = (real *)s->gates + r * s->ld_gates;
        const real *c_prev = (const real *)s->c_prev + r * s->ld_state;
        real *c = (real *)s->c + r * s->ld_state, *h = (real *)s->h + r * s->ld_state;
        real *stats = norm ? (real *)s->stats + r * NORM_STATS : NULL;
        if (norm) {
            stats[0] = norm_slots(G, row, S * W, panel1, q->units);
            stats[1] = norm_slots(G, row + G * W, S * W, panel1, q->units);
        }
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = row + p * S * W;
            const lstm_values u = lstm_unit_of(coupled, norm, flags, q, a, p, v_load(c_prev + p * W));
            v_store(c + p * W, u.c);
            v_store(h + p * W, either(norm, u.o, u.o * v_tanh(u.c)));
            if (save && !norm) {
                if (!coupled)
                    v_store(a, u.i);
                v_store(a + F * W, u.f);
                v_store(a + (F + 1) * W, u.g);
                v_store(a + (F + 2) * W, u.o);
            }
        }
        if (!norm)
            continue;
        norm_moments(1, c, W, panel1, q->units, stats + 2, stats + 3);
        for (ptrdiff_t p = 0; p < panel1; p++) {
            const V hat = within((v_load(c + p * W) - v_set1(stats[2])) * v_set1(stats[3]), p, q->units);
            v_store(h + p * W, v_load(h + p * W) * v_tanh(v_fma(hat, vector_of(q, 5 * G - 1, p), vector_of(q, 5 * G, p))));
        }
    }
}

/* Gradients of the pre-activations of one panel of units into d, with dc that of c; returns that of c_prev. */
INLINE V lstm_unit_back(const int coupled, lstm_flags flags, const rf_options *q, real *sums, const lstm_values *u, ptrdiff_t p,
                        V c_prev, V dc, V d_o, V *d)
{
    const int F = !coupled;
    const V one = v_set1(1);
    d[F + 2] = d_o;
    if (flags.peephole)
        dc = v_fma(d_o, vector_of(q, F + 1, p), dc);
    if (flags.clips)
        dc = v_select(v_lt(flags.top, v_abs(u->raw)), v_set1(0), dc);
    d[F + 1] = dc * u->i * v_fnma(u->g, u->g, one);
    d[F] = dc * either(coupled, c_prev - u->g, c_prev) * v_fnma(u->f, u->f, u->f);
    if (!coupled)
        d[0] = dc * u->g * v_fnma(u->i, u->i, u->i);
    dc = dc * u->f;
    if (flags.peephole) {
        for (int k = 0; k <= F; k++) {
            dc = v_fma(d[k], vector_of(q, k, p), dc);
            add_vector(q, sums, k, p, d[k] * c_prev);
        }
        add_vector(q, sums, F + 1, p, d_o * u->c);
    }
    return dc;
}

INLINE void lstm_options_back(const int coupled, const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                              ptrdiff_t panel1)
{
    const int F = !coupled, G = 3 + F;
    const rf_options *q = s->options;
    const lstm_flags flags = lstm_flags_of(q);
    const V one = v_set1(1);
    for (ptrdiff_t r = row0; r < row1; r++) {
        real *sums = flags.peephole ? (real *)s->dvectors + r * q->rows * q->ld : NULL;
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * G * W;
            const ptrdiff_t at = r * s->ld_state + p * W;
            real *dh = (real *)s->dh + at, *dc = (real *)s->dc + at;
            const V c_prev = v_load((const real *)s->c_prev + at);
            lstm_values u;
            u.f = v_load(a + F * W);
            u.i = either(coupled, one - u.f, v_load(a));
            u.g = v_load(a + (F + 1) * W);
            u.o = v_load(a + (F + 2) * W);
            u.raw = u.c = v_fma(u.f, c_prev, u.i * u.g);
            if (flags.clips)
                u.c = v_min(flags.top, v_max(v_set1(0) - flags.top, u.raw));
            const V tanh_c = v_tanh(u.c), d_h = v_load(dh);
            const V d_c = v_fma(d_h * u.o, v_fnma(tanh_c, tanh_c, one), v_load(dc));
            V d[4];
            v_store(dc, lstm_unit_back(coupled, flags, q, sums, &u, p, c_prev, d_c, d_h * tanh_c * v_fnma(u.o, u.o, u.o), d));
            for (int k = 0; k < G; k++)
                v_store(a + k * W, d[k]);
            v_store(dh, v_set1(0));
        }
    }
}

/* The same with a normalisation. The sums of b_hh are those of b_ih and are not made again. Behind the sums of a row's vectors there is room for G rows: activations i f g and
 * the gradient of o's argument, then the gradients of the pre-activations. */
INLINE void lstm_norm_back(const int coupled, const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panels)
{
    const int F = !coupled, G = 3 + F, S = 2 * G, E = 5 * G + 1;
    const rf_options *q = s->options;
    const lstm_flags flags = lstm_flags_of(q);
    const V one = v_set1(1), zero = v_set1(0);
    for (ptrdiff_t r = row0; r < row1; r++) {
        real *sums = (real *)s->dvectors + r * q->rows * q->ld, *room = sums + E * q->ld;
        real *row = (real *)s->gates + r * s->ld_gates;
        const real *c_prev = (const real *)s->c_prev + r * s->ld_state;
        const real *stats = (const real *)s->stats + r * NORM_STATS;
        real *dh = (real *)s->dh + r * s->ld_state, *dc = (real *)s->dc + r * s->ld_state;
        const V mean_c = v_set1(stats[2]), scale_c = v_set1(stats[3]);
        norm_sums of_c = {zero, zero}, of_x = {zero, zero}, of_h = {zero, zero};
        for (ptrdiff_t p = 0; p < panels; p++) {
            const lstm_values u = lstm_unit_of(coupled, 1, flags, q, row + p * S * W, p, v_load(c_prev + p * W));
            const V hat = within((u.c - mean_c) * scale_c, p, q->units);
            const V gain = vector_of(q, 5 * G - 1, p), tanh_c = v_tanh(v_fma(hat, gain, vector_of(q, 5 * G, p)));
            const V d_h = v_load(dh + p * W), d_out = d_h * u.o * v_fnma(tanh_c, tanh_c, one);
            add_vector(q, sums, 5 * G - 1, p, d_out * hat);
            add_vector(q, sums, 5 * G, p, d_out);
            norm_add(&of_c, d_out * gain, hat);
            v_store(dh + p * W, d_out * gain);
            if (!coupled)
                v_store(room + p * W, u.i);
            v_store(room + F * q->ld + p * W, u.f);
            v_store(room + (F + 1) * q->ld + p * W, u.g);
            v_store(room + (F + 2) * q->ld + p * W, d_h * tanh_c * v_fnma(u.o, u.o, u.o));
        }
        const norm_means c_means = norm_finish(&of_c, q->units, stats[3]);
        for (ptrdiff_t p = 0; p < panels; p++) {
            const real *a = row + p * S * W;
            const V before = v_load(c_prev + p * W);
            lstm_values u;
            u.f = v_load(room + F * q->ld + p * W);
            u.i = either(coupled, one - u.f, v_load(room + p * W));
            u.g = v_load(room + (F + 1) * q->ld + p * W);
            u.raw = u.c = v_fma(u.f, before, u.i * u.g);
            if (flags.clips)
                u.c = v_min(flags.top, v_max(zero - flags.top, u.raw));
            const V hat = within((u.c - mean_c) * scale_c, p, q->units);
            const V d_c = v_load(dc + p * W) + within(norm_gradient(&c_means, v_load(dh + p * W), hat), p, q->units);
            const V d_o = v_load(room + (F + 2) * q->ld + p * W);
            V d[4];
            v_store(dc + p * W, lstm_unit_back(coupled, flags, q, sums, &u, p, before, d_c, d_o, d));
            for (int k = 0; k < G; k++) {
                const V x = v_load(a + k * W), h = v_load(a + (G + k) * W);
                v_store(room + k * q->ld + p * W, d[k]);
                add_vector(q, sums, G - 1 + k, p, d[k] * x);
                add_vector(q, sums, 2 * G - 1 + k, p, d[k] * h);
                add_vector(q, sums, 3 * G - 1 + k, p, d[k]);
                norm_add(&of_x, d[k] * vector_of(q, G - 1 + k, p), x);
                norm_add(&of_h, d[k] * vector_of(q, 2 * G - 1 + k, p), h);
            }
            v_store(dh + p * W, zero);
        }
        const norm_means x_means = norm_finish(&of_x, G * q->units, stats[0]);
        const norm_means h_means = norm_finish(&of_h, G * q->units, stats[1]);
        for (ptrdiff_t p = 0; p < panels; p++)
            for (int k = 0; k < G; k++) {
                real *x = row + (p * S + k) * W, *h = x + G * W;
                const V d = v_load(room + k * q->ld + p * W);
                v_store(x, norm_gradient(&x_means, d * vector_of(q, G - 1 + k, p), v_load(x)));
                v_store(h, norm_gradient(&h_means, d * vector_of(q, 2 * G - 1 + k, p), v_load(h)));
            }
    }
}

#define LSTM_OPTIONS(name_, coupled, norm_, back)                                                                     \
    static void RF(name_##_forward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,               \
                                    ptrdiff_t panel1)                                                                 \
    {                                                                                                                 \
        lstm_options_step(coupled, norm_, 1, s, row0, row1, panel0, panel1);                                          \
    }                                                                                                                 \
    static void RF(name_##_infer)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,                 \
                                  ptrdiff_t panel1)                                                                   \
    {                                                                                                                 \
        lstm_options_step(coupled, norm_, 0, s, row0, row1, panel0, panel1);                                          \
    }                                                                                                                 \
    static void RF(name_##_backward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,              \
                                     ptrdiff_t panel1)                                                                \
    {                                                                                                                 \
        back;                                                                                                         \
    }                                                                                                                 \
    static const rf_cell name_ = {                                                                                    \
        .name = #name_,                                                                                               \
        .slots = (4 - coupled) * (1 + norm_),                                                                         \
        .gates = 4 - coupled,                                                                                         \
        .has_c = 1,                                                                                                   \
        .options = 1,                                                                                                 \
        .norm = norm_,                                                                                                \
        .room = norm_ * (4 - coupled),                                                                                \
        .x_slots = 4 - coupled,                                                                                       \
        .x_gates = {0, 1, 2, 3},                                                                                      \
        .phases = 1,                                                                                                  \
        .phase = {{.first = norm_ * (4 - coupled),                                                                    \
                   .slots = 4 - coupled,                                                                              \
                   .gates = {0, 1, 2, 3},                                                                             \
                   .forward = RF(name_##_forward),                                                                    \
                   .infer = RF(name_##_infer),                                                                        \
                   .backward = RF(name_##_backward)}},                                                                \
    };

LSTM_OPTIONS(lstm_options, 0, 0, lstm_options_back(0, s, row0, row1, panel0, panel1))
LSTM_OPTIONS(lstm_coupled, 1, 0, lstm_options_back(1, s, row0, row1, panel0, panel1))
LSTM_OPTIONS(lstm_norm, 0, 1, (void)panel0; lstm_norm_back(0, s, row0, row1, panel1))
LSTM_OPTIONS(lstm_coupled_norm, 1, 1, (void)panel0; lstm_norm_back(1, s, row0, row1, panel1))
#undef LSTM_OPTIONS
