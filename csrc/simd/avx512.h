/* The v_* vocabulary for AVX-512 (F, BW, DQ, VL). The same words with the same meaning stand in every file of this
 * folder; + - * / work on V as they are (GCC and Clang vector types).
 *
 * NaN: v_min(a, b) and v_max(a, b) give b where either is NaN, and b where both are zero, so a clamp that keeps NaN puts
 * the constant first. Comparisons with NaN are false. Everything else hands NaN on. */
#include <immintrin.h>

#if RF_DOUBLE
typedef __m512d V;
typedef __mmask8 M;
#define W 8
#define RF_VX(name) _mm512_##name##_pd
#define RF_VMASK(name) _mm512_##name##_pd_mask
#else
typedef __m512 V;
typedef __mmask16 M;
#define W 16
#define RF_VX(name) _mm512_##name##_ps
#define RF_VMASK(name) _mm512_##name##_ps_mask
#endif

INLINE M v_first(ptrdiff_t n) { return (M)((1u << n) - 1); } /* lanes 0..n-1, n < W */
INLINE V v_load(const real *p) { return RF_VX(loadu)(p); }
INLINE void v_store(real *p, V v) { RF_VX(storeu)(p, v); }
INLINE V v_load_n(const real *p, ptrdiff_t n) { return RF_VX(maskz_loadu)(v_first(n), p); } /* the rest is 0 */
INLINE void v_store_n(real *p, ptrdiff_t n, V v) { RF_VX(mask_storeu)(p, v_first(n), v); }
INLINE V v_set1(real x) { return RF_VX(set1)(x); }
INLINE V v_fma(V a, V b, V c) { return RF_VX(fmadd)(a, b, c); }   /* a*b + c */
INLINE V v_fms(V a, V b, V c) { return RF_VX(fmsub)(a, b, c); }   /* a*b - c */
INLINE V v_fnma(V a, V b, V c) { return RF_VX(fnmadd)(a, b, c); } /* c - a*b */
INLINE V v_min(V a, V b) { return RF_VX(min)(a, b); }             /* b unless a < b */
INLINE V v_max(V a, V b) { return RF_VX(max)(a, b); }             /* b unless a > b */
INLINE V v_sqrt(V a) { return RF_VX(sqrt)(a); }
INLINE V v_abs(V a) { return RF_VX(abs)(a); }
INLINE V v_scale2(V a, V n) { return RF_VX(scalef)(a, n); } /* a * 2^n, n an integer */
#define V_HAS_SCALE2
INLINE M v_lt(V a, V b) { return RF_VMASK(cmp)(a, b, _CMP_LT_OQ); }
INLINE V v_select(M m, V a, V b) { return RF_VX(mask_blend)(m, b, a); } /* a where m, else b */
INLINE real v_sum(V a) { return RF_VX(reduce_add)(a); }
INLINE void v_zip(V a, V b, V *lo, V *hi) /* a0 b0 a1 b1 ..., the first half of it and the second */
{
#if RF_DOUBLE
    *lo = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
    *hi = _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
#else
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *lo = _mm512_permutex2var_ps(a, first, b);
    *hi = _mm512_permutex2var_ps(a, _mm512_add_epi32(first, _mm512_set1_epi32(8)), b);
#endif
}

#include "exponent.h"
