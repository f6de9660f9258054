/* The pool under load: tasks with barriers from several callers at once, and forks meanwhile. For ThreadSanitizer and
 * for an emulator; a thread that passes a barrier early, a task that is lost or a hang makes it fail.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/pool.c" /* itself, for what it would do on a machine that is never busy */

enum { THREADS = 3, CELLS = 64, ROUNDS = 20, CALLERS = 3 };

typedef struct sums {
    long cells[2][CELLS]; /* each thread writes its own, and reads all after a barrier */
    long wrong;
    int threads;
} sums;

static void task(void *context, int thread, int threads)
{
    sums *w = context;
    if (thread == 0)
        w->threads = threads;
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = thread; i < CELLS; i += threads)
            w->cells[round & 1][i] = w->cells[~round & 1][(i + 1) % CELLS] + round;
        rf_barrier(thread, threads);
        if (thread == 0)
            for (int i = 1; i < CELLS; i++)
                w->wrong += w->cells[round & 1][i] != w->cells[round & 1][0];
    }
}

/* Thread 0 makes pieces one after the other, the others read each as soon as it is there, and all share out a sum. */
enum { PIECES = 200 };
typedef struct relay {
    long made[PIECES], read[THREADS], shares[THREADS];
    int threads;
} relay;

static void hand_on(void *context, int thread, int threads)
{
    relay *w = context;
    if (threads == 1)
        return;
    for (int i = 0; i < PIECES && thread == 0; i++) {
        w->made[i] = i + 1;
        rf_post(0, i + 1);
    }
    for (int i = 0; i < PIECES && thread > 0; i++) {
        rf_await(thread, 0, i + 1);
        w->read[thread] += w->made[i] + (rf_progress(0) <= (unsigned long)i);
    }
    for (unsigned long i; (i = rf_claim()) < PIECES;)
        w->shares[thread] += i + 1;
    rf_post(thread, PIECES + 1);
    for (int i = 1; i < threads && thread == 0; i++)
        rf_await(0, i, PIECES + 1);
    if (thread == 0)
        w->threads = threads;
}

static void relay_once(void)
{
    relay w = {.threads = 0};
    atomic_store(&alone_until, 0);
    rf_parallel(hand_on, &w, THREADS);
    const long whole = PIECES * (PIECES + 1) / 2;
    long shares = w.threads ? 0 : whole; /* it has run alone */
    for (int i = 0; i < w.threads; i++) {
        shares += w.shares[i];
        if (i > 0 && w.read[i] != whole) {
            printf("thread %d has read %ld, not %ld\n", i, w.read[i], whole);
            exit(1);
        }
    }
    if (shares != whole) {
        printf("shares of %ld, not %ld\n", shares, whole);
        exit(1);
    }
}

static int run(int tasks)
{
    int shared = 0;
    for (int i = 0; i < tasks; i++) {
        sums w = {.wrong = 0};
        atomic_store(&alone_until, 0);
        if (i & 1) /* its kind may come to run alone */
            rf_parallel(task, &w, 1 + i % THREADS);
        else
            rf_parallel_or_alone(task, &w, 1 + i % THREADS, 1 + i % 20, 100);
        if (w.wrong || w.cells[ROUNDS & 1][0] != ROUNDS * (ROUNDS + 1) / 2) {
            printf("wrong sums\n");
            exit(1);
        }
        shared += w.threads > 1;
        void *block = rf_alloc((size_t)(1 + i % 7) << 14);
        ((char *)block)[0] = 1;
        rf_free(block);
        relay_once();
        if (i % 50 == 49)
            usleep(1000); /* long enough for the workers to fall asleep */
    }
    return shared;
}

static int all_shared;

static void *caller(void *argument)
{
    __atomic_fetch_add(&all_shared, run((int)(intptr_t)argument), __ATOMIC_RELAXED);
    return NULL;
}

/* Whether a call of rf_ready meets with `wanted` in one of 200 attempts, `before` made first: any of them may be put
 * aside for longer than a worker stays awake. */
static int answers(int wanted, void (*before)(void))
{
    for (int i = 0; i < 200; i++) {
        before();
        if (rf_ready(2) == wanted)
            return 1;
    }
    return 0;
}

static void share_one(void)
{
    sums w = {.wrong = 0};
    atomic_store(&alone_until, 0);
    rf_parallel(task, &w, 2);
}

static void wait_long(void)
{
    usleep(20 * SPIN);
}

static void begin_series(void)
{
    wait_long();
    for (int i = 0; i < SERIES; i++) {
        sums w = {.wrong = 0};
        rf_ready(2);
        rf_parallel(task, &w, 1);
    }
}

/* Workers are told to be ready after a task, and in the course of a series of tasks that ran alone, but not after a pause. */
static int check_ready(void)
{
    if (rf_ready(2)) {
        printf("ready before there are any workers\n");
        return 1;
    }
    if (!answers(1, begin_series) || !answers(1, share_one) || !answers(0, wait_long)) {
        printf("rf_ready does not follow the workers\n");
        return 1;
    }
    return 0;
}

