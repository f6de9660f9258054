/* trials.c: whether calls of a kind are done sooner by several threads or by one, found by trying both.
 *
 * No model can know that. Two CPUs may be two threads of one core, which do no more arithmetic than one; they may lie so far
 * apart that what one has written takes the other longer to read than to make; and a virtual machine is told neither,
 * and is moved about. So of short calls that come again and again, a few are now and then done the other way, and whichever
 * way took less time is kept until the next trial. Results are the same to the bit either way.
 *
 * Times are compared by what the cost model expects of a call on one thread, so that calls of unlike length are of one kind.
 */
#include <stdatomic.h>
#include <string.h>

#include "rnnfast.h"

enum {
    KINDS = 256,
    TRIAL = 4,         /* calls told of in a trial; the first, with cold caches or threads asleep, does not count */
    ENOUGH = 16,       /* calls before the first trial */
    BETWEEN = 100,     /* and between two, */
    LASTS = 40,        /* but for a rise that lasts so many */
    PAUSE = 50000,     /* microseconds between two; of both twice as many after each trial that changed nothing, */
    LONG_PAUSE = 16,   /* up to so many times as many, */
    ALONE_PAUSE = 4    /* or so many while calls run alone, where nothing shows that two threads have become faster again */
};
static const float GAIN = 0.95f; /* of the time of the way in use that the other must take at most */
static const float STEP = 1.03f; /* by which a time moves the usual one up or down, so that a few long ones do nothing */
static const float RISE = 1.25f; /* of the usual time since the last trial, which calls for another if it lasts */

static struct kind {
    uint64_t name;
    int alone;       /* the way in use: on one thread */
    int calls;       /* done so since the last trial */
    int risen;       /* of these the last, while the usual time was higher */
    int left;        /* of a trial */
    int pauses;      /* BETWEEN and PAUSE that the next trial waits for */
    float usual;     /* about the median of the times of the way in use */
    float at_trial;  /* what it was at the last */
    float tried[TRIAL];
    double since;    /* the end of the last trial; 0: there was none */
} kinds[KINDS];

static atomic_flag taken = ATOMIC_FLAG_INIT; /* who finds it so does without: nobody waits here */

static struct kind *find(uint64_t name)
{
    return &kinds[name % KINDS];
}

static int due(const struct kind *k, double now)
{
    if (!k->since)
        return k->calls >= ENOUGH;
    if (k->calls >= BETWEEN * k->pauses && now >= k->since + (double)PAUSE * k->pauses)
        return 1;
    return k->risen >= LASTS && now >= k->since + PAUSE / 4;
}

int rf_try_alone(uint64_t name, double now)
{
    if (atomic_flag_test_and_set_explicit(&taken, memory_order_acquire))
        return 0;
    struct kind *k = find(name);
    if (k->name != name) {
        memset(k, 0, sizeof *k);
        k->name = name;
        k->pauses = 1;
    }
    if (!k->left && due(k, now))
        k->left = TRIAL;
    const int alone = k->left ? !k->alone : k->alone;
    atomic_flag_clear_explicit(&taken, memory_order_release);
    return alone;
}

static float middle(const float *of)
{
    const float a = of[0], b = of[1], c = of[2];
    return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

static void judge(struct kind *k, double now)
{
    const float other = middle(k->tried);
    if (other < GAIN * k->usual) {
        k->alone = !k->alone;
        k->usual = other;
        k->pauses = 1;
    } else if (k->pauses < (k->alone ? ALONE_PAUSE : LONG_PAUSE)) {
        k->pauses *= 2;
    }
    k->at_trial = k->usual;
    k->since = now;
    k->calls = k->risen = 0;
}

void rf_tried(uint64_t name, int alone, double time, double now)
{
    if (atomic_flag_test_and_set_explicit(&taken, memory_order_acquire))
        return;
    struct kind *k = find(name);
    const float took = (float)time;
    if (k->name == name && alone != k->alone && k->left) {
        k->tried[--k->left] = took;
        if (!k->left)
            judge(k, now);
    } else if (k->name == name && alone == k->alone && !k->left) {
        if (!k->since && k->calls < ENOUGH / 2)
            k->usual = k->calls && k->usual < took ? k->usual : took; /* the first are the slowest */
        else
            k->usual = took > k->usual ? k->usual * STEP : k->usual / STEP;
        k->calls += k->calls < BETWEEN * LONG_PAUSE;
        k->risen = k->since && k->usual > RISE * k->at_trial ? k->risen + 1 : 0;
    }
    atomic_flag_clear_explicit(&taken, memory_order_release);
}

void rf_trials_after_fork(void)
{
    atomic_flag_clear(&taken);
}
