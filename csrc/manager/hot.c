#include "manager/hot.h"

#include <stdlib.h>
#include <string.h>

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
 *  - Resting, after regret: nothing is sampled, so nothing cools down.
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
 *  MANY_PAGES 1024    regions that can    larger regions     a small region is
 *                     be flooded          warm up page by    all hot after one
 *                                         page               large write
 *  1/2 of region      when tracking       three more epochs  one large write
 *  dirty: flooded     costs more than a   of faults          is copied until
 *                     plain copy                             it cools
 *  1/4 of hot pages   when cooling was a  alternating        a few unlucky
 *  regretted          mistake             workloads pay for  pages stop all
 *                                         each change        cooling
 *  SHORTEST_REST 16   epochs without      a chance mistake   a repeated
 *                     sampling after a    costs longer       mistake costs
 *                     mistake                                more often
 *  LONGEST_REST 48    where the doubling  a workload that    a kernel out of
 *                     of the rest ends    settles is found   mappings is asked
 *                                         later              more often */

/* The smallest sample: few enough that comparing costs little beside copying.
 */
#define LONGEST_PERIOD 32

/* In a region of at least this many pages, if most are dirty at once, all
 * dirty pages become hot at once: arming and comparing them would cost more
 * than a plain copy. */
#define MANY_PAGES 1024

/* Epochs in which nothing cools down: at first, and at most. */
#define SHORTEST_REST 16
#define LONGEST_REST 48

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
 * and none cools down: it is advice. */
static bool has_heat(struct hl_hot *hot)
{
    if (hot->heat == NULL) {
        hot->heat = calloc(hot->page_count, 2);
        hot->seen = hot->heat ? hot->heat + hot->page_count : NULL;
    }
    return hot->heat != NULL;
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
}

static void make_hot(struct hl_hot *hot, size_t page)
{
    if (hot->heat) {
        hot->regretted += hot->heat[page] >= COOLED;
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
    if (gap > 2)
        hot->heat[page] = 1;
    else if (gap < 2 && (++hot->heat[page] & ~COOLED) >= HL_HOT_AT)
        make_hot(hot, page);
}

/* Was it right to let pages cool down? */
static void learn(struct hl_hot *hot)
{
    if (hot->regretted * 4 > hot->count) {
        size_t longer = hot->rest ? hot->rest * 2 : SHORTEST_REST;
        hot->rest = longer < LONGEST_REST ? longer : LONGEST_REST;
        hot->rest_ends = hot->epoch + hot->rest;
        hot->period = 1; /* then look at all: it was put off long enough */
        hot->cooled_at = 0;
    } else if (hot->cooled_at && hot->epoch > hot->cooled_at + HL_HOT_AT) {
        hot->rest = hot->cooled_at = 0;
    }
    hot->regretted = 0;
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
    bool flooded = found >= MANY_PAGES && found * 2 >= n;
    bool nearly_all = hot->epoch > HL_HOT_AT && n - hot->count < hot->worth;
    if (!flooded && !nearly_all)
        return;
    for (size_t page = 0; page < n; page++)
        if (nearly_all || hl_pages_has(dirty, page))
            make_hot(hot, page);
}

void hl_hot_epoch(struct hl_hot *hot, const struct hl_pages *dirty)
{
    hot->epoch++;
    if (hot->count < hot->page_count)
        heat_up(hot, dirty);
    learn(hot);
}

void hl_hot_add(struct hl_hot *hot, const struct hl_pages *pages)
{
    struct hl_run run;

    (void)has_heat(hot); /* without, they stay hot */
    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        for (size_t i = 0; i < run.count; i++)
            make_hot(hot, run.first + i);
}

bool hl_hot_sample(const struct hl_hot *hot, size_t *cursor, size_t *word)
{
    /* A region that is never worth asking about need not cool down. */
    if (hot->count == 0 || hot->page_count < hot->worth ||
        hot->epoch < hot->rest_ends || hot->heat == NULL)
        return false;
    for (; hl_pages_word(&hot->pages, cursor); ++*cursor) {
        if ((*cursor + hot->epoch) % hot->period != 0)
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
    size_t first = (hot->period - next % hot->period) % hot->period;
    return first >= hl_bitmap_words(hot->page_count);
}

void hl_hot_looked(struct hl_hot *hot, size_t page, bool written)
{
    hot->sampled++;
    if (written) {
        hot->heat[page] = HL_HOT_AT;
        return;
    }
    hot->cooled++;
    hot->heat[page]--;
}

static void cool_down(struct hl_hot *hot, size_t page)
{
    if (hot->heat[page] + 1 >= HL_HOT_AT)
        return;
    hot->heat[page] = COOLED;
    hot->seen[page] = (uint8_t)hot->epoch;
    hl_pages_remove(&hot->pages, page);
    hot->count--;
}

/* Whether the cold pages would be worth asking about if all pages that seem to
 * have cooled were cold: otherwise they would become hot again at once. */
static bool enough_cold(const struct hl_hot *hot)
{
    size_t idle = hot->cooled * hot->count / hot->sampled;

    return hot->page_count - hot->count + idle >= hot->worth;
}

void hl_hot_settle(struct hl_hot *hot)
{
    size_t cursor = 0, word;

    if (hot->sampled == 0)
        return;
    bool enough = enough_cold(hot);
    bool moved_on = enough && hot->cooled * 4 > hot->sampled;
    bool look_at_all = moved_on && hot->period > 1;
    while (hl_hot_sample(hot, &cursor, &word))
        for (uint64_t bits = hot->pages.bits[word]; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            if (look_at_all || !enough)
                hot->heat[page] = HL_HOT_AT;
            else
                cool_down(hot, page);
        }
    if (moved_on && !look_at_all)
        hot->cooled_at = hot->epoch;
    if (look_at_all)
        hot->period = 1;
    else if (!moved_on && hot->period < LONGEST_PERIOD)
        hot->period *= 2;
    hot->sampled = hot->cooled = 0;
}
