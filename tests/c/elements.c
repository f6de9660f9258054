/* Sums, exp, tanh and sigmoid, zoneout, layer normalisation, additive attention. */
#include "checks.h"

static void check_small(ptrdiff_t n)
{
    const ptrdiff_t rows = 150;
    real *x = random_reals(rows * (n + 1)), *y = random_reals(n), *before = copy(y, n);
    ops->column_sums(rows, n, x, n + 1, y);
    for (ptrdiff_t i = 0; i < n; i++) {
        double sum = before[i];
        for (ptrdiff_t r = 0; r < rows; r++)
            sum += x[r * (n + 1) + i];
        check(y[i], sum, 300 * EPS, "column_sums"); /* sums of 151 numbers of 1 at most */
    }
    memcpy(y, before, (size_t)n * sizeof(real));
    ops->add_rows(n, x, y);
    for (ptrdiff_t i = 0; i < n; i++)
        check(y[i], (real)(before[i] + x[i]), 0, "add_rows");
    ops->exp(n, x, y);
    for (ptrdiff_t i = 0; i < n; i++)
        check(y[i], exp((double)x[i]), 8 * EPS * exp((double)x[i]), "exp");
    ops->tanh(n, x, y);
    for (ptrdiff_t i = 0; i < n; i++)
        check(y[i], tanh((double)x[i]), 8 * EPS, "tanh");
    ops->sigmoid(n, x, y);
    for (ptrdiff_t i = 0; i < n; i++)
        check(y[i], 1 / (1 + exp(-(double)x[i])), 8 * EPS, "sigmoid");
    free(x), free(y), free(before);
}

/* Zoneout keeps what dropout of ones with the same seed drops, and parts gradients likewise. */
static void check_zoneout(ptrdiff_t n)
{
    real *before = random_reals(n), *now = random_reals(n), *d = random_reals(n), *mixed = copy(now, n);
    real *parted = copy(d, n), *carried = copy(d, n), *ones = copy(d, n);
    for (ptrdiff_t i = 0; i < n; i++)
        ones[i] = 1;
    rf_zone z = {.p = 0.3, .random = 1, .threshold = 1288490188u, .seed = 77};
    const uint64_t start = UINT64_C(0xFFFFFFFF) - (uint64_t)n / 2; /* across a change of the high word */
    ops->dropout(n, start, ones, ones, 1, z.threshold, z.seed);
    for (z.random = 1; z.random >= 0; z.random--) {
        memcpy(mixed, now, (size_t)n * sizeof(real)), memcpy(parted, d, (size_t)n * sizeof(real));
        ops->zoneout(&z, n, start, before, mixed);
        ops->zoneout_back(&z, n, start, parted, carried);
        for (ptrdiff_t i = 0; i < n; i++) {
            const double pass = z.random ? ones[i] : 1 - z.p;
            check(mixed[i], pass * now[i] + (1 - pass) * before[i], 4 * EPS, "zoneout");
            check(parted[i], pass * d[i], 4 * EPS, "zoneout_back");
            check(carried[i], (1 - pass) * d[i], 4 * EPS, "zoneout_back");
        }
    }
    free(before), free(now), free(d), free(ones), free(mixed), free(parted), free(carried);
}

/* Five rows of n numbers, some of them far from 0: more than go side by side. */
static void check_layer_norm(ptrdiff_t n)
{
    const ptrdiff_t rows = 5;
    const double eps = 0.01, bound = 32 * EPS * (double)n;
    real *x = random_reals(rows * n), *dy = random_reals(rows * n), *w = random_reals(n), *b = random_reals(n);
    real *y = copy(x, rows * n), *dx = copy(x, rows * n), *sums = random_reals(2 * n), *alone = copy(x, rows * n);
    real *kept = random_reals(rows * RF_NORM_KEPT);
    double *dw = calloc((size_t)n, sizeof(double)), *db = calloc((size_t)n, sizeof(double));
    for (ptrdiff_t i = 0; i < 2 * n; i++)
        x[i] += 1000;
    ops->layer_norm(rows, n, x, w, b, eps, y, kept);
    ops->layer_norm_back(rows, n, x, kept, w, dy, dx, sums);
    ops->layer_norm(rows, n, x, NULL, NULL, eps, alone, NULL);
    for (ptrdiff_t r = 0; r < rows; r++) {
        const real *own = x + r * n, *d = dy + r * n;
        const double far = r < 2 ? 1000 : 0; /* to be exact here too */
        double mean = 0, variance = 0, along = 0, even = 0;
        for (ptrdiff_t i = 0; i < n; i++)
            mean += (own[i] - far) / (double)n;
        for (ptrdiff_t i = 0; i < n; i++)
            variance += (own[i] - far - mean) * (own[i] - far - mean) / (double)n;
        const double scale = 1 / sqrt(variance + eps);
        for (ptrdiff_t i = 0; i < n; i++) {
            const double hat = (own[i] - far - mean) * scale;
            even += (double)d[i] * w[i] / (double)n, along += (double)d[i] * w[i] * hat / (double)n;
            dw[i] += d[i] * hat, db[i] += d[i];
            check(y[r * n + i], hat * w[i] + b[i], bound, "layer_norm");
            check(alone[r * n + i], hat, bound, "layer_norm without parameters");
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            const double hat = (own[i] - far - mean) * scale;
            const double slope = scale * (d[i] * (double)w[i] - even - hat * along);
            check(dx[r * n + i], slope, scale * bound, "layer_norm_back: dx");
        }
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        check(sums[i], dw[i], 5 * bound, "layer_norm_back: dw");
        check(sums[n + i], db[i], 5 * bound, "layer_norm_back: db");
    }
    free(x), free(dy), free(w), free(b), free(y), free(dx), free(sums), free(alone), free(kept), free(dw), free(db);
}

/* Additive attention over 5 steps of n units. */
static void check_additive(ptrdiff_t n)
{
    const ptrdiff_t steps = 5;
    real *q = random_reals(n), *k = random_reals(steps * n), *v = random_reals(n), *ds = random_reals(steps);
    real *dq = random_reals(n), *dk = random_reals(steps * n), *dv = random_reals(n), scores[5];
    real *dq0 = copy(dq, n), *dk0 = copy(dk, steps * n), *dv0 = copy(dv, n);
    const double bound = 8 * EPS * (double)(steps + n);
    ops->additive_scores(steps, n, q, k, v, scores);
    ops->additive_gradients(steps, n, q, k, v, ds, dq, dk, dv);
    for (ptrdiff_t s = 0; s < steps; s++) {
        double sum = 0;
        for (ptrdiff_t a = 0; a < n; a++) {
            const double t = tanh((double)q[a] + k[s * n + a]), z = (double)ds[s] * v[a] * (1 - t * t);
            sum += v[a] * t;
            dq0[a] += (real)z;
            dv0[a] += (real)(ds[s] * t);
            check(dk[s * n + a], dk0[s * n + a] + z, bound, "additive: dk");
        }
        check(scores[s], sum, bound, "additive: score");
    }
    for (ptrdiff_t a = 0; a < n; a++) {
        check(dq[a], dq0[a], bound, "additive: dq");
        check(dv[a], dv0[a], bound, "additive: dv");
    }
    free(q), free(k), free(v), free(ds), free(dq), free(dk), free(dv), free(dq0), free(dk0), free(dv0);
}

void check_elements(void)
{
    for (ptrdiff_t n = 1; n < 40; n++)
        check_small(n), check_additive(n), check_layer_norm(n);
    check_zoneout(1), check_zoneout(700);
}
