/* The kernels of every instruction set that runs here against plain loops in double, for machines and tools that Python
 * does not reach: an emulator, sanitizers. See run.
 */
#include "checks.h"

const rf_ops *ops;
int failures;
static long checks;
const ptrdiff_t some_columns[COLUMNS] = {1, 4, 7, 16, 33, 70, 129};

static double draw(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / (double)(1ull << 53) * 2 - 1;
}

real *random_reals(ptrdiff_t n)
{
    real *x = malloc((size_t)n * sizeof(real));
    for (ptrdiff_t i = 0; i < n; i++) {
        double v = draw();
        x[i] = (real)(v + (v < 0 ? -0.05 : 0.05)); /* clear of relu's corner */
    }
    return x;
}

void *copy(const void *x, ptrdiff_t n)
{
    return memcpy(malloc((size_t)n * sizeof(real)), x, (size_t)n * sizeof(real));
}

void check(double found, double expected, double bound, const char *what)
{
    checks++;
    if (!(fabs(found - expected) <= bound) && failures++ < 20)
        printf("%s f%d: %s: %.9g, expected %.9g within %.2g\n", ops->isa, 8 * ops->itemsize, what, found, expected,
               bound);
}

int main(void)
{
    for (const char *const *name = rf_isa_names(); *name; name++) {
        ops = rf_ops_find(*name, sizeof(real));
        check_products();
        check_elements();
        check_cells();
        check_steps();
        check_scans();
        check_trees();
        printf("%s f%d: %ld checks\n", *name, 8 * ops->itemsize, checks);
        checks = 0;
    }
    printf(failures ? "%d FAILED\n" : "all right\n", failures);
    return failures != 0;
}
