/* How the parts of a sandbox are put together, and its machine replaced. */
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/memory.h"
#include "sandbox_parts.h"
#include "vm/slots.h"

/* The memory that snapshots hold. */
struct tracked {
    struct hl_sandbox *sandbox;
    char *memory;
    size_t page_count;
    bool adaptive;
};

/* hl_try: a machine, and a manager of its memory with this tracker. */
static int start(void *context, struct hl_candidate candidate, char *why)
{
    struct tracked *t = context;
    struct hl_machine *machine = &t->sandbox->machine;
    struct hl_manager **manager = &t->sandbox->manager;
    struct hl_tracker *tracker;

    int err = hl_machine_make(machine, candidate.vm, t->memory,
                              t->page_count * hl_page_size(), why);
    if (err < 0)
        return err;
    if (candidate.vm == NULL)
        return hl_refusal(hl_manager_new(t->memory, t->page_count,
                                         candidate.ops, t->adaptive, manager,
                                         why));
    err = hl_machine_track(machine, t->memory, t->page_count, &tracker, why);
    if (err < 0)
        return hl_refusal(err);
    err = hl_manager_adopt(tracker, t->adaptive, manager, why);
    if (err < 0)
        tracker->ops->close(tracker, false);
    return err;
}

/* Slots that are logged lie together. */
static struct tracked tracked_memory(struct hl_sandbox *s,
                                     const struct hl_sandbox_config *c)
{
    struct tracked t = {.sandbox = s, .adaptive = c->adaptive};
    size_t size = 0;

    for (size_t i = s->machine.config.slot_count; i-- > 0;) {
        if (!c->slots[i].logged)
            continue;
        t.memory = s->machine.config.slots[i].host;
        size += s->machine.config.slots[i].size;
    }
    t.page_count = size / hl_page_size();
    return t;
}

/* W2.  Until there is a manager nothing is tracked, and behind the tracked
 * memory nothing ever is. */
static void written(void *context, const void *host, size_t size)
{
    const struct hl_sandbox *s = context;
    const size_t page = hl_page_size();
    const char *memory = s->tracked, *first = host;

    if (s->manager == NULL || first < memory)
        return;
    size_t at = (size_t)(first - memory), end = at + size - 1;
    hl_manager_written(s->manager, (struct hl_run){
                                       at / page,
                                       end / page - at / page + 1,
                                   });
}

/* As the regions of the config say it, and the finer ones. */
static int build_tables(struct hl_sandbox *s, char *why)
{
    struct hl_vm_config *vm = &s->machine.config;
    const struct hl_span at = s->tables;
    char *tables = hl_vm_host(vm, at.addr, at.size);

    if (tables == NULL)
        return hl_why(why, -EINVAL, "the page tables are not in any slot");
    int err = hl_x86_build(tables, at.size, at.addr, vm->regions,
                           vm->region_count, &vm->tables);
    if (err == 0)
        err = hl_x86_carve(tables, at.size, at.addr, vm->finer,
                           vm->finer_count, &vm->tables);
    if (err < 0)
        return hl_why(why, err, "page tables: %s", strerror(-err));
    if (vm->system_calls)
        hl_x86_let_system_calls_leave(tables, at.addr, &vm->tables);
    return 0;
}

/* Everything that the guest finds in its memory. */
static int fill_memory(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                       struct hl_vm_regs *regs, char *why)
{
    struct hl_vm_config *vm = &s->machine.config;
    const struct hl_abi_ops *abi = hl_abi_find(c->abi, &c->guest.image);
    struct hl_abi_config guest = c->guest;

    if (abi == NULL)
        return hl_why(why, -EINVAL, "no guest ABI %s%s",
                      c->abi ? "is called " : "accepts this file",
                      c->abi ? c->abi : "");
    guest.pinned = s->machine.driver->pins_memory;
    guest.window = (struct hl_window){vm, written, s};
    int err = abi->start(&guest, vm, regs, &s->abi, why);
    if (err < 0)
        return err;
    s->abi->ops = abi;
    if (vm->system_calls && !s->machine.driver->system_calls)
        return hl_why(why, -EOPNOTSUPP,
                      "driver %s does not tell the system calls of programs",
                      s->machine.driver->name);
    return build_tables(s, why);
}

