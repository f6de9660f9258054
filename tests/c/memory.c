/* Kept blocks: what is handed out is aligned, large enough and one's own, and what is kept is bounded. And across a fork:
 * the child must not find them half changed by a thread that it does not have. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/memory.c" /* itself, for its lock */

static atomic_int half_changed;

static void *changer(void *unused)
{
    pthread_mutex_lock(&lock);
    atomic_store(&half_changed, 1);
    usleep(100000);
    atomic_store(&half_changed, 0);
    pthread_mutex_unlock(&lock);
    return unused;
}

static int failures;

static void expect(int so, const char *what, size_t size)
{
    failures += !so;
    if (!so)
        printf("%s, %zu bytes\n", what, size);
}

/* More blocks of a size than are kept, all in use at once, given back and asked for again. */
static void check_size(size_t size)
{
    enum { MANY = OF_EACH + KEPT };
    unsigned char *block[MANY];
    rf_memory before, now;
    rf_memory_use(&before, 1);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < MANY; i++) {
            block[i] = rf_alloc(size);
            expect((uintptr_t)block[i] % ALIGN == 0, "a block is not aligned", size);
            memset(block[i], i + 1, size);
        }
        rf_memory_use(&now, 0);
        expect(now.live == before.live + MANY * size && now.peak == now.live, "blocks in use are not counted", size);
        for (int i = 0; i < MANY; i++) {
            expect(size == 0 || (block[i][0] == i + 1 && block[i][size - 1] == i + 1), "two blocks share memory", size);
            rf_free(block[i]);
        }
    }
    rf_memory_use(&now, 0);
    expect(now.live == before.live && now.asked == before.asked + 2 * MANY, "blocks given back are not counted", size);
}

static void check_blocks(void)
{
    const size_t sizes[] = {0, 1, 63, 64, 65, 128, 129, 1000, 4096, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_size(sizes[i]);
    for (int i = 0; i < SIZES; i++)
        expect(small[i].count <= OF_EACH, "too many small blocks are kept", (size_t)64 << i);
    void *block = rf_alloc(100);
    rf_free(block);
    void *again = rf_alloc(120);
    expect(block == again, "a small block is not used again", 120);
    rf_free(again);
    rf_release();
    for (int i = 0; i < SIZES; i++)
        expect(small[i].count == 0, "a block stays after the release", (size_t)64 << i);
}

int main(void)
{
    rf_memory_init();
    check_blocks();
    rf_free(rf_alloc(4 * SMALL));
    pthread_t thread;
    if (pthread_create(&thread, NULL, changer, NULL))
        return 1;
    while (!atomic_load(&half_changed))
        usleep(100);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60); /* a lock that nobody opens */
        rf_free(rf_alloc(4 * SMALL));
        _exit(atomic_load(&half_changed));
    }
    int status;
    waitpid(child, &status, 0);
    pthread_join(thread, NULL);
    rf_release();
    if (status)
        printf("a child saw blocks that another thread was changing\n");
    return status != 0 || failures;
}
