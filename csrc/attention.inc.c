/* Additive attention: a query against every step of a memory, both already projected.
 *
 * The sums under the tanh, one for each query, step and unit, are never stored: the backward pass makes them again, which
 * costs less than to write and read them. Two accumulators hide the latency of their chain.
 */

/* scores[s] = sum_a v[a] tanh(q[a] + k[s][a]), s < steps; q, v (n), k (steps, n) */
static void RF(additive_scores)(ptrdiff_t steps, ptrdiff_t n, const void *q_, const void *k_, const void *v_, void *scores_)
{
    const real *q = q_, *k = k_, *v = v_;
    real *scores = scores_;
    const ptrdiff_t tail = n % W, whole = n - tail;
    for (ptrdiff_t s = 0; s < steps; s++, k += n) {
        V sum = v_set1(0), other = v_set1(0);
        ptrdiff_t a = 0;
        for (; a + 2 * W <= whole; a += 2 * W) {
            sum = v_fma(v_load(v + a), v_tanh(v_load(q + a) + v_load(k + a)), sum);
            other = v_fma(v_load(v + a + W), v_tanh(v_load(q + a + W) + v_load(k + a + W)), other);
        }
        if (a < whole)
            sum = v_fma(v_load(v + a), v_tanh(v_load(q + a) + v_load(k + a)), sum);
        if (tail) {
            const V t = v_tanh(v_load_n(q + whole, tail) + v_load_n(k + whole, tail));
            other = v_fma(v_load_n(v + whole, tail), t, other);
        }
        scores[s] = v_sum(sum + other);
    }
}

/* With t[s][a] = tanh(q[a] + k[s][a]) and z[s][a] = ds[s] v[a] (1 - t[s][a]^2):
 * dq[a] += sum_s z[s][a], dk[s][a] += z[s][a], dv[a] += sum_s ds[s] t[s][a]; dq, dv (n), dk (steps, n) */
static void RF(additive_gradients)(ptrdiff_t steps, ptrdiff_t n, const void *q_, const void *k_, const void *v_,
                                   const void *ds_, void *dq_, void *dk_, void *dv_)
{
    const real *q = q_, *v = v_, *ds = ds_;
    real *dq = dq_, *dv = dv_;
    const ptrdiff_t tail = n % W, whole = n - tail;
    const V one = v_set1(1);
    for (ptrdiff_t a = 0; a < whole; a += W) {
        const V own = v_load(q + a), weight = v_load(v + a);
        V sum_q = v_load(dq + a), sum_v = v_load(dv + a);
        const real *k = (const real *)k_ + a;
        real *dk = (real *)dk_ + a;
        for (ptrdiff_t s = 0; s < steps; s++, k += n, dk += n) {
            const V d = v_set1(ds[s]), t = v_tanh(own + v_load(k)), z = d * weight * (one - t * t);
            sum_q += z;
            sum_v = v_fma(d, t, sum_v);
            v_store(dk, v_load(dk) + z);
        }
        v_store(dq + a, sum_q);
        v_store(dv + a, sum_v);
    }
    if (tail) {
        const V own = v_load_n(q + whole, tail), weight = v_load_n(v + whole, tail);
        V sum_q = v_load_n(dq + whole, tail), sum_v = v_load_n(dv + whole, tail);
        const real *k = (const real *)k_ + whole;
        real *dk = (real *)dk_ + whole;
        for (ptrdiff_t s = 0; s < steps; s++, k += n, dk += n) {
            const V d = v_set1(ds[s]), t = v_tanh(own + v_load_n(k, tail)), z = d * weight * (one - t * t);
            sum_q += z;
            sum_v = v_fma(d, t, sum_v);
            v_store_n(dk, tail, v_load_n(dk, tail) + z);
        }
        v_store_n(dq + whole, tail, sum_q);
        v_store_n(dv + whole, tail, sum_v);
    }
}
