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
    rf_product s = {.from = {.runs = 1, .run = k}, .lda = lda, .ldc = ldc, .ld_init = init_kind == 2 ? ldc : 0};
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

/* The elements that `from` tells of a row of A, by a walk through it. */
static ptrdiff_t *listed(const rf_runs *from)
{
    ptrdiff_t *at = malloc((size_t)(from->runs * from->run + from->more * from->more_run + 1) * sizeof *at), n = 0;
    for (ptrdiff_t q = 0; q < from->runs; q++)
        for (ptrdiff_t i = 0; i < from->run; i++)
            at[n++] = q * from->stride + i;
    for (ptrdiff_t q = 0; q < from->more; q++)
        for (ptrdiff_t i = 0; i < from->more_run; i++)
            at[n++] = from->more_at + q * from->more_stride + i;
    return at;
}

/* A product that reads `runs` runs of a row and leaves out what is between them, and then `more` shorter ones. */
static void check_runs(ptrdiff_t rows, ptrdiff_t runs, ptrdiff_t more)
{
    const ptrdiff_t W = ops->width, run = 2 * W, few = W / 2 + 1, k = runs * run + more * few, n = 5;
    const ptrdiff_t lda = runs * 2 * run + more * W + 3;
    rf_product s = {.from = {.runs = runs, .run = run, .stride = 2 * run, .more = more, .more_run = few,
                             .more_stride = W, .more_at = runs * 2 * run + 1},
                    .lda = lda, .ldc = n};
    ptrdiff_t *at = listed(&s.from);
    cut(&s, n, 4);
    real *w = random_reals(k * n), *a = random_reals(rows * lda), *c = malloc((size_t)(rows * n) * sizeof(real));
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
                sum += (double)a[r * lda + at[i]] * w[i * n + j];
            check(c[r * n + j], sum, 4 * EPS * (double)k, "product over runs");
        }
    free(w), free(a), free(c), free(b), free(at);
}

/* A recurrent product whose elements are sums of several chains; and each row's bits are those of the row alone. */
static void check_chains(ptrdiff_t rows, ptrdiff_t panels, int last, const rf_runs *from, int halves, int with_init)
{
    const ptrdiff_t W = ops->width, k = from->runs * from->run + from->more * from->more_run;
    const ptrdiff_t n = ((panels - 1) * 4 + last) * W, ldc = n + 3;
    ptrdiff_t *at = listed(from), *list = malloc((size_t)k * sizeof *list);
    const ptrdiff_t lda = at[k - 1] + 2;
    rf_product s = {.from = *from, .panels = panels, .panel_stride = 4 * W, .vectors = 4, .last = last, .tail = (int)W,
                    .lda = lda, .ldc = ldc, .ld_init = ldc};
    real *w = random_reals(k * n), *a = random_reals(rows * lda), *c = random_reals(rows * ldc);
    real *before = copy(c, rows * ldc), *b = malloc((size_t)(n * k) * sizeof(real));
    for (ptrdiff_t i = 0; i < k; i++)
        list[i] = i;
    ops->pack_rows(w, n, list, k, b, 0, panels);
    s.b = b;
    ops->set_chains(&s);
    s.halves = halves && (s.chains > 1 || (panels == 2 && last == 4 && from->runs == 1 && !from->more));
    for (ptrdiff_t p = 0; p < panels; p++)
        ops->product(&s, rows, a, with_init ? c : NULL, c, p, p + 1);
    real *alone = malloc((size_t)ldc * sizeof(real));
    for (ptrdiff_t r = 0; r < rows; r++) {
        memcpy(alone, before + r * ldc, (size_t)ldc * sizeof(real));
        ops->product(&s, 1, a + r * lda, with_init ? alone : NULL, alone, 0, panels);
        for (ptrdiff_t j = 0; j < ldc; j++) {
            double sum = j >= n || with_init ? before[r * ldc + j] : 0;
            for (ptrdiff_t i = 0; i < k && j < n; i++)
                sum += (double)a[r * lda + at[i]] * w[i * n + j];
            check(c[r * ldc + j], sum, j < n ? 4 * EPS * (double)(k + 1) : 0, "product of several chains");
            check(alone[j], c[r * ldc + j], 0, "a row alone in a product of several chains");
        }
    }
    free(w), free(a), free(c), free(before), free(b), free(at), free(list), free(alone);
}

