/* Connectionist temporal classification (Graves et al. 2006): the sum over all alignments of a label sequence with the
 * steps, and each label's share in each step.
 *
 * What is read from the logits is done in their own type; the sums over paths are done in double whatever that type is,
 * because a sequence of thousands of steps adds thousands of logarithms. They stay logarithms all the way: numbers
 * scaled step by step would be cheaper, but lose every path that is behind by more than a double can hold at one step and
 * ahead at the end.
 *
 * Graves's interleaved states (blank, label, blank, ..., blank) are kept apart, blanks in one row and labels in another:
 * then what a label or a blank sums up stands at the same place or one before it, and W states are one vector.
 * T steps, S labels, P = states in a row, a multiple of W and at least S + 2.
 */

/* x (T, n) IN; y (T, P) OUT log probabilities of the labels, RF_CTC_NEVER past them; yb (T) OUT that of the blank;
 * dx (T, n) OUT softmax of x, NULL: not wanted. Returns whether all are numbers. */
static int RF(ctc_read)(ptrdiff_t steps, ptrdiff_t n, const void *x_, ptrdiff_t count, const int64_t *labels,
                        ptrdiff_t blank, ptrdiff_t ld, double *y, double *yb, void *dx_)
{
    const real *x = x_;
    real *dx = dx_;
    const ptrdiff_t tail = n % W, whole = n - tail;
    for (ptrdiff_t t = 0; t < steps; t++, x += n, y += ld, dx = dx ? dx + n : NULL) {
        V top = v_set1(-INFINITY), total = v_set1(0);
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
        const real sum = v_sum(total);
        if (!(sum > 0 && sum < (real)INFINITY))
            return 0;
        const double level = (double)m + log((double)sum);
        yb[t] = MAX((double)x[blank] - level, RF_CTC_NEVER);
        for (ptrdiff_t s = 0; s < count; s++)
            y[s] = MAX((double)x[labels[s]] - level, RF_CTC_NEVER);
        for (ptrdiff_t s = count; s < ld; s++)
            y[s] = RF_CTC_NEVER;
        if (dx) {
            const V share = v_set1(1 / sum);
            for (ptrdiff_t i = 0; i < whole; i += W)
                v_store(dx + i, v_load(dx + i) * share);
            if (tail)
                v_store_n(dx + whole, tail, v_load_n(dx + whole, tail) * share);
        }
    }
    return 1;
}

/* dx (T, n) IN softmax, OUT weight * (softmax - share), the shares of labels g (T, P) and of the blank gb (T) */
static void RF(ctc_slope)(ptrdiff_t steps, ptrdiff_t n, ptrdiff_t count, const int64_t *labels, ptrdiff_t blank,
                          ptrdiff_t ld, const double *g, const double *gb, double weight, void *dx_)
{
    real *dx = dx_;
    const real w = (real)weight;
    const ptrdiff_t tail = n % W, whole = n - tail;
    for (ptrdiff_t t = 0; t < steps; t++, g += ld, dx += n) {
        for (ptrdiff_t i = 0; i < whole; i += W)
            v_store(dx + i, v_load(dx + i) * v_set1(w));
        if (tail)
            v_store_n(dx + whole, tail, v_load_n(dx + whole, tail) * v_set1(w));
        dx[blank] -= (real)(weight * gb[t]);
        for (ptrdiff_t s = 0; s < count; s++)
            dx[labels[s]] -= (real)(weight * g[s]);
    }
}

#if RF_DOUBLE
/* Elements of scratch that ctc_paths needs. */
static ptrdiff_t RF(ctc_scratch)(ptrdiff_t steps, ptrdiff_t ld, int gradient)
{
    const ptrdiff_t row = W + 2 * ld;
    return row * (gradient ? steps : 2) + 4 * (ld + W);
}

/* The log probability of the labels, -INFINITY where no path of T >= 1 steps spells them.
 * y (T, P), yb (T): IN log probabilities as from ctc_read, OUT if gradient and the result is finite the share of each label
 * and of all blanks in each step, which add up to 1; skip (P + W) IN: 0 where a label may follow the one before it
 * without a blank, RF_CTC_NEVER elsewhere. */
static double RF(ctc_paths)(ptrdiff_t steps, ptrdiff_t count, ptrdiff_t ld, double *y, double *yb, const double *skip,
                            int gradient, double *scratch)
{
    /* alpha: a row holds W unused places, of which the last stands for "before the first label"; P labels; P blanks */
    const ptrdiff_t row = W + 2 * ld;
    const V never = v_set1(RF_CTC_NEVER);
    double *a = scratch;
    for (ptrdiff_t i = 0; i < row; i += W)
        v_store(a + i, never);
    if (count)
        a[W] = y[0];
    a[W + ld] = yb[0];
    for (ptrdiff_t t = 1; t < steps; t++) {
        const double *label = a + W, *blank = a + W + ld, *now = y + t * ld;
        double *next = gradient ? a + row : scratch + (t & 1) * row;
        const V b = v_set1(yb[t]);
        v_store(next, never);
        for (ptrdiff_t i = 0; i < ld; i += W) {
            const V stay = v_load(label + i), before = v_load(label + i - 1), gap = v_load(blank + i);
            v_store(next + W + i, v_load(now + i) + log_add3(stay, gap, before + v_load(skip + i)));
            v_store(next + W + ld + i, b + log_add2(gap, before));
        }
        a = next;
    }
    const double last = count ? a[W + count - 1] : RF_CTC_NEVER, end = a[W + ld + count];
    const double high = MAX(last, end);
    if (high < RF_CTC_NEVER / 2)
        return -INFINITY;
    const double all = high + log1p(exp(MIN(last, end) - high));
    if (!gradient)
        return all;

    /* beta, without the step's own logarithm; then with it, one place after which nothing comes at the end of each row */
    double *label = scratch + row * steps, *blank = label + ld + W, *with = blank + ld + W, *with_blank = with + ld + W;
    for (ptrdiff_t i = 0; i < ld + W; i += W) {
        v_store(label + i, never);
        v_store(blank + i, never);
        v_store(with + i, never);
        v_store(with_blank + i, never);
    }
    if (count)
        label[count - 1] = 0;
    blank[count] = 0;
    for (ptrdiff_t t = steps - 1; t >= 0; t--, a -= row) {
        double *now = y + t * ld;
        const V b = v_set1(yb[t]), level = v_set1(all);
        V blanks = v_set1(0);
        for (ptrdiff_t i = 0; i < ld; i += W) {
            const V l = v_load(label + i), g = v_load(blank + i);
            v_store(with + i, l + v_load(now + i));
            v_store(with_blank + i, g + b);
            v_store(now + i, v_exp(v_load(a + W + i) + l - level));
            blanks += v_exp(v_load(a + W + ld + i) + g - level);
        }
        yb[t] = v_sum(blanks);
        if (t == 0)
            break;
        for (ptrdiff_t i = 0; i < ld; i += W) {
            const V stay = v_load(with + i), gap = v_load(with_blank + i), after = v_load(with + i + 1);
            v_store(label + i, log_add3(stay, v_load(with_blank + i + 1), after + v_load(skip + i + 1)));
            v_store(blank + i, log_add2(gap, stay));
        }
    }
    return all;
}
#endif
