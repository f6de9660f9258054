/* gemm.inc.c: the two matrix products of a recurrent network.
 *
 * product: rows of activations times packed weights. Every element of C is one chain of fused multiply-adds in the
 * order of k, started from `init`. Blocks of rows and columns only decide who computes it, so a row's bits depend
 * neither on its neighbours nor on the number of threads, and a product over x continued over h gives the same bits
 * whether it runs in one sweep or step by step. BLAS libraries promise none of this and pack the weights at each call.
 *
 * outer: weight gradients, a sum over all steps and rows. Blocks of KC rows of both operands are packed so that the
 * tile below runs from the first-level cache; the chain over k is again one and the same for any split.
 *
 * The tile holds TILE x 4 vectors of C in registers: 6 x 4 where there are 32 vector registers, 3 x 4 where there are
 * 16 (a vector of B and the three broadcast values fill the rest). A single row has too few independent chains to
 * hide the latency of the multiply-add, so up to PAIR rows take two panels at once.
 */

#if defined(__AVX512F__) || defined(__aarch64__)
enum { TILE = 6, PAIR = 3 };
#elif defined(__AVX2__)
enum { TILE = 3, PAIR = 1 };
#else
enum { TILE = 2, PAIR = 1 };
#endif
enum {
    KC = 96,   /* rows of a block in outer: KC x 4 vectors fill three quarters of a 32 KiB cache (AVX-512) */
    BLOCK = 96 /* rows of A that product takes through all panels before the next */
};

#define UNROLL _Pragma("GCC unroll 8")

/* C[r][v] = init[r][v] + sum over k of A[r][k] B[k][v], r < R, v < NP*NV vectors in NP panels.
 * a: rows a_row apart, steps of k a_k apart; b: panels b_panel apart; columns of panel q start at q*c_panel. */
