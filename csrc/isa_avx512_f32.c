#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#error "isa_avx512 needs -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#define RF_DOUBLE 0
#define RF_ISA avx512
#define RF_ISA_NAME "avx512"
#include "common.inc.h"
#include "simd/avx512.h"
#include "kernels.inc.c"
