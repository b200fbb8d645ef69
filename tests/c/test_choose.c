/* Which trackers may do for whom, in which order, and what is said of those
 * that do not. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "choose.h"
#include "os/memory.h"

#define MUCH ((size_t)64 << 20)

static const struct hl_tracker_ops one = {.name = "one", .arms = true};
static const struct hl_tracker_ops two = {.name = "two", .arms = true};
static const struct hl_vm_tracker own[] = {{&one, NULL}, {&two, NULL}};
static const struct hl_driver_ops apart = {
    .name = "apart", .trackers = own, .tracker_count = 2};
static const struct hl_driver_ops within = {.name = "within",
                                            .host_sees_writes = true};

static struct hl_candidate found[HL_CANDIDATES];

static size_t candidates(const struct hl_driver_ops *driver, const char *name,
                         size_t size)
{
    struct hl_wish wish = {driver, name, size / hl_page_size()};
    return hl_candidates(&wish, found);
}

static void this_process_has_its_trackers_in_their_order(void)
{
    CHECK(candidates(NULL, NULL, 2 * MUCH) == hl_tracker_count);
    for (size_t i = 0; i < hl_tracker_count; i++)
        CHECK(found[i].ops == hl_trackers[i] && found[i].vm == NULL);
    CHECK(candidates(NULL, "full", 1) == 1 && found[0].ops == &hl_track_full);
    CHECK(candidates(NULL, "one", 1) == 0);
}

static void a_driver_has_its_own_and_those_that_see_nothing(void)
{
    size_t count = candidates(&apart, NULL, MUCH);

    CHECK(count > 2 && found[0].vm == &own[0] && found[1].vm == &own[1]);
    for (size_t i = 2; i < count; i++)
        CHECK(!found[i].ops->arms && found[i].vm == NULL);
    CHECK(candidates(&apart, "two", 1) == 1 && found[0].vm == &own[1]);
    CHECK(candidates(&apart, "uffd", 1) == 0);
}

static bool is_told(const struct hl_tracker_ops *ops)
{
    return ops->uses_signal && !ops->splits_mappings;
}

/* On Windows none is. */
static bool some_are_told(void)
{
    bool some = false;

    for (size_t i = 0; i < hl_tracker_count; i++)
        some = some || is_told(hl_trackers[i]);
    return some;
}

/* All are there, whatever the order. */
static void much_memory_is_tracked_by_who_is_told(void)
{
    CHECK(candidates(&within, NULL, MUCH - hl_page_size()) ==
          hl_tracker_count);
    for (size_t i = 0; i < hl_tracker_count; i++)
        CHECK(found[i].ops == hl_trackers[i]);

    CHECK(candidates(&within, NULL, MUCH) == hl_tracker_count);
    CHECK(is_told(found[0].ops) == some_are_told());
    for (size_t i = 0; i < hl_tracker_count; i++) {
        size_t times = 0;
        for (size_t j = 0; j < hl_tracker_count; j++)
            times += found[j].ops == hl_trackers[i];
        CHECK(times == 1);
    }
}

struct answers {
    int first, others; /* what a try returns */
    int tries;
};

static int answer(void *context, struct hl_candidate candidate, char *why)
{
    struct answers *a = context;
    int rc = a->tries++ == 0 ? a->first : a->others;

    if (rc)
        (void)hl_why(why, rc, "not %s", candidate.ops->name);
    return rc;
}

static struct hl_choice choice;
static char why[HL_WHY_SIZE];

static int choose(const char *name, size_t size, struct answers a)
{
    struct hl_wish wish = {&within, name, size / hl_page_size()};
    return hl_choose(&wish, answer, &a, &choice, why);
}

static void the_first_that_starts_is_chosen(void)
{
    CHECK(choose(NULL, 1, (struct answers){0}) == 0);
    CHECK(choice.chosen.ops == hl_trackers[0] && choice.passed_count == 0);
    CHECK(choice.because == HL_FIRST_CHOICE);

    CHECK(choose(NULL, 1, (struct answers){.first = HL_REFUSED}) == 0);
    CHECK(choice.chosen.ops == hl_trackers[1] && choice.passed_count == 1);
    CHECK(choice.because == HL_NEXT_CHOICE);
    CHECK(strcmp(choice.passed[0].name, hl_trackers[0]->name) == 0);
    CHECK(strncmp(choice.passed[0].why, "not ", 4) == 0);

    CHECK(choose("full", 1, (struct answers){0}) == 0);
    CHECK(choice.because == HL_ASKED_FOR);
    CHECK(choose(NULL, MUCH, (struct answers){0}) == 0);
    CHECK(choice.because == (some_are_told() ? HL_TOLD : HL_FIRST_CHOICE));
    CHECK(choose(NULL, MUCH, (struct answers){.first = HL_REFUSED}) == 0);
    CHECK(choice.because == HL_NEXT_CHOICE);
}

static void what_nobody_can_help_ends_it(void)
{
    struct answers refused = {HL_REFUSED, HL_REFUSED, 0};
    struct answers out = {HL_REFUSED, -EMFILE, 0};

    CHECK(choose(NULL, 1, refused) == -EOPNOTSUPP);
    CHECK(choice.chosen.ops == NULL);
    CHECK(choice.passed_count == hl_tracker_count);
    CHECK(choose(NULL, 1, out) == -EMFILE);
    CHECK(choice.chosen.ops == hl_trackers[1] && choice.passed_count == 1);
    CHECK(choose("none", 1, refused) == -ENOENT && choice.chosen.ops == NULL);

    CHECK(hl_refusal(0) == 0 && hl_refusal(-ENOMEM) == -ENOMEM);
    CHECK(hl_refusal(-EEXIST) == -EEXIST && hl_refusal(-EPERM) == HL_REFUSED);
}

int main(void)
{
    RUN(this_process_has_its_trackers_in_their_order);
    RUN(a_driver_has_its_own_and_those_that_see_nothing);
    RUN(much_memory_is_tracked_by_who_is_told);
    RUN(the_first_that_starts_is_chosen);
    RUN(what_nobody_can_help_ends_it);
    return 0;
}
