/* Which pages are left unarmed, and when they cool down: the advice alone,
 * with no memory below it. */
#include "check.h"
#include "inject.h"
#include "manager/hot.h"

#define PAGES ((size_t)4096)
#define WORTH ((size_t)17)
#define MANY (PAGES / 32)
#define FORGOTTEN 64 /* epochs after which a phase is */

struct bed {
    struct hl_hot hot;
    struct hl_pages written;
    uint64_t random;
    size_t sampled; /* words, in all epochs */
};

static struct bed new_bed(void)
{
    struct bed b = {.random = 88172645463325252u};
    CHECK(hl_hot_init(&b.hot, PAGES, WORTH) == 0);
    CHECK(hl_pages_init(&b.written, PAGES) == 0);
    return b;
}

static void free_bed(struct bed *b)
{
    hl_hot_free(&b->hot);
    hl_pages_free(&b->written);
}

/* Each page of [from, to) with this chance in a hundred. */
static void write_some(struct bed *b, size_t from, size_t to, unsigned chance)
{
    for (size_t page = from; page < to; page++) {
        b->random ^= b->random << 13;
        b->random ^= b->random >> 7;
        b->random ^= b->random << 17;
        if (b->random % 100 < chance)
            hl_pages_add(&b->written, page);
    }
}

/* What a restore tells of them, and of the hot pages, which count as dirty;
 * nothing is written then.  Returns how many pages cooled down. */
static size_t epoch(struct bed *b)
{
    struct hl_pages dirty;
    size_t word;

    CHECK(hl_pages_init(&dirty, PAGES) == 0);
    hl_pages_copy(&dirty, &b->written);
    hl_pages_or(&dirty, &b->hot.pages);
    hl_hot_epoch(&b->hot, &dirty);
    hl_pages_free(&dirty);
    size_t before = b->hot.count;
    for (size_t at = 0; hl_hot_sample(&b->hot, &at, &word); b->sampled++)
        for (uint64_t bits = b->hot.pages.bits[word]; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            hl_hot_looked(&b->hot, page, hl_pages_has(&b->written, page));
        }
    hl_hot_settle(&b->hot);
    CHECK(b->hot.count <= before);
    hl_pages_empty(&b->written);
    return before - b->hot.count;
}

/* Epochs, of so many, in which many pages cooled down. */
static int cooling(struct bed *b, int epochs, unsigned chance)
{
    int found = 0;

    for (int i = 0; i < epochs; i++) {
        write_some(b, 0, PAGES, chance);
        found += epoch(b) >= MANY;
    }
    return found;
}

/* Other pages are written in each epoch: what cools down is hot again at once,
 * which is found out a few times, and then no more. */
static void who_wanders_stays_hot(void)
{
    const unsigned chances[] = {20, 30, 60, 70};

    for (size_t i = 0; i < HL_ARRAY_SIZE(chances); i++) {
        struct bed b = new_bed();
        CHECK(cooling(&b, FORGOTTEN, chances[i]) <= 12);
        CHECK(cooling(&b, 500, chances[i]) == 0);
        free_bed(&b);
    }
}

/* Though most pages are quiet at any time, and looking takes a part of what
 * copying does. */
static void who_wanders_slowly_stays_hot(void)
{
    struct bed b = new_bed();

    (void)cooling(&b, 300, 60);
    b.sampled = 0;
    CHECK(cooling(&b, 500, 12) == 0);
    CHECK(b.hot.count == PAGES);
    CHECK(b.sampled > 0 && b.sampled * 10 < 500 * (PAGES / 64));
    free_bed(&b);
}

/* It settles after that: on nothing, or on a part that is always the same. */
static void who_settles_cools_down(void)
{
    const size_t kept[] = {0, 1, PAGES / 3, PAGES * 2 / 3};

    for (int start = 0; start < FORGOTTEN; start++)
        for (size_t i = 0; i < HL_ARRAY_SIZE(kept); i++) {
            struct bed b = new_bed();
            (void)cooling(&b, 300 + start, 60);
            CHECK(b.hot.count == PAGES);
            for (int j = 0; j < FORGOTTEN; j++) {
                write_some(&b, 0, kept[i], 100);
                (void)epoch(&b);
            }
            CHECK(b.hot.count >= kept[i] - (kept[i] == 1));
            CHECK(b.hot.count <= kept[i] + kept[i] / 16 + 64);
            free_bed(&b);
        }
}

/* What an epoch costs in pages copied, on average, where writing to one that
 * is not hot costs 8. */
