/* limits.inc.c: what this processor can do at most in the words of this instruction set: arithmetic, reading, and the
 * time a step cannot be shorter than. rnnfast/limits.py makes from them the limit that a call is compared with.
 *
 * Each does a known amount of work that no compiler can leave out (floating-point sums keep their order) and writes one
 * vector of results, so that the caller need only look at the clock.
 */

/* Independent chains: enough to fill two (with 32 registers, four) units that take four or five cycles each. */
#if MANY_REGISTERS
enum { CHAINS = 16 };
#else
enum { CHAINS = 10 };
#endif
#define UNROLL_CHAINS _Pragma("GCC unroll 16")

/* `rounds` times CHAINS multiply-adds on registers; returns the operations, two for each lane.
 * values (2 W): IN a, b of acc = a acc + b, with |a| < 1; (W) OUT. */
static double RF(multiply_adds)(ptrdiff_t rounds, void *values)
{
    real *at = values;
    const V a = v_load(at), b = v_load(at + W);
    V acc[CHAINS], total = v_set1(0);
    UNROLL_CHAINS for (int i = 0; i < CHAINS; i++)
        acc[i] = v_set1((real)i);
    for (ptrdiff_t r = 0; r < rounds; r++)
        UNROLL_CHAINS for (int i = 0; i < CHAINS; i++)
            acc[i] = v_fma(a, acc[i], b);
    UNROLL_CHAINS for (int i = 0; i < CHAINS; i++)
        total += acc[i];
    v_store(at, total);
    return 2.0 * W * CHAINS * (double)rounds;
}

/* Sum x (n), n a multiple of 8 W, `passes` times from its beginning to its end; returns the bytes read. sums (W) OUT. */
static double RF(read_through)(ptrdiff_t passes, ptrdiff_t n, const void *x_, void *sums)
{
    const real *x = x_;
    V acc[8], total = v_set1(0);
    UNROLL for (int i = 0; i < 8; i++)
        acc[i] = v_set1(0);
    for (ptrdiff_t p = 0; p < passes; p++)
        for (ptrdiff_t k = 0; k < n; k += 8 * W)
            UNROLL for (int i = 0; i < 8; i++)
                acc[i] += v_load(x + k + i * W);
    UNROLL for (int i = 0; i < 8; i++)
        total += acc[i];
    v_store(sums, total);
    return (double)passes * (double)n * sizeof(real);
}

/* `steps` steps of the shortest chain from one h to the next: stored, spread over the lanes value by value, through 16
 * multiply-adds and one (RNN) or two (gates, then tanh of what they made) activations. Returns the steps.
 * values (17 W): IN weights; (W) OUT h. */
static double RF(step_chain)(ptrdiff_t steps, int activations, void *values)
{
    real *h = values;
    const real *w = h + W;
    for (ptrdiff_t t = 0; t < steps; t++) {
        V a = v_set1(0);
        UNROLL_CHAINS for (int k = 0; k < 16; k++)
            a = v_fma(v_set1(h[k % W]), v_load(w + k * W), a);
        a = v_sigmoid(a);
        if (activations > 1)
            a = v_tanh(a);
        v_store(h, a);
    }
    return (double)steps;
}

#undef UNROLL_CHAINS
