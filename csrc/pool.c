/* pool.c: a few persistent threads and a barrier between them.
 *
 * Why not OpenMP: its runtime hangs in a forked child, and a fork-join costs several times our barrier. Workers are
 * started when first asked for, spin briefly for the next task (a time step costs microseconds) and then sleep. One
 * task runs on them at a time; a caller that finds them busy runs its task alone, so that many Python threads calling
 * at once never wait for each other. A forked child starts with no workers and makes its own.
 *
 * Where other programs want the same CPUs, a barrier waits for whoever was put aside, and two threads can be several
 * times slower than one. So when threads have waited so much of late that what all of them did would have been done sooner
 * by one, the next tasks run on the caller alone for a while, longer each time that a new attempt goes the same way. What
 * threads lose without waiting, only trials show (trials.c).
 *
 * Linux likes to wake a worker on the very CPU that its caller runs on, and leaves it waiting there for milliseconds though
 * its own CPU is idle. So a worker that sleeps is kept off its caller's CPU before it is woken. And every thread of a task
 * tells on which CPU it is, and a worker that meets another there moves away.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rnnfast.h"

enum { MAX_THREADS = 64, LINE = 128 };
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Each on lines of its own: a flag is written by one thread and watched by others. */
static struct {
    _Alignas(LINE) atomic_ulong arrived; /* barriers this thread has reached in the running task */
    atomic_ulong progress;               /* how far it says it has come in it */
    uint64_t waited;                     /* ticks, in the running task; its own alone */
    uint64_t worked;                     /* ticks of its part that it did not wait; before `done` */
    atomic_ulong done;                   /* the last task this worker has finished */
    _Alignas(LINE) atomic_ulong posted;  /* the newest task meant for this worker, by number */
    atomic_int cpu;                      /* where this thread was when its part of the task began */
    atomic_int asleep;                   /* set under `door` */
    pid_t tid;
    int kept_off;                        /* under `door`, while asleep: `allowed` is to be given back to it */
    cpu_set_t allowed;
    pthread_cond_t bell;
} slots[MAX_THREADS];

enum { YIELDS = 3, NAP = 50000 }; /* of a thread that waits: how often it gives way before it naps; nanoseconds */

static _Alignas(LINE) atomic_int sleeping;
static _Alignas(LINE) atomic_ulong claims; /* pieces of the running task that have been taken */
static unsigned long tasks;                /* numbers given out */

/* A worker that sleeps takes some hundred microseconds to come, longer than many a task takes alone. So one whose caller
 * asks first (rf_ready) is told whether they are awake, as between tasks that follow each other closely; and a series of
 * tasks that ran alone because they were not wakes them. */
enum { SPIN = 200, SERIES = 3 }; /* microseconds that a worker stays awake for; tasks after which it is a series */
static atomic_long ended;        /* when the last such task came to its end */
static atomic_int in_a_row, watched, assumed;

/* What threads have lost by waiting; all guarded by `busy` but the first, which is read without it. */
static atomic_long alone_until; /* microseconds: tasks run on one thread until then */
static struct {
    double time, of_one; /* of tasks of late, in microseconds, and about what they would have taken on one thread */
    int tasks;
    int failures; /* attempts in a row that ended in running alone */
    long end;     /* when the last task ended, in microseconds */
} lately;
enum {
    TRIED = 1000,       /* microseconds of tasks before they are judged */
    LATELY = 20000,     /* of which older ones begin to count half */
    ALONE_LEAST = 2000, /* for which tasks run alone at first */
    ALONE_DOUBLES = 6,  /* times that this doubles, while attempts go on to fail */
    FORGET = 300000     /* without tasks, after which nothing of all this is held against the next */
};

static struct {
    rf_task task;
    void *context;
    int threads;
    rf_look look; /* what the caller does now and then while it waits; its alone */
    int waits_on_purpose;
} job; /* written before any `posted` moves on */

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* held while a task runs */
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER; /* guards the sleep of workers */
static atomic_int workers; /* started so far; thread numbers 1..workers; set under `busy` */

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static double clock_now(void) /* in microseconds */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

static long microseconds(void)
{
    return (long)clock_now();
}

