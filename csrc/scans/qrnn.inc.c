/* QRNN (Bradbury et al. 2016), its pooling: z = tanh(a_z), f = sigmoid(a_f), c = f c_prev + (1 - f) z, and with an output
 * gate h = sigmoid(a_o) c ("fo"), without one h = c ("f"). The convolution before it is the input product.
 * Slots z f o; saved: the same. `scale` is the share of (1 - f) that zoneout leaves on average at inference, else 1. */

INLINE V qrnn_gated(const int output, const int save, real *a, V c, real scale, V *h)
{
    const V z = v_tanh(v_load(a));
    const V f = v_fma(v_set1(scale), v_sigmoid(v_load(a + W)), v_set1(1 - scale));
    c = v_fma(f, c, v_fnma(f, z, z)); /* c itself where f is 1 */
    if (save) {
        v_store(a, z);
        v_store(a + W, f);
    }
    *h = c;
    if (output) {
        const V o = v_sigmoid(v_load(a + 2 * W));
        *h = o * c;
        if (save)
            v_store(a + 2 * W, o);
    }
    return c;
}

INLINE V qrnn_gated_back(const int output, real *a, V c, V dh, V dc)
{
    const V z = v_load(a), f = v_load(a + W);
    V d = dc + dh;
    if (output) {
        const V o = v_load(a + 2 * W);
        d = v_fma(dh, o, dc);
        v_store(a + 2 * W, dh * v_fma(f, c, v_fnma(f, z, z)) * v_fnma(o, o, o));
    }
    v_store(a, v_fnma(f, d, d) * v_fnma(z, z, v_set1(1)));
    v_store(a + W, d * (c - z) * v_fnma(f, f, f));
    return d * f;
}

#define QRNN(cell, output)                                                                                            \
    INLINE V cell##_forward(const int save, real *a, V c, const V *v, V x, real scale, V *h)                          \
    {                                                                                                                 \
        (void)v, (void)x;                                                                                             \
        return qrnn_gated(output, save, a, c, scale, h);                                                              \
    }                                                                                                                 \
    INLINE V cell##_backward(real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)                     \
    {                                                                                                                 \
        (void)v, (void)x, (void)scale, (void)dv, (void)dx;                                                            \
        return qrnn_gated_back(output, a, c, dh, dc);                                                                 \
    }                                                                                                                 \
    SCAN(cell, (output ? 3 : 2), 0, 0)

QRNN(qrnn, 1)
QRNN(qrnn_forget, 0)
#undef QRNN
