/* The v_* vocabulary for aarch64. */
#if RF_DOUBLE
typedef double V __attribute__((vector_size(32)));
typedef int64_t M __attribute__((vector_size(32)));
#else
typedef float V __attribute__((vector_size(16)));
typedef int32_t M __attribute__((vector_size(16)));
#endif
#define W 4

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
    memcpy(&v, p, (size_t)n * sizeof(real));
    return v;
}
INLINE void v_store_n(real *p, ptrdiff_t n, V v) { memcpy(p, &v, (size_t)n * sizeof(real)); }
INLINE V v_set1(real x) { return (V){x, x, x, x}; }
INLINE V v_fma(V a, V b, V c) { return a * b + c; }
INLINE V v_fnma(V a, V b, V c) { return c - a * b; }
INLINE V v_select(M m, V a, V b) { return (V)(((M)a & m) | ((M)b & ~m)); }
INLINE M v_lt(V a, V b) { return a < b; }
INLINE V v_min(V a, V b) { return v_select(a < b, a, b); }
INLINE V v_max(V a, V b) { return v_select(b < a, a, b); }
INLINE V v_abs(V a) { return v_select(a < 0, -a, a); }
INLINE real v_sum(V a) { return (a[0] + a[1]) + (a[2] + a[3]); }
INLINE V v_sqrt(V a)
{
    for (int i = 0; i < W; i++)
        a[i] = RF_DOUBLE ? (real)sqrt(a[i]) : (real)sqrtf((float)a[i]);
    return a;
}
INLINE V v_round(V a)
{
    for (int i = 0; i < W; i++)
        a[i] = RF_DOUBLE ? (real)nearbyint(a[i]) : (real)nearbyintf((float)a[i]);
    return a;
}
