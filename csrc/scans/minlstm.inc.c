/* minLSTM (Feng et al. 2024), its gates made to sum to 1: f, i = sigmoid(a_f, a_i), k = f / (f + i),
 * h = n + k (h_prev - n), n = act(a_n) with act as in mingru.inc.c.
 * With p = 1 + exp(-a_f) = 1 / f and q = 1 / i, k = q / (p + q): two exponentials and one division, and no 0 / 0 where
 * both gates are closed. Slots f i n; saved: p q n. Derivatives: k' = k (1 - k) (1 - f) by a_f, -k (1 - k) (1 - i) by a_i. */

/* 1 + exp(-a), finite for all a */
INLINE V one_by_sigmoid(V a) { return v_set1(1) + v_exp(v_min(v_set1(80), v_set1(0) - a)); }

#define MINLSTM(kind, act, slope)                                                                                     \
    INLINE V minlstm_##kind##_forward(const int save, real *a, V c, const V *v, V x, real scale, V *h)                \
    {                                                                                                                 \
        (void)v, (void)x, (void)scale;                                                                                \
        const V p = one_by_sigmoid(v_load(a)), q = one_by_sigmoid(v_load(a + W)), n = act(v_load(a + 2 * W));         \
        if (save) {                                                                                                   \
            v_store(a, p);                                                                                            \
            v_store(a + W, q);                                                                                        \
            v_store(a + 2 * W, n);                                                                                    \
        }                                                                                                             \
        *h = v_fma(q / (p + q), c - n, n);                                                                            \
        return *h;                                                                                                    \
    }                                                                                                                 \
    INLINE V minlstm_##kind##_backward(real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)           \
    {                                                                                                                 \
        (void)v, (void)x, (void)scale, (void)dv, (void)dx;                                                            \
        const V one = v_set1(1), p = v_load(a), q = v_load(a + W), n = v_load(a + 2 * W), d = dc + dh;                \
        const V r = one / (p + q), k = q * r, slope_k = d * (c - n) * k * (p * r);                                    \
        v_store(a, slope_k * (one - one / p));                                                                        \
        v_store(a + W, slope_k * (one / q - one));                                                                    \
        v_store(a + 2 * W, d * (p * r) * slope(n));                                                                   \
        return d * k;                                                                                                 \
    }                                                                                                                 \
    SCAN(minlstm_##kind, 3, 0, 0)

MINLSTM(identity, v_identity, identity_slope)
MINLSTM(positive, v_positive, positive_slope)
MINLSTM(tanh, v_tanh, rnn_tanh_slope)
#undef MINLSTM
