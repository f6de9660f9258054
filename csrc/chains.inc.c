/* chains.inc.c: recurrent products of so few columns that there is nothing else to do while a multiply-add waits for the
 * one before it. A single row of up to four vectors would run at half the speed of two units that take four cycles each.
 * So each element is a sum of `chains` chains: the elements of a run of A go to them in turns, the first chain begins with
 * `init`, and they are added up pairwise at the end. Their number is a matter of the columns alone (set_chains), whatever
 * the rows, so that a row's bits still depend on nothing but the row.
 *
 * Where the weights are about as large as the first-level cache, each half of them has chains of its own (set_chains),
 * those of the second begin with 0 and are added at last. Then many rows can go through one half before the other, and a
 * single row begins with the half that it has been through last. So it is with two panels of four vectors too, where each half
 * has one chain: a thread that has one of the panels goes through both halves at once. */

/* With 16 registers the tiles of many rows would be so small that they lose more than a single row wins. Two panels are left
 * apart by `product` where the last is smaller, so each has too few vectors by itself. */
INLINE int chains_of(ptrdiff_t panels, int vectors, int last)
{
    if (!MANY_REGISTERS)
        return 1;
    if (panels == 1)
        return last <= 2 ? 4 : 2;
    return panels == 2 && vectors == 4 && last < 4 ? 2 : 1;
}

static void RF(set_chains)(rf_product *s)
{
    const ptrdiff_t k = s->from.runs * s->from.run + s->from.more * s->from.more_run;
    const ptrdiff_t size = k * ((s->panels - 1) * s->vectors + s->last) * W * (ptrdiff_t)sizeof(real);
    s->chains = s->units ? 1 : chains_of(s->panels, s->vectors, s->last);
    const int one = s->chains > 1 && s->panels == 1, one_run = s->from.runs == 1 && !s->from.more;
    const int two = MANY_REGISTERS && one_run && s->panels == 2 && s->vectors == 4 && s->last == 4 && !s->units;
    s->halves = size > 32 * 1024 && (one || (two && size <= 64 * 1024));
}

/* acc[r][v] += a[r] b[v], R rows a_row apart */
INLINE void chain_link(const int R, const int NV, const real *a, ptrdiff_t a_row, const real *b, V acc[][4])
{
    V x[6];
    UNROLL for (int r = 0; r < R; r++)
        x[r] = v_set1(a[r * a_row]);
    UNROLL for (int v = 0; v < NV; v++) {
        V w = v_load(b + v * W);
        if (R == 2 || R == 3)
            LOADED_ONCE(w);
        UNROLL for (int r = 0; r < R; r++)
            acc[r][v] = v_fma(x[r], w, acc[r][v]);
    }
}

/* acc[c] += A B for every C-th element of a run of A and its vectors of B, from the c-th on */
INLINE void chain_run(const int R, const int NV, const int C, ptrdiff_t run, const real *a, ptrdiff_t a_row, const real *b,
                      V acc[][6][4])
{
    for (; run >= C; run -= C, a += C, b += C * NV * W)
        UNROLL for (int c = 0; c < C; c++)
            chain_link(R, NV, a + c, a_row, b + c * NV * W, acc[c]);
    UNROLL for (int c = 0; c < C - 1; c++)
        if (c < run)
            chain_link(R, NV, a + c, a_row, b + c * NV * W, acc[c]);
}

/* The first chain begins with `sums`, which becomes the sum of all. */
INLINE void chains_product(const int R, const int NV, const int C, const rf_runs *from, const real *a, ptrdiff_t a_row,
                           const real *b, V sums[][4])
{
    V acc[4][6][4];
    UNROLL for (int c = 0; c < C; c++)
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < NV; v++)
                acc[c][r][v] = c ? v_set1(0) : sums[r][v];
    for (ptrdiff_t q = 0; q < from->runs; q++, b += from->run * NV * W)
        chain_run(R, NV, C, from->run, a + q * from->stride, a_row, b, acc);
    for (ptrdiff_t q = 0; q < from->more; q++, b += from->more_run * NV * W)
        chain_run(R, NV, C, from->more_run, a + from->more_at + q * from->more_stride, a_row, b, acc);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV; v++) {
            sums[r][v] = acc[0][r][v];
            if (C > 1)
                sums[r][v] = sums[r][v] + acc[1][r][v];
            if (C == 4)
                sums[r][v] = sums[r][v] + (acc[2][r][v] + acc[3][r][v]);
        }
}

typedef struct {
    rf_runs from;
    ptrdiff_t at, k; /* where the half begins in a row of A, and among the rows of B */
} chains_half;

INLINE void chains_halve(const rf_runs *from, chains_half half[2])
{
    chains_half *first = &half[0], *second = &half[1];
    first->from = second->from = *from;
    if (from->runs > 1) {
        first->from.runs = from->runs / 2;
        second->from.runs -= first->from.runs;
        second->at = first->from.runs * from->stride;
    } else {
        first->from.run = second->at = from->run / 2;
        second->from.run -= second->at;
    }
    first->from.more = first->at = first->k = 0;
    second->from.more_at -= second->at;
    second->k = first->from.runs * first->from.run;
}

#if MANY_REGISTERS
enum { CHAINED = 24 }; /* most vectors of C in registers */

