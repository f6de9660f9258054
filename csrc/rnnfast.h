/* rnnfast.h: all that Cython sees of the C side.
 *
 * One table of function pointers (rf_ops) exists for each instruction set and element type. Every pointer to elements
 * is void, so that the code above is written once for float32 and float64; `real` below means the table's own type.
 * Kernels allocate nothing, take no locks, call no Python and cannot fail: their callers have checked everything.
 *
 * Capitals used in shape comments: T steps, B rows in a batch, R rows over all steps, I inputs, H hidden units,
 * W lanes of a vector, S gate slots, P panels.
 */
#ifndef RNNFAST_H
#define RNNFAST_H

#include <stddef.h>
#include <stdint.h>

/* optim.inc.c: the constants of one optimiser step on one array; each rule's formula says which it uses */
typedef struct rf_step {
    double scale;  /* of the gradient */
    double l2;     /* weight decay as part of the gradient */
    double shrink; /* decoupled weight decay: 1 - rate * decay (Adam only) */
    double rate;   /* learning rate, with the first moment's bias correction for Adam */
    double a, b;   /* what the state keeps of itself */
    double eps;
    double root;   /* 1 / sqrt(second moment's bias correction) */
} rf_step;
enum { RF_SGD, RF_MOMENTUM, RF_NESTEROV, RF_RMSPROP, RF_ADAGRAD, RF_ADAM, RF_RULES };

typedef struct rf_ops {
    const char *isa; /* name, as in RNNFAST_ISA */
    int itemsize;    /* bytes of a real: 4 or 8 */
    int width;       /* W */

    /* vmath.inc.h over arrays: y[i] = f(x[i]), i < n; x and y may be the same array */
    void (*exp)(ptrdiff_t n, const void *x, void *y);
    void (*tanh)(ptrdiff_t n, const void *x, void *y);
    void (*sigmoid)(ptrdiff_t n, const void *x, void *y);

    /* optim.inc.c: p, g, s, t (n,); p, s and t are updated; s and t may be NULL where the rule has no such state */
    void (*optim[RF_RULES])(ptrdiff_t n, void *p, const void *g, void *s, void *t, const rf_step *k);
    double (*sum_squares)(ptrdiff_t n, const void *x);
    int (*all_finite)(ptrdiff_t n, const void *x);
} rf_ops;

/* dispatch.c */
const rf_ops *rf_ops_find(const char *isa, int itemsize); /* NULL: not built, or this CPU cannot run it */
const rf_ops *rf_ops_best(int itemsize);
const char *const *rf_isa_names(void); /* best first, NULL at the end; only those that this CPU runs */
unsigned rf_flush_subnormals(void);    /* set FTZ and DAZ for this thread; returns what to restore */
void rf_restore_subnormals(unsigned saved);

/* pool.c */
typedef void (*rf_task)(void *context, int thread, int threads);
/* Run task on 1..threads threads, the caller being thread 0; fewer when the pool is busy or threads cannot be had.
 * Subnormals are flushed while it runs. Returns when all have returned. */
void rf_parallel(rf_task task, void *context, int threads);
/* Wait until every thread of the running task has come here; all must call it equally often. */
void rf_barrier(int thread, int threads);

#endif
