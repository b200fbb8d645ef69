/* What guests write is found, by every tracker of every driver. */
#include "manager/manager.h"
#include "vm_bed.h"

static const struct hl_tracker_ops *tracker; /* the host's, or NULL */

/* Writes its number to the pages whose numbers the host leaves at the start of
 * its input, up to a zero. */
GUEST(scribble, "mov $0x600000, %ebx\n"
                "1: out %al, $0x48\n"
                "mov $0x500000, %esi\n"
                "2: movzwl (%rsi), %ecx\n"
                "add $2, %rsi\n"
                "test %ecx, %ecx\n"
                "jz 1b\n"
                "shl $12, %ecx\n"
                "mov %rdx, 8(%rbx,%rcx)\n"
                "jmp 2b");

#define TRACKED 17 /* pages: data and stack */

static struct hl_manager *track(struct bed *bed, bool adaptive)
{
    char why[HL_WHY_SIZE] = "";
    struct hl_manager *m;
    struct hl_tracker *t;
    int err;

    if (own) {
        CHECK(own->open(bed->vm, bed->data, TRACKED, &t, why) == 0);
        err = hl_manager_adopt(t, adaptive, &m, why);
        CHECK(hl_manager_tracker(m) == own->ops->name);
    } else {
        err = hl_manager_new(bed->data, TRACKED, tracker, adaptive, &m, why);
    }
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    return m;
}

static void writes_are_found(bool adaptive)
{
    struct bed bed = boot(scribble, scribble_end);
    struct hl_manager *m = track(&bed, adaptive);
    char *copies[4];
    struct hl_snapshot *snapshots[4];
    struct hl_applied done;
    uint64_t seed = 5;

    (void)call(&bed);
    for (uint64_t round = 1; round <= 400; round++) {
        uint16_t *pages = (uint16_t *)bed.input;
        uint64_t missed = 0, dirty = 0, which = next_random(&seed) % 4;
        size_t n = 0;
        for (; n < next_random(&seed) % 6; n++)
            pages[n] = (uint16_t)(1 + next_random(&seed) % 15);
        pages[n] = 0;
        ops->regs(bed.vm)->gpr[2] = round;
        (void)call(&bed);
        CHECK(hl_manager_dirty(m, &dirty) == 0);
        for (size_t i = 0; i < n; i++)
            CHECK(dirty >> pages[i] & 1);
        if (round <= 4 || next_random(&seed) % 3 == 0) {
            if (round > 4) {
                hl_snapshot_unref(snapshots[which]);
                free(copies[which]);
            } else {
                which = round - 1;
            }
            CHECK(hl_manager_take(m, &snapshots[which]) == 0);
            copies[which] = malloc(TRACKED * PAGE);
            memcpy(copies[which], bed.data, TRACKED * PAGE);
        } else {
            CHECK(hl_manager_restore(m, snapshots[which], &done) == 0);
            CHECK(memcmp(copies[which], bed.data, TRACKED * PAGE) == 0);
        }
        CHECK(hl_manager_verify(m, hl_manager_current(m), &missed) == 0);
    }
    for (int i = 0; i < 4; i++) {
        hl_snapshot_unref(snapshots[i]);
        free(copies[i]);
    }
    hl_manager_free(m);
    end(&bed);
}

static void writes_are_found_by_every_tracker(void)
{
    char why[HL_WHY_SIZE] = "";

    for (size_t i = 0; i < ops->tracker_count; i++) {
        own = &ops->trackers[i];
        writes_are_found(false);
        writes_are_found(true);
    }
    own = NULL;
    for (size_t i = 0; i < hl_tracker_count && ops->host_sees_writes; i++) {
        tracker = hl_trackers[i];
        if (tracker->probe(why) < 0) {
            printf("skipped %s: %s\n", tracker->name, why);
            continue;
        }
        writes_are_found(false);
        writes_are_found(true);
    }
    tracker = NULL;
}

/* More pages than a ring has room for, so that it is full while the guest
 * runs; and then few again. */
