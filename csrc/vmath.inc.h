/* exp, tanh and sigmoid in v_*.
 *
 * All three write x = n ln2 + r, |r| <= ln2/2, and build e^x = 2^n e^r from a short polynomial. No branches, no tables.
 *
 *   exp      e^r = 1 + r E(r), then times 2^n.
 *   sigmoid  with t = 2 tanh(r/2): e^r = (2 + t) / (2 - t), so sigmoid = a / (a + b), a = 2^n (2 + t), b = 2 - t.
 *            Nothing cancels: the left tail keeps its relative accuracy down to the last subnormal.
 *   tanh     with x = n ln2/2 + w, t = tanh w and s = 2^n: tanh x = ((s - 1) + t (s + 1)) / ((s + 1) + t (s - 1)).
 *            For n = 0 that is t itself, so small x keep their relative accuracy; s and 1/s round alike, so the
 *            result is exactly odd; numerator <= denominator, so it never leaves [-1, 1].
 *
 * tanh w = w (1 + w^2 G(w^2)) serves both: with it a sigmoid or a tanh costs 8 multiply-adds or fewer and one division.
 * Tried and slower or worse here (AMD Zen 4, AVX-512): tanh as a 9/8 rational (0.216 against 0.193 ns, 5.2 ulp),
 * sigmoid from a degree-5 e^r (0.204 against 0.199 ns, 3.2 ulp), rcp14 with a Newton step for the division (0.22 ns).
 *
 * E and G minimise the largest relative error of e^r and tanh w (Remez exchange; coefficients.py prints them).
 * Worst errors in ulp of the result (README.md tells how they were found), where there is a fused multiply-add and where
 * there is none (scalar):
 *
 *              f32 fused   f32 scalar   f64 fused   f64 scalar
 *   exp        2.0         2.3          1.0         1.3
 *   tanh       2.6         2.8          2.8         2.8
 *   sigmoid    2.6         2.6          2.6         2.6
 *
 * Exact: exp(0) = 1, sigmoid(0) = 0.5, tanh(+-0) = +-0, the limits at +-inf; NaN stays NaN. Subnormal operands and
 * results are right as long as the thread does not flush them. */

#if RF_DOUBLE
#define LN2_HIGH 0x1.62e42feep-1 /* short, so that n * LN2_HIGH is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LN2 0x1.62e42fefa39efp-1
#define LOG2_E 0x1.71547652b82fep+0
#define EXP_MIN -746 /* below, e^x rounds to 0 */
#define EXP_MAX 710  /* above, it overflows */
#define SIGMOID_MAX 40
#define TANH_MAX 20
static const real exp_coefficients[] = {
    0x1.ad593a9a0e603p-26,
    0x1.28afcf4e185b2p-22,
    0x1.71df49531553dp-19,
    0x1.a0199721279dep-16,
    0x1.a01a01115d990p-13,
    0x1.6c16c1856fe6fp-10,
    0x1.111111112fa35p-7,
    0x1.5555555550136p-5,
    0x1.55555555554b3p-3,
    0x1.000000000000bp-1,
    0x1.0000000000000p+0,
};
static const real tanh_coefficients[] = {
    0x1.c381b81d3df90p-9,
    -0x1.223c69b48c496p-7,
    0x1.664ec9b35e6bcp-6,
    -0x1.ba1ba1168e155p-5,
    0x1.11111110e0886p-3,
    -0x1.55555555554bcp-2,
};
#else
#define LN2_HIGH 0x1.62ep-1f
#define LN2_LOW 0x1.0bfbe8p-15f
#define LN2 0x1.62e43p-1f
#define LOG2_E 0x1.715476p+0f
#define EXP_MIN -104
#define EXP_MAX 89
#define SIGMOID_MAX 20
#define TANH_MAX 10
static const real exp_coefficients[] = {
    0x1.0fa7d8p-7f,
    0x1.573ad0p-5f,
    0x1.555a6ep-3f,
    0x1.fffdc4p-2f,
    0x1.fffff6p-1f,
};
static const real tanh_coefficients[] = {
    0x1.0c8088p-3f,
    -0x1.554fecp-2f,
};
#endif
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* x limited to [low, high]; NaN stays. */
INLINE V v_clamp(V x, real low, real high) { return v_max(v_set1(low), v_min(v_set1(high), x)); }

/* r = x - n ln2, without loss for n of any size. */
INLINE V v_reduce(V x, V n) { return v_fnma(n, v_set1(LN2_LOW), v_fnma(n, v_set1(LN2_HIGH), x)); }

/* tanh(w) for |w| <= ln2/4 with scale 1, and 2 tanh(w/2) for |w| <= ln2/2 with scale 1/4. */
INLINE V v_small_tanh(V w, real scale)
{
    V u = w * w, g = v_set1(0);
    real power = 1;
    for (int i = 0; i < COUNT(tanh_coefficients); i++)
        power *= scale;
    g = v_set1(tanh_coefficients[0] * power);
    for (int i = 1; i < COUNT(tanh_coefficients); i++) {
        power /= scale;
        g = v_fma(g, u, v_set1(tanh_coefficients[i] * power));
    }
    return w * v_fma(g, u, v_set1(1));
}

INLINE V v_exp(V x)
{
    x = v_clamp(x, EXP_MIN, EXP_MAX);
    V n = v_fma(x, v_set1(LOG2_E), v_set1(V_ROUND_TO_INT)) - v_set1(V_ROUND_TO_INT);
    V r = v_reduce(x, n), p = v_set1(exp_coefficients[0]);
    for (int i = 1; i < COUNT(exp_coefficients); i++)
        p = v_fma(p, r, v_set1(exp_coefficients[i]));
    return v_scale2(v_fma(p, r, v_set1(1)), n);
}

INLINE V v_sigmoid(V x)
{
    const real shift = V_SCALE_SHIFT == 0 ? 1 : RF_DOUBLE ? 0x1p512 : 0x1p64; /* 2^V_SCALE_SHIFT */
    const V middle = v_set1(V_ROUND_TO_INT + V_BIAS + V_SCALE_SHIFT), two = v_set1(2);
    x = v_clamp(x, EXP_MIN, SIGMOID_MAX);
    V m = v_fma(x, v_set1(LOG2_E), middle), n = m - middle;
    V t = v_small_tanh(v_reduce(x, n), (real)0.25);
    V a = v_scale_shifted(two + t, n, m), b = (two - t) * v_set1(shift);
    return a / (a + b);
}

INLINE V v_tanh(V x)
{
    const V middle = v_set1(V_ROUND_TO_INT + V_BIAS), one = v_set1(1);
    x = v_clamp(x, -TANH_MAX, TANH_MAX);
    V m = v_fma(x, v_set1(2 * LOG2_E), middle), s = v_exponent(m);
    V t = v_small_tanh(v_fnma(m - middle, v_set1(LN2 / 2), x), 1);
    V difference = one - s, sum = s + one; /* 1 - s, not s - 1: so that -0 stays -0 */
    return v_fms(t, sum, difference) / v_fnma(t, difference, sum);
}

#undef LN2_HIGH
#undef LN2_LOW
#undef LN2
#undef LOG2_E
#undef EXP_MIN
#undef EXP_MAX
#undef SIGMOID_MAX
#undef TANH_MAX
#undef COUNT
