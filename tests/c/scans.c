/* Sweeps of elementwise recurrences. */
#include "checks.h"

/* One step of a unit in an elementwise recurrence: a (slots), state before, weights of the state, the highway. */
typedef struct chain {
    double a[4], c, v[2], x, scale, c_next, h;
} chain;

static double positive(double a) { return a < 0 ? sigmoid(a) : a + 0.5; }

static double by_name(const char *function, double a)
{
    return !strcmp(function, "tanh") ? tanh(a) : !strcmp(function, "positive") ? positive(a) : a;
}

static void plain_scan(const char *cell, chain *u)
{
    const double *a = u->a, *v = u->v, c = u->c;
    if (!strcmp(cell, "indrnn_relu")) {
        const double sum = a[0] + v[0] * c;
        u->c_next = u->h = sum > 0 ? sum : 0;
    } else if (!strcmp(cell, "indrnn_tanh")) {
        u->c_next = u->h = tanh(a[0] + v[0] * c);
    } else if (!strncmp(cell, "mingru_", 7)) { /* z n */
        u->c_next = u->h = c + sigmoid(a[0]) * (by_name(cell + 7, a[1]) - c);
    } else if (!strncmp(cell, "minlstm_", 8)) { /* f i n */
        const double f = sigmoid(a[0]), i = sigmoid(a[1]);
        u->c_next = u->h = (f * c + i * by_name(cell + 8, a[2])) / (f + i);
    } else if (!strncmp(cell, "qrnn", 4)) { /* z f o */
        const double f = 1 - u->scale * (1 - sigmoid(a[1]));
        u->c_next = f * c + (1 - f) * tanh(a[0]);
        u->h = strcmp(cell, "qrnn") ? u->c_next : sigmoid(a[2]) * u->c_next;
    } else if (!strncmp(cell, "sru", 3)) { /* x f r s */
        const double f = sigmoid(a[1] + v[0] * c), r = sigmoid(a[2] + v[1] * c);
        u->c_next = f * c + (1 - f) * a[0];
        u->h = r * u->c_next + (1 - r) * u->scale * (strcmp(cell, "sru") ? a[3] : u->x);
    } else {
        printf("no plain loop for cell %s\n", cell);
        failures++;
    }
}

/* Derivative of dh h + dc c_next by one of the inputs of a step. */
static double slope_of_step(const char *cell, chain *u, double *input, double dh, double dc)
{
    const double at = *input, step = 1e-6;
    double side[2];
    for (int i = 0; i < 2; i++) {
        *input = at + (i ? step : -step);
        plain_scan(cell, u);
        side[i] = dh * u->h + dc * u->c_next;
    }
    *input = at;
    return (side[1] - side[0]) / (2 * step);
}

/* Steps of one sequence, forwards in memory or (sign -1) backwards, the sweep in two parts by steps and by panels; with
 * and without saving, and back. */
