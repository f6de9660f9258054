/* Logarithms in v_* of double, for sums over paths. */
#if RF_DOUBLE

/* log(r) for r in [0.75, 1.5]: 2 artanh z with z = (r - 1) / (r + 1), |z| <= 1/5. The first term of the series
 * 2 z (1 + z^2/3 + z^4/5 + ...) left out is below 4e-18. log(1) is exactly 0. */
INLINE V log_near_one(V r)
{
    const V z = (r - v_set1(1)) / (r + v_set1(1)), z2 = z * z;
    enum { TERMS = 12 };
    V p = v_set1(1.0 / (2 * TERMS - 1));
    for (int k = TERMS - 2; k >= 0; k--)
        p = v_fma(p, z2, v_set1(1.0 / (2 * k + 1)));
    return (z + z) * p;
}

#define LN2 0.693147180559945309417

/* log(s) for s in [1, 3] */
INLINE V log_of_sum(V s)
{
    const M small = v_lt(s, v_set1(1.5));
    return log_near_one(v_select(small, s, s * v_set1(0.5))) + v_select(small, v_set1(0), v_set1(LN2));
}

/* log(s) for positive normal s; what it gives for others is no number of use */
INLINE V log_normal(V s)
{
    const U bits = (U)s, ones = (U)v_set1(1), field = {0};
    const U mantissa = bits & (field + ((1ull << 52) - 1)), exponent = bits >> 52;
    V r = (V)(mantissa | ones);                                      /* in [1, 2) */
    V n = (V)(exponent + (field + 0x4330000000000000ull)) - v_set1(0x1p52 + 1023); /* 0x433...: the bits of 2^52 */
    const M small = v_lt(r, v_set1(1.5));
    r = v_select(small, r, r * v_set1(0.5));
    n = v_select(small, n, n + v_set1(1));
    return v_fma(n, v_set1(LN2), log_near_one(r));
}
#undef LN2

/* log(e^a + e^b) and log(e^a + e^b + e^c), of finite numbers */
INLINE V log_add2(V a, V b)
{
    const V high = v_max(a, b), low = v_min(a, b);
    return high + log_of_sum(v_set1(1) + v_exp(low - high));
}
INLINE V log_add3(V a, V b, V c)
{
    const V high = v_max(a, b), low = v_min(a, b), most = v_max(high, c);
    const V middle = v_max(low, v_min(high, c)), least = v_min(low, c);
    return most + log_of_sum(v_set1(1) + v_exp(middle - most) + v_exp(least - most));
}
#endif
