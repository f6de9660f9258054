/* The kernels of every instruction set that runs here against plain loops in double, for machines and tools that Python
 * does not reach: an emulator, sanitizers. Compiled once for each type, RF_DOUBLE being 0 or 1; see run.
 *
 * Every buffer is of its exact size and on the heap, so that a sanitizer sees a step outside.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "rnnfast.h"

#if RF_DOUBLE
typedef double real;
#define EPS 2.3e-16
#else
typedef float real;
#define EPS 1.2e-7
#endif

static const rf_ops *ops;
static int failures;
static long checks;

static double draw(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / (double)(1ull << 53) * 2 - 1;
}

static real *random_reals(ptrdiff_t n)
{
    real *x = malloc((size_t)n * sizeof(real));
    for (ptrdiff_t i = 0; i < n; i++) {
        double v = draw();
        x[i] = (real)(v + (v < 0 ? -0.05 : 0.05)); /* clear of relu's corner */
    }
    return x;
}

static void *copy(const void *x, ptrdiff_t n)
{
    return memcpy(malloc((size_t)n * sizeof(real)), x, (size_t)n * sizeof(real));
}

static void check(double found, double expected, double bound, const char *what)
{
    checks++;
    if (!(fabs(found - expected) <= bound) && failures++ < 20)
        printf("%s f%d: %s: %.9g, expected %.9g within %.2g\n", ops->isa, 8 * ops->itemsize, what, found, expected,
               bound);
}

/* Panels of `vectors` vectors; columns of padding in `rows` are -1. */
static void cut(rf_product *s, ptrdiff_t columns, int vectors)
{
    const ptrdiff_t W = ops->width, wide = vectors * W;
    s->panels = (columns + wide - 1) / wide;
    s->panel_stride = wide;
    s->vectors = vectors;
    const ptrdiff_t rest = columns - (s->panels - 1) * wide;
    s->last = (int)((rest + W - 1) / W);
    s->tail = (int)(rest - (s->last - 1) * W);
}

/* c = init + a b with b from columns (w[n][k]) and from rows (w[k][n]), whose order is turned around. */
static void check_product(ptrdiff_t rows, ptrdiff_t n, ptrdiff_t k, int vectors, int init_kind, int from_rows)
{
    const ptrdiff_t W = ops->width, lda = k + 3, ldc = n + 2;
    if (from_rows)
        vectors = 4;
    rf_product s = {.runs = 1, .run = k, .lda = lda, .ldc = ldc, .ld_init = init_kind == 2 ? ldc : 0};
    cut(&s, n, vectors);
    const ptrdiff_t padded = ((s.panels - 1) * vectors + s.last) * W;
    real *w = random_reals(n * k), *a = random_reals(rows * lda), *c = random_reals(rows * ldc);
    real *init = init_kind == 0 ? NULL : random_reals(init_kind == 2 ? rows * ldc : n);
    real *b = malloc((size_t)(padded * k) * sizeof(real)), *before = copy(c, rows * ldc);
    ptrdiff_t *list = malloc((size_t)(from_rows ? k : padded) * sizeof *list);
    if (from_rows) {
        for (ptrdiff_t i = 0; i < k; i++)
            list[i] = i % 5 == 4 ? -1 : k - 1 - i;
        ops->pack_rows(w, n, list, k, b, 0, s.panels);
    } else {
        for (ptrdiff_t i = 0; i < padded; i++)
            list[i] = i < n ? n - 1 - i : -1;
        ops->pack_columns(w, k, list, padded, vectors * W, b, 0, s.panels);
    }
    s.b = b;
    const ptrdiff_t half = s.panels / 2; /* two calls must make one product */
    ops->product(&s, rows, a, init, c, 0, half);
    ops->product(&s, rows, a, init, c, half, s.panels);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < ldc; j++) {
            if (j >= n) {
                check(c[r * ldc + j], before[r * ldc + j], 0, "product writes past its columns");
                continue;
            }
            double sum = init ? init[(init_kind == 2 ? r * ldc : 0) + j] : 0;
            for (ptrdiff_t i = 0; i < k; i++)
                sum += (double)a[r * lda + i] *
                       (from_rows ? list[i] < 0 ? 0 : w[list[i] * n + j] : w[list[j] * k + i]);
            check(c[r * ldc + j], sum, 4 * EPS * (double)(k + 1), "product");
        }
    free(w), free(a), free(c), free(init), free(b), free(before), free(list);
}

