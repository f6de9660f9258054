/* rnnfast.h: all that Cython sees of the C side.
 *
 * One table of function pointers (rf_ops) exists for each instruction set and element type. Every pointer to elements
 * is void, so that the code above is written once for float32 and float64; `real` below means the table's own type.
 * Kernels allocate nothing, take no locks, call no Python and cannot fail: their callers have checked everything.
 *
 * Capitals used in shape comments: T steps, B rows in a batch, R rows over all steps, I inputs, H hidden units,
 * W lanes of a vector, S gate slots, P panels, V vectors of weights.
 */
#ifndef RNNFAST_H
#define RNNFAST_H

#include <stddef.h>
#include <stdint.h>

/* Ask for the cache lines of what will be read or written soon: rows of a user's array (N, T, C) that are wanted one after
 * the other lie T*C apart, which no processor foresees. Any address will do. */
static inline void rf_want(const void *at, ptrdiff_t bytes)
{
    for (ptrdiff_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)at + i);
}

/* optim.inc.c: the constants of one optimiser step on one array; each rule's formula says which it uses */
typedef struct rf_optim_step {
    double scale;  /* of the gradient */
    double l2;     /* weight decay as part of the gradient */
    double shrink; /* decoupled weight decay: 1 - rate * decay (Adam only) */
    double rate;   /* learning rate, with the first moment's bias correction for Adam */
    double a, b;   /* what the state keeps of itself */
    double eps;
    double root;   /* 1 / sqrt(second moment's bias correction) */
} rf_optim_step;
enum { RF_SGD, RF_MOMENTUM, RF_NESTEROV, RF_RMSPROP, RF_ADAGRAD, RF_ADAM, RF_RULES };

/* Which elements of a row of A are read: `runs` runs of `run` elements, stride apart, then `more` runs of more_run,
 * more_stride apart, from more_at on. So a product can read some gate slots and leave others out, and leave out the
 * padding of the last units. */
typedef struct rf_runs {
    ptrdiff_t runs, run, stride;
    ptrdiff_t more, more_run, more_stride, more_at;
} rf_runs;

/* A product C = init + A B of many rows with a packed B (gemm.inc.c).
 * B stands in panels of `vectors` W-wide columns groups, each panel K x vectors x W and contiguous; the last panel has
 * `last` of them. Panel p fills columns p*panel_stride .. + vectors*W of a row of C. K are the elements
 * of a row of A that `from` tells.
 *
 * Where few units are left for the last panel, it is narrow: `units` columns of each of `vectors` slots side by side, in
 * `last` vectors. Its columns of C are where they always are, zeros past the units. */
typedef struct rf_product {
    rf_runs from;
    ptrdiff_t panels, panel_stride;
    int vectors, last;
    int tail;                     /* columns in the last vector of the last panel, 1..W: C and init end there */
    int units;                    /* of a narrow last panel, 1..W-1; 0: it is as wide as its columns */
    int chains, halves;           /* set_chains; 0 chains are one */
    ptrdiff_t lda, ldc, ld_init;  /* elements from row to row; ld_init 0 starts every row from the same one */
    const void *b;
} rf_product;

/* Sums of outer products C += A' B over K rows, 1 or more, from the last to the first (gemm.inc.c), for one A (K, m) and up
 * to two B (K, n). */
typedef struct rf_outer_part {
    ptrdiff_t n;
    const void *b;
    ptrdiff_t ldb;
    const ptrdiff_t *rows_b; /* row k of B is B[rows_b[k]]; NULL: B[k] */
    void *c;                 /* (., n), contiguous */
} rf_outer_part;

typedef struct rf_outer {
    ptrdiff_t k, m;
    const void *a;
    ptrdiff_t lda;
    rf_runs from;              /* the columns, in a row of A */
    const ptrdiff_t *rows_c;   /* column q of A adds to row rows_c[q] of every C, -1: to none; NULL: to row q */
    int fresh;                 /* whether C holds nothing yet: it is written, not added to */
    int parts;
    rf_outer_part part[2];
} rf_outer;

/* Options of a cell that are the same for a whole run; a cell's file says which it knows. */
typedef struct rf_options {
    int peephole;
    double clip;         /* bound of the cell state; 0: none */
    ptrdiff_t units;     /* H */
    ptrdiff_t ld;        /* P*W */
    ptrdiff_t rows;      /* vectors and the room behind them: rows of dvectors for each row of the batch */
    const void *vectors; /* (E,P*W) peepholes, gains and biases: cells/norm.inc.c; zeros past H */
} rf_options;

