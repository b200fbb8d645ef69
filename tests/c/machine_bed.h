/* Machines as sandboxes have them, for the tests of machine.h: planned,
 * filled, started and ended on a driver around the real one, which counts what
 * is made and destroyed and fails when it is told to. */
#ifndef HL_TESTS_MACHINE_BED_H
#define HL_TESTS_MACHINE_BED_H

#include <stdatomic.h>

#include "machine.h"
#include "manager/manager.h"
#include "vm_bed.h"

#define TRACKED (17 * PAGE) /* data and stack */

enum { TABLE_SLOT, CODE_SLOT, INPUT_SLOT, DATA_SLOT, STACK_SLOT, SLOTS };

static struct hl_driver_ops counted;
static atomic_int created, destroyed, renewed;
static int create_error, finish_error, renew_error;
static char why[HL_WHY_SIZE];

static inline int create(const struct hl_vm_config *config, struct hl_vm **out,
                         char *text)
{
    if (create_error < 0)
        return create_error;
    created++;
    return ops->create(config, out, text);
}

static inline void destroy(struct hl_vm *vm)
{
    destroyed++;
    ops->destroy(vm);
}

static inline int finish(struct hl_vm *vm)
{
    return finish_error < 0 ? finish_error : ops->finish(vm);
}

static inline int renew(struct hl_vm *vm)
{
    renewed++;
    return renew_error < 0 ? renew_error : ops->renew(vm);
}

static inline void reset(void)
{
    created = destroyed = renewed = 0;
    create_error = finish_error = renew_error = 0;
}

/* A vCPU that is mapped keeps its machine alive. */
static inline bool is_vcpu_mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool found = false;

    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        found = found || strstr(line, "kvm-vcpu");
    fclose(maps);
    return found;
}

/* At the end of each test. */
static inline void nothing_is_left(void)
{
    (void)hl_machine_drop_blanks();
    CHECK(hl_machine_blanks() == 0);
    CHECK(created == destroyed);
    CHECK(hl_map_count() == 0 && !is_vcpu_mapped());
    reset();
}

struct plan {
    struct hl_machine_slot slots[SLOTS];
    struct hl_x86_region regions[4];
};

static inline struct plan usual(void)
{
    struct plan p = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {INPUT, PAGE, HL_PERM_READ},
                    {DATA, 16 * PAGE, HL_PERM_READ | HL_PERM_WRITE},
                    {STACK, PAGE, HL_PERM_READ | HL_PERM_WRITE}},
    };
    const struct hl_machine_slot slots[SLOTS] = {
        {TABLES, hl_x86_tables_size(TABLES, p.regions, 4), false},
        {CODE, PAGE, false},
        {INPUT, PAGE, false},
        {DATA, 16 * PAGE, true},
        {STACK, PAGE, true},
    };
    memcpy(p.slots, slots, sizeof slots);
    return p;
}

static inline struct hl_machine mapped(const struct plan *plan)
{
    struct hl_machine m = {.driver = &counted};

    memcpy(m.config.regions, plan->regions, sizeof plan->regions);
    m.config.region_count = HL_ARRAY_SIZE(plan->regions);
    CHECK(hl_machine_map(&m, plan->slots, SLOTS, why) == 0);
    return m;
}

static inline char *slot(const struct hl_machine *m, int number)
{
    return m->config.slots[number].host;
}

static inline void fill(struct hl_machine *m, const char *code,
                        const char *end)
{
    struct hl_vm_config *c = &m->config;

    CHECK(hl_x86_build(slot(m, TABLE_SLOT), c->slots[TABLE_SLOT].size, TABLES,
                       c->regions, c->region_count, &c->tables) == 0);
    memcpy(slot(m, CODE_SLOT), code, (size_t)(end - code));
}

static inline int try_to_make(struct hl_machine *m)
{
    return hl_machine_make(m, own, slot(m, DATA_SLOT),
                           m->config.slots[DATA_SLOT].size + PAGE, why);
}

static inline void start(struct hl_machine *m)
{
    CHECK(try_to_make(m) == 0);
    CHECK(!m->blank);
    counted.regs(m->vm)->rip = CODE;
}

static inline struct hl_machine made(const char *code, const char *end)
{
    struct plan plan = usual();
    struct hl_machine m = mapped(&plan);

    fill(&m, code, end);
    start(&m);
    return m;
}

static inline uint64_t call_of(const struct hl_machine *m)
{
    struct bed bed = {.vm = m->vm};
    return call(&bed);
}

/* As a sandbox does: the tracker is its manager's meanwhile. */
static inline struct hl_manager *managed(struct hl_machine *m)
{
    struct hl_manager *manager;
    struct hl_tracker *t;

    CHECK(hl_machine_track(m, slot(m, DATA_SLOT), TRACKED / PAGE, &t, why) ==
          0);
    CHECK(m->tracker == NULL);
    CHECK(hl_manager_adopt(t, true, &manager, why) == 0);
    return manager;
}

static inline void end_of(struct hl_machine *m, struct hl_manager *manager)
{
    if (manager) {
        m->tracker = hl_manager_give_back(manager);
        hl_manager_free(manager);
    }
    hl_machine_end(m, true);
    CHECK(m->vm == NULL && m->map.base == NULL && m->tracker == NULL);
}

/* One that could be kept, whatever its tracker. */
static inline void end_kept(struct hl_machine *m)
{
    end_of(m, own ? managed(m) : NULL);
}

static inline void count_what_is_made(void)
{
    counted = *ops;
    counted.create = create;
    counted.destroy = destroy;
    counted.finish = ops->finish ? finish : NULL;
    counted.renew = ops->renew ? renew : NULL;
    reset();
}

#endif