/* C = init + A B or, of the second half, C += A B */
INLINE void chained_tile(const int R, const int NV, const int C, const rf_product *s, const chains_half *half, int second,
                         const real *a, const real *b, const real *init, real *to)
{
    V sums[6][4];
    if (R * NV * C > CHAINED)
        return;
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV; v++)
            sums[r][v] = init && !second ? v_load(init + r * s->ld_init + v * W) : v_set1(0);
    chains_product(R, NV, C, &half->from, a + half->at, s->lda, b + half->k * NV * W, sums);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < NV; v++) {
            real *c = to + r * s->ldc + v * W;
            if (second)
                sums[r][v] = v_load(c) + sums[r][v];
            v_store(c, sums[r][v]);
        }
}

#define DEFINE_CHAINED(NV, C)                                                                                         \
    static void chained_##NV##_##C(const rf_product *s, const chains_half *half, int second, ptrdiff_t rows,          \
                                   const real *a, const real *b, const real *init, real *c)                           \
    {                                                                                                                 \
        const ptrdiff_t most = MIN(6, CHAINED / (NV * C));                                                            \
        ptrdiff_t tiles = (rows + most - 1) / most;                                                                   \
        for (ptrdiff_t n; rows > 0; rows -= n, tiles--) {                                                             \
            n = (rows + tiles - 1) / tiles;                                                                           \
            switch (n) {                                                                                              \
                case 1: chained_tile(1, NV, C, s, half, second, a, b, init, c); break;                                \
                case 2: chained_tile(2, NV, C, s, half, second, a, b, init, c); break;                                \
                case 3: chained_tile(3, NV, C, s, half, second, a, b, init, c); break;                                \
                case 4: chained_tile(4, NV, C, s, half, second, a, b, init, c); break;                                \
                case 5: chained_tile(5, NV, C, s, half, second, a, b, init, c); break;                                \
                case 6: chained_tile(6, NV, C, s, half, second, a, b, init, c); break;                                \
            }                                                                                                         \
            a += n * s->lda;                                                                                          \
            c += n * s->ldc;                                                                                          \
            init = init ? init + n * s->ld_init : NULL;                                                               \
        }                                                                                                             \
    }
DEFINE_CHAINED(4, 1)
DEFINE_CHAINED(1, 2)
DEFINE_CHAINED(1, 4)
DEFINE_CHAINED(2, 2)
DEFINE_CHAINED(2, 4)
DEFINE_CHAINED(3, 2)
DEFINE_CHAINED(4, 2)
#undef DEFINE_CHAINED

typedef void (*chained_fn)(const rf_product *, const chains_half *, int, ptrdiff_t, const real *, const real *, const real *,
                           real *);
static const chained_fn chained[5][2] = {
    {NULL}, {chained_1_2, chained_1_4}, {chained_2_2, chained_2_4}, {chained_3_2}, {chained_4_2}};

/* C = init + A B of four vectors, both halves of one chain at once: so few rows that one would wait for itself. */
INLINE void both_halves(const int R, const rf_product *s, const chains_half half[2], const real *a, const real *b,
                        const real *init, real *to)
{
    const real *a2 = a + half[1].at, *b2 = b + half[1].k * 4 * W;
    const ptrdiff_t n = half[0].from.run;
    V acc[2][6][4];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < 4; v++) {
            acc[0][r][v] = init ? v_load(init + r * s->ld_init + v * W) : v_set1(0);
            acc[1][r][v] = v_set1(0);
        }
    for (ptrdiff_t k = 0; k < n; k++) {
        chain_link(R, 4, a + k, s->lda, b + k * 4 * W, acc[0]);
        chain_link(R, 4, a2 + k, s->lda, b2 + k * 4 * W, acc[1]);
    }
    if (half[1].from.run > n)
        chain_link(R, 4, a2 + n, s->lda, b2 + n * 4 * W, acc[1]);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < 4; v++)
            v_store(to + r * s->ldc + v * W, acc[0][r][v] + acc[1][r][v]);
}

static void halved_panel(const rf_product *s, const chains_half half[2], ptrdiff_t rows, const real *a, const real *b,
                         const real *init, real *c)
{
    switch (rows) {
        case 1: both_halves(1, s, half, a, b, init, c); break;
        case 2: both_halves(2, s, half, a, b, init, c); break;
        case 3: both_halves(3, s, half, a, b, init, c); break;
        default:
            for (int i = 0; i < 2; i++)
                chained_4_1(s, &half[i], i, rows, a, b, init, c);
    }
}

static void chained_product(const rf_product *s, ptrdiff_t rows, const real *a, const real *init, real *c, ptrdiff_t panel0,
                            ptrdiff_t panel1)
{
    const ptrdiff_t k = s->from.runs * s->from.run + s->from.more * s->from.more_run;
    chains_half half[2] = {{.from = s->from}};
    if (s->halves)
        chains_halve(&s->from, half);
    for (ptrdiff_t p = panel0; p < panel1; p++) {
        const int vectors = p == s->panels - 1 ? s->last : s->vectors;
        const real *b = (const real *)s->b + p * k * s->vectors * W, *start = init ? init + p * s->panel_stride : NULL;
        real *to = c + p * s->panel_stride;
        if (s->chains == 1) {
            halved_panel(s, half, rows, a, b, start, to);
            continue;
        }
        for (int i = 0; i <= s->halves; i++)
            chained[vectors][s->chains == 4](s, &half[i], i, rows, a, b, start, to);
    }
}
#endif
