/* More pages that stay open from call to call than the dirty ring has entries:
 * what they cost, in faults, entries and calls, against a model of the
 * kernel's side. */
#include "ring_bed.h"

#define RING 1024 /* full at 448 */

/* One call of a guest that writes to these pages, as a processor does it. */
static void write_pages(struct bed *bed, size_t first, size_t count)
{
    for (size_t page = first; page < first + count; page++) {
        look(&bed->k);
        write_to(page, false);
    }
    all_is_reported(bed->t, &bed->dirty);
    for (size_t page = first; page < first + count; page++)
        CHECK(hl_pages_has(&bed->dirty, page));
}

/* A restore, after which these pages are closed, but for so many of them at
 * the most. */
static void arm_pages(struct bed *bed, size_t first, size_t count,
                      size_t may_stay)
{
    size_t stay = 0;

    hl_pages_empty(&bed->pages);
    hl_pages_add_range(&bed->pages, (struct hl_run){first, count});
    bed->t->ops->arm(bed->t, &bed->pages);
    for (size_t page = first; page < first + count; page++) {
        stay += kernel.open[page];
        written[page] = false;
    }
    CHECK(stay <= may_stay);
    all_is_reported(bed->t, &bed->dirty);
    for (size_t page = first; page < first + count; page++)
        CHECK(!kernel.open[page] || hl_pages_has(&bed->dirty, page));
}

static size_t count_open(void)
{
    size_t count = 0;

    for (size_t page = 0; page < PAGES; page++)
        count += kernel.open[page];
    return count;
}

/* All pages are written, and from there on these many of them hot. */
static void heat(struct bed *bed, uint32_t adds)
{
    guesses = exact = 0;
    open_bed(bed, RING, KEPT_BACK, adds);
    arm_pages(bed, 0, PAGES, 0);
    write_pages(bed, 0, PAGES);
    CHECK(kernel.fulls == 2);
    CHECK(count_open() == PAGES);
}

/* Each restore needs an entry more than the call left behind. */
static void pages_that_stay_open_are_not_protected(void)
{
    struct bed bed;

    heat(&bed, 3);
    uint32_t filled = kernel.filled;
    for (int i = 0; i < 1000; i++) {
        write_pages(&bed, 0, PAGES);
        arm_pages(&bed, 390, 20, 0); /* of both slots */
        CHECK(count_open() == PAGES - 20);
    }
    CHECK(kernel.fulls == 2 && kernel.slot_changes == 0);
    CHECK(kernel.filled - filled < 1000 * 21 + 2 * HL_KVM_SPARE);
    close_bed(&bed);
}

/* More of them at once than there are entries for: a call adds more. */
static void they_can_be_protected_later(void)
{
    struct bed bed;

    heat(&bed, 3);
    arm_pages(&bed, 0, 300, 0);
    arm_pages(&bed, 300, 600, 0);
    arm_pages(&bed, 900, 100, 0);
    CHECK(count_open() == PAGES - 1000 && kernel.slot_changes == 0);
    write_pages(&bed, 0, PAGES);
    CHECK(count_open() == PAGES);
    close_bed(&bed);
}

/* What few pages that stay open would cost is less than adding entries. */
static void most_are_protected_as_a_whole(void)
{
    struct bed bed;

    heat(&bed, 3);
    arm_pages(&bed, 10, PAGES - 10, 0);
    CHECK(kernel.slot_changes == 4 && count_open() == 0);
    uint32_t filled = kernel.filled;
    arm_pages(&bed, 0, PAGES, 0); /* of which none is open */
    CHECK(kernel.slot_changes == 4 && kernel.filled == filled);
    write_pages(&bed, 0, PAGES);
    close_bed(&bed);
}

static void they_are_once_more_if_that_failed(void)
{
    struct bed bed;

    heat(&bed, 3);
    kernel.fails_in = 2; /* a slot is not logged then */
    arm_pages(&bed, 10, PAGES - 10, PAGES);
    CHECK(guesses > 0 && kernel.slot_changes == 1);
    arm_pages(&bed, 500, 20, 0);
    CHECK(count_open() == 0);
    exact = 0;
    write_pages(&bed, 0, PAGES);
    CHECK(exact == 1);
    close_bed(&bed);
}

/* An interpreted guest: nobody looks while it fills the ring three times. */
static void a_flood_is_over_after_one_restore(void)
{
    struct bed bed;

    heat(&bed, 3);
    for (size_t i = 0; i < 3 * RING; i++)
        write_to(i % 10, true);
    look(&bed.k);
    write_pages(&bed, 0, 10);
    CHECK(guesses > 0);
    arm_pages(&bed, 0, PAGES, 0);
    CHECK(kernel.slot_changes == 4 && count_open() == 0);
    exact = 0;
    write_pages(&bed, 0, PAGES);
    CHECK(exact == 1);
    close_bed(&bed);
}

/* Where the kernel is has been found out, but it does not take what was given
 * back for that; its next entries are where these were. */
static void a_refusal_after_a_flood_loses_no_write(void)
{
    struct bed bed;

    heat(&bed, 3);
    for (size_t i = 0; i < 3 * RING; i++)
        write_to(0, true);
    all_is_reported(bed.t, &bed.dirty);
    look(&bed.k);
    arm_pages(&bed, 0, PAGES, 0);
    for (uint32_t used = kernel.filled - kernel.taken; used < RING + 50;
         used++)
        write_to(1, true);
    kernel.refuses_once = true;
    all_is_reported(bed.t, &bed.dirty);
    CHECK(!kernel.refuses_once);
    for (size_t i = 0; i < 20; i++)
        write_to(700 + i, true);
    all_is_reported(bed.t, &bed.dirty);
    close_bed(&bed);
}

static void a_signal_costs_no_page_its_place(void)
{
    struct bed bed;

    heat(&bed, 3);
    for (int i = 0; i < 100; i++) {
        kernel.ends_reset = true;
        arm_pages(&bed, 300, 200, 200); /* maybe: all are reported */
        CHECK(!kernel.ends_reset);
        arm_pages(&bed, 300, 200, 0);
        CHECK(count_open() == PAGES - 200);
        write_pages(&bed, 0, PAGES);
    }
    CHECK(kernel.slot_changes == 0);
    close_bed(&bed);
}

/* Without a clock: up to 16 pages stay open instead. */
static void few_stay_open_where_no_entry_is_added(void)
{
    struct bed bed;

    heat(&bed, 0);
    for (int i = 0; i < 1000; i++) {
        write_pages(&bed, 0, PAGES);
        arm_pages(&bed, 390, 20, 16);
    }
    arm_pages(&bed, 0, PAGES, 0);
    CHECK(count_open() == 0);
    close_bed(&bed);
}

int main(void)
{
    map_memory();
    RUN(pages_that_stay_open_are_not_protected);
    RUN(they_can_be_protected_later);
    RUN(most_are_protected_as_a_whole);
    RUN(they_are_once_more_if_that_failed);
    RUN(a_flood_is_over_after_one_restore);
    RUN(a_refusal_after_a_flood_loses_no_write);
    RUN(a_signal_costs_no_page_its_place);
    RUN(few_stay_open_where_no_entry_is_added);
    return 0;
}
