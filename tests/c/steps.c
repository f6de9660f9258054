/* Sweeps through many steps of one row, forwards and back, by one thread and by several that share the units, against the
 * same steps one by one: to the bit. */
#include "checks.h"

enum { T = 5 };

/* Random (n, columns) in rows of `ld`, zeros past the columns. */
static real *table(ptrdiff_t n, ptrdiff_t columns, ptrdiff_t ld)
{
    real *x = random_reals(n * ld);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = columns; j < ld; j++)
            x[i * ld + j] = 0;
    return x;
}

/* Random weights (k, columns) in panels of four vectors, the last of fewer, zeros past the columns. */
static real *panels_of(ptrdiff_t k, ptrdiff_t columns, ptrdiff_t ld)
{
    real *x = random_reals(k * ld), *row = x;
    for (ptrdiff_t at = 0, wide; at < ld; at += wide) {
        wide = ld - at < 4 * ops->width ? ld - at : 4 * ops->width;
        for (ptrdiff_t i = 0; i < k; i++, row += wide)
            for (ptrdiff_t j = columns - at; j < wide; j++)
                row[j] = 0;
    }
    return x;
}

static void same(const rf_cell *c, const real *found, const real *expected, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        check(found[i], expected[i], 0, c->name);
}

/* Where the gates of the recurrent product stand in a row, as rnnfast/_native/pack.pyx has it. */
static rf_runs gates_of(const rf_cell *c, ptrdiff_t U)
{
    const ptrdiff_t W = ops->width, S = c->slots, K = c->phase[0].slots, whole = U / W;
    rf_runs from = {1, U, 0, 0, 0, 0, 0};
    if (S > 1) {
        from = (rf_runs){whole, K * W, S * W, 0, 0, 0, 0};
        if (K == S)
            from.runs = whole > 0, from.run = whole * K * W;
        if (U % W)
            from.more = K, from.more_run = U % W, from.more_stride = W, from.more_at = whole * S * W;
    }
    return from;
}

/* The same backwards; `gates` as forward has left them. */
static void check_sweep_back(const rf_cell *c, ptrdiff_t U, real *h, real *cs, real *gates, const real *y)
{
    const ptrdiff_t W = ops->width, S = c->slots, P = (U + W - 1) / W, ld = P * W, ldg = S * ld;
    const rf_phase *phase = &c->phase[0];
    const ptrdiff_t K = phase->slots, first = phase->first * W;
    real *w2 = panels_of(K * U, U, ld), *dy = random_reals(T * U), *dh = table(1, U, ld), *dc = table(1, U, ld);
    real *dh2 = copy(dh, ld), *dc2 = copy(dc, ld), *gates2 = copy(gates, T * ldg);
    const ptrdiff_t panels = (P + 3) / 4;
    rf_product back = {.from = gates_of(c, U), .panels = panels, .panel_stride = 4 * W, .vectors = 4,
                       .last = (int)(P - (panels - 1) * 4), .tail = (int)W, .lda = ldg, .ldc = ld, .ld_init = ld, .b = w2};
    ops->set_chains(&back);
    for (ptrdiff_t t = T - 1; t >= 0; t--) {
        real *a = gates + t * ldg;
        for (ptrdiff_t u = 0; u < U; u++)
            dh[u] += dy[t * U + u];
        const rf_step s = {.ld_gates = ldg, .ld_state = ld, .gates = a, .h_prev = h + t * ld, .h = h + (t + 1) * ld,
                           .c_prev = cs + t * ld, .c = cs + (t + 1) * ld, .dh = dh, .dc = dc};
        phase->backward(&s, 0, 1, 0, P);
        ops->product(&back, 1, a + first, dh, dh, 0, panels);
    }
    const rf_steps_back sweep = {.steps = T, .hidden = U, .ld_gates = ldg, .product = &back,
                                 .gates = gates2, .h_prev = h, .y = (const char *)y,
                                 .y_step = U * (ptrdiff_t)sizeof(real), .dy = (const char *)dy,
                                 .dy_step = U * (ptrdiff_t)sizeof(real), .c = cs, .dh = dh2, .dc = dc2};
    c->steps_back(&sweep);
    same(c, gates2, gates, T * ldg);
    same(c, dh2, dh, U);
    same(c, dc2, dc, c->has_c ? U : 0);
    free(w2), free(dy), free(dh), free(dc), free(dh2), free(dc2), free(gates2);
}

/* The recurrent product as rnnfast/_native/pack.pyx has it: panels of units, or of four vectors where there is one slot. */
static rf_product product_of(const rf_cell *c, ptrdiff_t U, const real *w)
{
    const ptrdiff_t W = ops->width, S = c->slots, K = c->phase[0].slots, P = (U + W - 1) / W;
    rf_product found = {.from = {1, U, 0, 0, 0, 0, 0}, .panels = P, .panel_stride = S * W, .vectors = (int)K, .last = (int)K,
                        .tail = (int)W, .lda = P * W, .ldc = S * P * W, .ld_init = S * P * W, .b = w};
    if (S == 1) {
        found.panels = (P + 3) / 4, found.panel_stride = 4 * W;
        found.vectors = 4, found.last = (int)(P - (found.panels - 1) * 4);
    } else if (P > 2 && (U % W * K + W - 1) / W < K && U % W) {
        found.units = (int)(U % W), found.last = (int)((U % W * K + W - 1) / W);
    }
    ops->set_chains(&found);
    return found;
}

