/* pack.inc.c: weights between torch's layout, rows of gates (G*H, K), and the panels of gemm.inc.c.
 *
 * `rows` lists, for each column of the gate buffer that a product covers, in the order (unit panel, slot, lane), the row
 * of the weights it stands for, or -1 for padding. That is the list for the forward product (columns); without the padding
 * it is that of the backward product (its k) and of the weight gradient (columns again), which leave the padding out.
 */

/* Transpose W vectors: in each round the first half is interleaved with the second. */
INLINE void transpose(V *x)
{
    for (int half = 1; half < W; half *= 2) {
        V y[W];
        UNROLL for (int i = 0; i < W / 2; i++)
            v_zip(x[i], x[i + W / 2], &y[2 * i], &y[2 * i + 1]);
        UNROLL for (int i = 0; i < W; i++)
            x[i] = y[i];
    }
}

/* to: panels of panel_columns, each (K, panel_columns); to[p][k][c] = w[rows[p*panel_columns + c]][k]; columns and
 * panel_columns are multiples of W */
static void RF(pack_columns)(const void *w_, ptrdiff_t k, const ptrdiff_t *rows, ptrdiff_t columns,
                             ptrdiff_t panel_columns, void *to_, ptrdiff_t panel0, ptrdiff_t panel1)
{
    const real *w = w_;
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        const ptrdiff_t n = MIN(panel_columns, columns - p * panel_columns);
        real *to = (real *)to_ + p * panel_columns * k;
        for (ptrdiff_t c = 0; c < n; c += W) {
            const ptrdiff_t *row = rows + p * panel_columns + c;
            for (ptrdiff_t k0 = 0; k0 < k; k0 += W) {
                const ptrdiff_t have = MIN(W, k - k0);
                V x[W];
                UNROLL for (int i = 0; i < W; i++) {
                    x[i] = v_set1(0);
                    if (row[i] >= 0)
                        x[i] = have < W ? v_load_n(w + row[i] * k + k0, have) : v_load(w + row[i] * k + k0);
                }
                transpose(x);
                for (ptrdiff_t i = 0; i < have; i++)
                    v_store(to + (k0 + i) * n + c, x[i]);
            }
        }
    }
}

/* to: panels of 4*W columns of w itself, k running over `rows`; to[p][i][c] = w[rows[i]][p*4*W + c], zeros past n */
static void RF(pack_rows)(const void *w_, ptrdiff_t n, const ptrdiff_t *rows, ptrdiff_t k, void *to_,
                          ptrdiff_t panel0, ptrdiff_t panel1)
{
    const real *w = w_;
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        const ptrdiff_t have = MIN(4 * W, n - p * 4 * W), wide = (have + W - 1) / W * W;
        real *to = (real *)to_ + p * 4 * W * k;
        for (ptrdiff_t i = 0; i < k; i++, to += wide) {
            if (rows[i] < 0) {
                memset(to, 0, (size_t)wide * sizeof(real));
                continue;
            }
            const real *from = w + rows[i] * n + p * 4 * W;
            if (have == 4 * W) {
                memcpy(to, from, 4 * W * sizeof(real)); /* of constant size: no call */
            } else {
                memcpy(to, from, (size_t)have * sizeof(real));
                memset(to + have, 0, (size_t)(wide - have) * sizeof(real));
            }
        }
    }
}

/* db[rows[q]] += sums of column q, which stand in runs as the columns do in the gate buffer */
static void RF(add_columns)(const void *sums_, const ptrdiff_t *rows, ptrdiff_t columns, ptrdiff_t run,
                            ptrdiff_t run_stride, void *db_)
{
    const real *sums = sums_;
    real *db = db_;
    for (ptrdiff_t q = 0; q < columns; q += run, sums += run_stride)
        for (ptrdiff_t i = 0; i < run; i++)
            if (rows[q + i] >= 0)
                db[rows[q + i]] += sums[i];
}

/* Slots first..first+count-1 of every unit panel and row of the gate buffer := the same slots of `from`. */
static void RF(fill_slots)(ptrdiff_t rows, ptrdiff_t ld, ptrdiff_t panels, int slots, int first, int count,
                           const void *from_, void *gates_)
{
    const real *from = from_;
    real *gates = gates_;
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t p = 0; p < panels; p++)
            for (int s = first; s < first + count; s++)
                v_store(gates + r * ld + (p * slots + s) * W, v_load(from + (p * slots + s) * W));
}
