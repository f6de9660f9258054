/* memory.c: aligned blocks for workspaces, a few of them kept for the next call.
 *
 * A training step needs the same tens of megabytes again and again; fresh pages from the system would cost it several
 * per cent. What is kept is bounded in number, and goes when it has not been of use for some time: so that sizes which
 * change from call to call do not pile up. A call of a small layer needs some ten small blocks, and aligned ones cost
 * malloc more than the arithmetic costs: of each power of two a few are kept, for good, for all of them together are small.
 */
#include <pthread.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "rnnfast.h"

enum { ALIGN = 64, HUGE_PAGE = 1 << 21, KEPT = 16 };
enum { IDLE = 64 };                          /* requests for large blocks that an unused one outlives */
enum { SIZES = 9, SMALL = 64 << (SIZES - 1), /* small blocks have 64, 128, ... 16384 bytes, */
       OF_EACH = 8 };                        /* and of each size so many are kept */

typedef struct header {
    size_t size;   /* of the block */
    size_t wanted; /* what was asked for, the block's header and slack apart */
    size_t since;  /* the request after which it was given back */
    char pad[ALIGN - 3 * sizeof(size_t)];
} header;

static struct {
    header *kept[OF_EACH];
    int count;
} small[SIZES];

static header *kept[KEPT];
static size_t requests;  /* for large blocks */
static rf_memory memory; /* what rf_memory_use tells */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A child has the forking thread alone, so nobody else may be among the kept blocks when it is made. */
static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork(void) { pthread_mutex_unlock(&lock); }

void rf_memory_init(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static int is_small(size_t size) { return size <= SMALL; }

/* The number among small sizes of the least that holds so many bytes. */
static int small_size(size_t size)
{
    int i = 0;
    while ((size_t)64 << i < size)
        i++;
    return i;
}

/* A new block. Of large ones, whole huge pages: read through, they miss far less often in the translation of addresses.
 * What is left over keeps pages of usual size, so that a block takes no more memory than it would. */
static header *new_block(size_t size)
{
    void *found;
    const size_t all = sizeof(header) + size;
#ifdef MADV_HUGEPAGE
    if (all >= HUGE_PAGE) {
        if (posix_memalign(&found, HUGE_PAGE, all))
            return NULL;
        madvise(found, all & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE);
        return found;
    }
#endif
    return posix_memalign(&found, ALIGN, all) ? NULL : found;
}

/* The kept block that fits best, or none; those that have been idle go. */
static header *take_large(size_t size)
{
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
    if (best < 0)
        return NULL;
    header *block = kept[best];
    kept[best] = NULL;
    return block;
}

/* Keep a block, and return the one that it has driven out, if any, or itself. */
static header *keep_large(header *block)
{
    int slot = 0; /* an empty one, else the smallest block gives way if it is smaller than this one */
    block->since = requests;
    for (int i = 0; i < KEPT && kept[slot]; i++)
        if (!kept[i] || kept[i]->size < kept[slot]->size)
            slot = i;
    if (kept[slot] && kept[slot]->size >= block->size)
        return block;
    header *out = kept[slot];
    kept[slot] = block;
    return out;
}

static void count(size_t wanted)
{
    memory.asked++;
    memory.live += wanted;
    memory.peak = memory.peak > memory.live ? memory.peak : memory.live;
}

void *rf_alloc(size_t size)
{
    header *block = NULL;
    const size_t wanted = size;
    pthread_mutex_lock(&lock);
    if (is_small(size)) {
        const int i = small_size(size);
        size = (size_t)64 << i;
        if (small[i].count)
            block = small[i].kept[--small[i].count];
    } else {
        size = (size + (size >> 3) + 4095) & ~(size_t)4095; /* a little room, so that near sizes share a block */
        block = take_large(size);
    }
    if (block)
        count(wanted);
    pthread_mutex_unlock(&lock);
    if (!block) { /* what the system does can take long */
        block = new_block(size);
        if (!block)
            return NULL;
        block->size = size;
        pthread_mutex_lock(&lock);
        count(wanted);
        pthread_mutex_unlock(&lock);
    }
    block->wanted = wanted;
    return block + 1;
}

void rf_memory_use(rf_memory *use, int restart)
{
    pthread_mutex_lock(&lock);
    *use = memory;
    if (restart)
        memory.peak = memory.live;
    pthread_mutex_unlock(&lock);
}

void rf_free(void *freed)
{
    if (!freed)
        return;
    header *block = (header *)freed - 1;
    pthread_mutex_lock(&lock);
    memory.live -= block->wanted;
    if (!is_small(block->size)) {
        block = keep_large(block);
    } else {
        const int i = small_size(block->size);
        if (small[i].count < OF_EACH) {
            small[i].kept[small[i].count++] = block;
            block = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    free(block);
}

void rf_release(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < KEPT; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
    for (int i = 0; i < SIZES; i++)
        while (small[i].count)
            free(small[i].kept[--small[i].count]);
    pthread_mutex_unlock(&lock);
}
