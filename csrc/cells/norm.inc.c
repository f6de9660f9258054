/* Layer normalisation of whole rows (Ba et al. 2016), for cells that need all units of a row at once, and the vectors
 * of options: one row of P*W numbers each, zeros past H, in the order
 *   peepholes (one for each gate but the candidate), and where there is a normalisation gain_ih, gain_hh, b_ih, b_hh
 *   (G each), and where there is a cell state gain_ch, b_ch.
 * Gradients of vectors are added up for each row of the batch by itself, so that no sum depends on who did which rows;
 * those of what is normalised are norm_gradient in norm.inc.c.
 *
 * Padding past H enters neither mean nor variance: what is padded is zero, and deviations from the mean are cut. */

enum { NORM_STATS = 4 }; /* numbers kept for each row */
#define NORM_EPS 1e-5

/* a or b, by a constant: compilers differ in what vectors ?: takes */
INLINE V either(int first, V a, V b)
{
    if (first)
        return a;
    return b;
}

/* x in the lanes of units below `units` of panel p, 0 past them */
INLINE V within(V x, ptrdiff_t p, ptrdiff_t units)
{
    const ptrdiff_t n = units - p * W;
    if (n >= W)
        return x;
    return v_select(v_lt(v_load(lane_numbers), v_set1((real)n)), x, v_set1(0));
}

/* Mean and 1 / sqrt(variance + eps) of n vectors in each of the panels, `stride` elements apart; n <= 4. */
INLINE void norm_moments(const int n, const real *x, ptrdiff_t stride, ptrdiff_t panels, ptrdiff_t units, real *mean,
                         real *scale)
{
    V sum[4], squares[4];
    for (int k = 0; k < n; k++)
        sum[k] = squares[k] = v_set1(0);
    for (ptrdiff_t p = 0; p < panels; p++)
        for (int k = 0; k < n; k++)
            sum[k] += v_load(x + p * stride + k * W);
    for (int k = 1; k < n; k++)
        sum[0] += sum[k];
    *mean = v_sum(sum[0]) / (real)(n * units);
    for (ptrdiff_t p = 0; p < panels; p++)
        for (int k = 0; k < n; k++) {
            const V d = within(v_load(x + p * stride + k * W) - v_set1(*mean), p, units);
            squares[k] = v_fma(d, d, squares[k]);
        }
    for (int k = 1; k < n; k++)
        squares[0] += squares[k];
    *scale = norm_scale((double)(v_sum(squares[0]) / (real)(n * units)), NORM_EPS);
}

/* The same, and the normalised numbers put in place. Returns the scale. */
INLINE real norm_slots(const int n, real *x, ptrdiff_t stride, ptrdiff_t panels, ptrdiff_t units)
{
    real mean, scale;
    norm_moments(n, x, stride, panels, units, &mean, &scale);
    for (ptrdiff_t p = 0; p < panels; p++)
        for (int k = 0; k < n; k++) {
            real *at = x + p * stride + k * W;
            v_store(at, within((v_load(at) - v_set1(mean)) * v_set1(scale), p, units));
        }
    return scale;
}

/* Row k of the vectors, panel p. */
INLINE V vector_of(const rf_options *q, int k, ptrdiff_t p)
{
    return v_load((const real *)q->vectors + k * q->ld + p * W);
}

INLINE void add_vector(const rf_options *q, real *sums, int k, ptrdiff_t p, V x)
{
    real *at = sums + k * q->ld + p * W;
    v_store(at, v_load(at) + x);
}
