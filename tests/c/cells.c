/* Cells, forwards, in inference and back, with every combination of their flags. */
#include "cells.h"

/* Elements of one row of kernels' arrays (K,P*W), or (P,K,W) if `mixed`, as the (K,U) of plain loops. */
static void take_row(ptrdiff_t kinds, ptrdiff_t ld, ptrdiff_t U, int mixed, const real *from, double *to)
{
    const ptrdiff_t W = ops->width;
    for (ptrdiff_t k = 0; k < kinds; k++)
        for (ptrdiff_t u = 0; u < U; u++)
            to[k * U + u] = (double)from[mixed ? (u / W * kinds + k) * W + u % W : k * ld + u];
}

/* Random (rows, kinds, P*W), or (rows, P, kinds, W) if `mixed`, with zeros where there is padding past U. */
static real *padded(ptrdiff_t rows, ptrdiff_t kinds, ptrdiff_t ld, ptrdiff_t U, int mixed)
{
    const ptrdiff_t W = ops->width;
    real *x = random_reals(rows * kinds * ld);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t k = 0; k < kinds; k++)
            for (ptrdiff_t u = U; u < ld; u++)
                x[r * kinds * ld + (mixed ? (u / W * kinds + k) * W + u % W : k * ld + u)] = 0;
    return x;
}

/* One cell, on whole rows where it normalises, else in two parts of the panels. */
static void check_cell(const rf_cell *c, int peephole, double clip, ptrdiff_t rows, ptrdiff_t panels)
{
    const ptrdiff_t W = ops->width, S = c->slots, ld = panels * W, ldg = ld * S, n = rows * ld, E = vectors_of(c);
    const ptrdiff_t U = ld - (W > 3 ? 3 : 0), room = E + c->room, half = c->norm ? panels : panels / 2;
    real *a = padded(rows, S, ld, U, 1), *h0 = padded(rows, 1, ld, U, 0), *c0 = padded(rows, 1, ld, U, 0);
    real *dh0 = padded(rows, 1, ld, U, 0), *dc0 = padded(rows, 1, ld, U, 0), *daux = padded(rows, 1, ld, U, 0);
    real *vectors = padded(1, E, ld, U, 0), *dvectors = calloc((size_t)(rows * room * ld), sizeof(real));
    real *stats = malloc((size_t)(4 * rows) * sizeof(real)), *stats2 = malloc((size_t)(4 * rows) * sizeof(real));
    real *gates = copy(a, rows * ldg), *quick = copy(a, rows * ldg);
    real *h = malloc((size_t)n * sizeof(real)), *c1 = copy(c0, n), *aux = copy(h0, n);
    real *dh = copy(dh0, n), *dc = copy(dc0, n), *h2 = copy(h0, n), *c2 = copy(c0, n), *aux2 = copy(h0, n);
    const rf_options options = {
        .peephole = peephole, .clip = clip, .units = U, .ld = ld, .rows = room, .vectors = vectors};
    rf_step s = {.ld_gates = ldg, .ld_state = ld, .gates = gates, .h_prev = h0, .h = h, .c_prev = c0, .c = c1,
                 .aux = aux, .dh = dh, .dc = dc, .daux = daux, .options = c->options ? &options : NULL,
                 .stats = stats, .dvectors = dvectors};
    rf_step i = s;
    i.gates = quick, i.h = h2, i.c_prev = i.c = c2, i.aux = aux2, i.stats = stats2;
    for (int p = 0; p < c->phases; p++) {
        c->phase[p].forward(&s, 0, rows, 0, half);
        if (half < panels)
            c->phase[p].forward(&s, 0, rows, half, panels);
        c->phase[p].infer(&i, 0, rows, 0, panels);
    }
    /* differences of 1e-6 err by 1e-9, a few roundings of float; dividing by a deviation makes more of both */
    const double bound = (RF_DOUBLE ? 1e-8 : 1e-5) * (c->norm ? 10 : 1);
    for (int p = c->phases - 1; p >= 0; p--)
        c->phase[p].backward(&s, 0, rows, 0, panels);
    const ptrdiff_t inputs = (S + 2 + E) * U;
    double *in = malloc((size_t)inputs * sizeof(double)), *found = malloc((size_t)inputs * sizeof(double));
    double *out = malloc((size_t)(3 * U) * sizeof(double)), *d = calloc((size_t)(3 * U), sizeof(double));
    for (ptrdiff_t r = 0; r < rows; r++) {
        take_row(S, ld, U, 1, a + r * ldg, in);
        take_row(1, ld, U, 0, h0 + r * ld, in + S * U);
        take_row(1, ld, U, 0, c0 + r * ld, in + (S + 1) * U);
        take_row(E, ld, U, 0, vectors, in + (S + 2) * U);
        if (!plain(c, peephole, clip, U, in, out)) {
            failures++;
            printf("no plain loop for cell %s\n", c->name);
            break;
        }
        for (ptrdiff_t u = 0; u < U; u++) {
            const ptrdiff_t at = r * ld + u;
            check(h[at], out[u], bound, c->name), check(h2[at], out[u], bound, c->name);
            if (c->has_c)
                check(c1[at], out[U + u], bound, c->name), check(c2[at], out[U + u], bound, c->name);
            if (c->has_aux)
                check(aux[at], out[2 * U + u], bound, c->name), check(aux2[at], out[2 * U + u], bound, c->name);
        }
        take_row(1, ld, U, 0, dh0 + r * ld, d);
        if (c->has_c)
            take_row(1, ld, U, 0, dc0 + r * ld, d + U);
        if (c->has_aux)
            take_row(1, ld, U, 0, daux + r * ld, d + 2 * U);
        take_row(S, ld, U, 1, gates + r * ldg, found);
        take_row(1, ld, U, 0, dh + r * ld, found + S * U);
        take_row(1, ld, U, 0, dc + r * ld, found + (S + 1) * U);
        take_row(E, ld, U, 0, dvectors + r * room * ld, found + (S + 2) * U);
        for (ptrdiff_t j = 0; j < inputs; j++) {
            const ptrdiff_t kind = j / U, G = c->gates, vector = kind - S - 2;
            /* an LSTM that normalises leaves the sums of b_hh, which are those of b_ih, to its caller */
            const int not_made = (kind == S + 1 && !c->has_c)
                                 || (c->norm && c->has_c && vector >= 4 * G - 1 && vector < 5 * G - 1);
            if (!not_made)
                check(found[j], slope(c, peephole, clip, U, in, j, d), bound, c->name);
        }
    }
    free(a), free(gates), free(quick), free(h0), free(c0), free(dh0), free(dc0), free(h), free(c1), free(aux);
    free(daux), free(dh), free(dc), free(h2), free(c2), free(aux2), free(vectors), free(dvectors), free(stats);
    free(stats2), free(in), free(found), free(out), free(d);
}

/* A cell with all of its flags. A normalisation is asked for rows of eight units at least: the deviation of two or
 * three may be so small that differences say nothing. */
static void check_flags(const rf_cell *c)
{
    const ptrdiff_t least = c->norm ? 1 + 7 / ops->width : 1, most = c->norm ? least + 2 : 5;
    for (int peephole = 0; peephole <= c->options; peephole++)
        for (int clips = 0; clips <= (c->options && c->has_c); clips++)
            for (ptrdiff_t rows = 0; rows < 4; rows++)
                for (ptrdiff_t panels = least; panels <= most; panels++)
                    check_cell(c, peephole, clips ? 0.4 : 0, rows, panels);
}

void check_cells(void)
{
    for (int cell = 0; ops->cells[cell]; cell++)
        check_flags(ops->cells[cell]);
}