/* A product that reads every other run of a row. */
static void check_runs(void)
{
    const ptrdiff_t W = ops->width, runs = 3, run = 2 * W, k = runs * run, n = 5, rows = 7;
    rf_product s = {.runs = runs, .run = run, .run_stride = 2 * run, .lda = 2 * k, .ldc = n};
    cut(&s, n, 4);
    real *w = random_reals(k * n), *a = random_reals(rows * 2 * k), *c = malloc((size_t)(rows * n) * sizeof(real));
    real *b = malloc((size_t)(s.last * W * k) * sizeof(real));
    ptrdiff_t list[256];
    for (ptrdiff_t i = 0; i < k; i++)
        list[i] = i;
    ops->pack_rows(w, n, list, k, b, 0, 1);
    s.b = b;
    ops->product(&s, rows, a, NULL, c, 0, s.panels);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < n; j++) {
            double sum = 0;
            for (ptrdiff_t i = 0; i < k; i++)
                sum += (double)a[r * 2 * k + i / run * 2 * run + i % run] * w[i * n + j];
            check(c[r * n + j], sum, 4 * EPS * (double)k, "product over runs");
        }
    free(w), free(a), free(c), free(b);
}

/* Columns of A in runs as the gate buffer has them, some of them padding; two B, the second one listed. Where C is fresh,
 * nothing of it may be read, and rows that belong to no column stay. */
static void check_outer(ptrdiff_t k, ptrdiff_t runs, ptrdiff_t run, ptrdiff_t n, int fresh)
{
    const ptrdiff_t m = runs * run, stride = run + 3, lda = runs * stride, ldb = n + 1, first = k / 3, middle = m / 96 * 48;
    real *a = random_reals(k * lda), *b = random_reals((2 * k + 1) * ldb);
    real *dw[2] = {random_reals(m * n), random_reals(m * n)}, *before[2] = {copy(dw[0], m * n), copy(dw[1], m * n)};
    real *scratch = malloc((size_t)ops->outer_scratch(m, n) * sizeof(real));
    ptrdiff_t *rows_b = malloc((size_t)(k + 1) * sizeof *rows_b), *rows_c = malloc((size_t)m * sizeof *rows_c);
    for (ptrdiff_t i = 0; i < k; i++)
        rows_b[i] = 2 * (k - i);
    for (ptrdiff_t q = 0; q < m; q++)
        rows_c[q] = q % 5 == 4 ? -1 : m - 1 - q;
    for (ptrdiff_t q = 0; q < m && fresh; q++)
        for (ptrdiff_t i = 0; i < 2 * n && rows_c[q] >= 0; i++)
            dw[i / n][rows_c[q] * n + i % n] = (real)NAN;
    rf_outer o = {.k = first, .m = m, .a = a, .lda = lda, .a_run = run, .a_stride = stride, .rows_c = rows_c, .parts = 2,
                  .fresh = fresh,
                  .part = {{.n = n, .b = b, .ldb = ldb, .c = dw[0]},
                           {.n = n, .b = b, .ldb = ldb, .rows_b = rows_b, .c = dw[1]}}};
    ops->outer(&o, 0, m, scratch);
    o.k = k - first; /* the rest, in two parts of the columns */
    o.fresh = 0;
    o.a = a + first * lda;
    o.part[0].b = b + first * ldb;
    o.part[1].rows_b = rows_b + first;
    ops->outer(&o, middle, m, scratch);
    ops->outer(&o, 0, middle, scratch);
    for (int part = 0; part < 2; part++)
        for (ptrdiff_t q = 0; q < m; q++)
            for (ptrdiff_t j = 0; j < n; j++) {
                const ptrdiff_t at = (m - 1 - q) * n + j;
                double sum = fresh && q % 5 < 4 ? 0 : before[part][at];
                for (ptrdiff_t r = 0; r < k && q % 5 < 4; r++)
                    sum += (double)a[r * lda + q / run * stride + q % run] * b[(part ? rows_b[r] : r) * ldb + j];
                check(dw[part][at], sum, 4 * EPS * (double)(k + 1), "outer");
            }
    free(a), free(b), free(dw[0]), free(dw[1]), free(before[0]), free(before[1]), free(scratch), free(rows_b), free(rows_c);
}

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

