/* gemm.inc.c: the two matrix products of a recurrent network.
 *
 * product: rows of activations times packed weights. Every element of C is one chain of fused multiply-adds in the
 * order of k, started from `init`. Blocks of rows and columns only decide who computes it, so a row's bits depend
 * neither on its neighbours nor on the number of threads, and a product over x continued over h gives the same bits
 * whether it runs in one sweep or step by step. BLAS libraries promise none of this and pack the weights at each call.
 * Recurrent products of few columns have several chains for each element, which is just as fixed: chains.inc.c.
 *
 * outer: weight gradients, a sum over all steps and rows, added to what is there (or written, where nothing is), row by
 * row of the weights as the user knows them. Blocks of up to KC rows of both operands are packed, so that the tile reads
 * them in order. The chain over k is again one and the same for any split. It begins with the last row, the first that a
 * backward sweep is done with.
 *
 * The tile holds TILE x 4 vectors of C in registers: 6 x 4 where there are 32 vector registers, 3 x 4 where there are
 * 16 (a vector of B and the three broadcast values fill the rest), or TALL x 3, so that weights of three slots are read
 * once for 8 rows. Fewer chains than some 8 cannot hide the latency of the multiply-add, so of panels of one vector four
 * are taken at once, of two vectors two, and two of larger ones too where there are up to FEW rows (FEW_OF_3, of three
 * vectors).
 */

#if MANY_REGISTERS
enum { TILE = 6, TALL = 8, FEW = 3, FEW_OF_3 = 3 };
#elif defined(__AVX2__)
enum { TILE = 3, TALL = 4, FEW = 1, FEW_OF_3 = 2 };
#else
enum { TILE = 2, TALL = 2, FEW = 1, FEW_OF_3 = 1 };
#endif
enum {
    KC = 128,     /* most rows of a block in outer: KC x 4 vectors are the first-level cache of 32 KiB (AVX-512) */
    MC = 576,     /* columns of A that outer packs at a time: KC x MC take a part of the second-level cache */
    TOGETHER = 8, /* tiles that it packs side by side */
    AHEAD = 8,    /* rows that it asks for before it comes to them */
    BLOCK = 128   /* rows of A that product takes through all panels before the next */
};

/* C[r][v] = init[r][v] + sum over k of A[r][k] B[k][v], r < R, v < NP*NV vectors in NP panels.
 * a: rows a_row apart; b: panels b_panel apart; columns of panel q start at q*c_panel. */