/* Zoneout of one state (ops.inc.c). */
typedef struct rf_zone {
    double p; /* chance to keep a value, or the share that is kept where nothing is random */
    int random;
    uint32_t threshold;
    uint64_t seed;
} rf_zone;

/* What the pointwise part of one time step reads and writes. Rows of the states hold P*W units, those past H being
 * padding that no product reads. */
typedef struct rf_step {
    ptrdiff_t ld_gates, ld_state;
    void *gates;        /* (B,P,S,W) forward: IN pre-activations, OUT what backward needs (when saving)
                                     backward: IN that, OUT gradients of the pre-activations */
    const void *h_prev; /* (B,P*W) IN */
    void *h;            /* (B,P*W) OUT in forward */
    const void *c_prev; /* (B,P*W) IN, cells with a cell state; may be c itself when not saving */
    void *c;            /* (B,P*W) OUT in forward, IN in backward */
    void *aux;          /* (B,P*W) OUT of phase 0: what the second product of a two-phase cell multiplies */
    void *dh;           /* (B,P*W) IN gradient of h, OUT the part that reaches h_prev past the products */
    void *dc;           /* (B,P*W) IN gradient of c, OUT gradient of c_prev */
    void *daux;         /* (B,P*W) gradient of aux */
    const rf_options *options; /* NULL where the cell is plain */
    void *stats;        /* (B,4) OUT in forward, IN in backward: means and scales of cells that normalise */
    void *dvectors;     /* (B,rows,P*W) backward: sums of the gradients of the vectors, by row of the batch, and room */
} rf_step;

typedef void (*rf_pointwise)(const rf_step *step, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t panel0, ptrdiff_t panel1);

/* Many steps of one row in one sweep, which leaves out what surrounds the product of a step: of few units by one thread, of
 * any number by threads that share them. */
typedef struct rf_steps {
    ptrdiff_t steps, hidden, ld_gates;
    const rf_product *product; /* of phase 0 */
    void *gates;              /* (steps, P,S,W) as in rf_step */
    ptrdiff_t ld_state;       /* 0: gates and c are for inference alone, else kept, c of all steps so far apart */
    const void *h_prev;       /* (P*W) IN before the first step; c_prev too */
    void *h[2];               /* OUT after the first step and the second, and those after them in turns */
    const void *c_prev;
    void *c;                  /* OUT after the last step, or after the first and on */
    char *y;                  /* (hidden) OUT for each step, y_step bytes apart */
    ptrdiff_t y_step;
    ptrdiff_t turn;           /* whether the first step walks the weights forwards (even) or backwards */
    int thread, threads;      /* of those that share the units; 1: one has all of them */
    ptrdiff_t group;          /* units that they share out together */
    unsigned long told;       /* what all of them have posted before the first step (rf_post) */
} rf_steps;

/* The same backwards. */
typedef struct rf_steps_back {
    ptrdiff_t steps, hidden, ld_gates;
    const rf_product *product; /* that gives the gradient of h from a row of gates, from the first slot of phase 0 on */
    void *gates;              /* (steps, P,S,W) as in rf_step */
    const void *h_prev;       /* (hidden) before the first step */
    const char *y;            /* (hidden) h after each step, y_step bytes apart */
    ptrdiff_t y_step;
    const char *dy;           /* (hidden) what is added to its gradient, dy_step bytes apart; NULL: nothing */
    ptrdiff_t dy_step;
    const void *c;            /* (1+steps, P*W) before the first step and after each */
    void *dh;                 /* (P*W) IN after the last step, OUT before the first; dc too */
    void *dc;
} rf_steps_back;

/* One product with recurrent weights and the pointwise part that follows it. */
typedef struct rf_phase {
    int from_aux;     /* the product reads aux, not h_prev */
    int first, slots; /* gate slots the product adds to */
    int gates[4];     /* which gate (torch's order) each of them is */
    rf_pointwise forward, infer, backward;
} rf_phase;

enum { RF_READS_BEFORE = 1, RF_READS_AFTER = 2 };