/* Elements of one row of kernels' arrays (K,P*W), or (P,K,W) if `mixed`, as the (K,U) of plain loops. */
static void take_row(ptrdiff_t kinds, ptrdiff_t ld, ptrdiff_t U, int mixed, const real *from, double *to)
{
    const ptrdiff_t W = ops->width;
    for (ptrdiff_t k = 0; k < kinds; k++)
        for (ptrdiff_t u = 0; u < U; u++)
            to[k * U + u] = (double)from[mixed ? (u / W * kinds + k) * W + u % W : k * ld + u];
}

/* Random (rows, kinds, P*W), or (rows, P, kinds, W) if `mixed`, with zeros where there is padding past U. */
static real *padded(ptrdiff_t rows, ptrdiff_t kinds, ptrdiff_t ld, ptrdiff_t U, int mixed)
{
    const ptrdiff_t W = ops->width;
    real *x = random_reals(rows * kinds * ld);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t k = 0; k < kinds; k++)
            for (ptrdiff_t u = U; u < ld; u++)
                x[r * kinds * ld + (mixed ? (u / W * kinds + k) * W + u % W : k * ld + u)] = 0;
    return x;
}

/* One cell, on whole rows where it normalises, else in two parts of the panels. */
static void check_cell(const rf_cell *c, int peephole, double clip, ptrdiff_t rows, ptrdiff_t panels)
{
    const ptrdiff_t W = ops->width, S = c->slots, ld = panels * W, ldg = ld * S, n = rows * ld, E = vectors_of(c);
    const ptrdiff_t U = ld - (W > 3 ? 3 : 0), room = E + c->room, half = c->norm ? panels : panels / 2;
    real *a = padded(rows, S, ld, U, 1), *h0 = padded(rows, 1, ld, U, 0), *c0 = padded(rows, 1, ld, U, 0);
    real *dh0 = padded(rows, 1, ld, U, 0), *dc0 = padded(rows, 1, ld, U, 0), *daux = padded(rows, 1, ld, U, 0);
    real *vectors = padded(1, E, ld, U, 0), *dvectors = calloc((size_t)(rows * room * ld), sizeof(real));
    real *stats = malloc((size_t)(4 * rows) * sizeof(real)), *stats2 = malloc((size_t)(4 * rows) * sizeof(real));
    real *gates = copy(a, rows * ldg), *quick = copy(a, rows * ldg);
    real *h = malloc((size_t)n * sizeof(real)), *c1 = copy(c0, n), *aux = copy(h0, n);
    real *dh = copy(dh0, n), *dc = copy(dc0, n), *h2 = copy(h0, n), *c2 = copy(c0, n), *aux2 = copy(h0, n);
    const rf_options options = {
        .peephole = peephole, .clip = clip, .units = U, .ld = ld, .rows = room, .vectors = vectors};
    rf_step s = {.ld_gates = ldg, .ld_state = ld, .gates = gates, .h_prev = h0, .h = h, .c_prev = c0, .c = c1,
                 .aux = aux, .dh = dh, .dc = dc, .daux = daux, .options = c->options ? &options : NULL,
                 .stats = stats, .dvectors = dvectors};
    rf_step i = s;
    i.gates = quick, i.h = h2, i.c_prev = i.c = c2, i.aux = aux2, i.stats = stats2;
    for (int p = 0; p < c->phases; p++) {
        c->phase[p].forward(&s, 0, rows, 0, half);
        if (half < panels)
            c->phase[p].forward(&s, 0, rows, half, panels);
        c->phase[p].infer(&i, 0, rows, 0, panels);
    }
    /* differences of 1e-6 err by 1e-9, a few roundings of float; dividing by a deviation makes more of both */
    const double bound = (RF_DOUBLE ? 1e-8 : 1e-5) * (c->norm ? 10 : 1);
    for (int p = c->phases - 1; p >= 0; p--)
        c->phase[p].backward(&s, 0, rows, 0, panels);
    const ptrdiff_t inputs = (S + 2 + E) * U;
    double *in = malloc((size_t)inputs * sizeof(double)), *found = malloc((size_t)inputs * sizeof(double));
    double *out = malloc((size_t)(3 * U) * sizeof(double)), *d = calloc((size_t)(3 * U), sizeof(double));
    for (ptrdiff_t r = 0; r < rows; r++) {
        take_row(S, ld, U, 1, a + r * ldg, in);
        take_row(1, ld, U, 0, h0 + r * ld, in + S * U);
        take_row(1, ld, U, 0, c0 + r * ld, in + (S + 1) * U);
        take_row(E, ld, U, 0, vectors, in + (S + 2) * U);
        if (!plain(c, peephole, clip, U, in, out)) {
            failures++;
            printf("no plain loop for cell %s\n", c->name);
            break;
        }
        for (ptrdiff_t u = 0; u < U; u++) {
            const ptrdiff_t at = r * ld + u;
            check(h[at], out[u], bound, c->name), check(h2[at], out[u], bound, c->name);
            if (c->has_c)
                check(c1[at], out[U + u], bound, c->name), check(c2[at], out[U + u], bound, c->name);
            if (c->has_aux)
                check(aux[at], out[2 * U + u], bound, c->name), check(aux2[at], out[2 * U + u], bound, c->name);
        }
        take_row(1, ld, U, 0, dh0 + r * ld, d);
        if (c->has_c)
            take_row(1, ld, U, 0, dc0 + r * ld, d + U);
        if (c->has_aux)
            take_row(1, ld, U, 0, daux + r * ld, d + 2 * U);
        take_row(S, ld, U, 1, gates + r * ldg, found);
        take_row(1, ld, U, 0, dh + r * ld, found + S * U);
        take_row(1, ld, U, 0, dc + r * ld, found + (S + 1) * U);
        take_row(E, ld, U, 0, dvectors + r * room * ld, found + (S + 2) * U);
        for (ptrdiff_t j = 0; j < inputs; j++) {
            const ptrdiff_t kind = j / U, G = c->gates, vector = kind - S - 2;
            /* an LSTM that normalises leaves the sums of b_hh, which are those of b_ih, to its caller */
            const int not_made = (kind == S + 1 && !c->has_c)
                                 || (c->norm && c->has_c && vector >= 4 * G - 1 && vector < 5 * G - 1);
            if (!not_made)
                check(found[j], slope(c, peephole, clip, U, in, j, d), bound, c->name);
        }
    }
    free(a), free(gates), free(quick), free(h0), free(c0), free(dh0), free(dc0), free(h), free(c1), free(aux);
    free(daux), free(dh), free(dc), free(h2), free(c2), free(aux2), free(vectors), free(dvectors), free(stats);
    free(stats2), free(in), free(found), free(out), free(d);
}

