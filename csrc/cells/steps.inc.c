/* What the `steps` functions of the cells share: the recurrent product of one row, in the order of gemm.inc.c. */

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
