/* Elman RNN: h = act(a), a = W x + U h_prev + b. One slot: a, then h. */

INLINE V v_relu(V a) { return v_select(v_lt(a, v_set1(0)), v_set1(0), a); } /* NaN stays */

/* derivative from the output y */
INLINE V rnn_tanh_slope(V y) { return v_fnma(y, y, v_set1(1)); }
INLINE V rnn_sigmoid_slope(V y) { return v_fnma(y, y, y); }
INLINE V rnn_relu_slope(V y) { return v_select(v_lt(v_set1(0), y), v_set1(1), v_set1(0)); }

/* a[v] += sum over k of h[k] B[k][v] for up to eight vectors, the first four of which are a panel */
INLINE void steps_vectors(const int NV, const rf_steps *s, ptrdiff_t t, const real *h, V a[][4])
{
    const int last = NV > 4 ? NV - 4 : NV, C = chains_of(NV > 4 ? 2 : 1, 4, last);
    const rf_runs all = {.runs = 1, .run = s->hidden};
    const real *b = s->product->b;
    if (NV == 8) {
        steps_two_panels(s->product, t, h, a);
        return;
    }
    if (NV > 4)
        chains_product(1, 4, C, &all, h, 0, b, a);
    chains_product(1, last, C, &all, h, 0, NV > 4 ? b + s->hidden * 4 * W : b, NV > 4 ? a + 1 : a);
}

/* The sums of one of two panels that have a chain for each half of k: of a thread first the half that it makes itself. */
INLINE void steps_halves(const int await, const rf_steps *s, const steps_now *now, const real *b, V acc[][4])
{
    const ptrdiff_t K = s->hidden, own = steps_begin(s, s->thread), end = steps_begin(s, s->thread + 1);
    V sums[2][1][4];
    UNROLL for (int v = 0; v < 4; v++) {
        sums[0][0][v] = acc[0][v];
        sums[1][0][v] = v_set1(0);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        const ptrdiff_t which = (own > 0) ^ i, begin = which ? K / 2 : 0, n = which ? K - begin : K / 2;
        if (await && (begin < own || begin + n > end))
            steps_await(s, now);
        steps_part(1, 4, K, n, now->from + begin, b + begin * 4 * W, sums[which]);
    }
    UNROLL for (int v = 0; v < 4; v++)
        acc[0][v] = sums[0][0][v] + sums[1][0][v];
}