/* S1 */
static int find_scratch(const struct hl_sandbox *s, const struct tracked *t,
                        struct hl_run *pages, char *why)
{
    const struct hl_span scratch = s->abi->ops->scratch(s->abi);
    const char *host =
        hl_vm_host(&s->machine.config, scratch.addr, scratch.size);
    const size_t page = hl_page_size();

    if (scratch.size == 0)
        return 0;
    if (host == NULL || host < t->memory ||
        (size_t)(host - t->memory) + scratch.size > t->page_count * page)
        return hl_why(why, -EINVAL, "the output buffer is not tracked");
    *pages = (struct hl_run){(size_t)(host - t->memory) / page,
                             scratch.size / page};
    return 0;
}

int hl_sandbox_set_up(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                      struct hl_choice *choice, char *why)
{
    struct hl_vm_config *vm = &s->machine.config;
    struct hl_vm_regs regs;

    memcpy(vm->regions, c->regions, sizeof vm->regions);
    vm->region_count = c->region_count;
    s->tables = c->tables;
    s->adaptive = c->adaptive;
    int err = hl_machine_map(&s->machine, c->slots, c->slot_count, why);
    if (err == 0)
        err = fill_memory(s, c, &regs, why);
    if (err < 0)
        return err;
    struct tracked t = tracked_memory(s, c);
    s->tracked = t.memory;
    struct hl_run scratch = {0};
    err = find_scratch(s, &t, &scratch, why);
    if (err < 0)
        return err;
    struct hl_wish wish = {s->machine.driver, c->tracker, t.page_count};
    err = hl_choose(&wish, start, &t, choice, why);
    if (err < 0)
        return err;
    hl_manager_scratch(s->manager, scratch);
    *s->machine.driver->regs(s->machine.vm) = regs;
    return 0;
}

/* Tables that were used may not be changed: what a processor remembers of them
 * is stale then, on some until memory is unplugged.  So the machine is made
 * anew, on the same memory. */
static int remake(struct hl_sandbox *s, const void *state, char *why)
{
    struct hl_manager *manager = s->manager;
    struct tracked t = {s, (char *)s->tracked, hl_manager_page_count(manager),
                        s->adaptive};
    struct hl_wish wish = {s->machine.driver, hl_manager_tracker(manager),
                           t.page_count};
    struct hl_choice choice; /* there is none: it was made */
    const struct hl_span at = s->tables;

    s->manager = NULL;
    hl_manager_free(manager);
    memset(hl_vm_host(&s->machine.config, at.addr, at.size), 0, at.size);
    int err = build_tables(s, why);
    if (err == 0)
        err = hl_choose(&wish, start, &t, &choice, why);
    if (err < 0)
        return err;
    err = s->machine.driver->load(s->machine.vm, state);
    return err < 0 ? hl_why(why, err, "its state: %s", strerror(-err)) : 0;
}

int hl_sandbox_bake(struct hl_sandbox *s, char *why)
{
    const struct hl_driver_ops *driver = s->machine.driver;

    if (s->rest != HL_READY)
        return hl_why(why, -EBUSY, "its last call did not end normally");
    if (s->abi->ops->bake == NULL)
        return hl_why(why, -EOPNOTSUPP, "its ABI has nothing to bake");
    void *state = malloc(driver->state_size);
    if (state == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    int err = hl_machine_finish(&s->machine);
    if (err == 0)
        err = driver->save(s->machine.vm, state);
    if (err == 0)
        err = s->abi->ops->bake(s->abi, &s->machine.config);
    if (err < 0) {
        (void)hl_why(why, err, "%s", strerror(-err));
    } else {
        err = remake(s, state, why);
        if (err < 0)
            s->rest = HL_CLOSED; /* and leave() frees it */
    }
    free(state);
    return err;
}