/* A last panel of `units` units whose `vectors` slots stand side by side, behind a whole one; C has them W apart. */
static void check_narrow(ptrdiff_t rows, ptrdiff_t units, int vectors, int with_init)
{
    const ptrdiff_t W = ops->width, k = 11, slots = vectors + 1, ldc = 2 * slots * W, wide = vectors * W;
    const int last = (int)((units * vectors + W - 1) / W);
    rf_product s = {.from = {.runs = 1, .run = k}, .panels = 2, .panel_stride = slots * W, .vectors = vectors, .last = last,
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
static void check_outer(ptrdiff_t k, const rf_runs *from, ptrdiff_t n, int fresh)
{
    const ptrdiff_t m = from->runs * from->run + from->more * from->more_run, ldb = n + 1, first = k / 3;
    const ptrdiff_t lda = from->runs * from->stride + from->more * from->more_stride + 2, middle = m / 96 * 48;
    ptrdiff_t *at_a = listed(from);
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
    rf_outer o = {.k = first, .m = m, .a = a, .lda = lda, .from = *from, .rows_c = rows_c, .parts = 2, .fresh = fresh,
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
                    sum += (double)a[r * lda + at_a[q]] * b[(part ? rows_b[r] : r) * ldb + j];
                check(dw[part][at], sum, 4 * EPS * (double)(k + 1), "outer");
            }
    free(a), free(b), free(dw[0]), free(dw[1]), free(before[0]), free(before[1]), free(scratch), free(rows_b), free(rows_c);
    free(at_a);
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
    for (int r = 0; r < 9; r++)
        for (ptrdiff_t runs = 0; runs <= 3; runs++)
            for (ptrdiff_t more = runs == 0; more <= 4; more++)
                check_runs(some_rows[r], runs, more);
    static const rf_runs some_runs[] = {{1, 1, 0, 0, 0, 0, 0},
                                        {1, 64, 0, 0, 0, 0, 0},
                                        {1, 65, 0, 0, 0, 0, 0},
                                        {3, 13, 20, 0, 0, 0, 0},
                                        {1, 30, 0, 4, 7, 8, 31},
                                        {0, 0, 0, 3, 5, 8, 0}};
    for (int r = 0; r < 9; r++)
        for (int runs = 0; runs < 6; runs++)
            for (ptrdiff_t panels = 1; panels <= 2; panels++)
                for (int last = 1; last <= 4; last++)
                    for (int halves = 0; halves < 2; halves++)
                        for (int with_init = 0; with_init < 2; with_init++)
                            check_chains(some_rows[r], panels, last, &some_runs[runs], halves, with_init);
    for (int r = 0; r < 9; r++)
        for (int vectors = 2; vectors <= 4; vectors++)
            for (ptrdiff_t units = 1; units * vectors <= (vectors - 1) * ops->width; units++)
                for (int with_init = 0; with_init < 2; with_init++)
                    check_narrow(some_rows[r], units, vectors, with_init);
    for (int n = 0; n < COLUMNS; n++)
        for (int k = 0; k < 3; k++)
            for (int m = 0; m < 5; m++) /* the last is more than outer packs at a time */
                for (int fresh = 0; fresh <= (k > 0); fresh++)
                    for (ptrdiff_t more = 0; more <= 4; more += 2) {
                        const ptrdiff_t runs = (const ptrdiff_t[]){1, 1, 3, 5, 2}[m];
                        const ptrdiff_t run = (const ptrdiff_t[]){1, 8, 48, 16, 480}[m], stride = run + 3;
                        const rf_runs from = {runs, run, stride, more, 5, 8, runs * stride + 1};
                        check_outer((const ptrdiff_t[]){0, 5, 200}[k], &from, some_columns[n], fresh);
                    }
}
