/* SRU (Lei et al. 2018): f = sigmoid(a_f + v_f c_prev), r = sigmoid(a_r + v_r c_prev),
 * c = f c_prev + (1 - f) a_x, h = r c + (1 - r) scale s. The highway carries s = x where it has as many features as there
 * are units (sru), else a projection of it in a slot of its own (sru_projected).
 * Slots x f r (s); saved: a_x f r (s). */

INLINE V sru_step(const int projected, const int save, real *a, V c, const V *v, V x, real scale, V *h)
{
    const V new = v_load(a), s = v_set1(scale) * (projected ? v_load(a + 3 * W) : x);
    const V f = v_sigmoid(v_fma(v[0], c, v_load(a + W))), r = v_sigmoid(v_fma(v[1], c, v_load(a + 2 * W)));
    if (save) {
        v_store(a + W, f);
        v_store(a + 2 * W, r);
    }
    c = v_fma(f, c - new, new);
    *h = v_fma(r, c - s, s);
    return c;
}

INLINE V sru_step_back(const int projected, real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)
{
    const V new = v_load(a), f = v_load(a + W), r = v_load(a + 2 * W);
    const V s = v_set1(scale) * (projected ? v_load(a + 3 * W) : x);
    const V ds = v_set1(scale) * v_fnma(r, dh, dh);
    const V dr = dh * (v_fma(f, c - new, new) - s) * v_fnma(r, r, r);
    const V d = v_fma(dh, r, dc), df = d * (c - new) * v_fnma(f, f, f);
    v_store(a, v_fnma(f, d, d));
    v_store(a + W, df);
    v_store(a + 2 * W, dr);
    if (projected)
        v_store(a + 3 * W, ds);
    else
        *dx = ds;
    dv[0] = v_fma(df, c, dv[0]);
    dv[1] = v_fma(dr, c, dv[1]);
    return v_fma(dr, v[1], v_fma(df, v[0], d * f));
}

#define SRU(cell, projected)                                                                                          \
    INLINE V cell##_forward(const int save, real *a, V c, const V *v, V x, real scale, V *h)                          \
    {                                                                                                                 \
        return sru_step(projected, save, a, c, v, x, scale, h);                                                       \
    }                                                                                                                 \
    INLINE V cell##_backward(real *a, V c, V dh, V dc, const V *v, V x, real scale, V *dv, V *dx)                     \
    {                                                                                                                 \
        return sru_step_back(projected, a, c, dh, dc, v, x, scale, dv, dx);                                           \
    }                                                                                                                 \
    SCAN(cell, (projected ? 4 : 3), 2, !projected)

SRU(sru, 0)
SRU(sru_projected, 1)
#undef SRU
