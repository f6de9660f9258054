/* scan.inc.c: recurrences that are elementwise, so that a unit's future depends on its own past alone.
 *
 * All products are taken before the sweep; what is left of a step is a few operations for each unit, and the price is
 * reading the pre-activations. So a sweep goes through many steps of SCAN_PANELS panels at a time with their states in
 * registers: that many independent chains hide the latency of a sigmoid that waits for the step before it. Units, like
 * sequences, know nothing of each other; who sweeps which, and in how many pieces, changes no bit.
 *
 * A cell (scans/<cell>.inc.c) is two functions of one vector of units and one step:
 *   V <cell>_forward(save, a, c, v, x, scale, &h)           a: its S slots; returns the new state
 *   V <cell>_backward(a, c, dh, dc, v, x, scale, dv, &dx)   c: state before the step; dc: gradient of the state after it;
 *                                                           returns that of c, adds to dv */

enum {
    SCAN_PANELS = 4,
    SOON = 8 /* steps after which memory is wanted that is asked for now: of a row a sweep takes a part, and no processor
              * foresees the next */
};

/* forward and backward through `n` panels from panel p on; the last has `tail` units, the others W */
#define SCAN_SWEEPS(cell, S, NV, HIGHWAY)                                                                             \
    INLINE void cell##_sweep(const int save, const int n, const int tail, const rf_scan *s, ptrdiff_t steps,          \
                             ptrdiff_t p, real *a)                                                                    \
    {                                                                                                                 \
        V c[SCAN_PANELS], v[SCAN_PANELS][NV + 1];                                                                     \
        real *state = (real *)s->state + p * W, *y = (real *)s->y + p * W, *saved = s->c;                             \
        const real *x = s->x, *weights = (const real *)s->v + p * NV * W;                                             \
        for (int q = 0; q < n; q++) {                                                                                 \
            c[q] = v_load(state + q * W);                                                                             \
            for (int k = 0; k < NV; k++)                                                                              \
                v[q][k] = v_load(weights + (q * NV + k) * W);                                                         \
        }                                                                                                             \
        for (ptrdiff_t t = 0; t < steps; t++, a += s->gates_step, y += s->y_step) {                                   \
            UNROLL for (int q = 0; q < n; q++) {                                                                      \
                const int lanes = q == n - 1 ? tail : W;                                                              \
                V h, carried = v_set1(0);                                                                             \
                if (HIGHWAY)                                                                                          \
                    carried = load_lanes(x + t * s->x_step + (p + q) * W, lanes);                                     \
                __builtin_prefetch(y + SOON * s->y_step + q * W);                                                     \
                if (save) {                                                                                           \
                    __builtin_prefetch(saved + (t + SOON) * s->c_step + (p + q) * W);                                 \
                    v_store(saved + t * s->c_step + (p + q) * W, c[q]);                                               \
                }                                                                                                     \
                c[q] = cell##_forward(save, a + q * S * W, c[q], v[q], carried, (real)s->scale, &h);                  \
                store_lanes(y + q * W, lanes, h);                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        for (int q = 0; q < n; q++)                                                                                   \
            v_store(state + q * W, c[q]);                                                                             \
    }                                                                                                                 \
    INLINE void cell##_sweep_back(const int n, const int tail, const rf_scan *s, ptrdiff_t steps, ptrdiff_t p,        \
                                  real *a)                                                                            \
    {                                                                                                                 \
        V dc[SCAN_PANELS], v[SCAN_PANELS][NV + 1], dv[SCAN_PANELS][NV + 1];                                           \
        real *state = (real *)s->state + p * W, *sums = (real *)s->dv + p * NV * W;                                   \
        const real *x = s->x, *dy = s->y, *c = (const real *)s->c + p * W;                                            \
        const real *weights = (const real *)s->v + p * NV * W;                                                        \
        for (int q = 0; q < n; q++) {                                                                                 \
            dc[q] = v_load(state + q * W);                                                                            \
            for (int k = 0; k < NV; k++) {                                                                            \
                v[q][k] = v_load(weights + (q * NV + k) * W);                                                         \
                dv[q][k] = v_load(sums + (q * NV + k) * W);                                                           \
            }                                                                                                         \
        }                                                                                                             \
        for (ptrdiff_t t = 0; t < steps; t++, a += s->gates_step, c += s->c_step) {                                   \
            UNROLL for (int q = 0; q < n; q++) {                                                                      \
                const int lanes = q == n - 1 ? tail : W;                                                              \
                V carried = v_set1(0), dh = v_set1(0), dx;                                                            \
                if (HIGHWAY)                                                                                          \
                    carried = load_lanes(x + t * s->x_step + (p + q) * W, lanes);                                     \
                __builtin_prefetch(c + SOON * s->c_step + q * W);                                                     \
                if (dy) {                                                                                             \
                    __builtin_prefetch(dy + (t + SOON) * s->y_step + (p + q) * W);                                    \
                    dh = load_lanes(dy + t * s->y_step + (p + q) * W, lanes);                                         \
                }                                                                                                     \
                dc[q] = cell##_backward(a + q * S * W, v_load(c + q * W), dh, dc[q], v[q], carried, (real)s->scale,   \
                                        dv[q], &dx);                                                                  \
                if (HIGHWAY)                                                                                          \
                    v_store((real *)s->dx + t * s->dx_step + (p + q) * W, dx);                                        \
            }                                                                                                         \
        }                                                                                                             \
        for (int q = 0; q < n; q++) {                                                                                 \
            v_store(state + q * W, dc[q]);                                                                            \
            for (int k = 0; k < NV; k++)                                                                              \
                v_store(sums + (q * NV + k) * W, dv[q][k]);                                                           \
        }                                                                                                             \
    }

