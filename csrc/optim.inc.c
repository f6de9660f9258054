/* One pass over parameters, gradients and state for each optimiser, and the sum of squares of a gradient.
 *
 * The constants of a step are rounded to `real` once; every element then goes through the same vector operations,
 * the last few under a mask, so that the result does not depend on where a caller cuts the arrays (threads do).
 * Formulas are those of torch.optim. g below is scale * gradient + l2 * p; `scale` carries the clipping by norm.
 */

typedef struct {
    V scale, l2, shrink, rate, a, b, na, nb, eps, root;
} RF(optim);

INLINE RF(optim) RF(constants)(const rf_optim_step *k)
{
    return (RF(optim)){
        .scale = v_set1((real)k->scale), .l2 = v_set1((real)k->l2), .shrink = v_set1((real)k->shrink),
        .rate = v_set1((real)k->rate),   .a = v_set1((real)k->a),   .b = v_set1((real)k->b),
        .na = v_set1((real)(1 - k->a)),  .nb = v_set1((real)(1 - k->b)),
        .eps = v_set1((real)k->eps),     .root = v_set1((real)k->root),
    };
}

/* p -= rate g */
INLINE V RF(sgd)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    (void)s, (void)t;
    return v_fnma(k->rate, g, p);
}

/* s = a s + g;  p -= rate s */
INLINE V RF(momentum)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    (void)t;
    *s = v_fma(k->a, *s, g);
    return v_fnma(k->rate, *s, p);
}

/* s = a s + g;  p -= rate (g + a s) */
INLINE V RF(nesterov)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    (void)t;
    *s = v_fma(k->a, *s, g);
    return v_fnma(k->rate, v_fma(k->a, *s, g), p);
}

/* s = a s + (1 - a) g^2;  p -= rate g / (sqrt(s) + eps) */
INLINE V RF(rmsprop)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    (void)t;
    *s = v_fma(k->na * g, g, k->a * *s);
    return v_fnma(k->rate, g / (v_sqrt(*s) + k->eps), p);
}

/* s = s + g^2;  p -= rate g / (sqrt(s) + eps) */
INLINE V RF(adagrad)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    (void)t;
    *s = v_fma(g, g, *s);
    return v_fnma(k->rate, g / (v_sqrt(*s) + k->eps), p);
}

/* s = a s + (1 - a) g;  t = b t + (1 - b) g^2;  p = shrink p - rate s / (root sqrt(t) + eps) */
INLINE V RF(adam)(V p, V g, V *s, V *t, const RF(optim) *k)
{
    *s = v_fma(k->a, *s, k->na * g);
    *t = v_fma(k->nb * g, g, k->b * *t);
    return v_fnma(k->rate, *s / v_fma(k->root, v_sqrt(*t), k->eps), k->shrink * p);
}

#define RF_RULE(name, slots)                                                                                          \
    static void RF(name##_step)(ptrdiff_t n, void *p_, const void *g_, void *s_, void *t_, const rf_optim_step *k_)   \
    {                                                                                                                 \
        real *p = p_, *s = s_, *t = t_;                                                                               \
        const real *g = g_;                                                                                           \
        const RF(optim) k = RF(constants)(k_);                                                                        \
        V sv = v_set1(0), tv = v_set1(0);                                                                             \
        ptrdiff_t i = 0;                                                                                              \
        for (; i + W <= n; i += W) {                                                                                  \
            V pv = v_load(p + i);                                                                                     \
            if (slots > 0)                                                                                            \
                sv = v_load(s + i);                                                                                   \
            if (slots > 1)                                                                                            \
                tv = v_load(t + i);                                                                                   \
            pv = RF(name)(pv, v_fma(k.scale, v_load(g + i), k.l2 * pv), &sv, &tv, &k);                                \
            v_store(p + i, pv);                                                                                       \
            if (slots > 0)                                                                                            \
                v_store(s + i, sv);                                                                                   \
            if (slots > 1)                                                                                            \
                v_store(t + i, tv);                                                                                   \
        }                                                                                                             \
        if (i < n) {                                                                                                  \
            V pv = v_load_n(p + i, n - i);                                                                            \
            if (slots > 0)                                                                                            \
                sv = v_load_n(s + i, n - i);                                                                          \
            if (slots > 1)                                                                                            \
                tv = v_load_n(t + i, n - i);                                                                          \
            pv = RF(name)(pv, v_fma(k.scale, v_load_n(g + i, n - i), k.l2 * pv), &sv, &tv, &k);                       \
            v_store_n(p + i, n - i, pv);                                                                              \
            if (slots > 0)                                                                                            \
                v_store_n(s + i, n - i, sv);                                                                          \
            if (slots > 1)                                                                                            \
                v_store_n(t + i, n - i, tv);                                                                          \
        }                                                                                                             \
    }

RF_RULE(sgd, 0)
RF_RULE(momentum, 1)
RF_RULE(nesterov, 1)
RF_RULE(rmsprop, 1)
RF_RULE(adagrad, 1)
RF_RULE(adam, 2)

/* Sum of x[i]^2 in 16 partial sums of doubles, added up in order. The square of a float is exact in double, so that
 * every instruction set returns the same bits for f32; it is infinite or NaN exactly where an x[i] is. In f64 a finite
 * x[i] beyond 1e154 overflows too. GCC's vectors do here what v_* has no word for: to widen floats. */
static double RF(sum_squares)(ptrdiff_t n, const void *x_)
{
    typedef real R4 __attribute__((vector_size(4 * sizeof(real))));
    typedef double D4 __attribute__((vector_size(32)));
    const real *x = x_;
    D4 sums[4] = {{0}};
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 4; j++) {
            R4 u;
            memcpy(&u, x + i + 4 * j, sizeof u);
            D4 d = __builtin_convertvector(u, D4);
            sums[j] += d * d;
        }
    D4 all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = (all[0] + all[1]) + (all[2] + all[3]);
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* Whether every x[i] is a number: 0 * x is 0 for those and NaN for the others. */
static int RF(all_finite)(ptrdiff_t n, const void *x_)
{
    const real *x = x_;
    V sum = v_set1(0);
    const V zero = v_set1(0);
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W)
        sum = v_fma(zero, v_load(x + i), sum);
    if (i < n)
        sum = v_fma(zero, v_load_n(x + i, n - i), sum);
    return v_sum(sum) == 0;
}
