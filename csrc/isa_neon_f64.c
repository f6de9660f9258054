#if !defined(__aarch64__)
#error "isa_neon is for aarch64"
#endif
#define RF_DOUBLE 1
#define RF_ISA neon
#define RF_ISA_NAME "neon"
#include "common.inc.h"
#include "simd/neon.h"
#include "kernels.inc.c"
