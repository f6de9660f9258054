/* exp, tanh and sigmoid in v_*. */
#if RF_DOUBLE
#define RF_LIB_EXP exp
#define RF_LIB_TANH tanh
#else
#define RF_LIB_EXP expf
#define RF_LIB_TANH tanhf
#endif
#define RF_EACH(name, expr)                   \
    INLINE V v_##name(V v)                    \
    {                                         \
        real a[W];                            \
        v_store(a, v);                        \
        for (int i = 0; i < W; i++) {         \
            real x = a[i];                    \
            a[i] = expr;                      \
        }                                     \
        return v_load(a);                     \
    }
RF_EACH(exp, RF_LIB_EXP(x))
RF_EACH(tanh, RF_LIB_TANH(x))
RF_EACH(sigmoid, 1 / (1 + RF_LIB_EXP(-x)))
