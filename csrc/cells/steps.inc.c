/* What the `steps` and `steps_back` functions of the cells share: products of one row, in the order of gemm.inc.c. */

/* acc[p][v] += sum over k < n of h[k] B[p][k][v] for P panels of NV vectors, each of `hidden` rows: one chain each. */
INLINE void steps_part(const int P, const int NV, ptrdiff_t hidden, ptrdiff_t n, const real *h, const real *b, V acc[][4])
{
    V sums[4][4];
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int v = 0; v < NV; v++)
            sums[p][v] = acc[p][v];
    for (ptrdiff_t k = 0; k < n; k++) {
        const V x = v_set1(h[k]);
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int v = 0; v < NV; v++)
                sums[p][v] = v_fma(x, v_load(b + (p * hidden + k) * NV * W + v * W), sums[p][v]);
    }
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int v = 0; v < NV; v++)
            acc[p][v] = sums[p][v];
}

/* The same over all k; */
INLINE void steps_sums(const int P, const int NV, ptrdiff_t hidden, const real *h, const real *b, V acc[][4])
{
    steps_part(P, NV, hidden, hidden, h, b, acc);
}

/* or, of the only panel, with as many chains as `set_chains` has it. */
INLINE void steps_product(const int P, const int NV, ptrdiff_t hidden, const real *h, const real *b, V acc[][4])
{
    const rf_runs all = {.runs = 1, .run = hidden};
    if (P == 1)
        chains_product(1, NV, chains_of(1, NV, NV), &all, h, 0, b, acc);
    else
        steps_sums(P, NV, hidden, h, b, acc);
}

/* Two panels of four vectors, by halves of k where the product has them: first the one that was last in the step before. */
INLINE void steps_two_panels(const rf_product *s, ptrdiff_t t, const real *h, V acc[][4])
{
    const ptrdiff_t K = s->from.run;
    const real *b = s->b;
    V sums[2][2][4];
    if (!s->halves) {
        steps_sums(2, 4, K, h, b, acc);
        return;
    }
    UNROLL for (int p = 0; p < 2; p++)
        UNROLL for (int v = 0; v < 4; v++) {
            sums[0][p][v] = acc[p][v];
            sums[1][p][v] = v_set1(0);
        }
    for (ptrdiff_t i = 0; i < 2; i++) {
        const ptrdiff_t which = (t ^ i) & 1, begin = which ? K / 2 : 0;
        steps_part(2, 4, K, which ? K - begin : K / 2, h + begin, b + begin * 4 * W, sums[which]);
    }
    UNROLL for (int p = 0; p < 2; p++)
        UNROLL for (int v = 0; v < 4; v++)
            acc[p][v] = sums[0][p][v] + sums[1][p][v];
}

/* Store panel p of h where the next step and the caller read it (and backward, which finds it in y). */
INLINE void steps_put(ptrdiff_t hidden, ptrdiff_t p, V h, real *now, real *y)
{
    const ptrdiff_t n = hidden - p * W;
    v_store(now + p * W, h);
    if (n < W)
        v_store_n(y + p * W, (int)n, h);
    else
        v_store(y + p * W, h);
}
INLINE void steps_store(const rf_steps *s, ptrdiff_t t, int p, V h, real *now)
{
    steps_put(s->hidden, p, h, now, (real *)(s->y + t * s->y_step));
}

/* One step of a sweep by groups of panels: where it reads and writes. */
typedef struct {
    real *gates;
    const real *from, *c_prev; /* h and c before it */
    real *to, *c;              /* and after it */
    real *y;
} steps_now;

/* Panels p, p+1, .. of a step, all of whose sums are in registers at once, or panel p, whose product has been made. */
typedef void (*steps_group)(const rf_steps *s, const steps_now *now, ptrdiff_t p);

enum { STEPS_MOST = 256 };

/* A sweep through cells of more panels than fit the registers at once: group[n] takes n of them, up to `most`, and
 * group[0] a narrow one; its product begins with gate slot `first`. h is in two rows in turns. Weights larger than the
 * first-level cache are walked through forwards and backwards. */