INLINE void tile(const int R, const int NV, const int NP, const rf_runs *from, const real *a, ptrdiff_t a_row,
                 const real *b, ptrdiff_t b_panel, const real *init, ptrdiff_t ld_init, real *c, ptrdiff_t ldc,
                 ptrdiff_t c_panel, int tail)
{
    V acc[TALL][8];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV * NP; v++) {
            const real *start = init + r * ld_init + (v / NV) * c_panel + (v % NV) * W;
            acc[r][v] = !init ? v_set1(0) : tail < W && v == NV * NP - 1 ? v_load_n(start, tail) : v_load(start);
        }
    for (ptrdiff_t q = 0; q < from->runs + from->more; q++) {
        const ptrdiff_t more = q - from->runs, run = more < 0 ? from->run : from->more_run;
        const real *ap = a + (more < 0 ? q * from->stride : from->more_at + more * from->more_stride);
        for (ptrdiff_t k = 0; k < run; k++, ap++, b += NV * W) {
            V x[TALL], w[4];
            if (R > TILE) { /* registers for the vectors of weights, and one for all values in turn */
                UNROLL for (int v = 0; v < NV; v++)
                    w[v] = v_load(b + v * W);
                UNROLL for (int r = 0; r < R; r++) {
                    x[0] = v_set1(ap[r * a_row]);
                    UNROLL for (int v = 0; v < NV; v++)
                        acc[r][v] = v_fma(x[0], w[v], acc[r][v]);
                }
                continue;
            }
            UNROLL for (int r = 0; r < R; r++)
                x[r] = v_set1(ap[r * a_row]);
            UNROLL for (int v = 0; v < NV * NP; v++) {
                w[0] = v_load(b + (v / NV) * b_panel + (v % NV) * W);
                if (R == 2 || R == 3)
                    LOADED_ONCE(w[0]);
                UNROLL for (int r = 0; r < R; r++)
                    acc[r][v] = v_fma(x[r], w[0], acc[r][v]);
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

/* The tile for `rows` rows of NP panels: up to TILE, TALL of three vectors, and 3 of more than four. */
INLINE void tile_rows(ptrdiff_t rows, const int NV, const int NP, const rf_runs *from, const real *a, ptrdiff_t a_row,
                      const real *b, ptrdiff_t b_panel, const real *init, ptrdiff_t ld_init, real *c, ptrdiff_t ldc,
                      ptrdiff_t c_panel, int tail)
{
#define CASE(R)                                                                                                     \
    case R:                                                                                                         \
        tile(R, NV, NP, from, a, a_row, b, b_panel, init, ld_init, c, ldc, c_panel, tail);                          \
        break;
    switch (rows) {
        CASE(1)
        CASE(2)
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__aarch64__)
        CASE(3)
#endif
    }
    if (NV * NP > 4)
        return;
#if MANY_REGISTERS
    switch (rows) {
        CASE(4)
        CASE(5)
        CASE(6)
    }
    if (NV == 3)
        switch (rows) {
            CASE(7)
            CASE(8)
        }
#elif defined(__AVX2__)
    if (NV == 3 && rows == TALL)
        tile(TALL, NV, NP, from, a, a_row, b, b_panel, init, ld_init, c, ldc, c_panel, tail);
#endif
#undef CASE
}

/* All rows of one panel, or of NP side by side. */
#define DEFINE_PANEL(NV, NP)                                                                                          \
    static void panel_##NV##_##NP(const rf_product *s, ptrdiff_t rows, const real *a, const real *b,                  \
                                  ptrdiff_t b_panel, const real *init, real *c, int tail)                             \
    {                                                                                                                 \
        /* tiles of like height, for a low one is bound by reading the panel: 8 rows are 4 + 4, not 6 + 2 */          \
        const ptrdiff_t most = NV * NP == 3 ? TALL : TILE;                                                            \
        ptrdiff_t tiles = (rows + most - 1) / most;                                                                   \
        for (ptrdiff_t r = 0, n; r < rows; r += n, tiles--) {                                                         \
            n = (rows - r + tiles - 1) / tiles;                                                                       \
            tile_rows(n, NV, NP, &s->from, a + r * s->lda, s->lda, b, b_panel, init ? init + r * s->ld_init : NULL,   \
                      s->ld_init, c + r * s->ldc, s->ldc, s->panel_stride, tail);                                     \
        }                                                                                                             \
    }
DEFINE_PANEL(1, 1)
DEFINE_PANEL(2, 1)
DEFINE_PANEL(3, 1)
DEFINE_PANEL(4, 1)
DEFINE_PANEL(1, 2)
DEFINE_PANEL(2, 2)
DEFINE_PANEL(3, 2)
DEFINE_PANEL(4, 2)
DEFINE_PANEL(1, 4)
#undef DEFINE_PANEL

typedef void (*panel_fn)(const rf_product *, ptrdiff_t, const real *, const real *, ptrdiff_t, const real *, real *,
                         int);
static const panel_fn single[] = {NULL, panel_1_1, panel_2_1, panel_3_1, panel_4_1};
static const panel_fn pair[] = {NULL, panel_1_2, panel_2_2, panel_3_2, panel_4_2};

/* How many panels `rows` rows take at once, of the whole ones among p..end. */
INLINE ptrdiff_t panels_at_once(const rf_product *s, ptrdiff_t rows, ptrdiff_t p, ptrdiff_t end)
{
    const ptrdiff_t there = MIN(end, s->panels - (s->last < s->vectors || s->tail < W)) - p;
    if (s->vectors == 1 && there >= 4)
        return 4;
    return there >= 2 && (s->vectors <= 2 || rows <= (s->vectors == 3 ? FEW_OF_3 : FEW)) ? 2 : 1;
}

/* A narrow last panel: init and C pass through a buffer in which the slots stand side by side. */
static void narrow_panel(const rf_product *s, ptrdiff_t rows, const real *a, const real *b, const real *init, real *c)
{
    real side[4 * TILE * 3 * W + W];
    rf_product narrow = *s;
    narrow.ldc = narrow.ld_init = s->last * W;
    for (ptrdiff_t r0 = 0; r0 < rows; r0 += 4 * TILE) {
        const ptrdiff_t n = MIN(4 * TILE, rows - r0);
        for (ptrdiff_t r = 0; r < n && init; r++)
            for (int v = 0; v < s->vectors; v++) /* whole vectors: what is too much is written over by the next */
                v_store(side + r * narrow.ldc + v * s->units, v_load(init + (r0 + r) * s->ld_init + v * W));
        single[s->last](&narrow, n, a + r0 * s->lda, b, 0, init ? side : NULL, side, W);
        for (ptrdiff_t r = 0; r < n; r++)
            for (int v = 0; v < s->vectors; v++)
                v_store(c + (r0 + r) * s->ldc + v * W, v_load_n(side + r * narrow.ldc + v * s->units, s->units));
    }
}

static void RF(product)(const rf_product *s, ptrdiff_t rows, const void *a_, const void *init_, void *c_,
                        ptrdiff_t panel0, ptrdiff_t panel1)
{
    const real *b = s->b;
#if MANY_REGISTERS
    if (s->chains > 1 || s->halves) {
        chained_product(s, rows, a_, init_, c_, panel0, panel1);
        return;
    }
#endif
    const ptrdiff_t b_panel = (s->from.runs * s->from.run + s->from.more * s->from.more_run) * s->vectors * W;
    for (ptrdiff_t r = 0; r < rows; r += BLOCK) {
        const ptrdiff_t n = MIN(BLOCK, rows - r);
        const real *a = (const real *)a_ + r * s->lda;
        const real *init = init_ ? (const real *)init_ + r * s->ld_init : NULL;
        real *c = (real *)c_ + r * s->ldc;
        for (ptrdiff_t p = panel0; p < panel1;) {
            const int is_last = p == s->panels - 1;
            const ptrdiff_t at = p * s->panel_stride;
            const real *from = init ? init + at : NULL;
            const ptrdiff_t at_once = panels_at_once(s, n, p, panel1);
            if (at_once > 1)
                (at_once == 4 ? panel_1_4 : pair[s->vectors])(s, n, a, b + p * b_panel, b_panel, from, c + at, W);
            else if (is_last && s->units)
                narrow_panel(s, n, a, b + p * b_panel, from, c + at);
            else
                single[is_last ? s->last : s->vectors](s, n, a, b + p * b_panel, 0, from, c + at,
                                                       is_last ? s->tail : W);
            p += at_once;
        }
    }
}

static ptrdiff_t RF(outer_scratch)(ptrdiff_t m, ptrdiff_t n)
{
    return KC * (4 * W + (MIN(m, MC) + TILE - 1) / TILE * TILE) + n + W;
}

/* Where column q of A stands in a row. */
INLINE ptrdiff_t column_at(const rf_runs *from, ptrdiff_t q)
{
    const ptrdiff_t more = q - from->runs * from->run;
    if (more < 0)
        return q / from->run * from->stride + q % from->run;
    return from->more_at + more / from->more_run * from->more_stride + more % from->more_run;
}

/* Some tiles of n rows, the first at a, each lda below the one before it. Moves of a known size: on some processors masked
 * stores take several times as long. */
INLINE void pack_some(ptrdiff_t tiles, ptrdiff_t n, const real *a, ptrdiff_t lda, real *to)
{
    for (ptrdiff_t k = 0; k < n; k++, a -= lda, to += TILE) {
        if (k + AHEAD < n)
            rf_want(a - AHEAD * lda, tiles * TILE * sizeof(real));
        UNROLL for (ptrdiff_t i = 0; i < tiles; i++)
            memcpy(to + i * n * TILE, a + i * TILE, TILE * sizeof(real));
    }
}

/* Rows k0..k0+n of columns q0..q0+m of A, the last row first, transposed into tiles: (m/TILE, n, TILE), zeros past m. */
static void pack_tiles(const rf_outer *s, ptrdiff_t k0, ptrdiff_t n, ptrdiff_t q0, ptrdiff_t m, real *to)
{
    const real *a = (const real *)s->a + (k0 + n - 1) * s->lda;
    const rf_runs *from = &s->from;
    const ptrdiff_t end = q0 + m, side_by_side = MIN(end, from->runs * from->run);
    ptrdiff_t q = q0;
    if (TILE < W && q0 < side_by_side && (from->run % TILE == 0 || from->runs == 1)) {
        /* a few tiles at a time: one alone would take a line of every row several times, and rows of gate buffers are often
         * a multiple of 4 KiB apart, so that they share one set of the first-level cache; many write to too many lines */
        const ptrdiff_t whole = q0 + (side_by_side - q0) / TILE * TILE;
        for (ptrdiff_t tiles; q < whole; q += tiles * TILE, to += tiles * TILE * n) {
            const real *at = a + column_at(from, q);
            tiles = MIN(TOGETHER, (MIN(whole, (q / from->run + 1) * from->run) - q) / TILE);
            if (tiles == TOGETHER)
                pack_some(TOGETHER, n, at, s->lda, to);
            else
                pack_some(tiles, n, at, s->lda, to);
        }
    }
    for (; q < end; q += TILE) {
        ptrdiff_t at[TILE];
        for (int r = 0; r < TILE; r++)
            at[r] = q + r < end ? column_at(from, q + r) : -1;
        for (ptrdiff_t k = 0; k < n; k++, to += TILE)
            for (int r = 0; r < TILE; r++)
                to[r] = at[r] < 0 ? 0 : a[at[r] - k * s->lda];
    }
}

/* C[r][v] += sum over k of A[k][r] B[k][v] for R rows of C, anywhere, or = where they are fresh; `next`: rows that will be
 * wanted after these. */
INLINE void outer_tile(const int R, const int NV, int fresh, ptrdiff_t n, const real *a, const real *b, real *const *c,
                       real *const *next, int tail)
{
    const ptrdiff_t half = n / 2;
    V acc[6][4];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV; v++) {
            if (fresh)
                acc[r][v] = v_set1(0);
            else
                acc[r][v] = tail < W && v == NV - 1 ? v_load_n(c[r] + v * W, tail) : v_load(c[r] + v * W);
        }
    for (ptrdiff_t k = 0; k < n; k++, a += TILE, b += NV * W) {
        if ((size_t)(k - half) < (size_t)R) /* not earlier, together with the rows of this tile */
            UNROLL for (int v = 0; v < NV; v++)
                __builtin_prefetch(next[k - half] + v * W, 1);
        V x[6];
        UNROLL for (int r = 0; r < R; r++)
            x[r] = v_set1(a[r]);
        UNROLL for (int v = 0; v < NV; v++) {
            V y = v_load(b + v * W);
            UNROLL for (int r = 0; r < R; r++)
                acc[r][v] = v_fma(x[r], y, acc[r][v]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV; v++) {
            if (tail < W && v == NV - 1)
                v_store_n(c[r] + v * W, tail, acc[r][v]);
            else
                v_store(c[r] + v * W, acc[r][v]);
        }
}

/* Where rows q..q+TILE-1 of C stand, at column j; those of padding and past the last are `nowhere`. */
INLINE void outer_rows(const rf_outer *s, const rf_outer_part *part, ptrdiff_t q, ptrdiff_t end, ptrdiff_t j,
                       real *nowhere, real **c)
{
    for (int r = 0; r < TILE; r++) {
        const ptrdiff_t row = q + r >= end ? -1 : s->rows_c ? s->rows_c[q + r] : q + r;
        c[r] = row < 0 ? nowhere : (real *)part->c + row * part->n + j;
    }
}

/* All tiles of m columns of A with one block of 1 to 4 vectors of B. */
INLINE void outer_block(const int NV, const rf_outer *s, const rf_outer_part *part, ptrdiff_t k0, ptrdiff_t n,
                        ptrdiff_t q0, ptrdiff_t m, ptrdiff_t j, const real *tiles, real *block, real *nowhere)
{
    const int tail = (int)MIN(W, part->n - j - (NV - 1) * W);
    for (ptrdiff_t k = 0; k < n; k++) {
        const ptrdiff_t row = k0 + n - 1 - k;
        const real *from = (const real *)part->b + (part->rows_b ? part->rows_b[row] : row) * part->ldb + j;
        if (part->rows_b && row >= k0 + AHEAD)
            rf_want((const real *)part->b + part->rows_b[row - AHEAD] * part->ldb + j, NV * W * sizeof(real));
        UNROLL for (int v = 0; v < NV; v++)
            v_store(block + (k * NV + v) * W,
                    tail < W && v == NV - 1 ? v_load_n(from + v * W, tail) : v_load(from + v * W));
    }
    real *c[2][6];
    outer_rows(s, part, q0, q0 + m, j, nowhere, c[0]);
    for (ptrdiff_t q = 0, turn = 0; q < m; q += TILE, tiles += n * TILE, turn ^= 1) {
        outer_rows(s, part, q0 + q + TILE, q0 + m, j, nowhere, c[turn ^ 1]);
        outer_tile(TILE, NV, s->fresh && k0 + n == s->k, n, tiles, block, c[turn], c[turn ^ 1], tail);
    }
}

#define DEFINE_OUTER(NV)                                                                                              \
    static void outer_##NV(const rf_outer *s, const rf_outer_part *part, ptrdiff_t k0, ptrdiff_t n, ptrdiff_t q0,     \
                           ptrdiff_t m, ptrdiff_t j, const real *tiles, real *block, real *nowhere)                   \
    {                                                                                                                 \
        outer_block(NV, s, part, k0, n, q0, m, j, tiles, block, nowhere);                                             \
    }
DEFINE_OUTER(1)
DEFINE_OUTER(2)
DEFINE_OUTER(3)
DEFINE_OUTER(4)
#undef DEFINE_OUTER

static void (*const outers[])(const rf_outer *, const rf_outer_part *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                              ptrdiff_t, const real *, real *, real *) = {NULL, outer_1, outer_2, outer_3, outer_4};

static void RF(outer)(const rf_outer *s, ptrdiff_t q0, ptrdiff_t q1, void *scratch)
{
    real *block = scratch, *tiles = block + KC * 4 * W, *nowhere = tiles + KC * ((MIN(s->m, MC) + TILE - 1) / TILE * TILE);
    ptrdiff_t blocks = (s->k + KC - 1) / KC;
    for (ptrdiff_t k = s->k, n; k > 0; blocks--) {
        n = (k + blocks - 1) / blocks;
        k -= n;
        for (ptrdiff_t q = q0; q < q1; q += MC) {
            const ptrdiff_t m = MIN(MC, q1 - q);
            pack_tiles(s, k, n, q, m, tiles);
            for (int i = 0; i < s->parts; i++)
                for (ptrdiff_t j = 0; j < s->part[i].n; j += 4 * W)
                    outers[MIN(4, (s->part[i].n - j + W - 1) / W)](s, &s->part[i], k, n, q, m, j, tiles, block, nowhere);
        }
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

/* Sums of NV vectors of columns, in blocks of rows: the error grows with rows / 64. */
INLINE void sum_columns(const int NV, const int tail, ptrdiff_t rows, const real *x, ptrdiff_t ldx, real *sums)
{
    V total[8];
    UNROLL for (int v = 0; v < NV; v++)
        total[v] = tail < W && v == NV - 1 ? v_load_n(sums + v * W, tail) : v_load(sums + v * W);
    for (ptrdiff_t r0 = 0; r0 < rows; r0 += 64) {
        V part[8];
        UNROLL for (int v = 0; v < NV; v++)
            part[v] = v_set1(0);
        for (ptrdiff_t r = r0; r < MIN(rows, r0 + 64); r++)
            UNROLL for (int v = 0; v < NV; v++)
                part[v] += tail < W && v == NV - 1 ? v_load_n(x + r * ldx + v * W, tail) : v_load(x + r * ldx + v * W);
        UNROLL for (int v = 0; v < NV; v++)
            total[v] += part[v];
    }
    UNROLL for (int v = 0; v < NV; v++) {
        if (tail < W && v == NV - 1)
            v_store_n(sums + v * W, tail, total[v]);
        else
            v_store(sums + v * W, total[v]);
    }
}

static void RF(column_sums)(ptrdiff_t rows, ptrdiff_t n, const void *x_, ptrdiff_t ldx, void *sums_)
{
    const real *x = x_;
    real *sums = sums_;
    ptrdiff_t i = 0;
    for (; i + 8 * W <= n; i += 8 * W)
        sum_columns(8, W, rows, x + i, ldx, sums + i);
    for (; i < n; i += W)
        sum_columns(1, (int)MIN(W, n - i), rows, x + i, ldx, sums + i);
}
