/* minGRU (Feng et al. 2024): z = sigmoid(a_z), n = f(a_n), h = h_prev + z (n - h_prev). Slots z n; saved: the same.
 * f: the identity, tanh, or the paper's g, which keeps h positive: g(a) = a + 1/2 from 0 on, sigmoid(a) below. */

INLINE V v_identity(V a) { return a; }
INLINE V v_positive(V a) { return v_select(v_lt(a, v_set1(0)), v_sigmoid(a), a + v_set1((real)0.5)); }

/* derivative from the output y */
INLINE V identity_slope(V y)
{
    (void)y;
    return v_set1(1);
}
INLINE V positive_slope(V y) { return v_select(v_lt(y, v_set1((real)0.5)), v_fnma(y, y, y), v_set1(1)); }

#define MINGRU(kind, act, slope)                                                                                      \
    INLINE V mingru_##kind##_forward(const int save, real *a, V c, const V *v, V x, real scale, V *h)                 \
    {                                                                                                                 \
        (void)v, (void)x, (void)scale;                                                                                \
        const V z = v_sigmoid(v_load(a)), n = act(v_load(a + W));                                                     \
        if (save) {                                                                                                   \
            v_store(a, z);                                                                                            \
            v_store(a + W, n);                                                                                        \
        }                                                                                                             \
        *h = v_fma(z, n - c, c);                                                                                      \
        return *h;                                                                                                    \
    }                                                                                                                 \
    INLINE V mingru_##kind##_backward(real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)            \
    {                                                                                                                 \
        (void)v, (void)x, (void)scale, (void)dv, (void)dx;                                                            \
        const V z = v_load(a), n = v_load(a + W), d = dc + dh;                                                        \
        v_store(a, d * (n - c) * v_fnma(z, z, z));                                                                    \
        v_store(a + W, d * z * slope(n));                                                                             \
        return v_fnma(z, d, d);                                                                                       \
    }                                                                                                                 \
    SCAN(mingru_##kind, 2, 0, 0)

MINGRU(identity, v_identity, identity_slope)
MINGRU(positive, v_positive, positive_slope)
MINGRU(tanh, v_tanh, rnn_tanh_slope)
#undef MINGRU
