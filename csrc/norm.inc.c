/* Layer normalisation of rows (Ba, Kiros and Hinton 2016): what cells share with the layer, and the layer's passes.
 *
 * Of each row x the layer keeps a mean, scale = 1 / sqrt(variance + eps) and shift; the normalised numbers are
 *   xhat_i = (x_i - mean) scale + shift
 * which the backward pass makes again from x: that costs less than to write and read them. `mean` is rounded, by much
 * where it is large beside the deviations. What it is off by is seen in their sum, since differences of numbers so near
 * each other are exact; it is taken out of the variance and put into shift, so that rows far from 0 lose nothing.
 *
 * NORM_ROWS rows go side by side, which hides the latency of their sums. Each is one chain, however many go. */

enum { NORM_ROWS = 4 };

INLINE real norm_scale(double variance, double eps) { return (real)(1 / sqrt(variance + eps)); }

/* What the gradient of a normalised part needs of the whole of it. */
typedef struct norm_sums {
    V d, dx; /* sums of d and d * xhat, d the gradient of xhat */
} norm_sums;

INLINE void norm_add(norm_sums *s, V d, V xhat)
{
    s->d += d;
    s->dx = v_fma(d, xhat, s->dx);
}

/* The gradient of x from d, that of xhat: scale (d - mean(d) - xhat mean(d xhat)). */
typedef struct norm_means {
    V d, dx, scale;
} norm_means;

INLINE norm_means norm_finish(const norm_sums *s, ptrdiff_t count, real scale)
{
    return (norm_means){v_set1(v_sum(s->d) / (real)count), v_set1(v_sum(s->dx) / (real)count), v_set1(scale)};
}

INLINE V norm_gradient(const norm_means *m, V d, V xhat)
{
    return m->scale * v_fnma(xhat, m->dx, d - m->d);
}

static const real norm_ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* Some rows of n numbers. A step of a pass takes the vector at column i of each of them, which has `lanes` numbers;
 * deviations past them are 0. */
typedef struct norm_rows {
    ptrdiff_t n;
    const real *x, *weight, *bias; /* weight and bias (n), or NULL for ones and zeros */
    real mean[NORM_ROWS], scale[NORM_ROWS], shift[NORM_ROWS];
} norm_rows;

/* of weight or bias */
INLINE V norm_vector(const real *v, ptrdiff_t i, ptrdiff_t lanes, real otherwise)
{
    if (v)
        return load_lanes(v + i, lanes);
    return v_set1(otherwise);
}

INLINE V norm_deviation(const norm_rows *p, int k, ptrdiff_t i, ptrdiff_t lanes)
{
    const V d = load_lanes(p->x + k * p->n + i, lanes) - v_set1(p->mean[k]);
    if (lanes < W)
        return d * v_load_n(norm_ones, lanes); /* v_select makes GCC 12 fail here */
    return d;
}

INLINE V norm_hat(const norm_rows *p, int k, ptrdiff_t i, ptrdiff_t lanes)
{
    return v_fma(norm_deviation(p, k, i, lanes), v_set1(p->scale[k]), v_set1(p->shift[k]));
}

INLINE void norm_squares(const int rows, const norm_rows *p, ptrdiff_t i, ptrdiff_t lanes, V *sum, V *squares)
{
    for (int k = 0; k < rows; k++) {
        const V d = norm_deviation(p, k, i, lanes);
        sum[k] += d;
        squares[k] = v_fma(d, d, squares[k]);
    }
}

INLINE void norm_write(const int rows, const norm_rows *p, ptrdiff_t i, ptrdiff_t lanes, real *y)
{
    const V weight = norm_vector(p->weight, i, lanes, 1);
    const V bias = norm_vector(p->bias, i, lanes, 0);
    for (int k = 0; k < rows; k++)
        store_lanes(y + k * p->n + i, lanes, v_fma(norm_hat(p, k, i, lanes), weight, bias));
}

INLINE void norm_forward(const int rows, norm_rows *p, double eps, real *y, real *kept)
{
    const ptrdiff_t n = p->n, tail = n % W, whole = n - tail;
    V sum[NORM_ROWS], squares[NORM_ROWS];
    for (int k = 0; k < rows; k++)
        sum[k] = squares[k] = v_set1(0);
    for (ptrdiff_t i = 0; i < whole; i += W)
        for (int k = 0; k < rows; k++)
            sum[k] += v_load(p->x + k * n + i);
    if (tail)
        for (int k = 0; k < rows; k++)
            sum[k] += v_load_n(p->x + k * n + whole, tail);
    for (int k = 0; k < rows; k++) {
        p->mean[k] = v_sum(sum[k]) / (real)n;
        sum[k] = v_set1(0);
    }
    for (ptrdiff_t i = 0; i < whole; i += W)
        norm_squares(rows, p, i, W, sum, squares);
    if (tail)
        norm_squares(rows, p, whole, tail, sum, squares);
    for (int k = 0; k < rows; k++) {
        const double off = (double)v_sum(sum[k]) / (double)n;
        const double variance = (double)v_sum(squares[k]) / (double)n - off * off;
        p->scale[k] = norm_scale(fabs(variance), eps); /* below 0 by rounding alone */
        p->shift[k] = (real)-off * p->scale[k];
    }
    for (ptrdiff_t i = 0; i < whole; i += W)
        norm_write(rows, p, i, W, y);
    if (tail)
        norm_write(rows, p, whole, tail, y);
    for (int k = 0; kept && k < rows; k++, kept += RF_NORM_KEPT)
        kept[0] = p->mean[k], kept[1] = p->scale[k], kept[2] = p->shift[k];
}

