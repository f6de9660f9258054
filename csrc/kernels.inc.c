/* All kernels of one instruction set and element type, and the table that names them. */
#include "vmath.inc.h"
#include "elementwise.inc.c"
#include "optim.inc.c"

extern const rf_ops RF(ops);
const rf_ops RF(ops) = {
    .isa = RF_ISA_NAME,
    .itemsize = sizeof(real),
    .width = W,
    .exp = RF(exp),
    .tanh = RF(tanh),
    .sigmoid = RF(sigmoid),
    /* optim.inc.c */
    .optim =
        {
            [RF_SGD] = RF(sgd_step),
            [RF_MOMENTUM] = RF(momentum_step),
            [RF_NESTEROV] = RF(nesterov_step),
            [RF_RMSPROP] = RF(rmsprop_step),
            [RF_ADAGRAD] = RF(adagrad_step),
            [RF_ADAM] = RF(adam_step),
        },
    .sum_squares = RF(sum_squares),
    .all_finite = RF(all_finite),
};
