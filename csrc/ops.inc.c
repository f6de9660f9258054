/* Losses fused with their gradients, dropout, embedding gradients and pooling: what surrounds the recurrence.
 *
 * A loss goes over each row while it is in cache: the softmax stands in the gradient's place from the moment its terms are
 * summed, and is scaled there. Nothing crosses rows, so that rows may be shared out to threads at will.
 */

static const real lane_numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* x[0..lanes-1], 0 past them; lanes <= W */
INLINE V load_lanes(const real *x, ptrdiff_t lanes) { return lanes < W ? v_load_n(x, lanes) : v_load(x); }

INLINE void store_lanes(real *x, ptrdiff_t lanes, V v)
{
    if (lanes < W)
        v_store_n(x, lanes, v);
    else
        v_store(x, v);
}

/* x[0..n-1], n < W, and `fill` in the lanes past them */
INLINE V load_filled(const real *x, ptrdiff_t n, real fill)
{
    return v_select(v_lt(v_load(lane_numbers), v_set1((real)n)), v_load_n(x, n), v_set1(fill));
}

INLINE real largest(V v)
{
    real a[W];
    v_store(a, v);
    for (int half = W / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            a[i] = MAX(a[i], a[i + half]);
    return a[0];
}

/* losses[r] = log sum_j exp(x_rj) - (1-e) x_rt - e/n sum_j x_rj, t = targets[r], e = smoothing
 * dx_rj = w (softmax(x_r)_j - (1-e) [j = t] - e/n), w = scale * weights[r]
 * A row of weight 0 is not read. x, dx (rows, n); weights (rows) or NULL for ones; dx NULL: no gradient. */
static void RF(softmax_xent)(ptrdiff_t rows, ptrdiff_t n, const void *x_, const int64_t *targets, const void *weights_,
                             double scale, double smoothing, double *losses, void *dx_)
{
    const real *x = x_, *weights = weights_;
    real *dx = dx_;
    const ptrdiff_t tail = n % W, whole = n - tail;
    for (ptrdiff_t r = 0; r < rows; r++, x += n, dx = dx ? dx + n : NULL) {
        if (weights && weights[r] == 0) {
            losses[r] = 0;
            if (dx)
                memset(dx, 0, (size_t)n * sizeof(real));
            continue;
        }
        V top = v_set1(-INFINITY), all = v_set1(0), total = v_set1(0);
        for (ptrdiff_t i = 0; i < whole; i += W)
            top = v_max(top, v_load(x + i));
        if (tail)
            top = v_max(top, load_filled(x + whole, tail, -INFINITY));
        const real m = largest(top);
        for (ptrdiff_t i = 0; i < whole; i += W) {
            const V e = v_exp(v_load(x + i) - v_set1(m));
            total += e;
            if (dx)
                v_store(dx + i, e);
        }
        if (tail) {
            const V e = v_exp(load_filled(x + whole, tail, -INFINITY) - v_set1(m));
            total += e;
            if (dx)
                v_store_n(dx + whole, tail, e);
        }
        const real sum = v_sum(total), target = x[targets[r]];
        double loss = (RF_DOUBLE ? log(sum) : (double)logf((float)sum)) + m - (1 - smoothing) * target;
        if (smoothing > 0) {
            for (ptrdiff_t i = 0; i < whole; i += W)
                all += v_load(x + i);
            if (tail)
                all += v_load_n(x + whole, tail);
            loss -= smoothing / (double)n * v_sum(all);
        }
        losses[r] = loss;
        if (dx) {
            const real w = weights ? (real)scale * weights[r] : (real)scale;
            const V factor = v_set1(w / sum), even = v_set1(w * (real)(smoothing / (double)n));
            for (ptrdiff_t i = 0; i < whole; i += W)
                v_store(dx + i, v_load(dx + i) * factor - even);
            if (tail)
                v_store_n(dx + whole, tail, v_load_n(dx + whole, tail) * factor - even);
            dx[targets[r]] -= w * (real)(1 - smoothing);
        }
    }
}

/* log(1 + e) for e in 0..1, as 2 artanh z with z = e / (2 + e), at most 1/3: the series 2 z (1 + z^2/3 + z^4/5 + ...).
 * The first term left out is below 2e-9 of the sum for float and 2e-17 for double; rounding adds about 3 ulp. */
INLINE V log1p_unit(V e)
{
    const V z = e / (e + v_set1(2)), z2 = z * z;
    const int terms = RF_DOUBLE ? 16 : 8;
    V s = v_set1((real)(1.0 / (2 * terms - 1)));
    for (int k = terms - 2; k >= 0; k--)
        s = v_fma(s, z2, v_set1((real)(1.0 / (2 * k + 1))));
    return (z + z) * s;
}

/* The loss of W elements; *slope is their gradient before weights. */
INLINE V sigmoid_xent_of(V x, V t, V *slope)
{
    const V zero = v_set1(0), one = v_set1(1);
    const V e = v_exp(zero - v_abs(x));
    *slope = v_select(v_lt(x, zero), e, one) / (one + e) - t;
    return v_max(x, zero) - x * t + log1p_unit(e);
}

/* losses[r] = sum_j max(x_rj, 0) - x_rj t_rj + log(1 + exp(-|x_rj|)); dx_rj = w (sigmoid(x_rj) - t_rj); as above */
static void RF(sigmoid_xent)(ptrdiff_t rows, ptrdiff_t n, const void *x_, const void *targets_, const void *weights_,
                             double scale, double *losses, void *dx_)
{
    const real *x = x_, *targets = targets_, *weights = weights_;
    real *dx = dx_;
    const ptrdiff_t tail = n % W, whole = n - tail;
    for (ptrdiff_t r = 0; r < rows; r++, x += n, targets += n, dx = dx ? dx + n : NULL) {
        if (weights && weights[r] == 0) {
            losses[r] = 0;
            if (dx)
                memset(dx, 0, (size_t)n * sizeof(real));
            continue;
        }
        const V w = v_set1(weights ? (real)scale * weights[r] : (real)scale);
        V total = v_set1(0), slope;
        for (ptrdiff_t i = 0; i < whole; i += W) {
            total += sigmoid_xent_of(v_load(x + i), v_load(targets + i), &slope);
            if (dx)
                v_store(dx + i, slope * w);
        }
        if (tail) { /* the lanes past it are dropped on the way through memory */
            const V t = v_load_n(targets + whole, tail);
            real part[W];
            v_store(part, sigmoid_xent_of(v_load_n(x + whole, tail), t, &slope));
            total += v_load_n(part, tail);
            if (dx)
                v_store_n(dx + whole, tail, slope * w);
        }
        losses[r] = v_sum(total);
    }
}

/* SplitMix64's output function */
INLINE uint64_t mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

enum { HASHES = 256 };

/* hash[i] = hash32(start + i, seed), explained in rnnfast/reference/ops.py, for as many i < n as are returned.
 * Plain loops: compilers make vectors of them. */
INLINE ptrdiff_t hash_some(ptrdiff_t n, uint64_t start, uint64_t seed, uint32_t *hash)
{
    const uint32_t first = (uint32_t)start;
    const uint64_t keys = mix64(seed + UINT64_C(0x9E3779B97F4A7C15) * ((start >> 32) + 1));
    const uint32_t low = (uint32_t)keys, high = (uint32_t)(keys >> 32);
    for (uint32_t i = 0; i < HASHES; i++) {
        uint32_t h = first + i + low;
        h = (h ^ (h >> 17)) * 0xED5AD4BBu;
        h = ((h ^ (h >> 11)) + high) * 0xAC4C1B51u;
        h = (h ^ (h >> 15)) * 0x31848BABu;
        hash[i] = h ^ (h >> 14);
    }
    const int64_t left = (int64_t)(UINT32_MAX - first) + 1; /* up to where the high word changes */
    n = MIN(n, HASHES);
    return n > left ? (ptrdiff_t)left : n;
}

/* y[i] = hash32(start + i, seed) >= threshold ? scale * x[i] : 0 */
static void RF(dropout)(ptrdiff_t n, uint64_t start, const void *x_, void *y_, double scale, uint32_t threshold,
                        uint64_t seed)
{
    const real *x = x_;
    real *y = y_;
    const real factor = (real)scale;
    uint32_t hash[HASHES];
    while (n) {
        const ptrdiff_t count = hash_some(n, start, seed, hash);
        for (ptrdiff_t i = 0; i < count; i++)
            y[i] = hash[i] >= threshold ? factor * x[i] : 0;
        n -= count, start += (uint64_t)count, x += count, y += count;
    }
}

/* now[i] = hash32(start + i, seed) >= threshold ? now[i] : before[i], or, with nothing random, the mean of that */
static void RF(zoneout)(const rf_zone *z, ptrdiff_t n, uint64_t start, const void *before_, void *now_)
{
    const real *before = before_;
    real *now = now_;
    uint32_t hash[HASHES];
    if (!z->random) {
        const real p = (real)z->p, rest = 1 - p;
        for (ptrdiff_t i = 0; i < n; i++)
            now[i] = p * before[i] + rest * now[i];
        return;
    }
    while (n) {
        const ptrdiff_t count = hash_some(n, start, z->seed, hash);
        for (ptrdiff_t i = 0; i < count; i++)
            now[i] = hash[i] >= z->threshold ? now[i] : before[i];
        n -= count, start += (uint64_t)count, before += count, now += count;
    }
}

/* d, the gradient of what zoneout left, is parted: into that of `now`, which stays in d, and `carried`, of `before` */
static void RF(zoneout_back)(const rf_zone *z, ptrdiff_t n, uint64_t start, void *d_, void *carried_)
{
    real *d = d_, *carried = carried_;
    uint32_t hash[HASHES];
    if (!z->random) {
        const real p = (real)z->p, rest = 1 - p;
        for (ptrdiff_t i = 0; i < n; i++) {
            carried[i] = p * d[i];
            d[i] = rest * d[i];
        }
        return;
    }
    while (n) {
        const ptrdiff_t count = hash_some(n, start, z->seed, hash);
        for (ptrdiff_t i = 0; i < count; i++) {
            const int passes = hash[i] >= z->threshold;
            carried[i] = passes ? 0 : d[i];
            d[i] = passes ? d[i] : 0;
        }
        n -= count, start += (uint64_t)count, d += count, carried += count;
    }
}

/* y[to[r]][0..n-1] += x[r][0..n-1], r = 0, 1, ...; rows of x and y are ld elements apart */
static void RF(scatter_add)(ptrdiff_t rows, ptrdiff_t n, ptrdiff_t ld, const int64_t *to, const void *x_, void *y_)
{
    const real *x = x_;
    for (ptrdiff_t r = 0; r < rows; r++, x += ld)
        RF(add_rows)(n, x, (real *)y_ + to[r] * ld);
}

/* y[i] = the largest of x[0..steps-1][i], at[i] = the first step where it stands; NaN is larger than all. steps > 0 */
static void RF(max_steps)(ptrdiff_t steps, ptrdiff_t n, const void *x_, void *y_, int32_t *at)
{
    const real *x = x_;
    real *y = y_;
    memcpy(y, x, (size_t)n * sizeof(real));
    memset(at, 0, (size_t)n * sizeof(int32_t));
    for (ptrdiff_t t = 1; t < steps; t++) {
        x += n;
        for (ptrdiff_t i = 0; i < n; i++) {
            const int more = (x[i] > y[i]) | ((x[i] != x[i]) & (y[i] == y[i]));
            y[i] = more ? x[i] : y[i];
            at[i] = more ? (int32_t)t : at[i];
        }
    }
}
