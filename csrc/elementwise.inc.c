/* The functions of vmath.inc.h over arrays. */

#define RF_MAP(name)                                                                   \
    static void RF(name)(ptrdiff_t n, const void *x_, void *y_)                        \
    {                                                                                  \
        const real *x = x_;                                                            \
        real *y = y_;                                                                  \
        ptrdiff_t i = 0;                                                               \
        for (; i + W <= n; i += W)                                                     \
            v_store(y + i, v_##name(v_load(x + i)));                                   \
        if (i < n)                                                                     \
            v_store_n(y + i, n - i, v_##name(v_load_n(x + i, n - i)));                 \
    }

RF_MAP(exp)
RF_MAP(tanh)
RF_MAP(sigmoid)
