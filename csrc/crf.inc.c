/* A linear-chain conditional random field: the sum over all paths of tags, and each tag's and transition's share in it.
 *
 * In double only. What reaches a tag is a product with the matrix of e^transition, one multiply-add for each pair of tags
 * instead of one exponential; the vector it is multiplied with is e^(alpha - its largest), and alpha itself stays a
 * logarithm. Where a sum comes out so small that terms may have been lost below the range of a double (transitions
 * or emissions that forbid), it is done again term by term.
 *
 * T steps, K tags, P = K up to a multiple of W. Tags past K have alpha = -INFINITY and e^transition = 0.
 */
#if RF_DOUBLE

#define CRF_SMALL 1e-200
#define CRF_FAR 400.0 /* a share of e^CRF_FAR times products: beyond it products may have been lost */

/* log sum_i e^(a_i + b_i), b_i being `apart` apart */
static double sum_exactly(ptrdiff_t n, const double *a, const double *b, ptrdiff_t apart)
{
    double top = -INFINITY, sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double x = a[i] + b[i * apart];
        if (x != x)
            return x;
        top = MAX(top, x);
    }
    if (top == -INFINITY)
        return top;
    for (ptrdiff_t i = 0; i < n; i++)
        sum += exp(a[i] + b[i * apart] - top);
    return top + log(sum);
}

static double largest_of(ptrdiff_t n, const double *x)
{
    V top = v_set1(-INFINITY);
    for (ptrdiff_t i = 0; i < n; i += W)
        top = v_max(top, v_load(x + i));
    return largest(top);
}

/* to_j = log sum_i e^(x_i + m_ij), j < K; weights (K, P) IN e^(m - level); powers (P) OUT e^(x - its largest), returned;
 * m has m_ij at i * by_i + j * by_j. */
static double crf_step(ptrdiff_t tags, ptrdiff_t ld, const double *x, const double *weights, double level,
                       const double *m, ptrdiff_t by_i, ptrdiff_t by_j, double *powers, double *to)
{
    double top = largest_of(ld, x);
    if (top == -INFINITY) /* nothing reaches this step, or all is NaN: keep both */
        top = 0;
    for (ptrdiff_t i = 0; i < ld; i += W)
        v_store(powers + i, v_exp(v_load(x + i) - v_set1(top)));
    for (ptrdiff_t j = 0; j < ld; j += W) {
        V sum = v_set1(0), more = v_set1(0);
        ptrdiff_t i = 0;
        for (; i + 2 <= tags; i += 2) {
            sum = v_fma(v_set1(powers[i]), v_load(weights + i * ld + j), sum);
            more = v_fma(v_set1(powers[i + 1]), v_load(weights + (i + 1) * ld + j), more);
        }
        if (i < tags)
            sum = v_fma(v_set1(powers[i]), v_load(weights + i * ld + j), sum);
        sum += more;
        real sums[W];
        v_store(sums, sum);
        v_store(to + j, log_normal(sum) + v_set1(top + level));
        for (ptrdiff_t k = 0; k < W && j + k < tags; k++)
            if (!(sums[k] >= CRF_SMALL && sums[k] <= 1e300))
                to[j + k] = sum_exactly(tags, x, m + (j + k) * by_j, by_i);
    }
    for (ptrdiff_t j = tags; j < ld; j++)
        to[j] = -INFINITY;
    return top;
}

/* Elements of scratch that crf_paths needs. */
static ptrdiff_t RF(crf_scratch)(ptrdiff_t steps, ptrdiff_t tags, int gradient)
{
    const ptrdiff_t ld = (tags + W - 1) / W * W;
    return (gradient ? steps : 2) * ld + 6 * ld + (gradient ? tags * ld : 0);
}

/* log of the sum over all paths of T >= 1 steps of e^(start + emissions + transitions + end).
 * x (T, K) emissions, m (K, K) from row to column, start and end (K): IN
 * forth (K, P) IN e^(m - level), back (K, P) IN the same of m transposed, zeros past K
 * share (T, K) OUT of each tag in each step, pairs (K, K) OUT of each transition, summed over steps; NULL: not wanted */
static double RF(crf_paths)(ptrdiff_t steps, ptrdiff_t tags, const double *x, const double *m, const double *start,
                            const double *end, const double *forth, const double *back, double level, double *share,
                            double *pairs, double *scratch)
{
    const ptrdiff_t ld = (tags + W - 1) / W * W;
    double *powers = scratch, *weighted = powers + ld, *beta = weighted + ld, *later = beta + ld, *row = later + ld;
    double *sums = row + 2 * ld, *alpha = share ? sums + tags * ld : sums, *a = alpha;
    for (ptrdiff_t j = 0; j < ld; j++)
        a[j] = j < tags ? start[j] + x[j] : -INFINITY;
    for (ptrdiff_t t = 1; t < steps; t++) {
        double *next = share ? a + ld : alpha + (t & 1) * ld;
        crf_step(tags, ld, a, forth, level, m, tags, 1, powers, next);
        for (ptrdiff_t j = 0; j < tags; j++)
            next[j] += x[t * tags + j];
        a = next;
    }
    const double all = sum_exactly(tags, a, end, 1);
    if (!share || !(fabs(all) < INFINITY))
        return all;

    for (ptrdiff_t i = 0; i < tags * ld; i++)
        sums[i] = 0;
    memset(pairs, 0, (size_t)(tags * tags) * sizeof(double));
    for (ptrdiff_t j = 0; j < ld; j++)
        beta[j] = j < tags ? end[j] : -INFINITY;
    for (ptrdiff_t t = steps - 1;; t--, a -= ld) {
        for (ptrdiff_t j = 0; j < ld; j += W)
            v_store(row + j, v_exp(v_load(a + j) + v_load(beta + j) - v_set1(all)));
        memcpy(share + t * tags, row, (size_t)tags * sizeof(double));
        if (t == 0)
            break;
        for (ptrdiff_t j = 0; j < ld; j++)
            later[j] = j < tags ? beta[j] + x[t * tags + j] : -INFINITY;
        const double top = crf_step(tags, ld, later, back, level, m, 1, tags, powers, beta);
        const double *before = a - ld, high = largest_of(ld, before), distance = high + level + top - all;
        if (!(distance < CRF_FAR)) {
            for (ptrdiff_t i = 0; i < tags; i++)
                for (ptrdiff_t j = 0; j < tags; j++)
                    pairs[i * tags + j] += exp(before[i] + m[i * tags + j] + later[j] - all);
            continue;
        }
        for (ptrdiff_t j = 0; j < ld; j += W) {
            v_store(row + j, v_exp(v_load(before + j) - v_set1(high)));
            v_store(weighted + j, v_load(powers + j) * v_set1(exp(distance)));
        }
        for (ptrdiff_t i = 0; i < tags; i++)
            for (ptrdiff_t j = 0; j < ld; j += W)
                v_store(sums + i * ld + j,
                        v_fma(v_set1(row[i]), v_load(weighted + j), v_load(sums + i * ld + j)));
    }
    for (ptrdiff_t i = 0; i < tags; i++)
        for (ptrdiff_t j = 0; j < tags; j++)
            pairs[i * tags + j] += sums[i * ld + j] * forth[i * ld + j];
    return all;
}
#undef CRF_SMALL
#undef CRF_FAR
#endif
