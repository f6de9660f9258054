/* memory.c: aligned blocks for workspaces, a few of them kept for the next call.
 *
 * A training step needs the same tens of megabytes again and again; fresh pages from the system would cost it several
 * per cent. What is kept is bounded in number, and goes when it has not been of use for some time: so that sizes which
 * change from call to call do not pile up.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "rnnfast.h"

enum { ALIGN = 64, HUGE_PAGE = 1 << 21, KEPT = 16 };
enum { IDLE = 64 }; /* requests for large blocks that an unused one outlives */
static const size_t SMALL = 1 << 14; /* below this, malloc is quick enough */

typedef struct {
    size_t size;   /* of the block */
    size_t wanted; /* what was asked for, the block's header and slack apart */
    size_t since;  /* the request after which it was given back */
    char pad[ALIGN - 3 * sizeof(size_t)];
} header;

static atomic_size_t asked, live, peak; /* blocks ever asked for; bytes of those in use, now and at most */

static header *kept[KEPT];
static size_t requests; /* for large blocks */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A child has the forking thread alone, so nobody else may be among the kept blocks when it is made. */
static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork(void) { pthread_mutex_unlock(&lock); }

void rf_memory_init(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

/* A new block. Of large ones, whole huge pages: read through, they miss far less often in the translation of addresses.
 * What is left over keeps pages of usual size, so that a block takes no more memory than it would. */
static header *new_block(size_t size)
{
    void *memory;
    const size_t all = sizeof(header) + size;
#ifdef MADV_HUGEPAGE
    if (all >= HUGE_PAGE) {
        if (posix_memalign(&memory, HUGE_PAGE, all))
            return NULL;
        madvise(memory, all & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE);
        return memory;
    }
#endif
    return posix_memalign(&memory, ALIGN, all) ? NULL : memory;
}

void *rf_alloc(size_t size)
{
    header *block = NULL;
    const size_t wanted = size;
    if (size >= SMALL) {
        size = (size + (size >> 3) + 4095) & ~(size_t)4095; /* a little room, so that near sizes share a block */
        pthread_mutex_lock(&lock);
        int best = -1;
        requests++;
        for (int i = 0; i < KEPT; i++)
            if (kept[i] && requests - kept[i]->since > IDLE) {
                free(kept[i]);
                kept[i] = NULL;
            } else if (kept[i] && kept[i]->size >= size && kept[i]->size <= 2 * size &&
                       (best < 0 || kept[i]->size < kept[best]->size)) {
                best = i;
            }
        if (best >= 0) {
            block = kept[best];
            kept[best] = NULL;
        }
        pthread_mutex_unlock(&lock);
    }
    if (!block) {
        block = new_block(size);
        if (!block)
            return NULL;
        block->size = size;
    }
    block->wanted = wanted;
    atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
    size_t now = atomic_fetch_add_explicit(&live, wanted, memory_order_relaxed) + wanted;
    size_t most = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
        ;
    return block + 1;
}

void rf_memory_use(rf_memory *use, int restart)
{
    use->asked = atomic_load(&asked);
    use->live = atomic_load(&live);
    use->peak = atomic_load(&peak);
    if (restart)
        atomic_store(&peak, use->live);
}

void rf_free(void *memory)
{
    if (!memory)
        return;
    header *block = (header *)memory - 1;
    atomic_fetch_sub_explicit(&live, block->wanted, memory_order_relaxed);
    if (block->size >= SMALL) {
        pthread_mutex_lock(&lock);
        block->since = requests;
        int slot = 0; /* an empty one, else the smallest block gives way if it is smaller than this one */
        for (int i = 0; i < KEPT && kept[slot]; i++)
            if (!kept[i] || kept[i]->size < kept[slot]->size)
                slot = i;
        if (!kept[slot] || kept[slot]->size < block->size) {
            header *out = kept[slot];
            kept[slot] = block;
            block = out;
        }
        pthread_mutex_unlock(&lock);
    }
    free(block);
}

void rf_release(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < KEPT; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
    pthread_mutex_unlock(&lock);
}