INLINE void steps_by_groups(const rf_steps *s, int first, const steps_group *group, int most)
{
    _Alignas(64) real rows[2][STEPS_MOST + W];
    const rf_product *product = s->product;
    const ptrdiff_t P = product->panels, whole = P - (product->units > 0), groups = (whole + most - 1) / most;
    const ptrdiff_t last_b = whole * s->hidden * product->vectors * W;
    const ptrdiff_t last_at = whole * product->panel_stride + first * W;
    const int zigzag = last_b * (ptrdiff_t)sizeof(real) > 32 * 1024;
    steps_now now = {.gates = s->gates, .from = rows[0], .c_prev = s->c_prev, .to = rows[1], .c = s->c,
                     .y = (real *)s->y};
    memcpy(rows[0], s->h_prev, (size_t)(P * W) * sizeof(real));
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        const int back = zigzag && t & 1;
        if (product->units)
            narrow_panel(product, 1, now.from, (const real *)product->b + last_b, now.gates + last_at, now.gates + last_at);
        for (ptrdiff_t i = 0; i < groups; i++) {
            const ptrdiff_t g = back ? groups - 1 - i : i, p = g * whole / groups, n = (g + 1) * whole / groups - p;
            group[n](s, &now, p);
        }
        if (product->units)
            group[0](s, &now, whole);
        real *from = (real *)now.from;
        now.from = now.to;
        now.to = from;
        now.gates += s->ld_gates;
        now.c_prev = now.c;
        now.c += s->ld_state;
        now.y = (real *)((char *)now.y + s->y_step);
    }
    memcpy(s->h, now.from, (size_t)(P * W) * sizeof(real));
}

#define STEPS_LOAD(P, from, to)               \
    UNROLL for (int p = 0; p < P; p++)        \
        v_store((to) + p * W, v_load((const real *)(from) + p * W))

/* acc[v] += sum over k of a[k] B[k][v] for the NV vectors of the gradient of h, step t, where they are one panel; */
INLINE void steps_product_back(const int NV, const rf_steps_back *s, ptrdiff_t t, const real *a, V acc[])
{
    const int C = chains_of(1, NV, NV);
    const rf_product *product = s->product;
    const real *b = product->b;
    if (!product->halves) {
        chains_product(1, NV, C, &product->from, a, 0, b, (V(*)[4])acc);
        return;
    }
    chains_half half[2];
    V sums[2][1][4];
    chains_halve(&product->from, half);
    UNROLL for (int v = 0; v < NV; v++) {
        sums[0][0][v] = acc[v];
        sums[1][0][v] = v_set1(0);
    }
    for (ptrdiff_t i = 0; i < 2; i++) {
        const ptrdiff_t which = (t ^ i) & 1;
        chains_product(1, NV, C, &half[which].from, a + half[which].at, 0, b + half[which].k * NV * W, sums[which]);
    }
    UNROLL for (int v = 0; v < NV; v++)
        acc[v] = sums[0][0][v] + sums[1][0][v];
}

/* or two, in memory. */
static void RF(steps_products_back)(const rf_product *product, ptrdiff_t t, const real *a, real *dh)
{
    V acc[2][4];
    if (!product->halves) {
        RF(product)(product, 1, a, dh, dh, 0, product->panels);
        return;
    }
    UNROLL for (int v = 0; v < 8; v++)
        acc[v / 4][v % 4] = v_load(dh + v * W);
    steps_two_panels(product, t, a, acc);
    UNROLL for (int v = 0; v < 8; v++)
        v_store(dh + v * W, acc[v / 4][v % 4]);
}

/* Panel p of a row that ends with its last unit. */
INLINE V steps_read(const void *row, ptrdiff_t hidden, ptrdiff_t p)
{
    const real *from = (const real *)row + p * W;
    return hidden - p * W < W ? v_load_n(from, (int)(hidden - p * W)) : v_load(from);
}

/* h before step t and after it, and the gradient of the latter when that of the output has been added. */
INLINE const void *steps_before(const rf_steps_back *s, ptrdiff_t t) { return t ? s->y + (t - 1) * s->y_step : s->h_prev; }
INLINE const void *steps_after(const rf_steps_back *s, ptrdiff_t t) { return s->y + t * s->y_step; }
INLINE V steps_gradient(const rf_steps_back *s, ptrdiff_t t, ptrdiff_t p, V dh)
{
    if (!s->dy)
        return dh;
    return dh + steps_read(s->dy + t * s->dy_step, s->hidden, p);
}

/* RF(name): name(P, s) for as many panels as there are, up to four. */
#define STEPS_BACK(name)                            \
    static void RF(name)(const rf_steps_back *s)    \
    {                                               \
        switch ((s->hidden + W - 1) / W) {          \
            case 1: name(1, s); break;              \
            case 2: name(2, s); break;              \
            case 3: name(3, s); break;              \
            case 4: name(4, s); break;              \
        }                                           \
    }