typedef struct rf_cell {
    const char *name;
    int slots;              /* S: values kept for each unit, step and row */
    int gates;              /* G: blocks of rows in the weights */
    int has_c, has_aux;
    int x_first, x_slots;   /* gate slots the input product fills */
    int x_gates[4];
    int reads;   /* whether `backward` reads h before or after the step */
    int options; /* whether it reads rf_options */
    int norm;    /* whether it normalises: it then takes whole rows, all panels at once, and the biases as vectors */
    int room;    /* rows of dvectors that it works in */
    int phases;
    rf_phase phase[2];
    int steps_panels;       /* unit panels that `steps` takes at most for one thread; 0: the cell has none */
    int steps_back_panels;  /* the same of `steps_back` */
    void (*steps)(const rf_steps *s);
    void (*steps_together)(const rf_steps *s); /* for threads that share the units, of any number; NULL: the cell has none */
    void (*steps_back)(const rf_steps_back *s);
} rf_cell;

/* Consecutive steps of one sequence in an elementwise recurrence (scan.inc.c). Pointers stand at the first of them in
 * the order of the sweep; the *_step are elements from there to the next, negative where the sweep goes back in memory. */
typedef struct rf_scan {
    ptrdiff_t hidden; /* H */
    ptrdiff_t gates_step, x_step, y_step, c_step, dx_step;
    void *gates;   /* (panels,S,W), from the first panel of the sweep on. forward: IN pre-activations, OUT what backward
                      needs (when saving); backward: IN that, OUT gradients of the pre-activations */
    const void *x; /* (H) IN, cells with a highway: what it carries */
    void *y;       /* (H) OUT in forward; IN its gradient in backward, NULL for zeros */
    void *c;       /* (P*W) the state before each step: OUT in forward (when saving), IN in backward */
    void *dx;      /* (P*W) OUT gradient of x */
    void *state;   /* (P*W) IN and OUT the state; in backward its gradient */
    const void *v; /* (P,V,W) weights that multiply the state, unit by unit */
    void *dv;      /* (P,V,W) their gradients, added to */
    double scale;  /* see the cell */
} rf_scan;

typedef void (*rf_sweep)(const rf_scan *s, ptrdiff_t steps, ptrdiff_t panel0, ptrdiff_t panel1);

typedef struct rf_scan_cell {
    const char *name;
    int slots;   /* S: values from the input product for each unit, step and row */
    int vectors; /* V */
    int highway; /* whether it reads x past the product */
    rf_sweep forward, infer, backward;
} rf_scan_cell;

/* Nodes of trees that stand on one level (tree.inc.c). An edge leads from a node to one of its children; the edges of node r
 * are first[r]..first[r+1]-1. */
typedef struct rf_tree {
    ptrdiff_t hidden;       /* H */
    const ptrdiff_t *first; /* (rows+1) */
    const ptrdiff_t *child; /* (edges) row of h and c */
    const ptrdiff_t *slot;  /* (edges) row of f */
    void *a;                /* (rows,4H) i o u f. forward: IN pre-activations, but for what f has from the child, OUT i o u;
                               backward: IN that, OUT gradients of the pre-activations */
    void *f;                /* (...,H) forward: IN pre-activations from the child, OUT f; backward: OUT gradients */
    void *h, *c;            /* (rows,H) OUT in forward, IN in backward */
    const void *c_all;      /* (nodes,H) of all nodes */
    const void *dh;         /* (rows,H) IN */
    void *dc;               /* (rows,H) IN */
    void *dc_all;           /* (nodes,H) of all nodes, OUT of the children */
} rf_tree;

/* norm.inc.c: numbers kept for each row */
enum { RF_NORM_KEPT = 3 };

/* ctc.inc.c: a logarithm that stands for a probability of 0, and stays far from all others however many are added */
#define RF_CTC_NEVER -1e30

