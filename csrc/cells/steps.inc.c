/* What the `steps` and `steps_back` functions of the cells share: products of one row, in the order of gemm.inc.c. */

/* acc[p][v] += sum over k of h[k] B[p][k][v] for P panels of NV vectors */
INLINE void steps_product(const int P, const int NV, ptrdiff_t hidden, const real *h, const real *b, V acc[][4])
{
    for (ptrdiff_t k = 0; k < hidden; k++) {
        const V x = v_set1(h[k]);
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int v = 0; v < NV; v++)
                acc[p][v] = v_fma(x, v_load(b + (p * hidden + k) * NV * W + v * W), acc[p][v]);
    }
}

/* Store one panel of h where the next step and the caller read it (and backward, which finds it in y). */
INLINE void steps_store(const rf_steps *s, ptrdiff_t t, int p, V h, real *now)
{
    const ptrdiff_t n = s->hidden - p * W;
    real *y = (real *)(s->y + t * s->y_step) + p * W;
    v_store(now + p * W, h);
    if (n < W)
        v_store_n(y, n, h);
    else
        v_store(y, h);
}

#define STEPS_LOAD(P, from, to)               \
    UNROLL for (int p = 0; p < P; p++)        \
        v_store((to) + p * W, v_load((const real *)(from) + p * W))

/* acc[v] += sum over k of a[k] B[k][v] for the NV vectors of the gradient of h */
INLINE void steps_product_back(const int NV, const rf_runs *from, const real *a, const real *b, V acc[])
{
    for (ptrdiff_t q = 0; q < from->runs + from->more; q++) {
        const ptrdiff_t more = q - from->runs, run = more < 0 ? from->run : from->more_run;
        const real *x = a + (more < 0 ? q * from->stride : from->more_at + more * from->more_stride);
        for (ptrdiff_t k = 0; k < run; k++, b += NV * W)
            UNROLL for (int v = 0; v < NV; v++)
                acc[v] = v_fma(v_set1(x[k]), v_load(b + v * W), acc[v]);
    }
}

/* Panel p of a row that ends with its last unit. */
INLINE V steps_read(const void *row, ptrdiff_t hidden, int p)
{
    const real *from = (const real *)row + p * W;
    return hidden - p * W < W ? v_load_n(from, hidden - p * W) : v_load(from);
}

/* h before step t and after it, and the gradient of the latter when that of the output has been added. */
INLINE const void *steps_before(const rf_steps_back *s, ptrdiff_t t) { return t ? s->y + (t - 1) * s->y_step : s->h_prev; }
INLINE const void *steps_after(const rf_steps_back *s, ptrdiff_t t) { return s->y + t * s->y_step; }
INLINE V steps_gradient(const rf_steps_back *s, ptrdiff_t t, int p, V dh)
{
    if (!s->dy)
        return dh;
    return dh + steps_read(s->dy + t * s->dy_step, s->hidden, p);
}

/* RF(name): name(P, s) for as many panels as there are. */
#define STEPS_BACK(name)                            \
    static void RF(name)(const rf_steps_back *s)    \
    {                                               \
        switch ((s->hidden + W - 1) / W) {          \
            case 1: name(1, s); break;              \
            case 2: name(2, s); break;              \
            case 3: name(3, s); break;              \
            case 4: name(4, s); break;              \
        }                                           \
    }