/* A cell with all of its flags. A normalisation is asked for rows of eight units at least: the deviation of two or
 * three may be so small that differences say nothing. */
static void check_flags(const rf_cell *c)
{
    const ptrdiff_t least = c->norm ? 1 + 7 / ops->width : 1, most = c->norm ? least + 2 : 5;
    for (int peephole = 0; peephole <= c->options; peephole++)
        for (int clips = 0; clips <= (c->options && c->has_c); clips++)
            for (ptrdiff_t rows = 0; rows < 4; rows++)
                for (ptrdiff_t panels = least; panels <= most; panels++)
                    check_cell(c, peephole, clips ? 0.4 : 0, rows, panels);
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

/* One step of a unit in an elementwise recurrence: a (slots), state before, weights of the state, the highway. */
typedef struct chain {
    double a[4], c, v[2], x, scale, c_next, h;
} chain;

static double positive(double a) { return a < 0 ? sigmoid(a) : a + 0.5; }

static double by_name(const char *function, double a)
{
    return !strcmp(function, "tanh") ? tanh(a) : !strcmp(function, "positive") ? positive(a) : a;
}

static void plain_scan(const char *cell, chain *u)
{
    const double *a = u->a, *v = u->v, c = u->c;
    if (!strcmp(cell, "indrnn_relu")) {
        const double sum = a[0] + v[0] * c;
        u->c_next = u->h = sum > 0 ? sum : 0;
    } else if (!strcmp(cell, "indrnn_tanh")) {
        u->c_next = u->h = tanh(a[0] + v[0] * c);
    } else if (!strncmp(cell, "mingru_", 7)) { /* z n */
        u->c_next = u->h = c + sigmoid(a[0]) * (by_name(cell + 7, a[1]) - c);
    } else if (!strncmp(cell, "minlstm_", 8)) { /* f i n */
        const double f = sigmoid(a[0]), i = sigmoid(a[1]);
        u->c_next = u->h = (f * c + i * by_name(cell + 8, a[2])) / (f + i);
    } else if (!strncmp(cell, "qrnn", 4)) { /* z f o */
        const double f = 1 - u->scale * (1 - sigmoid(a[1]));
        u->c_next = f * c + (1 - f) * tanh(a[0]);
        u->h = strcmp(cell, "qrnn") ? u->c_next : sigmoid(a[2]) * u->c_next;
    } else if (!strncmp(cell, "sru", 3)) { /* x f r s */
        const double f = sigmoid(a[1] + v[0] * c), r = sigmoid(a[2] + v[1] * c);
        u->c_next = f * c + (1 - f) * a[0];
        u->h = r * u->c_next + (1 - r) * u->scale * (strcmp(cell, "sru") ? a[3] : u->x);
    } else {
        printf("no plain loop for cell %s\n", cell);
        failures++;
    }
}

/* Derivative of dh h + dc c_next by one of the inputs of a step. */
static double slope_of_step(const char *cell, chain *u, double *input, double dh, double dc)
{
    const double at = *input, step = 1e-6;
    double side[2];
    for (int i = 0; i < 2; i++) {
        *input = at + (i ? step : -step);
        plain_scan(cell, u);
        side[i] = dh * u->h + dc * u->c_next;
    }
    *input = at;
    return (side[1] - side[0]) / (2 * step);
}

/* Steps of one sequence, forwards in memory or (sign -1) backwards, the sweep in two parts by steps and by panels; with
 * and without saving, and back. */
static void check_scan(const rf_scan_cell *c, ptrdiff_t steps, ptrdiff_t hidden, int sign)
{
    const ptrdiff_t W = ops->width, S = c->slots, NV = c->vectors, P = (hidden + W - 1) / W, ld = P * W, ldg = ld * S;
    const ptrdiff_t half = P / 2, first = sign > 0 ? 0 : steps - 1, cut_at = steps / 2, size = steps * ldg + 1;
    real *a = random_reals(size), *gates = copy(a, size), *quick = copy(a, size), *x = random_reals(steps * hidden + 1);
    real *state0 = random_reals(ld), *state = copy(state0, ld), *other = copy(state0, ld), *v = random_reals(ld * NV + 1);
    real *y = random_reals(steps * hidden + 1), *y2 = copy(y, steps * hidden + 1), *cs = random_reals(steps * ld + 1);
    real *dy = random_reals(steps * hidden + 1), *dstate0 = random_reals(ld), *dstate = copy(dstate0, ld);
    real *dv0 = random_reals(ld * NV + 1), *dv = copy(dv0, ld * NV + 1), *dx = random_reals(steps * ld + 1);
    const double scale = c->highway || !strcmp(c->name, "sru_projected") ? 1.25 : 1, bound = RF_DOUBLE ? 1e-7 : 4e-5;
    for (ptrdiff_t pass = 0; pass < 4; pass++) { /* two parts of the steps, each in two parts of the panels */
        const ptrdiff_t from = pass < 2 ? 0 : cut_at, count = (pass < 2 ? cut_at : steps - cut_at);
        const ptrdiff_t p0 = pass % 2 ? half : 0, p1 = pass % 2 ? P : half, t = first + sign * from;
        rf_scan s = {.hidden = hidden, .gates_step = sign * ldg, .x_step = sign * hidden, .y_step = sign * hidden,
                     .c_step = sign * ld, .dx_step = sign * ld, .v = v, .scale = scale, .state = state};
        if (count == 0 || p0 == p1)
            continue;
        s.gates = gates + t * ldg + p0 * S * W, s.x = x + t * hidden, s.y = y + t * hidden, s.c = cs + t * ld;
        c->forward(&s, count, p0, p1);
        s.gates = quick + t * ldg + p0 * S * W, s.y = y2 + t * hidden, s.c = NULL, s.state = other;
        c->infer(&s, count, p0, p1);
    }
    for (ptrdiff_t u = 0; u < hidden; u++) {
        double now = state0[u];
        for (ptrdiff_t k = 0; k < steps; k++) {
            const ptrdiff_t t = first + sign * k;
            chain link = {.c = now, .x = x[t * hidden + u], .scale = scale};
            for (int slot = 0; slot < S; slot++)
                link.a[slot] = a[t * ldg + u / W * S * W + slot * W + u % W];
            for (int q = 0; q < NV; q++)
                link.v[q] = v[(u / W * NV + q) * W + u % W];
            check(cs[t * ld + u], now, bound, c->name);
            plain_scan(c->name, &link);
            check(y[t * hidden + u], link.h, bound, c->name);
            check(y2[t * hidden + u], link.h, bound, c->name);
            now = link.c_next;
        }
        check(state[u], now, bound, c->name);
        check(other[u], now, bound, c->name);
    }
    for (ptrdiff_t pass = 0; pass < 2 && steps; pass++) {
        const ptrdiff_t p0 = pass ? half : 0, p1 = pass ? P : half, t = first + sign * (steps - 1);
        rf_scan s = {.hidden = hidden, .gates_step = -sign * ldg, .x_step = -sign * hidden, .y_step = -sign * hidden,
                     .c_step = -sign * ld, .dx_step = -sign * ld, .v = v, .dv = dv, .scale = scale, .state = dstate,
                     .gates = gates + t * ldg + p0 * S * W, .x = x + t * hidden, .y = dy + t * hidden, .c = cs + t * ld,
                     .dx = dx + t * ld};
        if (p0 < p1)
            c->backward(&s, steps, p0, p1);
    }
    for (ptrdiff_t u = 0; u < hidden; u++) {
        double d = dstate0[u], sums[2] = {0, 0};
        for (ptrdiff_t k = steps - 1; k >= 0; k--) {
            const ptrdiff_t t = first + sign * k;
            const double dh = dy[t * hidden + u];
            chain link = {.c = cs[t * ld + u], .x = x[t * hidden + u], .scale = scale};
            for (int slot = 0; slot < S; slot++)
                link.a[slot] = a[t * ldg + u / W * S * W + slot * W + u % W];
            for (int q = 0; q < NV; q++)
                link.v[q] = v[(u / W * NV + q) * W + u % W];
            for (int slot = 0; slot < S; slot++)
                check(gates[t * ldg + u / W * S * W + slot * W + u % W],
                      slope_of_step(c->name, &link, &link.a[slot], dh, d), bound, c->name);
            for (int q = 0; q < NV; q++)
                sums[q] += slope_of_step(c->name, &link, &link.v[q], dh, d);
            if (c->highway)
                check(dx[t * ld + u], slope_of_step(c->name, &link, &link.x, dh, d), bound, c->name);
            d = slope_of_step(c->name, &link, &link.c, dh, d);
        }
        check(dstate[u], d, bound, c->name);
        for (int q = 0; q < NV; q++) {
            const ptrdiff_t at = (u / W * NV + q) * W + u % W;
            check(dv[at], dv0[at] + sums[q], 2 * bound, c->name);
        }
    }
    free(a), free(gates), free(quick), free(x), free(state0), free(state), free(other), free(v), free(y), free(y2);
    free(cs), free(dy), free(dstate0), free(dstate), free(dv0), free(dv), free(dx);
}

/* A level of three nodes, with none, one and two children among five nodes, forwards and back. */
static void check_tree(ptrdiff_t n)
{
    enum { ROWS = 3, EDGES = 3, NODES = 8 };
    static const ptrdiff_t first[] = {0, 0, 1, 3}, child[] = {4, 0, 2}, slot[] = {2, 0, 1};
    real *a0 = random_reals(ROWS * 4 * n), *a = copy(a0, ROWS * 4 * n), *g = random_reals(ROWS * 3 * n);
    real *f0 = random_reals(EDGES * n), *f = copy(f0, EDGES * n), *h = random_reals(ROWS * n);
    real *c_all = random_reals(NODES * n), *dc_all0 = random_reals(NODES * n), *dc_all = copy(dc_all0, NODES * n);
    real *dh = random_reals(ROWS * n), *dc = dc_all + 5 * n; /* the level's own rows are the last three */
    rf_tree s = {.hidden = n, .first = first, .child = child, .slot = slot, .a = a, .g = g, .f = f, .h = h,
                 .c = c_all + 5 * n, .c_all = c_all, .dh = dh, .dc = dc, .dc_all = dc_all};
    const double bound = RF_DOUBLE ? 1e-13 : 2e-5;
    ops->tree_forward(&s, 0, 1);
    ops->tree_forward(&s, 1, ROWS);
    ops->tree_backward(&s, 1, ROWS);
    ops->tree_backward(&s, 0, 1);
    for (ptrdiff_t r = 0; r < ROWS; r++)
        for (ptrdiff_t u = 0; u < n; u++) {
            const real *row = a0 + r * 4 * n + u, *more = g + r * 3 * n + u, *da = a + r * 4 * n + u;
            const double i = sigmoid((double)row[0] + more[0]), o = sigmoid((double)row[n] + more[n]);
            const double new = tanh((double)row[2 * n] + more[2 * n]);
            double c = i * new, da_f = 0;
            for (ptrdiff_t k = first[r]; k < first[r + 1]; k++)
                c += sigmoid((double)row[3 * n] + f0[slot[k] * n + u]) * c_all[child[k] * n + u];
            check(c_all[(5 + r) * n + u], c, bound, "tree");
            check(h[r * n + u], o * tanh(c), bound, "tree");
            const double d = dc_all0[(5 + r) * n + u] + dh[r * n + u] * o * (1 - tanh(c) * tanh(c));
            for (ptrdiff_t k = first[r]; k < first[r + 1]; k++) {
                const double gate = sigmoid((double)row[3 * n] + f0[slot[k] * n + u]);
                const double df = d * c_all[child[k] * n + u] * gate * (1 - gate);
                check(f[slot[k] * n + u], df, bound, "tree");
                check(dc_all[child[k] * n + u], dc_all0[child[k] * n + u] + d * gate, bound, "tree");
                da_f += df;
            }
            check(da[0], d * new * i * (1 - i), bound, "tree");
            check(da[n], dh[r * n + u] * tanh(c) * o * (1 - o), bound, "tree");
            check(da[2 * n], d * i * (1 - new * new), bound, "tree");
            check(da[3 * n], da_f, bound, "tree");
        }
    free(a0), free(a), free(g), free(f0), free(f), free(h), free(c_all), free(dc_all0), free(dc_all), free(dh);
}

int main(void)
{
    static const ptrdiff_t some_rows[] = {0, 1, 2, 3, 5, 6, 7, 13, 97}, some_columns[] = {1, 4, 7, 16, 33, 70, 129};
    static const ptrdiff_t some_depths[] = {1, 9, 40};
    for (const char *const *name = rf_isa_names(); *name; name++) {
        ops = rf_ops_find(*name, sizeof(real));
        for (int r = 0; r < 9; r++)
            for (int n = 0; n < 7; n++)
                for (int k = 0; k < 3; k++)
                    for (int kind = 0; kind < 3; kind++) {
                        for (int vectors = 1; vectors <= 4; vectors++)
                            check_product(some_rows[r], some_columns[n], some_depths[k], vectors, kind, 0);
                        check_product(some_rows[r], some_columns[n], some_depths[k], 4, kind, 1);
                    }
        check_runs();
        for (int n = 0; n < 7; n++)
            for (int k = 0; k < 3; k++)
                for (int m = 0; m < 5; m++) /* the last is more than outer packs at a time */
                    for (int fresh = 0; fresh <= (k > 0); fresh++)
                        check_outer((const ptrdiff_t[]){0, 5, 200}[k], (const ptrdiff_t[]){1, 1, 3, 5, 2}[m],
                                    (const ptrdiff_t[]){1, 8, 48, 16, 480}[m], some_columns[n], fresh);
        for (ptrdiff_t n = 1; n < 40; n++)
            check_small(n), check_additive(n);
        check_zoneout(1), check_zoneout(700);
        for (int cell = 0; ops->cells[cell]; cell++)
            check_flags(ops->cells[cell]);
        for (int cell = 0; ops->scans[cell]; cell++)
            for (ptrdiff_t steps = 0; steps < 5; steps++)
                for (int n = 0; n < 7; n++)
                    for (int sign = -1; sign < 2; sign += 2)
                        check_scan(ops->scans[cell], steps, some_columns[n], sign);
        for (ptrdiff_t n = 1; n < 40; n++)
            check_tree(n);
        printf("%s f%d: %ld checks\n", *name, 8 * ops->itemsize, checks);
        checks = 0;
    }
    printf(failures ? "%d FAILED\n" : "all right\n", failures);
    return failures != 0;
}
