/* Trials on a clock of their own: a machine whose two ways take times that the checks choose. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/trials.c" /* itself, for what it remembers */

static double now;

typedef struct counts {
    int alone, calls;
    double time;
} counts;

/* So many calls of a kind, which take that long on several threads and on one; every `rare`th takes ten times as long. */
static counts call(uint64_t name, int calls, double shared, double single, int rare)
{
    counts seen = {0};
    for (int i = 1; i <= calls; i++) {
        const int alone = rf_try_alone(name, now);
        const double time = (alone ? single : shared) * (rare && i % rare == 0 ? 10 : 1);
        now += time;
        rf_tried(name, alone, time, now);
        seen.alone += alone;
        seen.time += time;
        seen.calls++;
    }
    return seen;
}

static void begin(void)
{
    memset(kinds, 0, sizeof kinds);
    now = 1e9;
}

#define EXPECT(what, ...)                                                                                           \
    if (!(what)) {                                                                                                  \
        printf("line %d: not " #what ": ", __LINE__);                                                               \
        printf(__VA_ARGS__);                                                                                        \
        printf("\n");                                                                                               \
        exit(1);                                                                                                    \
    }

/* What trials cost a kind that is best shared out: at first, and for a second and a half of such calls. */
static void check_shared(void)
{
    begin();
    counts seen = call(7, ENOUGH, 60, 100, 0);
    EXPECT(seen.alone == 0, "%d of the first alone", seen.alone);
    seen = call(7, TRIAL + 50, 60, 100, 0);
    EXPECT(seen.alone == TRIAL, "%d in the first trial", seen.alone);
    seen = call(7, 25000, 60, 100, 0);
    EXPECT(seen.alone >= 3 * TRIAL && seen.alone <= 6 * TRIAL, "%d alone later", seen.alone);
    EXPECT(seen.time < 1.001 * 60 * seen.calls, "%.4f times as long", seen.time / seen.calls / 60);
    call(8, 3000, 1500, 3000, 0);
    seen = call(8, 10000, 1500, 3000, 0);
    EXPECT(seen.time < 1.003 * 1500 * seen.calls, "%.4f times as long", seen.time / seen.calls / 1500);
}

/* A kind that is best alone is so after the first trial, and shared out again soon after that has become the better way. */
static void check_alone_and_back(void)
{
    begin();
    call(7, ENOUGH + TRIAL, 150, 100, 0);
    counts seen = call(7, 150, 150, 100, 0);
    EXPECT(seen.alone == seen.calls, "%d of %d alone", seen.alone, seen.calls);
    seen = call(7, 20000, 150, 100, 0);
    EXPECT(seen.time < 1.005 * 100 * seen.calls, "%.4f times as long", seen.time / seen.calls / 100);
    seen = call(7, ALONE_PAUSE * PAUSE / 100 + TRIAL, 60, 100, 0);
    seen = call(7, 100, 60, 100, 0);
    EXPECT(seen.alone == 0, "%d of %d alone", seen.alone, seen.calls);
}

/* When sharing out begins to take longer, that is seen before the next trial's time has come. */
static void check_rise(void)
{
    begin();
    call(7, 30000, 60, 100, 0); /* by now trials are rare */
    counts seen = call(7, 12, 160, 100, 0); /* not by a few calls, which any other program may have held up */
    EXPECT(seen.alone == 0, "%d alone", seen.alone);
    seen = call(7, 100, 60, 100, 0);
    EXPECT(seen.alone == 0, "%d alone", seen.alone);
    seen = call(7, LASTS + 20, 160, 100, 0);
    seen = call(7, 100, 160, 100, 0);
    EXPECT(seen.alone == seen.calls, "%d of %d alone", seen.alone, seen.calls);
}

/* Neither a few calls that take very long nor a difference within noise change the way. */
static void check_noise(void)
{
    begin();
    for (int rare = 3; rare < 20; rare += 4) {
        counts seen = call(rare, 20000, 60, 80, rare);
        EXPECT(seen.alone < seen.calls / 50, "%d of %d alone, each %dth long", seen.alone, seen.calls, rare);
    }
    counts seen = call(30, 20000, 100, 97, 0);
    EXPECT(seen.alone < seen.calls / 50, "%d of %d alone", seen.alone, seen.calls);
}

/* The first calls, before caches are warm and threads awake, do not decide. */
static void check_first(void)
{
    begin();
    call(7, 3, 500, 500, 0);
    counts seen = call(7, 500, 60, 100, 0);
    EXPECT(seen.alone <= 2 * TRIAL, "%d alone", seen.alone);
    begin();
    call(7, 3, 500, 500, 0);
    call(7, ENOUGH + TRIAL, 100, 60, 0);
    seen = call(7, 100, 100, 60, 0);
    EXPECT(seen.alone == seen.calls, "%d of %d alone", seen.alone, seen.calls);
}

/* Nor does the first of a trial, which finds another core's caches cold or threads asleep, or one that is held up. */
static void check_first_of_trial(void)
{
    begin();
    call(7, ENOUGH, 100, 60, 0);
    for (int i = 0; i < TRIAL; i++) {
        EXPECT(rf_try_alone(7, now), "trial ends at %d", i);
        rf_tried(7, 1, i == 0 || i == 2 ? 900 : 60, now);
    }
    EXPECT(find(7)->alone, "not best alone");
    begin();
    call(7, ENOUGH, 100, 160, 0);
    for (int i = 0; i < TRIAL; i++) {
        EXPECT(rf_try_alone(7, now), "trial ends at %d", i);
        rf_tried(7, 1, i == 0 || i == 2 ? 10 : 160, now);
    }
    EXPECT(!find(7)->alone, "best alone");
}

/* Kinds that share a place begin anew each time, and what a call tells of another is not taken for its own. */
static void check_places(void)
{
    begin();
    call(7, 100, 150, 100, 0);
    EXPECT(find(7)->name == 7 && find(7)->alone, "no kind 7 that is best alone");
    EXPECT(!rf_try_alone(7 + KINDS, now), "a kind unheard of runs alone");
    rf_tried(7, 0, 100, now);
    EXPECT(find(7)->name == 7 + KINDS && find(7)->calls == 0, "%d calls of a kind that had one", find(7)->calls);
}

/* A call of another thread that is just being noted is not waited for, and a child of that moment not left without. */
static void check_taken(void)
{
    begin();
    call(7, 100, 150, 100, 0);
    atomic_flag_test_and_set(&taken);
    EXPECT(!rf_try_alone(7, now), "an answer while taken");
    const int calls = find(7)->calls;
    rf_tried(7, 1, 100, now);
    EXPECT(find(7)->calls == calls, "%d calls, not %d", find(7)->calls, calls);
    rf_trials_after_fork();
    EXPECT(rf_try_alone(7, now), "no answer after a fork");
}

/* Half of a trial's calls may find the pool busy and tell nothing; it goes on with the next. */
static void check_untold(void)
{
    begin();
    call(7, ENOUGH, 150, 100, 0);
    for (int i = 0; i < TRIAL; i++) {
        EXPECT(rf_try_alone(7, now), "trial ends at %d", i);
        EXPECT(rf_try_alone(7, now), "trial ends at %d", i);
        rf_tried(7, 1, 100, now);
    }
    EXPECT(find(7)->alone && !find(7)->left, "not best alone");
}

int main(void)
{
    check_shared();
    check_alone_and_back();
    check_rise();
    check_noise();
    check_first();
    check_first_of_trial();
    check_places();
    check_taken();
    check_untold();
    printf("trials: right\n");
    return 0;
}
