/* Names and element type of one translation unit; RF_DOUBLE, RF_ISA and RF_ISA_NAME come from its isa_*.c. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "rnnfast.h"

#if RF_DOUBLE
typedef double real;
#define RF_TYPE f64
#else
typedef float real;
#define RF_TYPE f32
#endif

#define RF_CAT_(a, b, c) rf_##a##_##b##_##c
#define RF_CAT(a, b, c) RF_CAT_(a, b, c)
#define RF(name) RF_CAT(name, RF_TYPE, RF_ISA) /* rf_<name>_<f32|f64>_<isa> */
#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define UNROLL _Pragma("GCC unroll 8")

/* 32 registers for vectors, not 16 */
#if defined(__AVX512F__) || defined(__aarch64__)
#define MANY_REGISTERS 1
#else
#define MANY_REGISTERS 0
#endif

/* A vector that few rows multiply with would be read from memory by each of their multiply-adds, which x86 can, and so many
 * loads take longer than the arithmetic. */
#if defined(__AVX2__)
#define LOADED_ONCE(w) __asm__("" : "+v"(w))
#else
#define LOADED_ONCE(w) (void)(w)
#endif
