#if !defined(__AVX2__) || !defined(__FMA__) || defined(__AVX512F__)
#error "isa_avx2 needs -mavx2 -mfma and nothing newer"
#endif
#define RF_DOUBLE 0
#define RF_ISA avx2
#define RF_ISA_NAME "avx2"
#include "common.inc.h"
#include "simd/avx2.h"
#include "kernels.inc.c"
