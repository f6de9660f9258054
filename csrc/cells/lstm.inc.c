/* LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), slots and torch's gates i f g o:
 *   i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g), c = f c_prev + i g, h = o tanh(c).
 * Saved: i f g o in place of the pre-activations, and c; tanh(c) is computed again. */

INLINE void lstm_step(const int save, const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,
                      ptrdiff_t panel1)
{
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 4 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            V i = v_sigmoid(v_load(a)), f = v_sigmoid(v_load(a + W));
            V g = v_tanh(v_load(a + 2 * W)), o = v_sigmoid(v_load(a + 3 * W));
            V c = v_fma(f, v_load((const real *)s->c_prev + u), i * g);
            v_store((real *)s->c + u, c);
            v_store((real *)s->h + u, o * v_tanh(c));
            if (save) {
                v_store(a, i);
                v_store(a + W, f);
                v_store(a + 2 * W, g);
                v_store(a + 3 * W, o);
            }
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

static void RF(lstm_backward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const V one = v_set1(1);
    for (ptrdiff_t r = row0; r < row1; r++)
        for (ptrdiff_t p = panel0; p < panel1; p++) {
            real *a = (real *)s->gates + r * s->ld_gates + p * 4 * W;
            const ptrdiff_t u = r * s->ld_state + p * W;
            real *dh_ = (real *)s->dh + u, *dc_ = (real *)s->dc + u;
            V i = v_load(a), f = v_load(a + W), g = v_load(a + 2 * W), o = v_load(a + 3 * W);
            V tanh_c = v_tanh(v_load((const real *)s->c + u));
            V dh = v_load(dh_);
            V dc = v_fma(dh * o, v_fnma(tanh_c, tanh_c, one), v_load(dc_));
            v_store(a, dc * g * v_fnma(i, i, i));
            v_store(a + W, dc * v_load((const real *)s->c_prev + u) * v_fnma(f, f, f));
            v_store(a + 2 * W, dc * i * v_fnma(g, g, one));
            v_store(a + 3 * W, dh * tanh_c * v_fnma(o, o, o));
            v_store(dc_, dc * f);
            v_store(dh_, v_set1(0));
        }
}

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
};