/* A sweep through panels panel0..panel1-1: full groups, whose size the compiler knows, and a rest. */
#define SCAN_GROUPS(name, S, WHOLE, REST)                                                                             \
    static void RF(name)(const rf_scan *s, ptrdiff_t steps, ptrdiff_t panel0, ptrdiff_t panel1)                       \
    {                                                                                                                 \
        for (ptrdiff_t p = panel0; p < panel1; p += SCAN_PANELS) {                                                    \
            const int n = (int)MIN(SCAN_PANELS, panel1 - p);                                                          \
            const int tail = (int)MIN(W, s->hidden - (p + n - 1) * W);                                                \
            real *a = (real *)s->gates + (p - panel0) * S * W;                                                        \
            if (n == SCAN_PANELS && tail == W)                                                                        \
                WHOLE;                                                                                                \
            else                                                                                                      \
                REST;                                                                                                 \
        }                                                                                                             \
    }

#define SCAN(cell, S, NV, HIGHWAY)                                                                                    \
    SCAN_SWEEPS(cell, S, NV, HIGHWAY)                                                                                 \
    SCAN_GROUPS(cell##_scan, S, cell##_sweep(1, SCAN_PANELS, W, s, steps, p, a),                                      \
                cell##_sweep(1, n, tail, s, steps, p, a))                                                             \
    SCAN_GROUPS(cell##_scan_infer, S, cell##_sweep(0, SCAN_PANELS, W, s, steps, p, a),                                \
                cell##_sweep(0, n, tail, s, steps, p, a))                                                             \
    SCAN_GROUPS(cell##_scan_back, S, cell##_sweep_back(SCAN_PANELS, W, s, steps, p, a),                               \
                cell##_sweep_back(n, tail, s, steps, p, a))                                                           \
    static const rf_scan_cell cell = {                                                                                \
        .name = #cell,                                                                                                \
        .slots = S,                                                                                                   \
        .vectors = NV,                                                                                                \
        .highway = HIGHWAY,                                                                                           \
        .forward = RF(cell##_scan),                                                                                   \
        .infer = RF(cell##_scan_infer),                                                                               \
        .backward = RF(cell##_scan_back),                                                                             \
    };

#include "scans/indrnn.inc.c"
#include "scans/mingru.inc.c"
#include "scans/minlstm.inc.c"
#include "scans/qrnn.inc.c"
#include "scans/sru.inc.c"

static const rf_scan_cell *const scans[] = {
    &indrnn_relu, &indrnn_tanh,    &mingru_identity, &mingru_positive, &mingru_tanh, &minlstm_identity, &minlstm_positive,
    &minlstm_tanh, &qrnn,          &qrnn_forget,     &sru,             &sru_projected, NULL};

/* One step of n units: where kept[u] is 0, the slot of `gates` becomes so large that its sigmoid is 1 and has no slope. */
static void RF(hold)(ptrdiff_t n, const void *kept_, int slots, void *gates_)
{
    const real *kept = kept_;
    real *gates = gates_;
    for (ptrdiff_t u = 0; u < n; u++)
        if (kept[u] == 0)
            gates[u / W * slots * W + u % W] = 100;
}
