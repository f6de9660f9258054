/* All kernels of one instruction set and element type, and the table that names them. */
#include "vmath.inc.h"
#include "elementwise.inc.c"
#include "optim.inc.c"
#include "chains.inc.c"
#include "gemm.inc.c"
#include "pack.inc.c"
#include "ops.inc.c"
#include "norm.inc.c"
#include "attention.inc.c"
#include "limits.inc.c"
#include "logs.inc.h"
#include "ctc.inc.c"
#include "crf.inc.c"
#include "cells/norm.inc.c"
#include "cells/steps.inc.c"
#include "cells/gru.inc.c"
#include "cells/gru_options.inc.c"
#include "cells/gru_reset_before.inc.c"
#include "cells/lstm.inc.c"
#include "cells/lstm_options.inc.c"
#include "cells/rnn.inc.c"
#include "scan.inc.c"
#include "tree.inc.c"

static const rf_cell *const cells[] = {
    &rnn_tanh, &rnn_relu, &rnn_sigmoid,
    &lstm, &lstm_options, &lstm_norm, &lstm_coupled, &lstm_coupled_norm,
    &gru, &gru_options, &gru_norm, &gru_reset_before, &gru_reset_before_options, &gru_reset_before_norm,
    &mgu, &mgu_norm, &mgu_reset_after, &mgu_reset_after_norm,
    NULL,
};

extern const rf_ops RF(ops);
const rf_ops RF(ops) = {
    .isa = RF_ISA_NAME,
    .itemsize = sizeof(real),
    .width = W,
    .cells = cells,
    .scans = scans,

    .product = RF(product),
    .set_chains = RF(set_chains),
    .outer_scratch = RF(outer_scratch),
    .outer = RF(outer),
    .add_rows = RF(add_rows),
    .column_sums = RF(column_sums),

    .pack_columns = RF(pack_columns),
    .pack_rows = RF(pack_rows),
    .add_columns = RF(add_columns),
    .fill_slots = RF(fill_slots),

    .hold = RF(hold),

    .tree_forward = RF(tree_forward),
    .tree_backward = RF(tree_backward),

    .softmax_xent = RF(softmax_xent),
    .sigmoid_xent = RF(sigmoid_xent),
    .dropout = RF(dropout),
    .zoneout = RF(zoneout),
    .zoneout_back = RF(zoneout_back),
    .scatter_add = RF(scatter_add),
    .max_steps = RF(max_steps),
    .layer_norm = RF(layer_norm),
    .layer_norm_back = RF(layer_norm_back),
    .additive_scores = RF(additive_scores),
    .additive_gradients = RF(additive_gradients),
    .ctc_read = RF(ctc_read),
    .ctc_slope = RF(ctc_slope),
#if RF_DOUBLE
    .ctc_scratch = RF(ctc_scratch),
    .ctc_paths = RF(ctc_paths),
    .crf_scratch = RF(crf_scratch),
    .crf_paths = RF(crf_paths),
#endif
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
    /* limits.inc.c */
    .multiply_adds = RF(multiply_adds),
    .read_through = RF(read_through),
    .step_chain = RF(step_chain),
};
