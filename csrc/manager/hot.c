#include "manager/hot.h"

#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "manager/rest.h"

/* A page's states.  An epoch is a take or a restore; heat is heat[page], and
 * what is in capitals is in `pages`.
 *
 *           dirty            dirty            dirty
 *     cold ------> warming 1 ------> warming 2 ------> HOT <------+
 *                      ^                                |         |
 *         dirty, after |               sampled: equal   |         | sampled:
 *      two clean ones  |               to the snapshot  v         | written
 *              or more |                             DOUBTED -----+
 *                      |                                |
 *                      |                                | sampled: equal
 *                      |                                v
 *                      +----------------------------- cooled
 *                                                       |
 *                       HOT, and regretted <------------+ dirty three times
 *
 *  state     heat       armed  what comes next
 *  --------  ---------  -----  ---------------------------------------------
 *  cold      0          yes    dirty: warming.
 *  warming   1, 2       yes    dirty in the next epoch: one more, at 3 hot;
 *                              in the one after that: as many; later: back
 *                              to 1.
 *  hot       3          no     in the sample and equal to the snapshot:
 *                              doubted.  Outside of the sample nobody looks:
 *                              it stays hot.
 *  doubted   2          no     in the sample again, and equal again: cooled;
 *                              written: hot.
 *  cooled    0 to 2,    yes    dirty in the next epochs: as warming, but
 *            and               becoming hot is regretted; after two clean
 *            COOLED            ones: warming at 1, like any page.
 *
 * For the whole region at once:
 *  - Settling forgets the doubts of the sample, if from now on all hot pages
 *    are looked at, or if what cooled would be too little to ask about.
 *  - Resting, after regret or overspending (other pages are written in each
 *    epoch, so many that copying all would cost less): nothing is sampled, so
 *    nothing cools down, and what is dirty is HOT at once from any state.
 *  - Wary, after a rest or a far restore: only watched.  The same sample is
 *    looked at in WATCH epochs, and heat counts down from FRESH.  If enough of
 *    it was never written, and what was quiet in the first half of them still
 *    is, it is wary no more; if not, it rests again.
 *  - A flood, or too few pages that are not hot: HOT at once from any state.
 *    So are pages that a restore leaves unarmed (hl_hot_add).
 *
 * What can be tuned:
 *
 *  tunable            what it is for      if larger          if smaller
 *  -----------------  ------------------  -----------------  -----------------
 *  HL_HOT_AT 3        epochs until hot,   more faults        pages dirty by
 *                     and until a         before a hot page  chance are copied
 *                     cooling can be      is left alone      for nothing
 *                     judged
 *  LONGEST_PERIOD 32  one word of 64      a change of        more comparing in
 *                     pages in so many    workload is seen   steady state
 *                     is sampled          later
 *  1/4 of sample      when to look at     cold pages go on   looks at all
 *  equal: moved on    all hot pages       being copied       pages for a few
 *                                                            that rested
 *  worth (a           what asking the     more clean pages   asks about pages
 *  tracker's          tracker costs, in   are copied         that are cheaper
 *  collect_cost)      copied pages                           to copy
 *  a quarter of them  whether all become  nothing cools      pages cool down,
 *  more, to cool      hot again at once   while half of a    and are hot again
 *                                         region is written
 *  MANY_PAGES 1024    regions that can    larger regions     a small region is
 *                     be flooded          warm up page by    all hot after one
 *                                         page               large write
 *  1/2 of region      when tracking       three more epochs  one large write
 *  dirty: flooded     costs more than a   of faults          is copied until
 *                     plain copy                             it cools
 *  1/2 of what cooled when cooling was a  workloads that     a few unlucky
 *  within 8 epochs    mistake             wander pay for     pages stop all
 *  regretted                              each change        cooling
 *  WATCH 8            how long pages      a workload that    pages that are
 *                     must stay quiet     settles is found   written now and
 *                     after a mistake     later              then cool down
 *  11/16 of those     whether pages stay  the same           the same
 *  still quiet        quiet: fewer than
 *                     1 in 11 written in
 *                     an epoch
 *  COLD_COST 8        when pages that     pages written now  writing ever
 *                     are written now     and then are       other pages costs
 *                     and then should be  copied in each     more than copying
 *                     hot all the same    epoch              all
 *  OVERSPENT 4        when that is        such a workload    a few wide epochs
 *                     certain             is found later     make pages hot
 *  SHORTEST_REST 16   epochs without      a chance mistake   a repeated
 *                     sampling after a    costs longer       mistake costs
 *                     mistake                                more often
 *  LONGEST_REST 40    where the doubling  a workload that    a kernel out of
 *                     of the rest ends    settles is found   mappings is asked
 *                                         later              more often */

/* The smallest sample: few enough that comparing costs little beside copying.
 */
#define LONGEST_PERIOD 32

/* In a region of at least this many pages, if most are dirty at once, all
 * dirty pages become hot at once: arming and comparing them would cost more
 * than a plain copy. */