/* y = xhat weight + bias. x, y (rows, n); weight, bias (n) or NULL; kept (rows, RF_NORM_KEPT) OUT, or NULL; n > 0 */
static void RF(layer_norm)(ptrdiff_t rows, ptrdiff_t n, const void *x, const void *weight, const void *bias, double eps,
                           void *y_, void *kept_)
{
    norm_rows p = {.n = n, .x = x, .weight = weight, .bias = bias};
    real *y = y_, *kept = kept_;
    for (; rows >= NORM_ROWS; rows -= NORM_ROWS, p.x += NORM_ROWS * n, y += NORM_ROWS * n) {
        norm_forward(NORM_ROWS, &p, eps, y, kept);
        kept = kept ? kept + NORM_ROWS * RF_NORM_KEPT : NULL;
    }
    for (; rows; rows--, p.x += n, y += n) {
        norm_forward(1, &p, eps, y, kept);
        kept = kept ? kept + RF_NORM_KEPT : NULL;
    }
}

INLINE void norm_collect(const int rows, const norm_rows *p, ptrdiff_t i, ptrdiff_t lanes, const real *dy, real *dw,
                         real *db, norm_sums *sums)
{
    const V weight = norm_vector(p->weight, i, lanes, 1);
    V of_weight = load_lanes(dw + i, lanes), of_bias = load_lanes(db + i, lanes);
    for (int k = 0; k < rows; k++) {
        const V d = load_lanes(dy + k * p->n + i, lanes), hat = norm_hat(p, k, i, lanes);
        of_weight = v_fma(d, hat, of_weight);
        of_bias += d;
        norm_add(&sums[k], d * weight, hat);
    }
    store_lanes(dw + i, lanes, of_weight);
    store_lanes(db + i, lanes, of_bias);
}

INLINE void norm_spread(const int rows, const norm_rows *p, ptrdiff_t i, ptrdiff_t lanes, const real *dy,
                        const norm_means *means, real *dx)
{
    const V weight = norm_vector(p->weight, i, lanes, 1);
    for (int k = 0; k < rows; k++) {
        const V d = load_lanes(dy + k * p->n + i, lanes) * weight;
        store_lanes(dx + k * p->n + i, lanes, norm_gradient(&means[k], d, norm_hat(p, k, i, lanes)));
    }
}

INLINE void norm_backward(const int rows, norm_rows *p, const real *kept, const real *dy, real *dx, real *dw, real *db)
{
    const ptrdiff_t n = p->n, tail = n % W, whole = n - tail;
    norm_sums sums[NORM_ROWS];
    norm_means means[NORM_ROWS];
    for (int k = 0; k < rows; k++, kept += RF_NORM_KEPT) {
        p->mean[k] = kept[0], p->scale[k] = kept[1], p->shift[k] = kept[2];
        sums[k] = (norm_sums){v_set1(0), v_set1(0)};
    }
    for (ptrdiff_t i = 0; i < whole; i += W)
        norm_collect(rows, p, i, W, dy, dw, db, sums);
    if (tail)
        norm_collect(rows, p, whole, tail, dy, dw, db, sums);
    for (int k = 0; k < rows; k++)
        means[k] = norm_finish(&sums[k], n, p->scale[k]);
    for (ptrdiff_t i = 0; i < whole; i += W)
        norm_spread(rows, p, i, W, dy, means, dx);
    if (tail)
        norm_spread(rows, p, whole, tail, dy, means, dx);
}

/* The gradients of layer_norm from dy, that of y. x, dy, dx (rows, n); kept as layer_norm left it;
 * sums (2, n) OUT: of weight, sum_r dy xhat, and of bias, sum_r dy */
static void RF(layer_norm_back)(ptrdiff_t rows, ptrdiff_t n, const void *x, const void *kept_, const void *weight,
                                const void *dy_, void *dx_, void *sums)
{
    norm_rows p = {.n = n, .x = x, .weight = weight};
    const real *kept = kept_, *dy = dy_;
    real *dx = dx_, *dw = sums, *db = dw + n;
    memset(sums, 0, 2 * (size_t)n * sizeof(real));
    for (; rows >= NORM_ROWS; rows -= NORM_ROWS, p.x += NORM_ROWS * n, dy += NORM_ROWS * n, dx += NORM_ROWS * n) {
        norm_backward(NORM_ROWS, &p, kept, dy, dx, dw, db);
        kept += NORM_ROWS * RF_NORM_KEPT;
    }
    for (; rows; rows--, p.x += n, dy += n, dx += n, kept += RF_NORM_KEPT)
        norm_backward(1, &p, kept, dy, dx, dw, db);
}
