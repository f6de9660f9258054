/* What the checks of kernels share. Compiled once for each type, RF_DOUBLE being 0 or 1; see run.
 *
 * Every buffer is of its exact size and on the heap, so that a sanitizer sees a step outside.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnnfast.h"

#if RF_DOUBLE
typedef double real;
#define EPS 2.3e-16
#else
typedef float real;
#define EPS 1.2e-7
#endif

extern const rf_ops *ops; /* the kernels that are being checked */
extern int failures;

real *random_reals(ptrdiff_t n); /* of 0.05 to 1.05 in size; the caller frees them */
void *copy(const void *x, ptrdiff_t n); /* of n reals; the caller frees it */
void check(double found, double expected, double bound, const char *what);

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Sizes that meet whole vectors, tails and several panels. */
enum { COLUMNS = 7 };
extern const ptrdiff_t some_columns[COLUMNS];

/* One file each: everything of its kind, for `ops`. */
void check_products(void);
void check_elements(void);
void check_cells(void);
void check_steps(void);
void check_scans(void);
void check_trees(void);