typedef struct rf_ops {
    const char *isa; /* name, as in RNNFAST_ISA */
    int itemsize;    /* bytes of a real: 4 or 8 */
    int width;       /* W */
    const rf_cell *const *cells; /* NULL at the end */
    const rf_scan_cell *const *scans;

    /* gemm.inc.c */
    void (*product)(const rf_product *s, ptrdiff_t rows, const void *a, const void *init, void *c, ptrdiff_t panel0,
                    ptrdiff_t panel1);
    void (*set_chains)(rf_product *s); /* of a recurrent product, by all the rest: chains.inc.c */
    ptrdiff_t (*outer_scratch)(ptrdiff_t m, ptrdiff_t n); /* elements of scratch for m columns of A and n of B */
    void (*outer)(const rf_outer *s, ptrdiff_t q0, ptrdiff_t q1, void *scratch); /* for columns q0..q1 of A */
    void (*add_rows)(ptrdiff_t n, const void *x, void *y);                                       /* y += x */
    void (*column_sums)(ptrdiff_t rows, ptrdiff_t n, const void *x, ptrdiff_t ldx, void *sums); /* sums += */

    /* pack.inc.c */
    void (*pack_columns)(const void *w, ptrdiff_t k, const ptrdiff_t *rows, ptrdiff_t columns, ptrdiff_t panel_columns,
                         void *to, ptrdiff_t panel0, ptrdiff_t panel1);
    void (*pack_rows)(const void *w, ptrdiff_t n, const ptrdiff_t *rows, ptrdiff_t k, void *to, ptrdiff_t panel0,
                      ptrdiff_t panel1);
    void (*add_columns)(const void *sums, const ptrdiff_t *rows, ptrdiff_t columns, ptrdiff_t run, ptrdiff_t run_stride,
                        void *db);
    void (*fill_slots)(ptrdiff_t rows, ptrdiff_t ld, ptrdiff_t panels, int slots, int first, int count,
                       const void *from, void *gates);

    /* scan.inc.c */
    void (*hold)(ptrdiff_t n, const void *kept, int slots, void *gates);

    /* tree.inc.c */
    void (*tree_forward)(const rf_tree *s, ptrdiff_t row0, ptrdiff_t row1);
    void (*tree_backward)(const rf_tree *s, ptrdiff_t row0, ptrdiff_t row1);

    /* ops.inc.c */
    void (*softmax_xent)(ptrdiff_t rows, ptrdiff_t n, const void *x, const int64_t *targets, const void *weights,
                         double scale, double smoothing, double *losses, void *dx);
    void (*sigmoid_xent)(ptrdiff_t rows, ptrdiff_t n, const void *x, const void *targets, const void *weights,
                         double scale, double *losses, void *dx);
    void (*dropout)(ptrdiff_t n, uint64_t start, const void *x, void *y, double scale, uint32_t threshold,
                    uint64_t seed);
    void (*zoneout)(const rf_zone *z, ptrdiff_t n, uint64_t start, const void *before, void *now);
    void (*zoneout_back)(const rf_zone *z, ptrdiff_t n, uint64_t start, void *d, void *carried);
    void (*scatter_add)(ptrdiff_t rows, ptrdiff_t n, ptrdiff_t ld, const int64_t *to, const void *x, void *y);
    void (*max_steps)(ptrdiff_t steps, ptrdiff_t n, const void *x, void *y, int32_t *at);

    /* norm.inc.c */
    void (*layer_norm)(ptrdiff_t rows, ptrdiff_t n, const void *x, const void *weight, const void *bias, double eps,
                       void *y, void *kept);
    void (*layer_norm_back)(ptrdiff_t rows, ptrdiff_t n, const void *x, const void *kept, const void *weight,
                            const void *dy, void *dx, void *sums);

    /* attention.inc.c */
    void (*additive_scores)(ptrdiff_t steps, ptrdiff_t n, const void *q, const void *k, const void *v, void *scores);
    void (*additive_gradients)(ptrdiff_t steps, ptrdiff_t n, const void *q, const void *k, const void *v,
                               const void *ds, void *dq, void *dk, void *dv);

    /* ctc.inc.c; the sums over paths are in the table of double alone, NULL in that of float */
    int (*ctc_read)(ptrdiff_t steps, ptrdiff_t n, const void *x, ptrdiff_t count, const int64_t *labels,
                    ptrdiff_t blank, ptrdiff_t ld, double *y, double *yb, void *dx);
    void (*ctc_slope)(ptrdiff_t steps, ptrdiff_t n, ptrdiff_t count, const int64_t *labels, ptrdiff_t blank,
                      ptrdiff_t ld, const double *g, const double *gb, double weight, void *dx);
    ptrdiff_t (*ctc_scratch)(ptrdiff_t steps, ptrdiff_t ld, int gradient); /* elements of scratch that paths needs */
    double (*ctc_paths)(ptrdiff_t steps, ptrdiff_t count, ptrdiff_t ld, double *y, double *yb, const double *skip,
                        int gradient, double *scratch);

    /* crf.inc.c; in the table of double alone */
    ptrdiff_t (*crf_scratch)(ptrdiff_t steps, ptrdiff_t tags, int gradient); /* elements of scratch that paths needs */
    double (*crf_paths)(ptrdiff_t steps, ptrdiff_t tags, const double *x, const double *m, const double *start,
                        const double *end, const double *forth, const double *back, double level, double *share,
                        double *pairs, double *scratch);

    /* vmath.inc.h over arrays: y[i] = f(x[i]), i < n; x and y may be the same array */
    void (*exp)(ptrdiff_t n, const void *x, void *y);
    void (*tanh)(ptrdiff_t n, const void *x, void *y);
    void (*sigmoid)(ptrdiff_t n, const void *x, void *y);

    /* optim.inc.c: p, g, s, t (n,); p, s and t are updated; s and t may be NULL where the rule has no such state */
    void (*optim[RF_RULES])(ptrdiff_t n, void *p, const void *g, void *s, void *t, const rf_optim_step *k);
    double (*sum_squares)(ptrdiff_t n, const void *x);
    int (*all_finite)(ptrdiff_t n, const void *x);

    /* limits.inc.c: each returns how much it has done; values are aligned to a vector */
    double (*multiply_adds)(ptrdiff_t rounds, void *values);
    double (*read_through)(ptrdiff_t passes, ptrdiff_t n, const void *x, void *sums);
    double (*step_chain)(ptrdiff_t steps, int activations, void *values);
} rf_ops;

