/* The whp driver's tracker over the fake of WinHvPlatform.dll: what was
 * written is told, whatever fails, or the tracker is refused with a reason.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is, which runs guests. */
#include "choose.h"
#include "fake/whp/fake.h"
#include "mem/pages.h"
#include "vm/whp/machine.h"
#include "vm_bed.h"

#define PAGES ((size_t)17) /* of data and stack, in two slots */
#define DATA_PAGES ((size_t)16)

/* Writes where RBX says, and calls. */
GUEST(writer, "1: incl (%rbx)\n"
              "out %al, $0x48\n"
              "jmp 1b");

struct tracked {
    struct bed bed;
    struct hl_tracker *tracker;
    struct hl_pages all, dirty;
};

static void nothing_is_left(void)
{
    CHECK(fake_whp_count(FAKE_PARTITIONS) == 0);
    CHECK(fake_whp_count(FAKE_MAPPINGS) == 0);
    CHECK(fake_whp_count(FAKE_VIOLATIONS) == 0);
    CHECK(hl_map_count() == 0);
    fake_whp_reset();
    hl_whp_forget_probe();
}

static struct tracked begin(void)
{
    struct tracked t = {.bed = boot(writer, writer_end)};
    char why[HL_WHY_SIZE] = "";

    int err = own->open(t.bed.vm, t.bed.data, PAGES, &t.tracker, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    CHECK(hl_pages_init(&t.all, PAGES) == 0);
    CHECK(hl_pages_init(&t.dirty, PAGES) == 0);
    hl_pages_fill(&t.all);
    return t;
}

static void finish(struct tracked *t)
{
    t->tracker->ops->close(t->tracker, false);
    hl_pages_free(&t->all);
    hl_pages_free(&t->dirty);
    end(&t->bed);
}

static int collect(struct tracked *t)
{
    hl_pages_empty(&t->dirty);
    return t->tracker->ops->collect(t->tracker, &t->dirty);
}

/* Of data, and the last one of the stack. */
static void write_page(struct tracked *t, size_t page)
{
    ops->regs(t->bed.vm)->gpr[HL_RBX] =
        page < DATA_PAGES ? DATA + page * PAGE : STACK;
    (void)call(&t->bed);
}

static void writes_are_told(void)
{
    struct tracked t = begin();
    const struct hl_tracker_ops *tracker = t.tracker->ops;

    /* T1 */
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == PAGES);
    tracker->arm(t.tracker, &t.all);
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == 0);
    write_page(&t, 3);
    write_page(&t, 16);
    t.bed.data[5 * PAGE] = 1; /* the host's are not the guest's */
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == 2);
    CHECK(hl_pages_has(&t.dirty, 3) && hl_pages_has(&t.dirty, 16));
    /* T4: it is told until it is armed, and each write after that. */
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == 2);
    tracker->arm(t.tracker, &t.dirty);
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == 0);
    write_page(&t, 3);
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == 1);
    finish(&t);
    nothing_is_left();
}

static void hot_pages_are_not_asked_about(void)
{
    struct tracked t = begin();

    CHECK(collect(&t) == 0);
    const long asked = fake_whp_count(FAKE_PAGES_ASKED);
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == PAGES);
    CHECK(fake_whp_count(FAKE_PAGES_ASKED) == asked);
    t.tracker->ops->arm(t.tracker, &t.all);
    CHECK(collect(&t) == 0);
    CHECK(fake_whp_count(FAKE_PAGES_ASKED) == asked + (long)PAGES);
    write_page(&t, 2);
    CHECK(collect(&t) == 0);
    t.tracker->ops->leave_unarmed(t.tracker, &t.all);
    CHECK(collect(&t) == 0 && hl_pages_count(&t.dirty) == PAGES);
    finish(&t);
    nothing_is_left();
}

/* Random writes, collects and arms against what was really written, with
 * queries that fail in between. */
static void nothing_is_lost(uint64_t seed, int failing)
{
    struct tracked t = begin();
    bool written[PAGES] = {false};
    size_t told = 0, real = 0;

    t.tracker->ops->arm(t.tracker, &t.all);
    for (int step = 0; step < 300; step++) {
        size_t page = next_random(&seed) % PAGES;
        write_page(&t, page);
        written[page] = true;
        if (next_random(&seed) % 3)
            continue;
        if (failing)
            fake_whp_fail(FAKE_QUERY, 1 + (long)(next_random(&seed) % 3),
                          E_FAIL, next_random(&seed) % 2);
        int err = collect(&t);
        fake_whp_fail(0, 0, 0, false);
        if (err < 0)
            continue; /* all count as written, and none was armed */
        for (size_t i = 0; i < PAGES; i++) {
            CHECK(!written[i] || hl_pages_has(&t.dirty, i));
            told += hl_pages_has(&t.dirty, i);
            real += written[i];
        }
        if (next_random(&seed) % 2)
            continue;
        t.tracker->ops->arm(t.tracker, &t.dirty);
        memset(written, false, sizeof written);
    }
    CHECK(failing ? told >= real : told == real);
    finish(&t);
}

static void no_quirk_loses_writes(void)
{
    for (int quirks = 0; quirks < 8; quirks++)
        for (uint64_t seed = 1; seed < 4; seed++) {
            fake_whp_switch(FAKE_STRAY_BITS, quirks & 1);
            fake_whp_switch(FAKE_FIRST_ALL_DIRTY, (quirks & 2) != 0);
            nothing_is_lost(seed, quirks & 4);
            nothing_is_left();
        }
}

