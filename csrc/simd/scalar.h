/* The v_* vocabulary in portable C: 16-byte vectors that the compiler maps on whatever the machine has at least. */
typedef real V __attribute__((vector_size(16)));
#if RF_DOUBLE
typedef int64_t M __attribute__((vector_size(16)));
#define W 2
#else
typedef int32_t M __attribute__((vector_size(16)));
#define W 4
#endif

INLINE V v_load(const real *p)
{
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void v_store(real *p, V v) { memcpy(p, &v, sizeof v); }
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
#if RF_DOUBLE
INLINE V v_set1(real x) { return (V){x, x}; }
INLINE real v_sum(V a) { return a[0] + a[1]; }
INLINE V v_sqrt(V a) { return (V){sqrt(a[0]), sqrt(a[1])}; }
#else
INLINE V v_set1(real x) { return (V){x, x, x, x}; }
INLINE real v_sum(V a) { return (a[0] + a[1]) + (a[2] + a[3]); }
INLINE V v_sqrt(V a) { return (V){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
#endif
INLINE V v_fma(V a, V b, V c) { return a * b + c; } /* rounds twice here */
INLINE V v_fms(V a, V b, V c) { return a * b - c; }
INLINE V v_fnma(V a, V b, V c) { return c - a * b; }
INLINE M v_lt(V a, V b) { return a < b; }
INLINE V v_select(M m, V a, V b) { return (V)(((M)a & m) | ((M)b & ~m)); }
INLINE V v_min(V a, V b) { return v_select(a < b, a, b); }
INLINE V v_max(V a, V b) { return v_select(a > b, a, b); }
INLINE V v_abs(V a) { return (V)((M)a & ~(M)v_set1((real)-0.0)); }
INLINE void v_zip(V a, V b, V *lo, V *hi)
{
#if RF_DOUBLE
    *lo = (V){a[0], b[0]};
    *hi = (V){a[1], b[1]};
#else
    *lo = (V){a[0], b[0], a[1], b[1]};
    *hi = (V){a[2], b[2], a[3], b[3]};
#endif
}

#include "exponent.h"