static void forget(void)
{
    lately.end = 1000000;
    lately.time = lately.of_one = lately.tasks = lately.failures = 0;
    atomic_store(&alone_until, 0);
}

/* How many tasks of `time` microseconds, the caller waiting a part of each, are entered before the next run alone, of
 * `most`; 0: none does. */
static int tasks_until_alone(double time, double part, int threads, int most)
{
    forget();
    for (int i = 1; i <= most; i++) {
        enter(time, time * (1 - part) * threads, 1000000);
        if (atomic_load(&alone_until))
            return i;
    }
    return 0;
}

static int expect(const char *what, long found, long wanted)
{
    if (found != wanted)
        printf("%s: %ld, not %ld\n", what, found, wanted);
    return found != wanted;
}

/* A caller that waits for more than the others do for it goes on alone, soon where tasks are long, and longer each time. */
static int check_waiting(void)
{
    int wrong = expect("no waiting", tasks_until_alone(100, 0, 2, 1000), 0);
    wrong += expect("a slower worker", tasks_until_alone(100, 0.4, 2, 1000), 0);
    wrong += expect("many short waits", tasks_until_alone(100, 0.55, 2, 1000), TRIED / 100);
    wrong += expect("long waits", tasks_until_alone(10000, 0.55, 2, 1000), 3);
    wrong += expect("waits that four threads make good", tasks_until_alone(100, 0.7, 4, 1000), 0);
    wrong += expect("waits that they do not", tasks_until_alone(100, 0.8, 4, 1000), TRIED / 100);
    tasks_until_alone(100, 0.05, 2, 100);
    enter(3000, 180, 1000000); /* as a program leaves behind that comes and goes */
    wrong += expect("one long wait", atomic_load(&alone_until), 0);
    forget();
    enter(5000, 1000, 1000000);
    enter(5000, 1000, 1000000);
    for (long i = 0, wanted = ALONE_LEAST; i < 9; i++, wanted = MIN(2 * wanted, ALONE_LEAST << ALONE_DOUBLES)) {
        enter(5000, 1000, 1000000);
        wrong += expect("microseconds alone", atomic_load(&alone_until) - 1000000, wanted);
    }
    wrong += expect("failures", lately.failures, 9);
    enter(5000, 1000, 1000000 + FORGET);
    wrong += expect("failures when the next follows", lately.failures, 10);
    enter(5000, 1000, 1000001 + 2 * FORGET);
    wrong += expect("failures after a pause", lately.failures, 0);
    forget();
    for (int i = 0; i < 6; i++)
        enter(5000, 1000, 1000000);
    wrong += expect("failures again", lately.failures, 4);
    for (int i = 0; i <= LATELY / 100; i++)
        enter(100, 180, 1000000);
    wrong += expect("failures after a good while", lately.failures, 0);
    forget();
    return wrong;
}

static void work(long length)
{
    const long until = microseconds() + length;
    while (microseconds() < until)
        ;
}

static int of_the_worker; /* percent of the caller's work */

static void uneven(void *context, int thread, int threads)
{
    (void)context;
    work(thread == 0 ? 300 : 3L * of_the_worker);
    rf_barrier(thread, threads);
}

static void uneven_on_purpose(void *context, int thread, int threads)
{
    if (thread == 0)
        rf_waits_on_purpose();
    uneven(context, thread, threads);
}

/* What every thread does is entered, not what the caller thinks of it: the shares of 100 tasks by the account, in percent
 * of the caller's own work. The quickest of some attempts, for any thread may be put aside. */
static long entered(int percent)
{
    long least = 1000;
    of_the_worker = percent;
    for (int i = 0; i < 100; i++) {
        forget();
        rf_parallel(uneven, NULL, 2);
        if (lately.tasks == 1)
            least = MIN(least, (long)(100 * lately.of_one / 300));
    }
    forget();
    return least;
}

static int check_account(void)
{
    forget();
    for (int i = 0; i < 10; i++)
        rf_parallel(uneven_on_purpose, NULL, 2);
    int wrong = expect("tasks entered that wait on purpose", lately.tasks, 0);
    for (int percent = 0; percent <= 100; percent += 50) {
        const long found = entered(percent);
        if (found < 100 + percent - 10 || found > 100 + percent + 40) {
            printf("tasks of 100 and %d are entered as %ld\n", percent, found);
            wrong = 1;
        }
    }
    return wrong;
}

static void tell_places(void *context, int thread, int threads)
{
    cpu_set_t *allowed = context;
    (void)threads;
    sched_getaffinity(0, sizeof allowed[thread], &allowed[thread]);
    work(100);
}

