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

/* One step of a sweep by groups of panels: where it reads and writes. */
typedef struct {
    real *gates;
    const real *from, *c_prev; /* h and c before it */
    real *to, *c;              /* and after it */
    unsigned long awaited;     /* how far all threads have to be with what is in `from` */
} steps_now;

/* The unit that a thread's share begins with. */
INLINE ptrdiff_t steps_begin(const rf_steps *s, ptrdiff_t thread)
{
    const ptrdiff_t groups = (s->hidden + s->group - 1) / s->group;
    return MIN(s->hidden, groups * thread / s->threads * s->group);
}

/* Wait until every other thread is done with what it makes of `from`. */
INLINE void steps_await(const rf_steps *s, const steps_now *now)
{
    for (int i = 0; i < s->threads; i++)
        if (i != s->thread)
            rf_await(s->thread, i, now->awaited);
}

/* The same over all k; with `await`, what other threads have to make of h is waited for when its turn comes. */
INLINE void steps_sums(const int P, const int NV, const int await, const rf_steps *s, const steps_now *now, const real *b,
                       V acc[][4])
{
    if (!await) {
        steps_part(P, NV, s->hidden, s->hidden, now->from, b, acc);
        return;
    }
    for (int i = 0; i < s->threads; i++) {
        const ptrdiff_t begin = steps_begin(s, i), end = steps_begin(s, i + 1);
        if (i != s->thread)
            rf_await(s->thread, i, now->awaited);
        steps_part(P, NV, s->hidden, end - begin, now->from + begin, b + begin * NV * W, acc);
    }
}

/* The sums of a step's only one or two panels, with as many chains as `set_chains` has it. */
INLINE void steps_product(const int P, const int NV, ptrdiff_t hidden, const real *h, const real *b, V acc[][4])
{
    const rf_runs all = {.runs = 1, .run = hidden};
    if (P == 1)
        chains_product(1, NV, chains_of(1, NV, NV), &all, h, 0, b, acc);
    else
        steps_part(P, NV, hidden, hidden, h, b, acc);
}

/* Two panels of four vectors, by halves of k where the product has them: first the one that was last in the step before. */
INLINE void steps_two_panels(const rf_product *s, ptrdiff_t t, const real *h, V acc[][4])
{
    const ptrdiff_t K = s->from.run;
    const real *b = s->b;
    V sums[2][2][4];
    if (!s->halves) {
        steps_part(2, 4, K, K, h, b, acc);
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
INLINE void steps_store(const rf_steps *s, ptrdiff_t t, int p, V h, real *now)
{
    const ptrdiff_t n = s->hidden - p * W;
    real *y = (real *)(s->y + t * s->y_step) + p * W;
    v_store(now + p * W, h);
    if (n < W)
        v_store_n(y, (int)n, h);
    else
        v_store(y, h);
}

/* Where h is after step t. */
INLINE real *steps_row(const rf_steps *s, ptrdiff_t t) { return s->h[t & 1]; }

/* Write units of h where the caller reads them: only now, for nobody waits for that. */
INLINE void steps_put(const real *h, ptrdiff_t units, real *y)
{
    for (; units >= W; units -= W, h += W, y += W)
        v_store(y, v_load(h));
    if (units)
        v_store_n(y, (int)units, v_load(h));
}

/* Panels p, p+1, .. of a step, all of whose sums are in registers at once, or panel p, whose product has been made. */
typedef void (*steps_group)(const rf_steps *s, const steps_now *now, ptrdiff_t p);

/* Those that take so many panels, without and with waiting for other threads. */
#define STEPS_GROUP(name, P)                                                                                    \
    static void RF(name##_##P)(const rf_steps *s, const steps_now *now, ptrdiff_t p) { name(P, 0, s, now, p); } \
    static void RF(name##_await_##P)(const rf_steps *s, const steps_now *now, ptrdiff_t p) { name(P, 1, s, now, p); }

/* A sweep through cells of more panels than fit the registers at once: group[0][n] takes n of them, up to `most`, and
 * group[0][0] a narrow one; group[1] waits for other threads. A panel has `wide` vectors of units, the product begins with
 * gate slot `first`. Weights larger than the first-level cache are walked through forwards and backwards.
 *
 * Threads that share the units wait for each other's part of h only where a product comes to it: whoever has the first
 * units goes ahead by as much as the way to the others takes. That part is free to be written again two steps later, for
 * by then all have told of a step that they had to read it for. */
INLINE void steps_by_groups(const rf_steps *s, int first, const steps_group group[2][5], int most, int wide)
{
    const rf_product *product = s->product;
    const int alone = s->threads < 2;
    const ptrdiff_t begin = alone ? 0 : steps_begin(s, s->thread);
    const ptrdiff_t units = (alone ? s->hidden : steps_begin(s, s->thread + 1)) - begin;
    const ptrdiff_t p0 = begin / (wide * W), P = (begin + units + wide * W - 1) / (wide * W);
    const ptrdiff_t narrow = P == product->panels && product->units > 0;
    const ptrdiff_t n = P - narrow - p0, groups = (n + most - 1) / most;
    const real *last_b = (const real *)product->b + (P - narrow) * s->hidden * product->vectors * W;
    const ptrdiff_t last_at = (P - narrow) * product->panel_stride + first * W;
    const int zigzag = n * s->hidden * product->vectors * W * (ptrdiff_t)sizeof(real) > 32 * 1024;
    steps_now now = {.gates = s->gates, .from = s->h_prev, .c_prev = s->c_prev, .c = s->c};
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        const int back = zigzag && (s->turn + t) & 1;
        now.to = steps_row(s, t);
        now.awaited = s->told + (unsigned long)t;
        for (ptrdiff_t i = 0; i < groups; i++) {
            const ptrdiff_t g = back ? groups - 1 - i : i, p = g * n / groups;
            group[!alone && i == 0][(g + 1) * n / groups - p](s, &now, p0 + p);
        }
        if (narrow) {
            if (n == 0)
                steps_await(s, &now);
            narrow_panel(product, 1, now.from, last_b, now.gates + last_at, now.gates + last_at);
            group[0][0](s, &now, P - 1);
        }
        if (!alone)
            rf_post(s->thread, now.awaited + 1);
        steps_put(now.to + begin, units, (real *)(s->y + t * s->y_step) + begin);
        now.from = now.to;
        now.gates += s->ld_gates;
        now.c_prev = now.c;
        now.c += s->ld_state;
    }
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