#define RNN(kind, act, slope)                                                                                         \
    static void RF(rnn_##kind##_forward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,          \
                                         ptrdiff_t panel1)                                                            \
    {                                                                                                                 \
        for (ptrdiff_t r = row0; r < row1; r++) {                                                                     \
            real *a = (real *)s->gates + r * s->ld_gates;                                                             \
            real *h = (real *)s->h + r * s->ld_state;                                                                 \
            for (ptrdiff_t u = panel0 * W; u < panel1 * W; u += W)                                                    \
                v_store(h + u, act(v_load(a + u)));                                                                   \
        }                                                                                                             \
    }                                                                                                                 \
    static void RF(rnn_##kind##_backward)(const rf_step *s, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0,         \
                                          ptrdiff_t panel1)                                                           \
    {                                                                                                                 \
        for (ptrdiff_t r = row0; r < row1; r++) {                                                                     \
            real *a = (real *)s->gates + r * s->ld_gates;                                                             \
            const real *h = (const real *)s->h + r * s->ld_state;                                                     \
            real *dh = (real *)s->dh + r * s->ld_state;                                                               \
            for (ptrdiff_t u = panel0 * W; u < panel1 * W; u += W) {                                                  \
                v_store(a + u, v_load(dh + u) * slope(v_load(h + u)));                                                \
                v_store(dh + u, v_set1(0));                                                                           \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    INLINE void rnn_##kind##_steps(const int NV, const rf_steps *s)                                                   \
    {                                                                                                                 \
        real now[8 * W];                                                                                              \
        V a[2][4];                                                                                                    \
        STEPS_LOAD(NV, s->h_prev, now);                                                                               \
        for (ptrdiff_t t = 0; t < s->steps; t++) {                                                                    \
            real *gates = (real *)s->gates + t * s->ld_gates;                                                         \
            UNROLL for (int v = 0; v < NV; v++)                                                                       \
                a[v / 4][v % 4] = v_load(gates + v * W);                                                              \
            steps_vectors(NV, s, t, now, a);                                                                          \
            UNROLL for (int v = 0; v < NV; v++)                                                                       \
                steps_store(s, t, v, act(a[v / 4][v % 4]), now);                                                      \
        }                                                                                                             \
        STEPS_LOAD(NV, now, steps_row(s, s->steps - 1));                                                              \
    }                                                                                                                 \
    INLINE void rnn_##kind##_panels(const int P, const int NV, const int await, const rf_steps *s,                    \
                                    const steps_now *now, ptrdiff_t p0)                                               \
    {                                                                                                                 \
        const real *b = (const real *)s->product->b + p0 * s->hidden * 4 * W;                                         \
        V a[2][4];                                                                                                    \
        UNROLL for (int p = 0; p < P; p++)                                                                            \
            UNROLL for (int v = 0; v < NV; v++)                                                                       \
                a[p][v] = v_load(now->gates + ((p0 + p) * 4 + v) * W);                                                \
        if (P == 1 && NV == 4 && s->product->halves)                                                                  \
            steps_halves(await, s, now, b, a);                                                                        \
        else                                                                                                          \
            steps_sums(P, NV, await, s, now, b, a);                                                                   \
        UNROLL for (int p = 0; p < P; p++)                                                                            \
            UNROLL for (int v = 0; v < NV; v++)                                                                       \
                v_store(now->to + ((p0 + p) * 4 + v) * W, act(a[p][v]));                                              \
    }                                                                                                                 \
    INLINE void rnn_##kind##_group(const int P, const int await, const rf_steps *s, const steps_now *now, ptrdiff_t p0)\
    {                                                                                                                 \
        const int whole = p0 + P < s->product->panels || s->product->last == 4;                                       \
        if (whole)                                                                                                    \
            rnn_##kind##_panels(P, 4, await, s, now, p0);                                                             \
        else if (P == 2)                                                                                              \
            rnn_##kind##_panels(1, 4, await, s, now, p0);                                                             \
        if (!whole)                                                                                                   \
            switch (s->product->last) {                                                                               \
                case 1: rnn_##kind##_panels(1, 1, await, s, now, p0 + P - 1); break;                                  \
                case 2: rnn_##kind##_panels(1, 2, await, s, now, p0 + P - 1); break;                                  \
                case 3: rnn_##kind##_panels(1, 3, await, s, now, p0 + P - 1); break;                                  \
            }                                                                                                         \
    }                                                                                                                 \
    STEPS_GROUP(rnn_##kind##_group, 1)                                                                                \
    STEPS_GROUP(rnn_##kind##_group, 2)                                                                                \
    static void RF(rnn_##kind##_steps_together)(const rf_steps *s)                                                    \
    {                                                                                                                 \
        static const steps_group groups[2][5] = {                                                                     \
            {NULL, RF(rnn_##kind##_group_1), RF(rnn_##kind##_group_2)},                                               \
            {NULL, RF(rnn_##kind##_group_await_1), RF(rnn_##kind##_group_await_2)}};                                  \
        steps_by_groups(s, 0, groups, s->product->halves ? 1 : 2, 4);                                                 \
    }                                                                                                                 \
    static void RF(rnn_##kind##_steps)(const rf_steps *s)                                                             \
    {                                                                                                                 \
        switch ((s->hidden + W - 1) / W) {                                                                            \
            case 1: rnn_##kind##_steps(1, s); break;                                                                  \
            case 2: rnn_##kind##_steps(2, s); break;                                                                  \
            case 3: rnn_##kind##_steps(3, s); break;                                                                  \
            case 4: rnn_##kind##_steps(4, s); break;                                                                  \
            case 5: rnn_##kind##_steps(5, s); break;                                                                  \
            case 6: rnn_##kind##_steps(6, s); break;                                                                  \
            case 7: rnn_##kind##_steps(7, s); break;                                                                  \
            case 8: rnn_##kind##_steps(8, s); break;                                                                  \
            default: RF(rnn_##kind##_steps_together)(s); break;                                                       \
        }                                                                                                             \
    }                                                                                                                 \
    INLINE void rnn_##kind##_steps_back_few(const int P, const rf_steps_back *s)                                      \
    {                                                                                                                 \
        V dh[4];                                                                                                      \
        UNROLL for (int p = 0; p < P; p++)                                                                            \
            dh[p] = v_load((real *)s->dh + p * W);                                                                    \
        for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {                                                               \
            real *a = (real *)s->gates + t * s->ld_gates;                                                             \
            UNROLL for (int p = 0; p < P; p++) {                                                                      \
                v_store(a + p * W,                                                                                    \
                        steps_gradient(s, t, p, dh[p]) * slope(steps_read(steps_after(s, t), s->hidden, p)));         \
                dh[p] = v_set1(0);                                                                                    \
            }                                                                                                         \
            steps_product_back(P, s, t, a, dh);                                                                       \
        }                                                                                                             \
        UNROLL for (int p = 0; p < P; p++)                                                                            \
            v_store((real *)s->dh + p * W, dh[p]);                                                                    \
    }                                                                                                                 \
    STEPS_BACK(rnn_##kind##_steps_back_few)                                                                           \
    static void RF(rnn_##kind##_steps_back)(const rf_steps_back *s)                                                   \
    {                                                                                                                 \
        const ptrdiff_t P = (s->hidden + W - 1) / W;                                                                  \
        real *dh = s->dh;                                                                                             \
        if (P <= 4) {                                                                                                 \
            RF(rnn_##kind##_steps_back_few)(s);                                                                       \
            return;                                                                                                   \
        }                                                                                                             \
        for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {                                                               \
            real *a = (real *)s->gates + t * s->ld_gates;                                                             \
            for (ptrdiff_t p = 0; p < P; p++) {                                                                       \
                v_store(a + p * W, steps_gradient(s, t, p, v_load(dh + p * W)) *                                      \
                                       slope(steps_read(steps_after(s, t), s->hidden, p)));                           \
                v_store(dh + p * W, v_set1(0));                                                                       \
            }                                                                                                         \
            RF(steps_products_back)(s->product, t, a, dh);                                                            \
        }                                                                                                             \
    }                                                                                                                 \
    static const rf_cell rnn_##kind = {                                                                               \
        .name = "rnn_" #kind,                                                                                         \
        .slots = 1,                                                                                                   \
        .gates = 1,                                                                                                   \
        .x_slots = 1,                                                                                                 \
        .reads = RF_READS_AFTER,                                                                                      \
        .phases = 1,                                                                                                  \
        .phase = {{.slots = 1,                                                                                        \
                   .forward = RF(rnn_##kind##_forward),                                                               \
                   .infer = RF(rnn_##kind##_forward),                                                                 \
                   .backward = RF(rnn_##kind##_backward)}},                                                           \
        .steps_panels = 256 / W,                                                                                      \
        .steps = RF(rnn_##kind##_steps),                                                                              \
        .steps_together = RF(rnn_##kind##_steps_together),                                                            \
        .steps_back_panels = 8,                                                                                       \
        .steps_back = RF(rnn_##kind##_steps_back),                                                                    \
    };

RNN(tanh, v_tanh, rnn_tanh_slope)
RNN(relu, v_relu, rnn_relu_slope)
RNN(sigmoid, v_sigmoid, rnn_sigmoid_slope)
#undef RNN
