/* GRU with the reset gate after the product (torch's; torch's gates r z n):
 *   r, z = sigmoid(a_r, a_z), n = tanh(x_n + r u_n), h = n + z (h_prev - n), u_n = U_n h_prev + b_hn.
 * Slots n r z u: the input product fills the first three, the recurrent one the last three, each a run of three.
 * Saved: n r z u. Gradients: of x_n, a_r, a_z, u_n. */

INLINE void gru_step(const int save, const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                     ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 4 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            V reset = v_sigmoid(v_load(a + W)), z = v_sigmoid(v_load(a + 2 * W));
            V n = v_tanh(v_fma(reset, v_load(a + 3 * W), v_load(a)));
            v_store((real *)s->h + u, v_fma(z, v_load((const real *)s->h_prev + u) - n, n));
            if (save) {
                v_store(a, n);
                v_store(a + W, reset);
                v_store(a + 2 * W, z);
            }
        }
}

static void RF(gru_forward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    gru_step(1, s, row0, row1, panel0, panel1);
}

static void RF(gru_infer)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    gru_step(0, s, row0, row1, panel0, panel1);
}

/* a: n r z u IN, gradients of x_n a_r a_z u_n OUT; returns the part of dh that reaches h_prev past the product */
INLINE V gru_gradients(real *a, V h_prev, V dh)
{
    const V one = v_set1(1);
    V n = v_load(a), reset = v_load(a + W), z = v_load(a + 2 * W), u_n = v_load(a + 3 * W);
    V dn = v_fnma(z, dh, dh) * v_fnma(n, n, one);
    v_store(a, dn);
    v_store(a + W, dn * u_n * v_fnma(reset, reset, reset));
    v_store(a + 2 * W, dh * (h_prev - n) * v_fnma(z, z, z));
    v_store(a + 3 * W, dn * reset);
    return dh * z;
}

static void RF(gru_backward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            const ptrdiff_t u = r * s->ld_state + p * W;
            real *dh = (real *)s->dh + u;
            v_store(dh, gru_gradients((real *)s->gates + r * s->ld_gates + p * 4 * W,
                                      v_load((const real *)s->h_prev + u), v_load(dh)));
        }
}

/* a: r z u before what follows the product; own: where n r z u are kept, x_n IN; returns h */
INLINE V gru_unit(int save, const V a[], real *own, V h_prev)
{
    V reset = v_sigmoid(a[0]), z = v_sigmoid(a[1]), n = v_tanh(v_fma(reset, a[2], v_load(own)));
    if (save) {
        v_store(own, n);
        v_store(own + W, reset);
        v_store(own + 2 * W, z);
        v_store(own + 3 * W, a[2]);
    }
    return v_fma(z, h_prev - n, n);
}

INLINE void gru_steps(const int P, const rf_steps *s)
{
    real now[2 * W];
    V a[2][4]; /* r z u */
    STEPS_LOAD(P, s->h_prev, now);
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        real *gates = (real *)s->gates + t * s->ld_gates;
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int v = 0; v < 3; v++)
                a[p][v] = v_load(gates + (p * 4 + 1 + v) * W);
        steps_product(P, 3, s->hidden, now, s->product->b, a);
        UNROLL for (int p = 0; p < P; p++) {
            steps_store(s, t, p, gru_unit(s->ld_state != 0, a[p], gates + p * 4 * W, v_load(now + p * W)), now);
        }
    }
    STEPS_LOAD(P, now, steps_row(s, s->steps - 1));
}

INLINE void gru_group(const int P, const int await, const rf_steps *s, const steps_now *now, ptrdiff_t p0)
{
    const int count = P ? P : 1;
    V a[4][4]; /* r z u */
    UNROLL for (int p = 0; p < count; p++)
        UNROLL for (int v = 0; v < 3; v++)
            a[p][v] = v_load(now->gates + ((p0 + p) * 4 + 1 + v) * W);
    if (P)
        steps_sums(P, 3, await, s, now, (const real *)s->product->b + p0 * s->hidden * 3 * W, a);
    UNROLL for (int p = 0; p < count; p++) {
        V h = gru_unit(s->ld_state != 0, a[p], now->gates + (p0 + p) * 4 * W, v_load(now->from + (p0 + p) * W));
        v_store(now->to + (p0 + p) * W, h);
    }
}
static void RF(gru_group_0)(const rf_steps *s, const steps_now *now, ptrdiff_t p) { gru_group(0, 0, s, now, p); }
STEPS_GROUP(gru_group, 1)
STEPS_GROUP(gru_group, 2)
STEPS_GROUP(gru_group, 3)
STEPS_GROUP(gru_group, 4)

static void RF(gru_steps_together)(const rf_steps *s)
{
    static const steps_group groups[2][5] = {
        {RF(gru_group_0), RF(gru_group_1), RF(gru_group_2), RF(gru_group_3), RF(gru_group_4)},
        {NULL, RF(gru_group_await_1), RF(gru_group_await_2), RF(gru_group_await_3), RF(gru_group_await_4)}};
    steps_by_groups(s, 1, groups, s->product->panels <= 4 ? 4 : 2, 1);
}

static void RF(gru_steps)(const rf_steps *s)
{
    if (s->hidden <= W)
        gru_steps(1, s);
    else if (s->hidden <= 2 * W)
        gru_steps(2, s);
    else
        RF(gru_steps_together)(s);
}

INLINE void gru_steps_back(const int P, const rf_steps_back *s)
{
    V dh[4];
    UNROLL for (int p = 0; p < P; p++)
        dh[p] = v_load((real *)s->dh + p * W);
    for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {
        real *gates = (real *)s->gates + t * s->ld_gates;
        UNROLL for (int p = 0; p < P; p++)
            dh[p] = gru_gradients(gates + p * 4 * W, steps_read(steps_before(s, t), s->hidden, p),
                                  steps_gradient(s, t, p, dh[p]));
        steps_product_back(P, s, t, gates + W, dh);
    }
    UNROLL for (int p = 0; p < P; p++)
        v_store((real *)s->dh + p * W, dh[p]);
}
STEPS_BACK(gru_steps_back)

static const rf_cell gru = {
    .name = "gru",
    .slots = 4,
    .gates = 3,
    .x_slots = 3,
    .x_gates = {2, 0, 1},
    .reads = RF_READS_BEFORE,
    .phases = 1,
    .phase = {{.first = 1,
               .slots = 3,
               .gates = {0, 1, 2},
               .forward = RF(gru_forward),
               .infer = RF(gru_infer),
               .backward = RF(gru_backward)}},
    .steps_panels = 256 / W,
    .steps = RF(gru_steps),
    .steps_together = RF(gru_steps_together),
    .steps_back_panels = 4,
    .steps_back = RF(gru_steps_back),
};
