/* GRU with the reset gate before the product (Cho et al. 2014), torch's gates and slots r z n:
 *   r, z = sigmoid(a_r, a_z); n = tanh(x_n + U_n (r h_prev) + b_hn); h = n + z (h_prev - n).
 * Two products follow each other in a step: phase 0 makes r, z and aux = r h_prev, phase 1 the rest.
 * Saved: r z n and aux. */

static void RF(gru_reset_before_forward_0)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                                           ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 3 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            V reset = v_sigmoid(v_load(a));
            v_store(a, reset);
            v_store(a + W, v_sigmoid(v_load(a + W)));
            v_store((real *)s->aux + u, reset * v_load((const real *)s->h_prev + u));
        }
}

static void RF(gru_reset_before_forward_1)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                                           ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 3 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            V n = v_tanh(v_load(a + 2 * W));
            v_store(a + 2 * W, n);
            v_store((real *)s->h + u, v_fma(v_load(a + W), v_load((const real *)s->h_prev + u) - n, n));
        }
}

static void RF(gru_reset_before_backward_1)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                                            ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 3 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            real *dh_ = (real *)s->dh + u;
            V z = v_load(a + W), n = v_load(a + 2 * W), dh = v_load(dh_);
            v_store(a + W, dh * (v_load((const real *)s->h_prev + u) - n) * v_fnma(z, z, z));
            v_store(a + 2 * W, v_fnma(z, dh, dh) * v_fnma(n, n, v_set1(1)));
            v_store(dh_, dh * z);
        }
}

static void RF(gru_reset_before_backward_0)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                                            ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 3 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            real *dh_ = (real *)s->dh + u;
            V reset = v_load(a), daux = v_load((const real *)s->daux + u);
            v_store(a, daux * v_load((const real *)s->h_prev + u) * v_fnma(reset, reset, reset));
            v_store(dh_, v_fma(daux, reset, v_load(dh_)));
        }
}

static const rf_cell gru_reset_before = {
    .name = "gru_reset_before",
    .slots = 3,
    .gates = 3,
    .has_aux = 1,
    .x_slots = 3,
    .x_gates = {0, 1, 2},
    .reads = RF_READS_BEFORE,
    .phases = 2,
    .phase = {{.slots = 2,
               .gates = {0, 1},
               .forward = RF(gru_reset_before_forward_0),
               .infer = RF(gru_reset_before_forward_0),
               .backward = RF(gru_reset_before_backward_0)},
              {.from_aux = 1,
               .first = 2,
               .slots = 1,
               .gates = {2},
               .forward = RF(gru_reset_before_forward_1),
               .infer = RF(gru_reset_before_forward_1),
               .backward = RF(gru_reset_before_backward_1)}},
};
