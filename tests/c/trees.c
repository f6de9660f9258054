/* The pointwise part of a level of trees. */
#include "checks.h"

/* A level of three nodes, with none, one and two children among five nodes, forwards and back. */
static void check_tree(ptrdiff_t n)
{
    enum { ROWS = 3, EDGES = 3, NODES = 8 };
    static const ptrdiff_t first[] = {0, 0, 1, 3}, child[] = {4, 0, 2}, slot[] = {2, 0, 1};
    real *a0 = random_reals(ROWS * 4 * n), *a = copy(a0, ROWS * 4 * n);
    real *f0 = random_reals(EDGES * n), *f = copy(f0, EDGES * n), *h = random_reals(ROWS * n);
    real *c_all = random_reals(NODES * n), *dc_all0 = random_reals(NODES * n), *dc_all = copy(dc_all0, NODES * n);
    real *dh = random_reals(ROWS * n), *dc = dc_all + 5 * n; /* the level's own rows are the last three */
    rf_tree s = {.hidden = n, .first = first, .child = child, .slot = slot, .a = a, .f = f, .h = h,
                 .c = c_all + 5 * n, .c_all = c_all, .dh = dh, .dc = dc, .dc_all = dc_all};
    const double bound = RF_DOUBLE ? 1e-13 : 2e-5;
    ops->tree_forward(&s, 0, 1);
    ops->tree_forward(&s, 1, ROWS);
    ops->tree_backward(&s, 1, ROWS);
    ops->tree_backward(&s, 0, 1);
    for (ptrdiff_t r = 0; r < ROWS; r++)
        for (ptrdiff_t u = 0; u < n; u++) {
            const real *row = a0 + r * 4 * n + u, *da = a + r * 4 * n + u;
            const double i = sigmoid(row[0]), o = sigmoid(row[n]), new = tanh(row[2 * n]);
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
                check(dc_all[child[k] * n + u], d * gate, bound, "tree");
                da_f += df;
            }
            check(da[0], d * new * i * (1 - i), bound, "tree");
            check(da[n], dh[r * n + u] * tanh(c) * o * (1 - o), bound, "tree");
            check(da[2 * n], d * i * (1 - new * new), bound, "tree");
            check(da[3 * n], da_f, bound, "tree");
        }
    free(a0), free(a), free(f0), free(f), free(h), free(c_all), free(dc_all0), free(dc_all), free(dh);
}

void check_trees(void)
{
    for (ptrdiff_t n = 1; n < 40; n++)
        check_tree(n);
}
