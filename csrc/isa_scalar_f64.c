#define RF_DOUBLE 1
#define RF_ISA scalar
#define RF_ISA_NAME "scalar"
#include "common.inc.h"
#include "simd/scalar.h"
#include "kernels.inc.c"
