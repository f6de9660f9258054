/* All kernels of one instruction set and element type, and the table that names them. */
#include "vmath.inc.h"
#include "elementwise.inc.c"

extern const rf_ops RF(ops);
const rf_ops RF(ops) = {
    .isa = RF_ISA_NAME,
    .itemsize = sizeof(real),
    .width = W,
    .exp = RF(exp),
    .tanh = RF(tanh),
    .sigmoid = RF(sigmoid),
};
