/* Kept blocks across a fork: the child must not find them half changed by a thread that it does not have. */
#include <stdio.h>
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

int main(void)
{
    rf_memory_init();
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
    return status != 0;
}
