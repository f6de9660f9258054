/* Powers of two through the exponent field, in words that all instruction sets share.
 *
 * V_ROUND_TO_INT is 1.5 * 2^23 (f32) or 1.5 * 2^52 (f64): m = x + V_ROUND_TO_INT has ulp 1, so it is x rounded to the
 * nearest integer (ties to even), n = m - V_ROUND_TO_INT is that integer as a real, and it also stands in m's low bits.
 * With V_BIAS added to the constant, these low bits moved into the exponent field are 2^n. */
#if RF_DOUBLE
typedef uint64_t U __attribute__((vector_size(sizeof(V))));
#define V_ROUND_TO_INT 0x1.8p52
#define V_BIAS 1023
#define V_MANTISSA 52
#else
typedef uint32_t U __attribute__((vector_size(sizeof(V))));
#define V_ROUND_TO_INT 0x1.8p23f
#define V_BIAS 127
#define V_MANTISSA 23
#endif

/* 2^n from m = V_ROUND_TO_INT + V_BIAS + n, for n from 1 - V_BIAS to V_BIAS. */
INLINE V v_exponent(V m) { return (V)((U)m << V_MANTISSA); }

#ifdef V_HAS_SCALE2
/* a * 2^n from m = V_ROUND_TO_INT + V_BIAS + V_SCALE_SHIFT + n; the result is too large by 2^V_SCALE_SHIFT. */
#define V_SCALE_SHIFT 0
INLINE V v_scale_shifted(V a, V n, V m)
{
    (void)m;
    return v_scale2(a, n);
}
#else
#define V_SCALE_SHIFT (RF_DOUBLE ? 512 : 64) /* keeps 2^n normal where a * 2^n may be subnormal */
INLINE V v_scale_shifted(V a, V n, V m)
{
    (void)n;
    return a * v_exponent(m);
}
/* a * 2^n, n an integer, |n| < 2 * V_BIAS; in two steps, for 2^n itself may be out of range. Only the last can round. */
INLINE V v_scale2(V a, V n)
{
    V middle = v_set1(V_ROUND_TO_INT + V_BIAS);
    V half = v_fma(n, v_set1((real)0.5), middle);
    V rest = n - (half - middle);
    return a * v_exponent(half) * v_exponent(rest + middle);
}
#endif
