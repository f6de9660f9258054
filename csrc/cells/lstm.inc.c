/* LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), slots and torch's gates i f g o:
 *   i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g), c = f c_prev + i g, h = o tanh(c).
 * Saved: i f g o in place of the pre-activations, and c; tanh(c) is computed again. */

/* a: pre-activations IN, i f g o OUT; returns c */
INLINE V lstm_unit(V a[4], V c_prev)
{
    a[0] = v_sigmoid(a[0]);
    a[1] = v_sigmoid(a[1]);
    a[2] = v_tanh(a[2]);
    a[3] = v_sigmoid(a[3]);
    return v_fma(a[1], c_prev, a[0] * a[2]);
}

INLINE void lstm_step(const int save, const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                      ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *gates = (real *)s->gates + r * s->ld_gates + p * 4 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            V a[4];
            UNROLL for (int v = 0; v < 4; v++)
                a[v] = v_load(gates + v * W);
            V c = lstm_unit(a, v_load((const real *)s->c_prev + u));
            v_store((real *)s->c + u, c);
            v_store((real *)s->h + u, a[3] * v_tanh(c));
            if (save)
                UNROLL for (int v = 0; v < 4; v++)
                    v_store(gates + v * W, a[v]);
        }
}

static void RF(lstm_forward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    lstm_step(1, s, row0, row1, panel0, panel1);
}

static void RF(lstm_infer)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    lstm_step(0, s, row0, row1, panel0, panel1);
}

/* a: i f g o IN, gradients of their pre-activations OUT; dc: of c IN, of c_prev OUT */
INLINE void lstm_gradients(real *a, V c_prev, V c, V dh, V *dc_)
{
    const V one = v_set1(1);
    V i = v_load(a), f = v_load(a + W), g = v_load(a + 2 * W), o = v_load(a + 3 * W);
    V tanh_c = v_tanh(c);
    V dc = v_fma(dh * o, v_fnma(tanh_c, tanh_c, one), *dc_);
    v_store(a, dc * g * v_fnma(i, i, i));
    v_store(a + W, dc * c_prev * v_fnma(f, f, f));
    v_store(a + 2 * W, dc * i * v_fnma(g, g, one));
    v_store(a + 3 * W, dh * tanh_c * v_fnma(o, o, o));
    *dc_ = dc * f;
}

static void RF(lstm_backward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            const ptrdiff_t u = r * s->ld_state + p * W;
            real *dh = (real *)s->dh + u, *dc_ = (real *)s->dc + u;
            V dc = v_load(dc_);
            lstm_gradients((real *)s->gates + r * s->ld_gates + p * 4 * W, v_load((const real *)s->c_prev + u),
                           v_load((const real *)s->c + u), v_load(dh), &dc);
            v_store(dc_, dc);
            v_store(dh, v_set1(0));
        }
}

INLINE void lstm_steps(const int P, const rf_steps *s)
{
    real now[2 * W];
    V c[2], a[2][4];
    STEPS_LOAD(P, s->h_prev, now);
    UNROLL for (int p = 0; p < P; p++)
        c[p] = v_load((const real *)s->c_prev + p * W);
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        real *gates = (real *)s->gates + t * s->ld_gates;
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int v = 0; v < 4; v++)
                a[p][v] = v_load(gates + (p * 4 + v) * W);
        steps_product(P, 4, s->hidden, now, s->product->b, a);
        UNROLL for (int p = 0; p < P; p++) {
            c[p] = lstm_unit(a[p], c[p]);
            steps_store(s, t, p, a[p][3] * v_tanh(c[p]), now);
            if (s->ld_state) {
                v_store((real *)s->c + t * s->ld_state + p * W, c[p]);
                UNROLL for (int v = 0; v < 4; v++)
                    v_store(gates + (p * 4 + v) * W, a[p][v]);
            }
        }
    }
    STEPS_LOAD(P, now, steps_row(s, s->steps - 1));
    if (!s->ld_state) {
        UNROLL for (int p = 0; p < P; p++)
            v_store((real *)s->c + p * W, c[p]);
    }
}

INLINE void lstm_group(const int P, const int await, const rf_steps *s, const steps_now *now, ptrdiff_t p0)
{
    const int count = P ? P : 1;
    V a[2][4];
    UNROLL for (int p = 0; p < count; p++)
        UNROLL for (int v = 0; v < 4; v++)
            a[p][v] = v_load(now->gates + ((p0 + p) * 4 + v) * W);
    if (P)
        steps_sums(P, 4, await, s, now, (const real *)s->product->b + p0 * s->hidden * 4 * W, a);
    UNROLL for (int p = 0; p < count; p++) {
        V c = lstm_unit(a[p], v_load(now->c_prev + (p0 + p) * W));
        v_store(now->c + (p0 + p) * W, c);
        v_store(now->to + (p0 + p) * W, a[p][3] * v_tanh(c));
        if (s->ld_state)
            UNROLL for (int v = 0; v < 4; v++)
                v_store(now->gates + ((p0 + p) * 4 + v) * W, a[p][v]);
    }
}
static void RF(lstm_group_0)(const rf_steps *s, const steps_now *now, ptrdiff_t p) { lstm_group(0, 0, s, now, p); }
STEPS_GROUP(lstm_group, 1)
STEPS_GROUP(lstm_group, 2)

static void RF(lstm_steps_together)(const rf_steps *s)
{
    static const steps_group groups[2][5] = {
        {RF(lstm_group_0), RF(lstm_group_1), RF(lstm_group_2)},
        {NULL, RF(lstm_group_await_1), RF(lstm_group_await_2)}};
    steps_by_groups(s, 0, groups, 2, 1);
}

static void RF(lstm_steps)(const rf_steps *s)
{
    if (s->hidden <= W)
        lstm_steps(1, s);
    else if (s->hidden <= 2 * W)
        lstm_steps(2, s);
    else
        RF(lstm_steps_together)(s);
}

INLINE void lstm_steps_back(const int P, const rf_steps_back *s)
{
    V dh[4], dc[4];
    UNROLL for (int p = 0; p < P; p++) {
        dh[p] = v_load((real *)s->dh + p * W);
        dc[p] = v_load((real *)s->dc + p * W);
    }
    for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {
        real *gates = (real *)s->gates + t * s->ld_gates;
        const real *c_prev = (const real *)s->c + t * P * W, *c = c_prev + P * W;
        UNROLL for (int p = 0; p < P; p++) {
            lstm_gradients(gates + p * 4 * W, v_load(c_prev + p * W), v_load(c + p * W),
                           steps_gradient(s, t, p, dh[p]), &dc[p]);
            dh[p] = v_set1(0);
        }
        steps_product_back(P, s, t, gates, dh);
    }
    UNROLL for (int p = 0; p < P; p++) {
        v_store((real *)s->dh + p * W, dh[p]);
        v_store((real *)s->dc + p * W, dc[p]);
    }
}
STEPS_BACK(lstm_steps_back)

static const rf_cell lstm = {
    .name = "lstm",
    .slots = 4,
    .gates = 4,
    .has_c = 1,
    .x_slots = 4,
    .x_gates = {0, 1, 2, 3},
    .phases = 1,
    .phase = {{.slots = 4,
               .gates = {0, 1, 2, 3},
               .forward = RF(lstm_forward),
               .infer = RF(lstm_infer),
               .backward = RF(lstm_backward)}},
    .steps_panels = 256 / W,
    .steps = RF(lstm_steps),
    .steps_together = RF(lstm_steps_together),
    .steps_back_panels = 4,
    .steps_back = RF(lstm_steps_back),
};