static size_t cost(struct bed *b, int epochs, unsigned chance)
{
    size_t spent = 0;

    for (int i = 0; i < epochs; i++) {
        write_some(b, 0, PAGES, chance);
        spent += b->hot.count;
        for (size_t page = 0; page < PAGES; page++)
            spent += hl_pages_has(&b->written, page) &&
                             !hl_pages_has(&b->hot.pages, page)
                         ? 8
                         : 0;
        (void)epoch(b);
    }
    return spent / (size_t)epochs;
}

/* Other pages are written in each epoch, and too few for a flood: it costs
 * about what it would if all pages were hot, or none, whichever is less, and
 * whatever was before. */
static void who_writes_elsewhere_pays_no_more_than_a_copy(void)
{
    const unsigned chances[] = {2, 4, 7, 20, 30, 45, 55};
    struct hl_pages all;

    CHECK(hl_pages_init(&all, PAGES) == 0);
    hl_pages_fill(&all);
    for (size_t i = 0; i < HL_ARRAY_SIZE(chances); i++)
        for (int left_unarmed = 0; left_unarmed < 2; left_unarmed++) {
            struct bed b = new_bed();
            size_t cold = PAGES * chances[i] * 8 / 100;
            if (left_unarmed)
                hl_hot_add(&b.hot, &all);
            (void)cost(&b, left_unarmed ? FORGOTTEN : 24, chances[i]);
            if (cold > PAGES)
                cold = PAGES;
            CHECK(cost(&b, 40, chances[i]) < cold * 5 / 4);
            CHECK(cost(&b, 500, chances[i]) < cold * 5 / 4);
            free_bed(&b);
        }
    hl_pages_free(&all);
}

/* A wide epoch now and then is no reason to copy everything in the others. */
static void who_writes_much_at_times_stays_cold(void)
{
    struct bed b = new_bed();

    for (int i = 0; i < 500; i++) {
        write_some(&b, 0, PAGES, i % 8 == 0 ? 45 : 0);
        (void)epoch(&b);
        CHECK(!b.hot.wary && b.hot.count < PAGES / 16);
    }
    free_bed(&b);
}

/* Pages that nobody wrote, but a restore left unarmed, cool down unless they
 * are left again and again. */
static void who_was_left_unarmed_is_watched(void)
{
    struct bed b = new_bed();
    struct hl_pages all;

    CHECK(hl_pages_init(&all, PAGES) == 0);
    hl_pages_fill(&all);
    (void)epoch(&b);
    hl_hot_add(&b.hot, &all);
    for (int i = 0; i < 4; i++)
        CHECK(epoch(&b) == 0);
    for (int i = 0; i < FORGOTTEN; i++)
        (void)epoch(&b);
    CHECK(b.hot.count == 0);
    hl_pages_free(&all);
    free_bed(&b);
}

/* A steady part is hot, and little else: the rest cools at once. */
static void who_never_wandered_is_not_watched(void)
{
    struct bed b = new_bed();

    for (int i = 0; i < 10; i++) {
        write_some(&b, 0, PAGES * 3 / 4, 100);
        (void)epoch(&b);
    }
    CHECK(b.hot.count >= PAGES * 3 / 4 && !b.hot.wary);
    int i = 0;
    for (; b.hot.count > 64 && i < FORGOTTEN; i++) {
        write_some(&b, 0, 1, 100);
        (void)epoch(&b);
    }
    CHECK(i < FORGOTTEN && !b.hot.wary);
    free_bed(&b);
}

static void write_each(struct bed *b, size_t step, size_t width)
{
    for (size_t page = 0; page < PAGES; page += step)
        hl_pages_add_range(&b->written, (struct hl_run){page, width});
}

/* The same pages are written in each epoch: they are hot and no others,
 * however they lie, unless asking about the others costs more than they do. */
static void who_is_written_is_hot_alone(void)
{
    const size_t steps[][2] = {{2, 1}, {3, 1}, {4, 1}, {8, 4}, {128, 64}};

    for (size_t i = 0; i < HL_ARRAY_SIZE(steps); i++)
        for (int before = 0; before < 3; before++) {
            size_t step = steps[i][0], width = steps[i][1];
            size_t hot = (PAGES / step + (PAGES % step > 0)) * width;
            struct bed b = new_bed();
            if (before == 1)
                (void)cooling(&b, 100, 100);
            if (before == 2)
                (void)cooling(&b, 300, 60);
            for (int j = 0; j < 2 * FORGOTTEN; j++) {
                write_each(&b, step, width);
                (void)epoch(&b);
                CHECK(j < HL_HOT_AT || b.hot.count >= hot);
            }
            CHECK(b.hot.count <= hot + 64);
            free_bed(&b);
        }
}

