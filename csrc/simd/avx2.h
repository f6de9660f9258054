/* The v_* vocabulary for AVX2 with FMA. */
#include <immintrin.h>

#if RF_DOUBLE
typedef __m256d V;
typedef __m256d M;
#define W 4
#define RF_VX(name) _mm256_##name##_pd
INLINE __m256i v_first(ptrdiff_t n) /* lanes 0..n-1 */
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
#else
typedef __m256 V;
typedef __m256 M;
#define W 8
#define RF_VX(name) _mm256_##name##_ps
INLINE __m256i v_first(ptrdiff_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

INLINE V v_load(const real *p) { return RF_VX(loadu)(p); }
INLINE void v_store(real *p, V v) { RF_VX(storeu)(p, v); }
INLINE V v_load_n(const real *p, ptrdiff_t n) { return RF_VX(maskload)(p, v_first(n)); }
INLINE void v_store_n(real *p, ptrdiff_t n, V v) { RF_VX(maskstore)(p, v_first(n), v); }
INLINE V v_set1(real x) { return RF_VX(set1)(x); }
INLINE V v_fma(V a, V b, V c) { return RF_VX(fmadd)(a, b, c); }
INLINE V v_fms(V a, V b, V c) { return RF_VX(fmsub)(a, b, c); }
INLINE V v_fnma(V a, V b, V c) { return RF_VX(fnmadd)(a, b, c); }
INLINE V v_min(V a, V b) { return RF_VX(min)(a, b); }
INLINE V v_max(V a, V b) { return RF_VX(max)(a, b); }
INLINE V v_sqrt(V a) { return RF_VX(sqrt)(a); }
INLINE V v_abs(V a) { return RF_VX(andnot)(v_set1((real)-0.0), a); }
INLINE M v_lt(V a, V b) { return RF_VX(cmp)(a, b, _CMP_LT_OQ); }
INLINE V v_select(M m, V a, V b) { return RF_VX(blendv)(b, a, m); }
INLINE real v_sum(V a)
{
    real s = 0;
    for (int i = 0; i < W; i++)
        s += a[i];
    return s;
}
INLINE void v_zip(V a, V b, V *lo, V *hi)
{
    const V low = RF_VX(unpacklo)(a, b), high = RF_VX(unpackhi)(a, b); /* each within its half */
    *lo = RF_VX(permute2f128)(low, high, 0x20);
    *hi = RF_VX(permute2f128)(low, high, 0x31);
}

#include "exponent.h"