#define MANY_PAGES 1024

/* Epochs that hot pages are watched, before any cools down after a mistake;
 * and the heat of those that are. */
#define WATCH 8
#define FRESH (HL_HOT_AT + 1 + WATCH)

/* In heat[]: cooled down, and was found dirty in every epoch since. */
#define COOLED 0x80

int hl_hot_init(struct hl_hot *hot, size_t page_count, size_t worth)
{
    *hot = (struct hl_hot){
        .page_count = page_count,
        .worth = worth,
        .period = LONGEST_PERIOD,
    };
    return hl_pages_init(&hot->pages, page_count);
}

/* Two bytes a page, when the first is dirty.  Without them no page heats up,
 * and none cools down: it is advice.  Pages that are hot by then have their
 * heat. */
static bool has_heat(struct hl_hot *hot)
{
    if (hot->heat != NULL)
        return true;
    hot->heat = HL_INJECT(HL_INJECT_HEAT) ? NULL : calloc(hot->page_count, 2);
    if (hot->heat == NULL)
        return false;
    hot->seen = hot->heat + hot->page_count;
    for (size_t page = hl_pages_next(&hot->pages, 0); page < hot->page_count;
         page = hl_pages_next(&hot->pages, page + 1))
        hot->heat[page] = HL_HOT_AT;
    return true;
}

void hl_hot_free(struct hl_hot *hot)
{
    hl_pages_free(&hot->pages);
    free(hot->heat);
    *hot = (struct hl_hot){0};
}

void hl_hot_reset(struct hl_hot *hot)
{
    hl_pages_empty(&hot->pages);
    if (hot->heat)
        memset(hot->heat, 0, hot->page_count);
    hot->count = hot->rest = hot->rest_ends = hot->cooled_at = 0;
    hot->let_go = hot->regretted = hot->watched = 0;
    hot->found = hot->spent = 0;
    hot->wary = false;
}

static void make_hot(struct hl_hot *hot, size_t page)
{
    if (hot->heat) {
        hot->regretted += hot->heat[page] >= COOLED && hot->let_go > 0;
        hot->heat[page] = HL_HOT_AT;
    }
    if (!hl_pages_has(&hot->pages, page)) {
        hl_pages_add(&hot->pages, page);
        hot->count++;
    }
}

static void found_dirty(struct hl_hot *hot, size_t page)
{
    uint8_t epoch = (uint8_t)hot->epoch;
    uint8_t gap = (uint8_t)(epoch - hot->seen[page]);

    hot->seen[page] = epoch;
    if (hot->epoch < hot->rest_ends)
        make_hot(hot, page);
    else if (gap > 2)
        hot->heat[page] = 1;
    else if (gap < 2 && (++hot->heat[page] & ~COOLED) >= HL_HOT_AT)
        make_hot(hot, page);
}

/* Words of which one is sampled, when hot pages are watched: so many words at
 * least that a third of a small region is seen wherever it lies. */
static unsigned watch_period(const struct hl_hot *hot)
{
    size_t words = hl_bitmap_words(hot->page_count) / 16;

    if (words >= LONGEST_PERIOD)
        return LONGEST_PERIOD;
    return words > 0 ? (unsigned)words : 1;
}

static void begin_watch(struct hl_hot *hot)
{
    hot->period = watch_period(hot);
    hot->phase = hot->epoch;
    hot->watched = 1;
    hot->quiet = 0;
}

/* Does copying all pages cost no more than to ask about those that are not
 * hot?  However they lie: what a run's first page costs more to copy, and to
 * find, is less than a page, and there is no more than one such run for each
 * page that is spared. */
static bool nearly_all(const struct hl_hot *hot)
{
    /* Where asking costs nothing, the tracker may have closed pages, and an
     * owner of the memory, too: only what was written is hot. */
    return hot->epoch > HL_HOT_AT && hot->page_count - hot->count < hot->worth;
}

static void heat_up(struct hl_hot *hot, const struct hl_pages *dirty)
{
    size_t n = hot->page_count, found = 0, any = 0;

    if ((hot->heat == NULL && !hl_pages_word(dirty, &any)) || !has_heat(hot))
        return;
    for (size_t word = 0; hl_pages_word(dirty, &word); word++) {
        uint64_t bits = dirty->bits[word] & ~hot->pages.bits[word];
        for (; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            if (page >= n)
                break;
            found++;
            found_dirty(hot, page);
        }
    }
    hot->found = found;
    bool flooded = found >= MANY_PAGES && found * 2 >= n;
    bool all = nearly_all(hot);
    if (!flooded && !all)
        return;
    for (size_t page = 0; page < n; page++)
        if (all || hl_pages_has(dirty, page))
            make_hot(hot, page);
}