/* A clock that costs less than what it times. Its unit differs from one machine to the next. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t now;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
    return now;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
#endif
}

/* Spin for about spin_us microseconds at most while `flag` is below `wanted`; returns whether it arrived. */
static int spin_until(atomic_ulong *flag, unsigned long wanted, long spin_us)
{
    long start = 0;
    for (int round = 0;; round++) {
        for (int i = 0; i < 128; i++) {
            if (atomic_load_explicit(flag, memory_order_acquire) >= wanted)
                return 1;
            relax();
        }
        long now = microseconds();
        if (round == 0)
            start = now;
        else if (now - start > spin_us)
            return 0;
    }
}

/* Wait for a thread that is certain to come, and return the ticks that went by. Spin first, then give the core away to a
 * thread that may wait for it, and at last sleep in short naps: two virtual CPUs can be on one real core, which is the
 * other's as soon as this one rests, and not for some milliseconds if it spins. Who naps can look around as well. */
static uint64_t wait_for(atomic_ulong *flag, unsigned long wanted, rf_look look)
{
    if (atomic_load_explicit(flag, memory_order_acquire) >= wanted)
        return 0;
    const uint64_t start = ticks();
    for (int turn = 0; !spin_until(flag, wanted, turn <= YIELDS ? 50 : 0); turn++)
        if (turn < YIELDS)
            sched_yield();
        else {
            if (look)
                look(job.context);
            nanosleep(&(struct timespec){0, NAP}, NULL);
        }
    return ticks() - start;
}

static void wait_as(int thread, atomic_ulong *flag, unsigned long wanted)
{
    slots[thread].waited += wait_for(flag, wanted, thread == 0 ? job.look : NULL);
}

/* Keep a worker that sleeps off a CPU when it is woken. */
static void keep_off(int thread, int cpu)
{
    cpu_set_t allowed;
    if (cpu < 0 || cpu >= CPU_SETSIZE || slots[thread].kept_off ||
        sched_getaffinity(slots[thread].tid, sizeof allowed, &allowed))
        return;
    slots[thread].allowed = allowed;
    CPU_CLR(cpu, &allowed);
    if (CPU_COUNT(&allowed) && !sched_setaffinity(slots[thread].tid, sizeof allowed, &allowed))
        slots[thread].kept_off = 1;
}

/* Leave this CPU for another allowed one, if a thread of the task with a lower number is on it. */
static void spread(int thread)
{
    const int cpu = sched_getcpu();
    atomic_store_explicit(&slots[thread].cpu, cpu, memory_order_relaxed);
    int shared = 0;
    for (int i = 0; i < thread; i++)
        shared |= atomic_load_explicit(&slots[i].cpu, memory_order_relaxed) == cpu;
    cpu_set_t allowed, others;
    if (!shared || cpu < 0 || sched_getaffinity(0, sizeof allowed, &allowed))
        return;
    others = allowed;
    for (int i = 0; i < thread; i++)
        if (slots[i].cpu >= 0 && slots[i].cpu < CPU_SETSIZE)
            CPU_CLR(slots[i].cpu, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others)) {
        sched_setaffinity(0, sizeof allowed, &allowed); /* it stays where it is now, but is free to be moved again */
        atomic_store_explicit(&slots[thread].cpu, sched_getcpu(), memory_order_relaxed);
    }
}

static void *worker(void *argument)
{
    int thread = (int)(intptr_t)argument;
    unsigned long seen = atomic_load(&slots[thread].done);
    slots[thread].tid = (pid_t)syscall(SYS_gettid);
    prctl(PR_SET_TIMERSLACK, 1000UL); /* nanoseconds that a nap may last longer; 50,000 if nobody says so */
    for (;;) {
        if (!spin_until(&slots[thread].posted, seen + 1, SPIN)) {
            pthread_mutex_lock(&door);
            atomic_store(&slots[thread].asleep, 1);
            atomic_fetch_add(&sleeping, 1);
            while (atomic_load(&slots[thread].posted) == seen)
                pthread_cond_wait(&slots[thread].bell, &door);
            atomic_fetch_sub(&sleeping, 1);
            atomic_store(&slots[thread].asleep, 0);
            if (slots[thread].kept_off) /* it stays where it is now, but is free to be moved again */
                sched_setaffinity(0, sizeof slots[thread].allowed, &slots[thread].allowed);
            slots[thread].kept_off = 0;
            pthread_mutex_unlock(&door);
        }
        seen = atomic_load(&slots[thread].posted);
        unsigned saved = rf_flush_subnormals();
        spread(thread);
        slots[thread].waited = 0;
        const uint64_t began = ticks();
        job.task(job.context, thread, job.threads);
        slots[thread].worked = ticks() - began - slots[thread].waited;
        rf_restore_subnormals(saved);
        atomic_store_explicit(&slots[thread].done, seen, memory_order_release);
    }
    return NULL;
}