/* dispatch.c */
const rf_ops *rf_ops_find(const char *isa, int itemsize); /* NULL: not built, or this CPU cannot run it */
const rf_ops *rf_ops_best(int itemsize);
const char *const *rf_isa_names(void); /* best first, NULL at the end; only those that this CPU runs */
unsigned rf_flush_subnormals(void);    /* set FTZ and DAZ for this thread; returns what to restore */
void rf_restore_subnormals(unsigned saved);

/* Once, before anything else: from then on a forked child finds both usable, whatever other threads were doing. */
void rf_memory_init(void);
void rf_pool_init(void);

/* memory.c: blocks aligned to 64 bytes; NULL when there is no memory */
void *rf_alloc(size_t size);
void rf_free(void *memory);
void rf_release(void); /* give the blocks kept for later back to the system */
typedef struct rf_memory {
    size_t asked;      /* blocks asked for since the start */
    size_t live, peak; /* bytes in use, now and at most */
} rf_memory;
void rf_memory_use(rf_memory *use, int restart); /* restart: the peak begins anew from here */

/* pool.c */
typedef void (*rf_task)(void *context, int thread, int threads);
typedef void (*rf_look)(void *context);
/* Run task on 1..threads threads, the caller being thread 0; fewer when the pool is busy or threads cannot be had.
 * Subnormals are flushed while it runs. Returns when all have returned. */
void rf_parallel(rf_task task, void *context, int threads);
/* The same for a short task of a kind that comes again and again, where trials tell whether it runs alone. `kind` is any number
 * but 0 that others are unlikely to have, `expected` what one thread would take, in microseconds, or anything in proportion. */
void rf_parallel_or_alone(rf_task task, void *context, int threads, uint64_t kind, double expected);
/* Whether a short task is better shared out among so many threads: they are awake, or it is one of a series. */
int rf_ready(int threads);
void rf_assume_ready(int always); /* for tests: rf_ready says yes, whatever the workers do */
/* Wait until every thread of the running task has come here; all must call it equally often. */
void rf_barrier(int thread, int threads);
/* Within a task that runs on several threads, in place of meetings: a thread tells how far it has come, from 0 on and never
 * back, and others look at that or wait for it; and pieces of work are dealt out by number, 0, 1, .., each to one thread. */
void rf_post(int thread, unsigned long progress);
unsigned long rf_progress(int other);
void rf_await(int thread, int other, unsigned long progress);
unsigned long rf_claim(void);
/* For thread 0 of a task that runs on several: `look` gets the task's context now and then while this thread waits for
 * others for long, at barriers and at the end. */
void rf_while_waiting(rf_look look);
/* For thread 0 of a task that does little but wait, to see how long that takes: it does not count when threads have waited
 * so much that the next tasks run alone. */
void rf_waits_on_purpose(void);

/* trials.c: times in microseconds, those of calls divided by what was expected */
int rf_try_alone(uint64_t kind, double now); /* whether the next call of this kind is to run alone */
void rf_tried(uint64_t kind, int alone, double time, double now);
void rf_trials_after_fork(void);

#endif