typedef struct {
    const rf_cell *cell;
    rf_steps sweep;
} shared_sweep;

static void sweep_together(void *context, int thread, int threads)
{
    const shared_sweep *shared = context;
    rf_steps s = shared->sweep;
    s.thread = thread, s.threads = threads;
    shared->cell->steps_together(&s);
}

/* The sweep of `alone`, whose results these are, by several threads. */
static void check_sweep_together(const rf_cell *c, const rf_steps *alone, const real *gates, const real *h, const real *cs)
{
    const ptrdiff_t W = ops->width, U = alone->hidden, ld = (U + W - 1) / W * W, ldg = alone->ld_gates;
    for (int threads = 2; threads <= 3; threads++) {
        real *own = copy(gates, T * ldg), *y = random_reals(T * U), *rows = random_reals(3 * ld);
        real *cells = random_reals((1 + T) * ld);
        memcpy(rows, h, (size_t)ld * sizeof(real));
        memcpy(cells, cs, (size_t)ld * sizeof(real));
        shared_sweep shared = {c, *alone};
        shared.sweep.gates = own, shared.sweep.ld_state = ld, shared.sweep.turn = threads & 1;
        shared.sweep.h_prev = rows, shared.sweep.h[0] = rows + ld, shared.sweep.h[1] = rows + 2 * ld;
        shared.sweep.c_prev = cells, shared.sweep.c = cells + ld, shared.sweep.y = (char *)y;
        shared.sweep.group = c->slots == 1 ? 4 * W : W > 64 / (ptrdiff_t)sizeof(real) ? W : 64 / (ptrdiff_t)sizeof(real);
        rf_parallel(sweep_together, &shared, threads);
        for (ptrdiff_t t = 0; t < T; t++) {
            same(c, y + t * U, h + (t + 1) * ld, U);
            same(c, cells + (t + 1) * ld, cs + (t + 1) * ld, c->has_c ? U : 0);
        }
        same(c, (const real *)shared.sweep.h[(T - 1) & 1], h + T * ld, U);
        free(own), free(y), free(rows), free(cells);
    }
}

static void check_sweep(const rf_cell *c, ptrdiff_t U)
{
    const ptrdiff_t W = ops->width, S = c->slots, P = (U + W - 1) / W, ld = P * W, ldg = S * ld;
    const rf_phase *phase = &c->phase[0];
    const ptrdiff_t K = phase->slots, first = phase->first * W;
    real *w = random_reals(U * K * ld), *gates = random_reals(T * ldg), *own = copy(gates, T * ldg);
    real *read = copy(gates, T * ldg);
    real *h = table(1 + T, U, ld), *cs = table(1 + T, U, ld), *y = random_reals(T * U), *last = random_reals(ld), *other = random_reals(ld);
    real *cs2 = copy(cs, (1 + T) * ld), *c_last = random_reals(ld);
    const rf_product forth = product_of(c, U, w);
    for (ptrdiff_t t = 0; t < T; t++) {
        real *a = gates + t * ldg;
        ops->product(&forth, 1, h + t * ld, a + first, a + first, 0, forth.panels);
        const rf_step s = {.ld_gates = ldg, .ld_state = ld, .gates = a, .h_prev = h + t * ld, .h = h + (t + 1) * ld,
                           .c_prev = cs + t * ld, .c = cs + (t + 1) * ld};
        phase->forward(&s, 0, 1, 0, P);
    }
    rf_steps sweep = {.steps = T, .hidden = U, .ld_gates = ldg, .product = &forth, .gates = own, .ld_state = ld,
                      .h_prev = h, .h = {last, other}, .c_prev = cs2, .c = cs2 + ld, .y = (char *)y,
                      .y_step = U * (ptrdiff_t)sizeof(real), .threads = 1};
    c->steps(&sweep);
    for (ptrdiff_t t = 0; t < T; t++) {
        same(c, y + t * U, h + (t + 1) * ld, U);
        same(c, cs2 + (t + 1) * ld, cs + (t + 1) * ld, c->has_c ? U : 0);
        same(c, own + t * ldg, gates + t * ldg, S > 1 ? ldg : 0); /* an RNN finds its h in y */
    }
    same(c, last, h + T * ld, U);
    if (c->steps_together && forth.chains == 1)
        check_sweep_together(c, &sweep, read, h, cs);
    /* for inference: c and h in one place, nothing kept */
    memset(y, 0, (size_t)(T * U) * sizeof(real));
    memcpy(other, h, (size_t)ld * sizeof(real));
    memcpy(c_last, cs, (size_t)ld * sizeof(real));
    sweep.gates = read, sweep.ld_state = 0;
    sweep.h_prev = other, sweep.c_prev = sweep.c = c_last;
    c->steps(&sweep);
    for (ptrdiff_t t = 0; t < T; t++)
        same(c, y + t * U, h + (t + 1) * ld, U);
    same(c, last, h + T * ld, U);
    same(c, c_last, cs + T * ld, c->has_c ? U : 0);
    free(read), free(c_last), free(own), free(cs2), free(last), free(other);
    if (P <= c->steps_back_panels)
        check_sweep_back(c, U, h, cs, gates, y);
    free(w), free(gates), free(h), free(cs), free(y);
}

void check_steps(void)
{
    for (int cell = 0; ops->cells[cell]; cell++)
        for (ptrdiff_t U = 1; U <= ops->cells[cell]->steps_panels * ops->width; U += 1 + U / (4 * ops->width) * 3)
            check_sweep(ops->cells[cell], U);
}