GUEST(sweep, "1: out %al, $0x48\n"
             "mov %rsi, %rbx\n"
             "2: mov %rdx, (%rbx)\n"
             "add $4096, %rbx\n"
             "dec %rcx\n"
             "jnz 2b\n"
             "jmp 1b");

#define SWEEP ((uint64_t)0x40000000)
#define SWEPT ((size_t)20000) /* pages; a ring has at most 16384 entries */

static void sweep_many(bool adaptive)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {SWEEP, SWEPT * PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 2,
        .slot_count = 3,
        .tracker = own,
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 2);
    /* Hot ones, more than a ring has entries; some of them cold, then all. */
    static const struct {
        size_t first, count; /* pages */
    } sweeps[] = {
        {0, SWEPT},   {0, 3},       {0, SWEPT},    {9000, 500},  {9000, 500},
        {19999, 1},   {0, SWEPT},   {2000, 17000}, {300, 2},     {300, 2},
        {500, 18000}, {500, 18000}, {500, 18000},  {500, 18000}, {500, 18000},
        {500, 18500}, {19100, 700}, {500, 18000},  {9000, 9000}, {9000, 9000},
        {700, 1},     {700, 1},     {700, 1},      {700, 1},     {500, 18000},
    };
    char why[HL_WHY_SIZE] = "";
    struct hl_manager *m;
    struct hl_snapshot *clean;
    struct hl_applied done;
    struct hl_tracker *t;
    struct hl_map map;
    struct bed bed;

    CHECK(hl_map_create(&map, tables + PAGE + SWEPT * PAGE, HL_HUGE_NEVER) ==
          0);
    char *memory = map.addr, *data = memory + tables + PAGE;
    config.slots[0] = (struct hl_vm_slot){memory, TABLES, tables, false};
    config.slots[1] = (struct hl_vm_slot){memory + tables, CODE, PAGE, false};
    config.slots[2] = (struct hl_vm_slot){data, SWEEP, SWEPT * PAGE, true};
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 2,
                       &config.tables) == 0);
    memcpy(memory + tables, sweep, (size_t)(sweep_end - sweep));
    CHECK(ops->create(&config, &bed.vm, why) == 0);
    CHECK(own->open(bed.vm, data, SWEPT, &t, why) == 0);
    CHECK(hl_manager_adopt(t, adaptive, &m, why) == 0);
    ops->regs(bed.vm)->rip = CODE;
    (void)call(&bed);
    CHECK(hl_manager_take(m, &clean) == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(sweeps); i++) {
        size_t first = sweeps[i].first, last = first + sweeps[i].count - 1;
        uint64_t *missed = calloc(SWEPT / 64 + 1, 8);
        ops->regs(bed.vm)->gpr[HL_RSI] = SWEEP + first * PAGE;
        ops->regs(bed.vm)->gpr[HL_RCX] = sweeps[i].count;
        ops->regs(bed.vm)->gpr[HL_RDX] = i + 1;
        (void)call(&bed);
        CHECK(*(uint64_t *)(data + first * PAGE) == i + 1);
        CHECK(*(uint64_t *)(data + last * PAGE) == i + 1);
        CHECK(hl_manager_verify(m, clean, missed) == 0);
        CHECK(hl_manager_restore(m, clean, &done) == 0);
        CHECK(hl_manager_verify(m, clean, missed) == 0);
        free(missed);
    }
    hl_snapshot_unref(clean);
    hl_manager_free(m);
    ops->destroy(bed.vm);
    hl_map_destroy(&map);
}

static void many_pages_are_found(void)
{
    for (size_t i = 0; i < ops->tracker_count; i++) {
        own = &ops->trackers[i];
        sweep_many(false);
        sweep_many(true);
    }
    own = NULL;
}

static void run_all(void)
{
    RUN(writes_are_found_by_every_tracker);
    RUN(many_pages_are_found);
}

int main(void) { return on_every_driver(run_all); }
