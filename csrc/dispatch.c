/* Which instruction sets were built and can run here, and the switch that flushes subnormals. */
#include <string.h>

#include "rnnfast.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define RF_DECLARE(isa) extern const rf_ops rf_ops_f32_##isa, rf_ops_f64_##isa;
RF_DECLARE(scalar)
RF_DECLARE(avx2)
RF_DECLARE(avx512)
RF_DECLARE(neon)

#ifdef RF_HAVE_AVX512
static int runs_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif

#ifdef RF_HAVE_AVX2
static int runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static int runs_anywhere(void)
{
    return 1;
}

static const struct {
    int (*runs)(void);
    const rf_ops *f32, *f64;
} table[] = { /* best first */
#ifdef RF_HAVE_AVX512
    {runs_avx512, &rf_ops_f32_avx512, &rf_ops_f64_avx512},
#endif
#ifdef RF_HAVE_AVX2
    {runs_avx2, &rf_ops_f32_avx2, &rf_ops_f64_avx2},
#endif
#ifdef RF_HAVE_NEON
    {runs_anywhere, &rf_ops_f32_neon, &rf_ops_f64_neon},
#endif
    {runs_anywhere, &rf_ops_f32_scalar, &rf_ops_f64_scalar},
};
enum { BUILT = sizeof table / sizeof table[0] };

const rf_ops *rf_ops_find(const char *isa, int itemsize)
{
    for (int i = 0; i < BUILT; i++)
        if (!strcmp(table[i].f32->isa, isa) && (table[i].runs == runs_anywhere || table[i].runs()))
            return itemsize == 4 ? table[i].f32 : table[i].f64;
    return NULL;
}

const char *const *rf_isa_names(void)
{
    static const char *names[BUILT + 1];
    int n = 0;
    for (int i = 0; i < BUILT; i++)
        if (table[i].runs())
            names[n++] = table[i].f32->isa;
    names[n] = NULL;
    return names;
}

const rf_ops *rf_ops_best(int itemsize)
{
    return rf_ops_find(rf_isa_names()[0], itemsize);
}

#if defined(__x86_64__)
unsigned rf_flush_subnormals(void)
{
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040u); /* FTZ: results, DAZ: operands */
    return saved;
}

void rf_restore_subnormals(unsigned saved)
{
    _mm_setcsr((_mm_getcsr() & ~0x8040u) | (saved & 0x8040u));
}
#elif defined(__aarch64__)
unsigned rf_flush_subnormals(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (1u << 24)));
    return (unsigned)fpcr;
}

void rf_restore_subnormals(unsigned saved)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"((fpcr & ~(uint64_t)(1u << 24)) | (saved & (1u << 24))));
}
#else
unsigned rf_flush_subnormals(void)
{
    return 0;
}

void rf_restore_subnormals(unsigned saved)
{
    (void)saved;
}
#endif
