/* The cells of csrc/cells as plain loops in double, one row of the batch at a time; equations: rnnfast/reference.
 *
 * A row is one array: gate slots (S,U), h_prev (U), c_prev (U), vectors (E,U); out come h, c and aux, (U) each. Slots
 * and vectors are in the order of the cell's file. */
#include "checks.h"

/* Peepholes, and with a normalisation gains and biases. */
static ptrdiff_t vectors_of(const rf_cell *c)
{
    return !c->options ? 0 : c->norm ? 5 * c->gates - 1 + 2 * c->has_c : c->gates - 1;
}

static void normalise(ptrdiff_t n, const double *x, double *to)
{
    double mean = 0, squares = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (ptrdiff_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = (x[i] - mean) / sqrt(squares + 1e-5);
}

/* LSTM: slots i f g o or, coupled, f g o; with a normalisation those of the inputs, then those of the state. */
static void plain_lstm(const rf_cell *cell, int peephole, double clip, ptrdiff_t U, const double *in, double *out)
{
    const ptrdiff_t G = cell->gates, f_at = G - 3;
    const double *c_prev = in + (cell->slots + 1) * U, *vector = c_prev + U;
    double *x = malloc((size_t)(2 * G * U) * sizeof(double)), *h = out, *c = out + U;
    memcpy(x, in, (size_t)(G * U) * sizeof(double));
    if (cell->norm) {
        normalise(G * U, in, x);
        normalise(G * U, in + G * U, x + G * U);
        const double *gain_x = vector + (G - 1) * U, *gain_h = gain_x + G * U, *b = gain_h + G * U;
        for (ptrdiff_t k = 0; k < G * U; k++)
            x[k] = gain_x[k] * x[k] + gain_h[k] * x[G * U + k] + b[k] + b[G * U + k];
    }
    for (ptrdiff_t u = 0; u < U; u++) {
        const double f = sigmoid(x[f_at * U + u] + (peephole ? vector[f_at * U + u] * c_prev[u] : 0));
        const double i = f_at ? sigmoid(x[u] + (peephole ? vector[u] * c_prev[u] : 0)) : 1 - f;
        c[u] = f * c_prev[u] + i * tanh(x[(f_at + 1) * U + u]);
        if (clip > 0)
            c[u] = fmin(fmax(c[u], -clip), clip);
        h[u] = sigmoid(x[(f_at + 2) * U + u] + (peephole ? vector[(f_at + 1) * U + u] * c[u] : 0));
    }
    memcpy(x, c, (size_t)U * sizeof(double));
    if (cell->norm)
        normalise(U, c, x);
    for (ptrdiff_t u = 0; u < U; u++)
        h[u] *= tanh(cell->norm ? vector[(5 * G - 1) * U + u] * x[u] + vector[5 * G * U + u] : x[u]);
    free(x);
}

/* GRU and minimal gated units: with the reset after, slots n gates u, else gates n; with a normalisation gates n of the
 * inputs, then of the state, gates and n normalised apart. Minimal: one gate f, r = f and z = 1 - f. */
static void plain_gru(const rf_cell *cell, int peephole, ptrdiff_t U, const double *in, double *out)
{
    const ptrdiff_t G = cell->gates, K = G - 1, after = !cell->has_aux;
    const double *h_prev = in + cell->slots * U, *vector = h_prev + 2 * U;
    double *x = calloc((size_t)(2 * G * U), sizeof(double)), *h = out, *aux = out + 2 * U;
    if (cell->norm) {
        for (int side = 0; side < 2; side++) {
            double *part = x + side * G * U;
            normalise(K * U, in + side * G * U, part);
            normalise(U, in + (side * G + K) * U, part + K * U);
            for (ptrdiff_t k = 0; k < G * U; k++)
                part[k] = vector[(K + side * G) * U + k] * part[k] + vector[(K + 2 * G + side * G) * U + k];
        }
    } else if (after) {
        memcpy(x, in + U, (size_t)(K * U) * sizeof(double));
        memcpy(x + K * U, in, (size_t)U * sizeof(double));
        memcpy(x + (G + K) * U, in + G * U, (size_t)U * sizeof(double));
    } else {
        memcpy(x, in, (size_t)(G * U) * sizeof(double));
    }
    for (ptrdiff_t u = 0; u < U; u++) {
        double gate[2];
        for (ptrdiff_t k = 0; k < K; k++)
            gate[k] = sigmoid(x[k * U + u] + x[(G + k) * U + u] + (peephole ? vector[k * U + u] * h_prev[u] : 0));
        const double z = K == 1 ? 1 - gate[0] : gate[1];
        const double n = tanh(x[K * U + u] + (after ? gate[0] : 1) * x[(G + K) * U + u]);
        h[u] = n + z * (h_prev[u] - n);
        aux[u] = gate[0] * h_prev[u];
    }
    free(x);
}

/* Returns whether there is a plain loop for the cell. */
static int plain(const rf_cell *cell, int peephole, double clip, ptrdiff_t U, const double *in, double *out)
{
    memset(out, 0, (size_t)(3 * U) * sizeof(double));
    if (!strncmp(cell->name, "lstm", 4)) {
        plain_lstm(cell, peephole, clip, U, in, out);
    } else if (!strncmp(cell->name, "gru", 3) || !strncmp(cell->name, "mgu", 3)) {
        plain_gru(cell, peephole, U, in, out);
    } else if (!strncmp(cell->name, "rnn_", 4)) {
        for (ptrdiff_t u = 0; u < U; u++)
            out[u] = !strcmp(cell->name, "rnn_tanh") ? tanh(in[u])
                     : !strcmp(cell->name, "rnn_relu") ? fmax(in[u], 0)
                                                       : sigmoid(in[u]);
    } else {
        return 0;
    }
    return 1;
}

/* The derivative of d . (h, c, aux) by element j of a row; d is (3 U). */
static double slope(const rf_cell *cell, int peephole, double clip, ptrdiff_t U, double *in, ptrdiff_t j,
                    const double *d)
{
    const double at = in[j], step = 1e-6;
    double *out = malloc((size_t)(3 * U) * sizeof(double)), sides[2] = {0, 0};
    for (int side = 0; side < 2; side++) {
        in[j] = at + (side ? step : -step);
        plain(cell, peephole, clip, U, in, out);
        for (ptrdiff_t u = 0; u < 3 * U; u++)
            sides[side] += d[u] * out[u];
    }
    in[j] = at;
    free(out);
    return (sides[1] - sides[0]) / (2 * step);
}
