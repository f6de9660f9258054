/* IndRNN (Li et al. 2018): h = f(a + u h_prev) with a weight of its own for each unit; f is relu or tanh.
 * One slot: a, then h. */

#define INDRNN(kind, act, slope)                                                                                      \
    INLINE V indrnn_##kind##_forward(const int save, real *a, V c, const V *v, V x, real scale, V *h)                 \
    {                                                                                                                 \
        (void)x, (void)scale;                                                                                         \
        *h = act(v_fma(v[0], c, v_load(a)));                                                                          \
        if (save)                                                                                                     \
            v_store(a, *h);                                                                                           \
        return *h;                                                                                                    \
    }                                                                                                                 \
    INLINE V indrnn_##kind##_backward(real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)            \
    {                                                                                                                 \
        (void)x, (void)scale, (void)dx;                                                                               \
        const V da = (dc + dh) * slope(v_load(a));                                                                    \
        v_store(a, da);                                                                                               \
        dv[0] = v_fma(da, c, dv[0]);                                                                                  \
        return da * v[0];                                                                                             \
    }                                                                                                                 \
    SCAN(indrnn_##kind, 1, 1, 0)

INDRNN(relu, v_relu, rnn_relu_slope)
INDRNN(tanh, v_tanh, rnn_tanh_slope)
#undef INDRNN