static void open_fails(void)
{
    struct bed bed = boot(writer, writer_end);
    char why[HL_WHY_SIZE] = "";
    struct hl_tracker *tracker;

    for (int nth = 1; nth < 3; nth++)
        for (int after = 0; after < 2; after++) {
            fake_whp_fail(FAKE_QUERY, nth, E_FAIL, after);
            CHECK(own->open(bed.vm, bed.data, PAGES, &tracker, why) == -EIO);
            CHECK(strstr(why, "WHvQueryGpaRangeDirtyBitmap"));
        }
    end(&bed);
    nothing_is_left();
}

/* Where it does not work, its machine does, and the reason is told: another
 * tracker is chosen then, which treats all pages as written. */
static void is_refused(const char *reason)
{
    char why[HL_WHY_SIZE] = "";
    struct hl_tracker *tracker;
    struct bed bed = boot(writer, writer_end);

    for (int i = 0; i < 2; i++) {
        CHECK(own->open(bed.vm, bed.data, PAGES, &tracker, why) ==
              -EOPNOTSUPP);
        if (strstr(why, reason) == NULL)
            fprintf(stderr, "%s\n", why);
        CHECK(strstr(why, reason));
    }
    ops->regs(bed.vm)->gpr[HL_RBX] = DATA;
    (void)call(&bed);
    CHECK(bed.data[0] == 1);
    end(&bed);
    CHECK(hl_refusal(-EOPNOTSUPP) == HL_REFUSED);
    why[0] = 0;
    CHECK(hl_driver_try(&hl_driver_whp, own, why) == -EOPNOTSUPP);
    CHECK(strstr(why, reason));
    CHECK(hl_driver_try(&hl_driver_whp, NULL, why) == 0);
}

static void a_refused_flag_is_a_reason(void)
{
    fake_whp_switch(FAKE_REFUSE_FLAG, 1);
    is_refused("WHvMapGpaRange refuses to track dirty pages: error "
               "0x80070057");
    nothing_is_left();
    /* Later, when the probe has been passed. */
    CHECK(hl_driver_try(&hl_driver_whp, own, (char[HL_WHY_SIZE]){0}) == 0);
    fake_whp_switch(FAKE_REFUSE_FLAG, 1);
    is_refused("WHvMapGpaRange refuses to track dirty pages");
    nothing_is_left();
}

static void a_missed_write_is_a_reason(void)
{
    fake_whp_switch(FAKE_MISSED_REARM, 1);
    is_refused("does not report every write here");
    /* It is tried once. */
    const long runs = fake_whp_count(FAKE_CALLS + FAKE_RUN);
    struct bed bed = boot(writer, writer_end);
    CHECK(fake_whp_count(FAKE_CALLS + FAKE_RUN) == runs);
    end(&bed);
    nothing_is_left();
}

static void an_old_windows_is_a_reason(void)
{
    hl_whp_use_calls(&fake_whp_calls_1803);
    is_refused("has no WHvQueryGpaRangeDirtyBitmap: Windows 10 1809");
    hl_whp_use_calls(&fake_whp_calls);
    nothing_is_left();
}

/* What went wrong for other reasons is tried again. */
static void the_probe_may_fail(void)
{
    char why[HL_WHY_SIZE] = "";

    for (int kind = 0; kind < FAKE_KINDS; kind++)
        for (int nth = 1; nth < 12; nth++)
            for (int after = 0; after < 2; after++) {
                fake_whp_fail(kind, nth, E_FAIL, after);
                hl_whp_forget_probe();
                int err = hl_whp_probe(&fake_whp_calls, why);
                fake_whp_fail(0, 0, 0, false);
                CHECK(err == 0 || err == -EIO || err == -EOPNOTSUPP);
                CHECK(kind == FAKE_MAP || err != -EOPNOTSUPP);
                CHECK(fake_whp_count(FAKE_PARTITIONS) == 0);
                if (err == -EIO)
                    CHECK(hl_whp_probe(&fake_whp_calls, why) == 0);
            }
    nothing_is_left();
    /* Out of memory: no reason to do without. */
    struct hl_vm_config config = {.tracker = own};
    struct hl_vm *vm;
    fake_whp_fail(FAKE_CREATE, 1, E_OUTOFMEMORY, false);
    CHECK(hl_driver_whp.create(&config, &vm, why) == -ENOMEM);
    CHECK(strstr(why, "WHvCreatePartition"));
    nothing_is_left();
}

/* The probe's machine is gone before the other one is made. */
static void one_partition_is_enough(void)
{
    char why[HL_WHY_SIZE] = "";

    fake_whp_switch(FAKE_ONE_PARTITION, 1);
    struct tracked t = begin();
    CHECK(hl_driver_try(&hl_driver_whp, NULL, why) == -EIO);
    CHECK(strstr(why, "WHvMapGpaRange: error 0x80070057"));
    CHECK(strstr(why, "a second sandbox"));
    finish(&t);
    CHECK(hl_driver_try(&hl_driver_whp, own, why) == 0);
    nothing_is_left();
}

int main(void)
{
    char why[HL_WHY_SIZE] = "";

    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
    if (hl_driver_try(&hl_driver_emulator, NULL, why) < 0) {
        printf("skipped: %s\n", why);
        return 0;
    }
    ops = &hl_driver_whp;
    own = &hl_driver_whp.trackers[0];
    hl_whp_use_calls(&fake_whp_calls);
    fake_whp_reset();
    RUN(writes_are_told);
    RUN(hot_pages_are_not_asked_about);
    RUN(no_quirk_loses_writes);
    RUN(open_fails);
    RUN(a_refused_flag_is_a_reason);
    RUN(a_missed_write_is_a_reason);
    RUN(an_old_windows_is_a_reason);
    RUN(the_probe_may_fail);
    RUN(one_partition_is_enough);
    return 0;
}