/* A worker that sleeps is kept off a CPU, if there is another, and may be everywhere again when it is awake. */
static int check_places(void)
{
    cpu_set_t whole, kept, allowed[2];
    sched_getaffinity(0, sizeof whole, &whole);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &whole))
            continue;
        forget();
        rf_parallel(tell_places, allowed, 2); /* there is a worker */
        while (!atomic_load(&slots[1].asleep))
            wait_long();
        keep_off(1, cpu);
        sched_getaffinity(slots[1].tid, sizeof kept, &kept);
        if (CPU_COUNT(&whole) > 1 && (CPU_ISSET(cpu, &kept) || CPU_COUNT(&kept) != CPU_COUNT(&whole) - 1)) {
            printf("a worker is not kept off CPU %d alone\n", cpu);
            return 1;
        }
        forget();
        rf_parallel(tell_places, allowed, 2);
        if (!CPU_EQUAL(&allowed[1], &whole)) {
            printf("a worker is not given back its CPUs\n");
            return 1;
        }
    }
    return 0;
}

static atomic_int looks;
static int at_barrier;

static void count_look(void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

static void late(void *context, int thread, int threads)
{
    (void)context;
    if (thread == 0 && threads > 1)
        rf_while_waiting(count_look);
    if (thread > 0)
        usleep(30000);
    if (at_barrier)
        rf_barrier(thread, threads);
}

static void late_unwatched(void *context, int thread, int threads)
{
    (void)context, (void)threads;
    if (thread > 0)
        usleep(30000);
}

/* The caller looks around while it waits, at a barrier and at the end, if the task has asked for it. */
static int check_looking(void)
{
    for (at_barrier = 0; at_barrier < 2; at_barrier++) {
        atomic_store(&looks, 0);
        forget();
        rf_parallel(late, &looks, 2);
        if (atomic_load(&looks) < 3) {
            printf("%d looks in 30 ms (barrier: %d)\n", atomic_load(&looks), at_barrier);
            return 1;
        }
    }
    atomic_store(&looks, 0);
    forget();
    rf_parallel(late_unwatched, &looks, 2);
    forget();
    return expect("looks that nobody asked for", atomic_load(&looks), 0);
}

static atomic_int together;
static int after_shared; /* microseconds that a task takes after one that was shared out */

static void better_alone(void *context, int thread, int threads)
{
    (void)context;
    if (thread == 0)
        atomic_store(&together, threads > 1);
    work(threads > 1 ? 300 : 100);
}

static void worse_later(void *context, int thread, int threads)
{
    (void)context;
    if (thread == 0)
        atomic_store(&together, threads > 1);
    work(threads > 1 ? 70 : 100);
}

static void follow(void *context, int thread, int threads)
{
    (void)context, (void)thread, (void)threads;
    work(atomic_load(&together) ? after_shared : 20);
}

static uint64_t kind; /* of the tasks below, another for each attempt */

static void follow_within(void *context, int thread, int threads)
{
    rf_parallel_or_alone(worse_later, context, 2, kind, 100);
    follow(context, thread, threads);
}

/* Of 100 tasks of a kind, each followed by another task or, where there is none, both part of one, those shared out. */
static int shared_of(rf_task task)
{
    int shared = 0;
    for (int i = 0; i < 100; i++) {
        forget();
        if (task) {
            rf_parallel_or_alone(task, NULL, 2, kind, 100);
            rf_parallel(follow, NULL, 1);
        } else {
            rf_parallel(follow_within, NULL, 1);
        }
        shared += atomic_load(&together);
    }
    return shared;
}

/* Whether such tasks come to run alone after a first trial, in one of some attempts: any call may be held up. */
static int comes_to_run_alone(const char *what, rf_task task, int later)
{
    int found = 0;
    after_shared = later;
    for (int i = 0; i < 10; i++) {
        kind++;
        found = shared_of(task);
        if (found >= 16 && found <= 50)
            return 1;
    }
    printf("of 100 tasks that %s, %d on two threads\n", what, found);
    return 0;
}

/* A kind that two threads take longer for runs alone after its first trial, also where only the task after it does; but
 * never, of the last of these kinds too, if workers are taken for awake. */
static int check_alone(void)
{
    kind = 1000;
    const int right = comes_to_run_alone("are better alone", better_alone, 20) &&
                      comes_to_run_alone("harm the next", worse_later, 120) &&
                      comes_to_run_alone("harm what follows within another", NULL, 120);
    rf_assume_ready(1);
    const int always = shared_of(better_alone);
    rf_assume_ready(0);
    return expect("tasks on two threads that are ready, of 100", always, 100) || !right;
}

int main(int argc, char **argv)
{
    const int tasks = argc > 1 ? atoi(argv[1]) : 300, forks = argc > 2 ? atoi(argv[2]) : 5;
    rf_memory_init();
    rf_pool_init();
    if (check_ready() || check_waiting() || check_account() || check_places() || check_looking() ||
        check_alone())
        return 1;
    pthread_t callers[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, caller, (void *)(intptr_t)tasks))
            return 1;
    for (int i = 0; i < forks; i++) {
        usleep(2000);
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);
            run(50);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status) {
            printf("a child ended with status %d\n", status);
            return 1;
        }
    }
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    rf_release();
    printf("%d of %d tasks were shared out, %d forks\n", all_shared, CALLERS * tasks, forks);
    return all_shared == 0;
}
