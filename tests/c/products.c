/* Packing, products, and outer products of gradients. */
#include "checks.h"

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

/* A last panel of `units` units whose `vectors` slots stand side by side, behind a whole one; C has them W apart. */
static void check_narrow(ptrdiff_t rows, ptrdiff_t units, int vectors, int with_init)
{
    const ptrdiff_t W = ops->width, k = 11, slots = vectors + 1, ldc = 2 * slots * W, wide = vectors * W;
    const int last = (int)((units * vectors + W - 1) / W);
    rf_product s = {.runs = 1, .run = k, .panels = 2, .panel_stride = slots * W, .vectors = vectors, .last = last,
                    .tail = (int)W, .units = (int)units, .lda = k, .ldc = ldc, .ld_init = ldc};
    real *w = random_reals((wide + units * vectors) * k), *a = random_reals(rows * k), *c = random_reals(rows * ldc);
    real *before = copy(c, rows * ldc), *b = malloc((size_t)((wide + last * W) * k) * sizeof(real));
    ptrdiff_t list[64 + 64];
    for (ptrdiff_t i = 0; i < wide + last * W; i++)
        list[i] = i < wide + units * vectors ? i : -1;
    ops->pack_columns(w, k, list, wide, wide, b, 0, 1);
    ops->pack_columns(w, k, list + wide, last * W, last * W, b + wide * k, 0, 1);
    s.b = b;
    ops->product(&s, rows, a, with_init ? c : NULL, c, 0, 2);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < ldc; j++) {
            const ptrdiff_t p = j / (slots * W), v = j / W % slots, lane = j % W;
            const ptrdiff_t row = p == 0 ? v * W + lane : wide + v * units + lane;
            double sum = before[r * ldc + j];
            if (v < vectors && p && lane >= units)
                sum = 0;
            else if (v < vectors) {
                sum = with_init ? sum : 0;
                for (ptrdiff_t i = 0; i < k; i++)
                    sum += (double)a[r * k + i] * w[row * k + i];
            }
            check(c[r * ldc + j], sum, v < vectors ? 4 * EPS * (double)(k + 1) : 0, "product with a narrow panel");
        }
    free(w), free(a), free(c), free(before), free(b);
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

void check_products(void)
{
    static const ptrdiff_t some_rows[] = {0, 1, 2, 3, 5, 6, 7, 13, 97}, some_depths[] = {1, 9, 40};
    for (int r = 0; r < 9; r++)
        for (int n = 0; n < COLUMNS; n++)
            for (int k = 0; k < 3; k++)
                for (int kind = 0; kind < 3; kind++) {
                    for (int vectors = 1; vectors <= 4; vectors++)
                        check_product(some_rows[r], some_columns[n], some_depths[k], vectors, kind, 0);
                    check_product(some_rows[r], some_columns[n], some_depths[k], 4, kind, 1);
                }
    check_runs();
    for (int r = 0; r < 9; r++)
        for (int vectors = 2; vectors <= 4; vectors++)
            for (ptrdiff_t units = 1; units * vectors <= (vectors - 1) * ops->width; units++)
                for (int with_init = 0; with_init < 2; with_init++)
                    check_narrow(some_rows[r], units, vectors, with_init);
    for (int n = 0; n < COLUMNS; n++)
        for (int k = 0; k < 3; k++)
            for (int m = 0; m < 5; m++) /* the last is more than outer packs at a time */
                for (int fresh = 0; fresh <= (k > 0); fresh++)
                    check_outer((const ptrdiff_t[]){0, 5, 200}[k], (const ptrdiff_t[]){1, 1, 3, 5, 2}[m],
                                (const ptrdiff_t[]){1, 8, 48, 16, 480}[m], some_columns[n], fresh);
}