static void check_scan(const rf_scan_cell *c, ptrdiff_t steps, ptrdiff_t hidden, int sign)
{
    const ptrdiff_t W = ops->width, S = c->slots, NV = c->vectors, P = (hidden + W - 1) / W, ld = P * W, ldg = ld * S;
    const ptrdiff_t half = P / 2, first = sign > 0 ? 0 : steps - 1, cut_at = steps / 2, size = steps * ldg + 1;
    real *a = random_reals(size), *gates = copy(a, size), *quick = copy(a, size), *x = random_reals(steps * hidden + 1);
    real *state0 = random_reals(ld), *state = copy(state0, ld), *other = copy(state0, ld), *v = random_reals(ld * NV + 1);
    real *y = random_reals(steps * hidden + 1), *y2 = copy(y, steps * hidden + 1), *cs = random_reals(steps * ld + 1);
    real *dy = random_reals(steps * hidden + 1), *dstate0 = random_reals(ld), *dstate = copy(dstate0, ld);
    real *dv0 = random_reals(ld * NV + 1), *dv = copy(dv0, ld * NV + 1), *dx = random_reals(steps * ld + 1);
    const double scale = c->highway || !strcmp(c->name, "sru_projected") ? 1.25 : 1, bound = RF_DOUBLE ? 1e-7 : 4e-5;
    for (ptrdiff_t pass = 0; pass < 4; pass++) { /* two parts of the steps, each in two parts of the panels */
        const ptrdiff_t from = pass < 2 ? 0 : cut_at, count = (pass < 2 ? cut_at : steps - cut_at);
        const ptrdiff_t p0 = pass % 2 ? half : 0, p1 = pass % 2 ? P : half, t = first + sign * from;
        rf_scan s = {.hidden = hidden, .gates_step = sign * ldg, .x_step = sign * hidden, .y_step = sign * hidden,
                     .c_step = sign * ld, .dx_step = sign * ld, .v = v, .scale = scale, .state = state};
        if (count == 0 || p0 == p1)
            continue;
        s.gates = gates + t * ldg + p0 * S * W, s.x = x + t * hidden, s.y = y + t * hidden, s.c = cs + t * ld;
        c->forward(&s, count, p0, p1);
        s.gates = quick + t * ldg + p0 * S * W, s.y = y2 + t * hidden, s.c = NULL, s.state = other;
        c->infer(&s, count, p0, p1);
    }
    for (ptrdiff_t u = 0; u < hidden; u++) {
        double now = state0[u];
        for (ptrdiff_t k = 0; k < steps; k++) {
            const ptrdiff_t t = first + sign * k;
            chain link = {.c = now, .x = x[t * hidden + u], .scale = scale};
            for (int slot = 0; slot < S; slot++)
                link.a[slot] = a[t * ldg + u / W * S * W + slot * W + u % W];
            for (int q = 0; q < NV; q++)
                link.v[q] = v[(u / W * NV + q) * W + u % W];
            check(cs[t * ld + u], now, bound, c->name);
            plain_scan(c->name, &link);
            check(y[t * hidden + u], link.h, bound, c->name);
            check(y2[t * hidden + u], link.h, bound, c->name);
            now = link.c_next;
        }
        check(state[u], now, bound, c->name);
        check(other[u], now, bound, c->name);
    }
    for (ptrdiff_t pass = 0; pass < 2 && steps; pass++) {
        const ptrdiff_t p0 = pass ? half : 0, p1 = pass ? P : half, t = first + sign * (steps - 1);
        rf_scan s = {.hidden = hidden, .gates_step = -sign * ldg, .x_step = -sign * hidden, .y_step = -sign * hidden,
                     .c_step = -sign * ld, .dx_step = -sign * ld, .v = v, .dv = dv, .scale = scale, .state = dstate,
                     .gates = gates + t * ldg + p0 * S * W, .x = x + t * hidden, .y = dy + t * hidden, .c = cs + t * ld,
                     .dx = dx + t * ld};
        if (p0 < p1)
            c->backward(&s, steps, p0, p1);
    }
    for (ptrdiff_t u = 0; u < hidden; u++) {
        double d = dstate0[u], sums[2] = {0, 0};
        for (ptrdiff_t k = steps - 1; k >= 0; k--) {
            const ptrdiff_t t = first + sign * k;
            const double dh = dy[t * hidden + u];
            chain link = {.c = cs[t * ld + u], .x = x[t * hidden + u], .scale = scale};
            for (int slot = 0; slot < S; slot++)
                link.a[slot] = a[t * ldg + u / W * S * W + slot * W + u % W];
            for (int q = 0; q < NV; q++)
                link.v[q] = v[(u / W * NV + q) * W + u % W];
            for (int slot = 0; slot < S; slot++)
                check(gates[t * ldg + u / W * S * W + slot * W + u % W],
                      slope_of_step(c->name, &link, &link.a[slot], dh, d), bound, c->name);
            for (int q = 0; q < NV; q++)
                sums[q] += slope_of_step(c->name, &link, &link.v[q], dh, d);
            if (c->highway)
                check(dx[t * ld + u], slope_of_step(c->name, &link, &link.x, dh, d), bound, c->name);
            d = slope_of_step(c->name, &link, &link.c, dh, d);
        }
        check(dstate[u], d, bound, c->name);
        for (int q = 0; q < NV; q++) {
            const ptrdiff_t at = (u / W * NV + q) * W + u % W;
            check(dv[at], dv0[at] + sums[q], 2 * bound, c->name);
        }
    }
    free(a), free(gates), free(quick), free(x), free(state0), free(state), free(other), free(v), free(y), free(y2);
    free(cs), free(dy), free(dstate0), free(dstate), free(dv0), free(dv), free(dx);
}

void check_scans(void)
{
    for (int cell = 0; ops->scans[cell]; cell++)
        for (ptrdiff_t steps = 0; steps < 5; steps++)
            for (int n = 0; n < COLUMNS; n++)
                for (int sign = -1; sign < 2; sign += 2)
                    check_scan(ops->scans[cell], steps, some_columns[n], sign);
}