static void after_fork(void)
{
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&door, NULL);
    workers = 0;
    atomic_store(&sleeping, 0);
    rf_trials_after_fork();
}

void rf_pool_init(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

/* Make sure that `wanted` workers exist; returns how many there are. Called with `busy` held. */
static int hire(int wanted)
{
    while (workers < wanted) {
        pthread_t handle;
        pthread_attr_t attributes;
        int thread = workers + 1;
        atomic_store(&slots[thread].done, atomic_load(&slots[thread].posted));
        atomic_store(&slots[thread].asleep, 0);
        slots[thread].kept_off = 0;
        pthread_cond_init(&slots[thread].bell, NULL);
        if (pthread_attr_init(&attributes))
            break;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        sigset_t all, before; /* signals are for the program's own threads */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int failed = pthread_create(&handle, &attributes, worker, (void *)(intptr_t)thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        if (failed)
            break;
        workers = thread;
    }
    return workers;
}

/* Whether workers 1..threads-1 are there and do not sleep. */
static int awake(int threads)
{
    if (atomic_load(&workers) < threads - 1)
        return 0;
    for (int i = 1; i < threads; i++)
        if (atomic_load_explicit(&slots[i].asleep, memory_order_relaxed))
            return 0;
    return 1;
}

void rf_assume_ready(int always)
{
    atomic_store(&assumed, always);
}

int rf_ready(int threads)
{
    if (awake(MIN(threads, MAX_THREADS)) || atomic_load(&assumed))
        return 1;
    if (microseconds() - atomic_load(&ended) > SPIN)
        atomic_store(&in_a_row, 0);
    else if (atomic_fetch_add(&in_a_row, 1) + 1 >= SERIES)
        return 1;
    atomic_store(&watched, 1);
    return 0;
}

/* Enter a task that took so many microseconds until `end`, and about `of_one` would have on one thread: what all threads
 * did in it, their waits left out. That flatters them, for what they lose by working together is not seen. */
static void enter(double time, double of_one, long end)
{
    if (end - lately.end > FORGET)
        lately.time = lately.of_one = lately.tasks = lately.failures = 0;
    lately.end = end;
    lately.time += time;
    lately.of_one += of_one;
    lately.tasks++;
    if (lately.time < TRIED || (lately.tasks < 3 && !lately.failures))
        return;
    if (lately.time > lately.of_one) {
        atomic_store(&alone_until, end + (ALONE_LEAST << MIN(lately.failures, ALONE_DOUBLES)));
        lately.failures++;
        lately.time = lately.of_one = lately.tasks = 0;
    } else if (lately.time > LATELY) {
        lately.failures = 0;
        lately.time /= 2;
        lately.of_one /= 2;
    }
}

/* Returns on how many threads it ran. */
static int run_task(rf_task task, void *context, int threads)
{
    unsigned saved = rf_flush_subnormals();
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    long start = threads > 1 ? microseconds() : 0;
    if (threads > 1 && start >= atomic_load(&alone_until) && pthread_mutex_trylock(&busy) == 0) {
        int hired = hire(threads - 1);
        if (threads > hired + 1)
            threads = hired + 1;
        job.task = task;
        job.context = context;
        job.threads = threads;
        job.look = NULL;
        job.waits_on_purpose = 0;
        for (int i = 0; i < threads; i++) {
            atomic_store_explicit(&slots[i].arrived, 0, memory_order_relaxed);
            atomic_store_explicit(&slots[i].progress, 0, memory_order_relaxed);
        }
        atomic_store_explicit(&claims, 0, memory_order_relaxed);
        atomic_store_explicit(&slots[0].cpu, sched_getcpu(), memory_order_relaxed);
        tasks++;
        for (int i = 1; i < threads; i++)
            atomic_store(&slots[i].posted, tasks);
        int woken = 0;
        if (atomic_load(&sleeping)) {
            pthread_mutex_lock(&door);
            for (int i = 1; i < threads; i++)
                if (atomic_load(&slots[i].asleep)) {
                    keep_off(i, atomic_load_explicit(&slots[0].cpu, memory_order_relaxed));
                    pthread_cond_signal(&slots[i].bell);
                    woken = 1;
                }
            pthread_mutex_unlock(&door);
        }
        slots[0].waited = 0;
        const uint64_t began = ticks();
        task(context, 0, threads);
        uint64_t helped = 0;
        for (int i = 1; i < threads; i++) {
            wait_as(0, &slots[i].done, tasks);
            helped += slots[i].worked;
        }
        const uint64_t all = MAX(ticks() - began, 1);
        const double part = (double)slots[0].waited / all;
        const long end = microseconds(), time = end - start;
        /* to wake a thread takes some hundred microseconds and says nothing of others; who is put aside loses more */
        if (threads > 1 && !job.waits_on_purpose && (!woken || part * time > 2000))
            enter(time, time * (1 - part + (double)helped / all), end);
        pthread_mutex_unlock(&busy);
    } else {
        threads = 1;
        task(context, 0, 1);
    }
    if (atomic_load_explicit(&watched, memory_order_relaxed)) {
        atomic_store(&watched, 0);
        atomic_store(&ended, microseconds());
    }
    rf_restore_subnormals(saved);
    return threads;
}

/* A call that trials are to hear of. What it has left in the caches of other cores is paid for by the task after it on this
 * thread, so that one's time counts too, up to so many times its own. */
enum { AFTERWARDS = 4 };
typedef struct {
    uint64_t kind; /* 0: there is none */
    int alone;
    double time, expected;
} note;
static _Thread_local note last_call;

/* Returns the note of the call before, which another task is about to follow; it may itself hold tasks. */
static note take_note(void)
{
    const note before = last_call;
    last_call.kind = 0;
    return before;
}

static void settle(const note *call, double next, double now)
{
    if (call->kind)
        rf_tried(call->kind, call->alone, (call->time + MIN(next, AFTERWARDS * call->time)) / call->expected, now);
}

void rf_parallel(rf_task task, void *context, int threads)
{
    const note before = take_note();
    const double start = before.kind ? clock_now() : 0;
    run_task(task, context, threads);
    if (before.kind) {
        const double end = clock_now();
        settle(&before, end - start, end);
    }
}

void rf_parallel_or_alone(rf_task task, void *context, int threads, uint64_t kind, double expected)
{
    if (threads < 2 || atomic_load_explicit(&assumed, memory_order_relaxed)) {
        rf_parallel(task, context, threads);
        return;
    }
    const note before = take_note();
    const double start = clock_now();
    const int alone = rf_try_alone(kind, start), used = run_task(task, context, alone ? 1 : threads);
    const double end = clock_now();
    settle(&before, end - start, end);
    if (alone || used > 1) /* who finds the others busy has not been asked how it would like to be done */
        last_call = (note){kind, alone, end - start, expected};
}

void rf_while_waiting(rf_look look)
{
    job.look = look;
}

void rf_waits_on_purpose(void)
{
    job.waits_on_purpose = 1;
}

void rf_barrier(int thread, int threads)
{
    if (threads < 2)
        return;
    unsigned long mine = atomic_load_explicit(&slots[thread].arrived, memory_order_relaxed) + 1;
    atomic_store_explicit(&slots[thread].arrived, mine, memory_order_release);
    for (int i = 0; i < threads; i++)
        if (i != thread)
            wait_as(thread, &slots[i].arrived, mine);
}

void rf_post(int thread, unsigned long progress)
{
    atomic_store_explicit(&slots[thread].progress, progress, memory_order_release);
}

unsigned long rf_progress(int other)
{
    return atomic_load_explicit(&slots[other].progress, memory_order_acquire);
}

void rf_await(int thread, int other, unsigned long progress)
{
    wait_as(thread, &slots[other].progress, progress);
}

unsigned long rf_claim(void)
{
    return atomic_fetch_add_explicit(&claims, 1, memory_order_relaxed);
}