INLINE void tile(const int R, const int NV, const int NP, ptrdiff_t runs, ptrdiff_t run, ptrdiff_t run_stride,
                 const real *a, ptrdiff_t a_row, ptrdiff_t a_k, const real *b, ptrdiff_t b_panel, const real *init,
                 ptrdiff_t ld_init, real *c, ptrdiff_t ldc, ptrdiff_t c_panel, int tail)
{
    V acc[6][8];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV * NP; v++) {
            const real *from = init + r * ld_init + (v / NV) * c_panel + (v % NV) * W;
            acc[r][v] = !init ? v_set1(0) : tail < W && v == NV * NP - 1 ? v_load_n(from, tail) : v_load(from);
        }
    for (ptrdiff_t q = 0; q < runs; q++) {
        const real *ap = a + q * run_stride;
        for (ptrdiff_t k = 0; k < run; k++, ap += a_k, b += NV * W) {
            V x[6];
            UNROLL for (int r = 0; r < R; r++)
                x[r] = v_set1(ap[r * a_row]);
            UNROLL for (int v = 0; v < NV * NP; v++) {
                V w = v_load(b + (v / NV) * b_panel + (v % NV) * W);
                UNROLL for (int r = 0; r < R; r++)
                    acc[r][v] = v_fma(x[r], w, acc[r][v]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV * NP; v++) {
            real *to = c + r * ldc + (v / NV) * c_panel + (v % NV) * W;
            if (tail < W && v == NV * NP - 1)
                v_store_n(to, tail, acc[r][v]);
            else
                v_store(to, acc[r][v]);
        }
}

/* The tile for `rows` <= TILE rows of NP panels. */
INLINE void tile_rows(ptrdiff_t rows, const int NV, const int NP, ptrdiff_t runs, ptrdiff_t run, ptrdiff_t run_stride,
                      const real *a, ptrdiff_t a_row, ptrdiff_t a_k, const real *b, ptrdiff_t b_panel,
                      const real *init, ptrdiff_t ld_init, real *c, ptrdiff_t ldc, ptrdiff_t c_panel, int tail)
{
#define CASE(R)                                                                                                     \
    case R:                                                                                                         \
        tile(R, NV, NP, runs, run, run_stride, a, a_row, a_k, b, b_panel, init, ld_init, c, ldc, c_panel, tail);    \
        break;
    if (NP == 2) {
        switch (rows) {
            CASE(1)
#if defined(__AVX512F__) || defined(__aarch64__)
            CASE(2)
            CASE(3)
#endif
        }
    } else {
        switch (rows) {
            CASE(1)
            CASE(2)
#if defined(__AVX2__) || defined(__aarch64__)
            CASE(3)
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
            CASE(4)
            CASE(5)
            CASE(6)
#endif
        }
    }
#undef CASE
}

/* All rows of one panel, or of a pair. */
#define DEFINE_PANEL(NV, NP)                                                                                          \
    static void panel_##NV##_##NP(const rf_product *s, ptrdiff_t rows, const real *a, const real *b,                  \
                                  ptrdiff_t b_panel, const real *init, real *c, int tail)                             \
    {                                                                                                                 \
        for (ptrdiff_t r = 0; r < rows; r += TILE)                                                                    \
            tile_rows(MIN(TILE, rows - r), NV, NP, s->runs, s->run, s->run_stride, a + r * s->lda, s->lda, 1, b,      \
                      b_panel, init ? init + r * s->ld_init : NULL, s->ld_init, c + r * s->ldc, s->ldc,               \
                      s->panel_stride, tail);                                                                         \
    }
DEFINE_PANEL(1, 1)
DEFINE_PANEL(2, 1)
DEFINE_PANEL(3, 1)
DEFINE_PANEL(4, 1)
DEFINE_PANEL(1, 2)
DEFINE_PANEL(2, 2)
DEFINE_PANEL(3, 2)
DEFINE_PANEL(4, 2)
#undef DEFINE_PANEL

typedef void (*panel_fn)(const rf_product *, ptrdiff_t, const real *, const real *, ptrdiff_t, const real *, real *,
                         int);
static const panel_fn single[] = {NULL, panel_1_1, panel_2_1, panel_3_1, panel_4_1};
static const panel_fn pair[] = {NULL, panel_1_2, panel_2_2, panel_3_2, panel_4_2};

static void RF(product)(const rf_product *s, ptrdiff_t rows, const void *a_, const void *init_, void *c_,
                        ptrdiff_t panel0, ptrdiff_t panel1)
{
    const real *b = s->b;
    const ptrdiff_t b_panel = s->runs * s->run * s->vectors * W;
    for (ptrdiff_t r = 0; r < rows; r += BLOCK) {
        const ptrdiff_t n = MIN(BLOCK, rows - r);
        const real *a = (const real *)a_ + r * s->lda;
        const real *init = init_ ? (const real *)init_ + r * s->ld_init : NULL;
        real *c = (real *)c_ + r * s->ldc;
        for (ptrdiff_t p = panel0; p < panel1;) {
            const int is_last = p == s->panels - 1;
            const ptrdiff_t at = p * s->panel_stride;
            const real *from = init ? init + at : NULL;
            if (n <= PAIR && p + 1 < panel1 && (p + 2 < s->panels || (s->last == s->vectors && s->tail == W))) {
                pair[s->vectors](s, n, a, b + p * b_panel, b_panel, from, c + at, W);
                p += 2;
            } else {
                single[is_last ? s->last : s->vectors](s, n, a, b + p * b_panel, 0, from, c + at,
                                                       is_last ? s->tail : W);
                p += 1;
            }
        }
    }
}

static ptrdiff_t RF(outer_scratch)(ptrdiff_t m)
{
    return KC * ((m + TILE - 1) / TILE * TILE + 4 * W);
}

/* Rows k0..k0+n of A, transposed into tiles: (m/TILE, n, TILE), zeros past m. */
static void pack_tiles(const rf_outer *s, ptrdiff_t k0, ptrdiff_t n, real *to)
{
    const real *a = s->a;
    for (ptrdiff_t k = 0; k < n; k++) {
        const real *row = a + (s->rows_a ? s->rows_a[k0 + k] : k0 + k) * s->lda;
        real *t = to + k * TILE;
        ptrdiff_t m = 0;
        for (; m + TILE <= s->m; m += TILE, t += n * TILE)
            for (int r = 0; r < TILE; r++)
                t[r] = row[m + r];
        if (m < s->m)
            for (int r = 0; r < TILE; r++)
                t[r] = m + r < s->m ? row[m + r] : 0;
    }
}

INLINE void outer_panel(const int NV, const rf_outer *s, ptrdiff_t p, ptrdiff_t k0, ptrdiff_t n, const real *tiles,
                        real *block)
{
    const real *b = (const real *)s->b + k0 * s->ldb + p * s->panel_stride;
    const int tail = p == s->panels - 1 ? s->tail : W;
    for (ptrdiff_t k = 0; k < n; k++)
        UNROLL for (int v = 0; v < NV; v++) {
            const real *from = b + k * s->ldb + v * W;
            v_store(block + (k * NV + v) * W, tail < W && v == NV - 1 ? v_load_n(from, tail) : v_load(from));
        }
    real *c = (real *)s->c + p * s->m * s->vectors * W;
    for (ptrdiff_t m = 0; m < s->m; m += TILE, tiles += n * TILE, c += TILE * NV * W)
        tile_rows(MIN(TILE, s->m - m), NV, 1, 1, n, 0, tiles, 1, TILE, block, 0, k0 || s->accumulate ? c : NULL, NV * W, c, NV * W, 0,
                  W);
}

static void outer_1(const rf_outer *s, ptrdiff_t p, ptrdiff_t k, ptrdiff_t n, const real *t, real *b) { outer_panel(1, s, p, k, n, t, b); }
static void outer_2(const rf_outer *s, ptrdiff_t p, ptrdiff_t k, ptrdiff_t n, const real *t, real *b) { outer_panel(2, s, p, k, n, t, b); }
static void outer_3(const rf_outer *s, ptrdiff_t p, ptrdiff_t k, ptrdiff_t n, const real *t, real *b) { outer_panel(3, s, p, k, n, t, b); }
static void outer_4(const rf_outer *s, ptrdiff_t p, ptrdiff_t k, ptrdiff_t n, const real *t, real *b) { outer_panel(4, s, p, k, n, t, b); }
static void (*const outers[])(const rf_outer *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const real *, real *) = {
    NULL, outer_1, outer_2, outer_3, outer_4};

static void RF(outer)(const rf_outer *s, ptrdiff_t panel0, ptrdiff_t panel1, void *scratch)
{
    real *block = scratch, *tiles = block + KC * 4 * W;
    if (!s->k && !s->accumulate)
        for (ptrdiff_t p = panel0; p < panel1; p++)
            memset((real *)s->c + p * s->m * s->vectors * W, 0,
                   (size_t)(s->m * (p == s->panels - 1 ? s->last : s->vectors) * W) * sizeof(real));
    for (ptrdiff_t k = 0; k < s->k; k += KC) {
        const ptrdiff_t n = MIN(KC, s->k - k);
        pack_tiles(s, k, n, tiles);
        for (ptrdiff_t p = panel0; p < panel1; p++)
            outers[p == s->panels - 1 ? s->last : s->vectors](s, p, k, n, tiles, block);
    }
}

static void RF(add_rows)(ptrdiff_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W)
        v_store(y + i, v_load(y + i) + v_load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}

static void RF(column_sums)(ptrdiff_t rows, ptrdiff_t n, const void *x_, ptrdiff_t ldx, void *sums_)
{
    const real *x = x_;
    real *sums = sums_;
    for (ptrdiff_t i = 0; i < n; i += W) {
        const ptrdiff_t lanes = MIN(W, n - i);
        V total = lanes < W ? v_load_n(sums + i, lanes) : v_load(sums + i);
        for (ptrdiff_t r0 = 0; r0 < rows; r0 += 64) { /* in blocks: the error grows with rows / 64 */
            V part = v_set1(0);
            for (ptrdiff_t r = r0; r < MIN(rows, r0 + 64); r++)
                part += lanes < W ? v_load_n(x + r * ldx + i, lanes) : v_load(x + r * ldx + i);
            total += part;
        }
        if (lanes < W)
            v_store_n(sums + i, lanes, total);
        else
            v_store(sums + i, total);
    }
}