void hl_hot_epoch(struct hl_hot *hot, const struct hl_pages *dirty)
{
    size_t before = hot->count;

    hot->epoch++;
    hot->found = 0;
    if (hot->count < hot->page_count)
        heat_up(hot, dirty);
    hl_rest_if_regretted(hot);
    hl_rest_if_overspent(hot, before);
    if (hot->wary && hot->watched == 0 && hot->epoch >= hot->rest_ends)
        begin_watch(hot);
}

void hl_hot_add(struct hl_hot *hot, const struct hl_pages *pages)
{
    struct hl_run run;

    (void)has_heat(hot); /* without, they stay hot */
    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        for (size_t i = 0; i < run.count; i++)
            make_hot(hot, run.first + i);
    hot->wary = true; /* none of them need have been written */
}

bool hl_hot_sample(const struct hl_hot *hot, size_t *cursor, size_t *word)
{
    /* A region that is never worth asking about need not cool down. */
    if (hot->count == 0 || hot->page_count < hot->worth ||
        hot->epoch < hot->rest_ends || hot->heat == NULL)
        return false;
    for (; hl_pages_word(&hot->pages, cursor); ++*cursor) {
        size_t phase = hot->watched ? hot->phase : hot->epoch;
        if ((*cursor + phase) % hot->period != 0)
            continue;
        *word = (*cursor)++;
        return true;
    }
    return false;
}

bool hl_hot_rests(const struct hl_hot *hot)
{
    size_t next = hot->epoch + 1;

    if (hot->page_count < hot->worth || next < hot->rest_ends || !hot->heat)
        return true;
    if (hot->wary)
        return false;
    size_t first = (hot->period - next % hot->period) % hot->period;
    return first >= hl_bitmap_words(hot->page_count);
}

/* Was it never written while it was watched? */
static bool watch(struct hl_hot *hot, size_t page, bool written)
{
    uint8_t *heat = &hot->heat[page];

    if (hot->watched == 1)
        *heat = FRESH;
    if (written)
        *heat = FRESH;
    else if (*heat > HL_HOT_AT + 1)
        --*heat;
    return *heat + hot->watched == FRESH;
}

void hl_hot_looked(struct hl_hot *hot, size_t page, bool written)
{
    bool idle = !written;

    if (hot->watched)
        idle = watch(hot, page, written);
    else if (written)
        hot->heat[page] = HL_HOT_AT;
    else
        hot->heat[page]--;
    hot->sampled++;
    hot->cooled += idle;
}

static void cool_down(struct hl_hot *hot, size_t page)
{
    if (hot->heat[page] + 1 >= HL_HOT_AT)
        return;
    hot->heat[page] = COOLED;
    hot->seen[page] = (uint8_t)hot->epoch;
    hl_pages_remove(&hot->pages, page);
    hot->count--;
    if (hot->let_go++ == 0)
        hot->cooled_at = hot->epoch;
}

/* Whether the cold pages would be worth asking about if all pages that seem to
 * have cooled were cold: otherwise they would become hot again at once. */
static bool enough_cold(const struct hl_hot *hot)
{
    size_t idle = hot->cooled * hot->count / hot->sampled;

    return hot->page_count - hot->count + idle >= hot->worth + hot->worth / 4;
}

static bool moved_on(const struct hl_hot *hot)
{
    return hot->cooled * 4 > hot->sampled;
}

/* The sample was watched for one epoch more. */
static void settle_watch(struct hl_hot *hot)
{
    size_t cursor = 0, word;

    if (hot->watched == WATCH / 2)
        hot->quiet = hot->cooled;
    if (hot->watched < WATCH) {
        hot->watched++;
        return;
    }
    while (hl_hot_sample(hot, &cursor, &word))
        for (uint64_t bits = hot->pages.bits[word]; bits; bits &= bits - 1)
            hot->heat[word * 64 + (size_t)__builtin_ctzll(bits)] = HL_HOT_AT;
    hot->watched = 0;
    if (hot->sampled == 0 || (enough_cold(hot) && moved_on(hot) &&
                              hot->cooled * 16 > hot->quiet * 11)) {
        hot->wary = false;
        hot->period = 1; /* now look at all: it was put off long enough */
    } else {
        hl_rest(hot);
    }
}

/* The sample was looked at once: who was doubted before has cooled. */
static void settle_doubts(struct hl_hot *hot)
{
    size_t cursor = 0, word;

    bool enough = enough_cold(hot), moved = enough && moved_on(hot);
    bool look_at_all = moved && hot->period > 1;
    while (hl_hot_sample(hot, &cursor, &word))
        for (uint64_t bits = hot->pages.bits[word]; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            if (look_at_all || !enough)
                hot->heat[page] = HL_HOT_AT;
            else
                cool_down(hot, page);
        }
    if (look_at_all)
        hot->period = 1;
    else if (!moved && hot->period < LONGEST_PERIOD)
        hot->period *= 2;
}

void hl_hot_settle(struct hl_hot *hot)
{
    if (hot->watched)
        settle_watch(hot);
    else if (hot->sampled > 0)
        settle_doubts(hot);
    hot->sampled = hot->cooled = 0;
}
