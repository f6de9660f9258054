/* Tree-LSTM (Tai et al. 2015), the pointwise part of one level of many trees; k runs over a node's children:
 *   i, o = sigmoid(a_i, a_o), u = tanh(a_u), f_k = sigmoid(a_f + f_k), c = i u + sum_k f_k c_k, h = o tanh(c).
 * What a and f_k are products of makes the difference between the child-sum and the N-ary form. Rows are H elements long,
 * without padding. Saved: i o u in a, f_k in f; tanh(c) is computed again. A node has one parent, so each child's
 * gradient is written once. */

static void RF(tree_forward)(const rf_tree *s, ptrdiff_t row0, ptrdiff_t row1)
{
    const ptrdiff_t n = s->hidden;
    for (ptrdiff_t r = row0; r < row1; r++) {
        real *a = (real *)s->a + r * 4 * n;
        for (ptrdiff_t u0 = 0; u0 < n; u0 += W) {
            const int lanes = (int)MIN(W, n - u0);
            const V i = v_sigmoid(load_lanes(a + u0, lanes)), o = v_sigmoid(load_lanes(a + n + u0, lanes));
            const V u = v_tanh(load_lanes(a + 2 * n + u0, lanes));
            const V a_f = load_lanes(a + 3 * n + u0, lanes);
            V c = i * u;
            for (ptrdiff_t k = s->first[r]; k < s->first[r + 1]; k++) {
                real *f_k = (real *)s->f + s->slot[k] * n + u0;
                const V f = v_sigmoid(a_f + load_lanes(f_k, lanes));
                store_lanes(f_k, lanes, f);
                c = v_fma(f, load_lanes((const real *)s->c_all + s->child[k] * n + u0, lanes), c);
            }
            store_lanes(a + u0, lanes, i);
            store_lanes(a + n + u0, lanes, o);
            store_lanes(a + 2 * n + u0, lanes, u);
            store_lanes((real *)s->c + r * n + u0, lanes, c);
            store_lanes((real *)s->h + r * n + u0, lanes, o * v_tanh(c));
        }
    }
}

static void RF(tree_backward)(const rf_tree *s, ptrdiff_t row0, ptrdiff_t row1)
{
    const ptrdiff_t n = s->hidden;
    const V one = v_set1(1);
    for (ptrdiff_t r = row0; r < row1; r++) {
        real *a = (real *)s->a + r * 4 * n;
        for (ptrdiff_t u0 = 0; u0 < n; u0 += W) {
            const int lanes = (int)MIN(W, n - u0);
            const V i = load_lanes(a + u0, lanes), o = load_lanes(a + n + u0, lanes), u = load_lanes(a + 2 * n + u0, lanes);
            const V tanh_c = v_tanh(load_lanes((const real *)s->c + r * n + u0, lanes));
            const V dh = load_lanes((const real *)s->dh + r * n + u0, lanes);
            const V dc = v_fma(dh * o, v_fnma(tanh_c, tanh_c, one), load_lanes((const real *)s->dc + r * n + u0, lanes));
            V da_f = v_set1(0);
            for (ptrdiff_t k = s->first[r]; k < s->first[r + 1]; k++) {
                real *f_k = (real *)s->f + s->slot[k] * n + u0;
                const V f = load_lanes(f_k, lanes);
                const V df = dc * load_lanes((const real *)s->c_all + s->child[k] * n + u0, lanes) * v_fnma(f, f, f);
                store_lanes(f_k, lanes, df);
                da_f += df;
                store_lanes((real *)s->dc_all + s->child[k] * n + u0, lanes, dc * f);
            }
            store_lanes(a + u0, lanes, dc * u * v_fnma(i, i, i));
            store_lanes(a + n + u0, lanes, dh * tanh_c * v_fnma(o, o, o));
            store_lanes(a + 2 * n + u0, lanes, dc * i * v_fnma(u, u, one));
            store_lanes(a + 3 * n + u0, lanes, da_f);
        }
    }
}
