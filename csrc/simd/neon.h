/* The v_* vocabulary for aarch64. */
#include <arm_neon.h>

#if RF_DOUBLE
typedef float64x2_t V;
typedef uint64x2_t M;
#define W 2
#define RF_VX(name) name##_f64
#else
typedef float32x4_t V;
typedef uint32x4_t M;
#define W 4
#define RF_VX(name) name##_f32
#endif

INLINE V v_load(const real *p) { return RF_VX(vld1q)(p); }
INLINE void v_store(real *p, V v) { RF_VX(vst1q)(p, v); }
INLINE V v_load_n(const real *p, ptrdiff_t n)
{
    V v = {0};
    for (int i = 0; i < W - 1; i++)
        if (i < n)
            v[i] = p[i];
    return v;
}
INLINE void v_store_n(real *p, ptrdiff_t n, V v)
{
    for (int i = 0; i < W - 1; i++)
        if (i < n)
            p[i] = v[i];
}
INLINE V v_set1(real x) { return RF_VX(vdupq_n)(x); }
INLINE V v_fma(V a, V b, V c) { return RF_VX(vfmaq)(c, a, b); }
INLINE V v_fms(V a, V b, V c) { return RF_VX(vfmaq)(-c, a, b); }
INLINE V v_fnma(V a, V b, V c) { return RF_VX(vfmsq)(c, a, b); }
INLINE M v_lt(V a, V b) { return RF_VX(vcltq)(a, b); }
INLINE V v_select(M m, V a, V b) { return RF_VX(vbslq)(m, a, b); }
INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); } /* fmin would treat NaN otherwise than x86 does */
INLINE V v_max(V a, V b) { return v_select(v_lt(b, a), a, b); }
INLINE V v_sqrt(V a) { return RF_VX(vsqrtq)(a); }
INLINE V v_abs(V a) { return RF_VX(vabsq)(a); }
INLINE real v_sum(V a) { return RF_VX(vaddvq)(a); }
INLINE void v_zip(V a, V b, V *lo, V *hi)
{
    *lo = RF_VX(vzip1q)(a, b);
    *hi = RF_VX(vzip2q)(a, b);
}

#include "exponent.h"
