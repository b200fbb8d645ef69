/* What track.h promises of every tracker, one page after the other: without
 * threads, so that each promise is broken by one line. */
#include <string.h>

#include "check.h"
#include "inject.h"
#include "os/map.h"
#include "track/track.h"

#define PAGES ((size_t)200)

static struct hl_map map;
static struct hl_tracker *t;
static struct hl_pages set;

static void begin(const struct hl_tracker_ops *ops)
{
    char why[HL_WHY_SIZE] = "";

    CHECK(hl_map_create(&map, PAGES * hl_page_size(), HL_HUGE_NEVER) == 0);
    memset(map.addr, 1, map.size);
    CHECK(ops->open(map.addr, PAGES, &t, why) == 0);
    CHECK(hl_pages_init(&set, PAGES) == 0);
}

static void end(void)
{
    t->ops->close(t, false);
    memset(map.addr, 2, map.size); /* T5 */
    hl_pages_free(&set);
    hl_map_destroy(&map);
}

static void write_to(size_t page)
{
    ((volatile char *)map.addr)[page * hl_page_size() + 7] = 3;
}

static void arm(const size_t *pages, size_t count)
{
    hl_pages_empty(&set);
    for (size_t i = 0; i < count; i++)
        hl_pages_add(&set, pages[i]);
    t->ops->arm(t, &set);
}

static void arm_all(void)
{
    hl_pages_fill(&set);
    t->ops->arm(t, &set);
}

/* Exactly these are reported. */
static bool reports(const size_t *pages, size_t count)
{
    hl_pages_empty(&set);
    CHECK(t->ops->collect(t, &set) == 0);
    for (size_t i = 0; i < count; i++)
        if (!hl_pages_has(&set, pages[i]))
            return false;
    return hl_pages_count(&set) == count;
}

static void all_is_reported_at_first(const struct hl_tracker_ops *ops)
{
    char why[HL_WHY_SIZE];

    begin(ops);
    arm_all();
    t->ops->close(t, false);
    CHECK(ops->open(map.addr, PAGES, &t, why) == 0);
    hl_pages_empty(&set);
    CHECK(t->ops->collect(t, &set) == 0 && hl_pages_count(&set) == PAGES);
    end();
}

static void
what_is_written_is_reported_until_armed(const struct hl_tracker_ops *ops)
{
    const size_t written[] = {0, 63, 64, 130, PAGES - 1};

    begin(ops);
    arm_all();
    CHECK(reports(NULL, 0));
    for (size_t i = 0; i < HL_ARRAY_SIZE(written); i++)
        write_to(written[i]);
    CHECK(reports(written, HL_ARRAY_SIZE(written)));
    CHECK(reports(written, HL_ARRAY_SIZE(written))); /* T4 */
    arm(written, 3);
    CHECK(reports(written + 3, 2));
    write_to(63);
    arm(written + 3, 2);
    CHECK(reports(written + 1, 1));
    end();
}

/* T4: as by another thread, between the collect and the arming. */
static void
what_is_written_between_is_not_forgotten(const struct hl_tracker_ops *ops)
{
    const size_t found[] = {10, 20, 30, 150}, between[] = {15, 40, 149};

    begin(ops);
    arm_all();
    for (size_t i = 0; i < HL_ARRAY_SIZE(found); i++)
        write_to(found[i]);
    CHECK(reports(found, HL_ARRAY_SIZE(found)));
    for (size_t i = 0; i < HL_ARRAY_SIZE(between); i++)
        write_to(between[i]);
    arm(found, HL_ARRAY_SIZE(found));
    CHECK(reports(between, HL_ARRAY_SIZE(between)));
    end();
}

static void what_is_left_unarmed_is_reported(const struct hl_tracker_ops *ops)
{
    const size_t left[] = {5, 100};

    begin(ops);
    arm_all();
    hl_pages_empty(&set);
    hl_pages_add(&set, 5);
    t->ops->leave_unarmed(t, &set);
    t->ops->disarm(t, (struct hl_run){100, 1});
    CHECK(reports(left, 2));
    arm(left, 2);
    CHECK(reports(NULL, 0));
    write_to(5);
    CHECK(reports(left, 1));
    end();
}

/* T2: refused, it is reported already. */
static void what_cannot_be_armed_is_reported(const struct hl_tracker_ops *ops)
{
    const size_t pages[] = {3, 4, 90};

    begin(ops);
    arm_all();
    for (size_t i = 0; i < 3; i++)
        write_to(pages[i]);
    hl_inject_plan(HL_INJECT_ARM, 0, UINT32_MAX);
    arm(pages, 3);
    hl_inject_plan(HL_INJECT_ARM, 0, 0);
    hl_pages_empty(&set);
    CHECK(t->ops->collect(t, &set) == 0);
    for (size_t i = 0; i < 3; i++)
        CHECK(hl_pages_has(&set, pages[i]));
    end();
}

static void
the_first_arming_finds_what_was_touched(const struct hl_tracker_ops *ops)
{
    begin(ops);
    arm_all();
    t->ops->close(t, false);
    char why[HL_WHY_SIZE];
    CHECK(ops->open(map.addr, PAGES, &t, why) == 0);
    hl_pages_empty(&set);
    /* It knows, or says that it does not. */
    if (ops->arm_first(t, &set) == 0)
        CHECK(hl_pages_count(&set) == PAGES);
    end();
}

int main(void)
{
    for (size_t i = 0; i < hl_tracker_count; i++) {
        const struct hl_tracker_ops *ops = hl_trackers[i];
        char why[HL_WHY_SIZE] = "";
        if (ops->probe(why) < 0) {
            printf("skipped %s: %s\n", ops->name, why);
            continue;
        }
        all_is_reported_at_first(ops);
        the_first_arming_finds_what_was_touched(ops);
        if (ops->arms) {
            what_is_written_is_reported_until_armed(ops);
            what_is_written_between_is_not_forgotten(ops);
            what_is_left_unarmed_is_reported(ops);
            what_cannot_be_armed_is_reported(ops);
        }
        printf("ok %s\n", ops->name);
        fflush(stdout);
    }
    CHECK(hl_map_count() == 0);
    return 0;
}