/* All are where the others are few. */
static void few_others_are_hot_too(void)
{
    for (size_t cold = 1; cold < WORTH + WORTH / 2; cold++) {
        struct bed b = new_bed();
        size_t whole = 0; /* epochs after which all are */
        for (int i = 0; i < 4 * FORGOTTEN; i++) {
            hl_pages_fill(&b.written);
            for (size_t j = 0; j < cold; j++)
                hl_pages_remove(&b.written, j * (PAGES / cold));
            (void)epoch(&b);
            whole += b.hot.count == PAGES;
        }
        /* A sample of one word can mislead. */
        CHECK(cold < WORTH ? whole > 3 * FORGOTTEN : whole == 0);
        free_bed(&b);
    }
}

/* But where asking costs nothing no page is hot that was not written: in
 * somebody's memory the tracker or its owner may have closed it. */
static void who_was_not_written_stays_cold_where_asking_is_free(void)
{
    const size_t pages = 2047;
    struct hl_pages dirty;
    struct hl_hot hot;

    CHECK(hl_hot_init(&hot, pages, 0) == 0);
    CHECK(hl_pages_init(&dirty, pages) == 0);
    for (size_t page = 0; page < pages; page += 2)
        hl_pages_add(&dirty, page);
    for (int i = 0; i < 100; i++) {
        hl_hot_epoch(&hot, &dirty);
        hl_hot_settle(&hot);
        CHECK(hot.count <= pages / 2 + 1);
    }
    CHECK(hot.count == pages / 2 + 1);
    hl_hot_free(&hot);
    hl_pages_free(&dirty);
}

/* What is said of the next epoch comes true in it. */
static void rests_when_nothing_is_sampled(void)
{
    for (size_t pages = 1; pages < 700; pages += 13) {
        struct hl_hot hot;
        struct hl_pages all;
        size_t rested = 0;

        CHECK(hl_hot_init(&hot, pages, 17) == 0);
        CHECK(hl_pages_init(&all, pages) == 0);
        hl_pages_fill(&all);
        hl_hot_add(&hot, &all);
        for (int i = 0; i < 200; i++) {
            size_t at = 0, word;
            if (i == 100)
                hot.rest_ends = hot.epoch + 16;
            bool rests = hl_hot_rests(&hot);
            hl_hot_epoch(&hot, &all);
            CHECK(rests == !hl_hot_sample(&hot, &at, &word));
            rested += rests;
            for (at = 0; hl_hot_sample(&hot, &at, &word);)
                hl_hot_looked(&hot, word * 64, true);
            hl_hot_settle(&hot);
        }
        CHECK(rested >= 15 && (rested == 200) == (pages < 17));
        hl_hot_free(&hot);
        hl_pages_free(&all);
    }
}

/* Pages that became hot while there was no memory for their heat. */
static void late_heat_cools_down(void)
{
    struct hl_pages few, none;
    struct hl_hot hot;
    size_t word;

    CHECK(hl_hot_init(&hot, 640, 17) == 0);
    CHECK(hl_pages_init(&few, 640) == 0 && hl_pages_init(&none, 640) == 0);
    hl_pages_add_range(&few, (struct hl_run){100, 50});
    hl_inject_plan(HL_INJECT_HEAT, 0, 1);
    hl_hot_add(&hot, &few);
    CHECK(hot.count == 50 && hot.heat == NULL);
    hl_hot_epoch(&hot, &few);
    CHECK(hot.count == 50 && hot.heat != NULL);
    for (int i = 0; i < 100; i++) {
        hl_hot_epoch(&hot, &none);
        for (size_t at = 0; hl_hot_sample(&hot, &at, &word);)
            for (size_t page = word * 64; page < word * 64 + 64; page++)
                if (hl_pages_has(&hot.pages, page))
                    hl_hot_looked(&hot, page, false);
        hl_hot_settle(&hot);
    }
    CHECK(hot.count == 0);
    hl_hot_free(&hot);
    hl_pages_free(&few);
    hl_pages_free(&none);
}

int main(void)
{
    RUN(late_heat_cools_down);
    RUN(who_wanders_stays_hot);
    RUN(who_wanders_slowly_stays_hot);
    RUN(who_settles_cools_down);
    RUN(who_writes_elsewhere_pays_no_more_than_a_copy);
    RUN(who_writes_much_at_times_stays_cold);
    RUN(who_was_left_unarmed_is_watched);
    RUN(who_never_wandered_is_not_watched);
    RUN(who_is_written_is_hot_alone);
    RUN(few_others_are_hot_too);
    RUN(who_was_not_written_stays_cold_where_asking_is_free);
    RUN(rests_when_nothing_is_sampled);
    return 0;
}
