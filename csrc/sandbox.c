#include "sandbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/wait.h"
#include "vm/slots.h"
#include "vm/watch.h"

struct hl_sandbox {
    atomic_size_t refs;
    struct hl_turn turn;
    enum hl_state rest;   /* what it is when the turn is given back */
    bool up;              /* counted as alive */
    atomic_bool released; /* in a child, two threads may close it at once */
    bool ran;             /* the guest did, since the call began */
    bool failed;          /* a run did: the machine is unusable */
    bool reusable;        /* once it is closed, it is at rest: B2 */
    uint64_t deadline;
    struct hl_machine machine;
    struct hl_manager *manager;
    const char *tracked; /* where its memory begins */
    struct hl_abi *abi;
};

static atomic_size_t live;

size_t hl_sandbox_count(void) { return atomic_load(&live); }

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

/* Page tables, and everything that the guest finds in its memory. */
static int fill_memory(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                       struct hl_vm_regs *regs, char *why)
{
    struct hl_vm_config *vm = &s->machine.config;
    const struct hl_abi_ops *abi = hl_abi_find(c->abi, &c->guest.image);
    struct hl_abi_config guest = c->guest;
    char *tables = hl_vm_host(vm, c->tables.addr, c->tables.size);

    if (abi == NULL)
        return hl_why(why, -EINVAL, "no guest ABI %s%s",
                      c->abi ? "is called " : "accepts this file",
                      c->abi ? c->abi : "");
    if (tables == NULL)
        return hl_why(why, -EINVAL, "the page tables are not in any slot");
    int err = hl_x86_build(tables, c->tables.size, c->tables.addr, c->regions,
                           c->region_count, &vm->tables);
    if (err < 0)
        return hl_why(why, err, "page tables: %s", strerror(-err));
    guest.pinned = s->machine.driver->pins_memory;
    guest.window = (struct hl_window){vm, written, s};
    err = abi->start(&guest, vm, regs, &s->abi, why);
    if (err < 0)
        return err;
    s->abi->ops = abi;
    if (!vm->system_calls)
        return 0;
    if (!s->machine.driver->system_calls)
        return hl_why(why, -EOPNOTSUPP,
                      "driver %s does not tell the system calls of programs",
                      s->machine.driver->name);
    hl_x86_let_system_calls_leave(tables, c->tables.addr, &vm->tables);
    return 0;
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

static int set_up(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                  struct hl_choice *choice, char *why)
{
    struct hl_vm_config *vm = &s->machine.config;
    struct hl_vm_regs regs;

    memcpy(vm->regions, c->regions, sizeof vm->regions);
    vm->region_count = c->region_count;
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

static void release(struct hl_sandbox *s)
{
    if (atomic_exchange(&s->released, true))
        return;
    if (s->manager) {
        if (s->reusable && s->machine.config.tracker)
            s->machine.tracker = hl_manager_give_back(s->manager);
        hl_manager_free(s->manager);
    }
    if (s->abi)
        s->abi->ops->end(s->abi);
    hl_machine_end(&s->machine, s->reusable);
    s->manager = NULL;
    s->abi = NULL;
    if (s->up)
        atomic_fetch_sub(&live, 1);
    s->up = false;
}

static int make(const struct hl_sandbox_config *config,
                struct hl_sandbox **out, struct hl_choice *choice, char *why)
{
    struct hl_sandbox *s = calloc(1, sizeof *s);

    *choice = (struct hl_choice){0};
    if (s == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    s->machine.driver = config->driver;
    s->rest = HL_READY;
    atomic_init(&s->refs, 1);
    hl_turn_init(&s->turn);
    int err = set_up(s, config, choice, why);
    if (err < 0) {
        release(s);
        free(s);
        return err;
    }
    s->up = true;
    atomic_fetch_add(&live, 1);
    *out = s;
    return 0;
}

/* B3 */
static bool is_shortage(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

int hl_sandbox_new(const struct hl_sandbox_config *config,
                   struct hl_sandbox **out, struct hl_choice *choice,
                   char *why)
{
    int err = make(config, out, choice, why);

    if (is_shortage(err) && hl_machine_drop_blanks() > 0)
        err = make(config, out, choice, why);
    return err;
}

struct hl_sandbox *hl_sandbox_ref(struct hl_sandbox *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

/* B2 */
static bool is_reusable(const struct hl_sandbox *s)
{
    return s->rest == HL_READY && !s->failed && !hl_turn_is_forked(&s->turn);
}

void hl_sandbox_unref(struct hl_sandbox *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->rest != HL_CLOSED)
        s->reusable = is_reusable(s);
    release(s);
    free(s);
}

struct hl_turn *hl_sandbox_turn(struct hl_sandbox *s) { return &s->turn; }

int hl_sandbox_enter(struct hl_sandbox *s, enum hl_state wanted, bool waits)
{
    return hl_turn_enter(&s->turn, wanted, waits);
}

void hl_sandbox_leave(struct hl_sandbox *s)
{
    if (s->rest == HL_CLOSED)
        release(s);
    s->deadline = 0;
    hl_turn_leave(&s->turn, s->rest);
}

/* In a child the thread that had the turn does not exist, unless it forked in
 * the middle of a call: then its callers still use the sandbox. */
void hl_sandbox_close(struct hl_sandbox *s)
{
    bool forked = hl_turn_is_forked(&s->turn);

    s->reusable = is_reusable(s);
    s->rest = HL_CLOSED;
    if (!forked || !hl_turn_owner_lives(&s->turn))
        hl_sandbox_leave(s);
}

bool hl_sandbox_is_closed(const struct hl_sandbox *s)
{
    return s->rest == HL_CLOSED;
}

struct hl_abi *hl_sandbox_abi(struct hl_sandbox *s) { return s->abi; }

void hl_sandbox_set_deadline(struct hl_sandbox *s, uint64_t deadline)
{
    s->deadline = deadline;
    s->ran = false;
}

int hl_sandbox_begin(struct hl_sandbox *s)
{
    if (hl_turn_is_forked(&s->turn))
        return -ECHILD;
    s->abi->ops->begin(s->abi, s->machine.driver->regs(s->machine.vm));
    s->rest = HL_POISONED; /* until it ends */
    return 0;
}

static void kick(void *context)
{
    struct hl_sandbox *s = context;

    s->machine.driver->kick(s->machine.vm);
}

/* One run of the driver, with a watch on its deadline. */
static int run_watched(struct hl_sandbox *s, struct hl_exit *exit)
{
    struct hl_watch watch = {s->deadline, kick, s, NULL, NULL};

    /* Once a call: how often a driver leaves to look for signals is chance. */
    int err = !s->ran && HL_INJECT(HL_INJECT_RUN) ? -EAGAIN : 0;
    if (err == 0 && s->deadline)
        err = hl_watch_start(&watch);
    if (err < 0)
        return err;
    hl_let_others_run();
    err = s->machine.driver->run(s->machine.vm, exit);
    s->ran = s->ran || err == 0;
    s->failed = s->failed || err < 0;
    if (s->deadline)
        hl_watch_stop(&watch);
    return err;
}

/* Requests to end the call are checked before each run and after a kick, never
 * after the guest left by itself: then the call may have ended. */
static int run_until_exit(struct hl_sandbox *s, struct hl_exit *exit)
{
    if (hl_turn_is_forked(&s->turn))
        return -ECHILD;
    for (bool kicked = false;; kicked = true) {
        *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
        if (hl_turn_asked(&s->turn))
            exit->reason = HL_EXIT_INTERRUPTED;
        else if (s->deadline && hl_now() >= s->deadline)
            exit->reason = HL_EXIT_TIMEOUT;
        if (kicked || exit->reason != HL_EXIT_KICKED)
            return 0;
        int err = run_watched(s, exit);
        if (err < 0 || exit->reason != HL_EXIT_KICKED)
            return err;
    }
}

int hl_sandbox_run(struct hl_sandbox *s, struct hl_exit *exit,
                   enum hl_left *left)
{
    int err;

    do {
        err = run_until_exit(s, exit);
        if (err == 0)
            *left = s->abi->ops->step(s->abi, s->machine.vm, exit);
    } while (err == 0 && *left == HL_LEFT_SERVED);
    if (!s->ran && (err < 0 || exit->reason != HL_EXIT_KICKED))
        hl_sandbox_end(s); /* the guest knows of no call */
    return err;
}

void hl_sandbox_end(struct hl_sandbox *s)
{
    if (s->rest == HL_POISONED)
        s->rest = HL_READY;
}

bool hl_sandbox_is_poisoned(const struct hl_sandbox *s)
{
    return s->rest == HL_POISONED;
}

void hl_sandbox_interrupt(struct hl_sandbox *s)
{
    if (hl_turn_ask(&s->turn))
        s->machine.driver->kick(s->machine.vm);
}

size_t hl_sandbox_peek(const struct hl_sandbox *s, uint64_t addr, void *to,
                       size_t size)
{
    while (size > 0) {
        const char *from = hl_vm_host(&s->machine.config, addr, size);
        if (from != NULL) {
            memcpy(to, from, size);
            break;
        }
        size--;
    }
    return size;
}

size_t hl_sandbox_state_size(const struct hl_sandbox *s)
{
    return s->machine.driver->state_size;
}

int hl_sandbox_take(struct hl_sandbox *s, struct hl_snapshot **out,
                    void *state)
{
    if (s->rest != HL_READY)
        return -EBUSY;
    int err = s->machine.driver->save(s->machine.vm, state);
    return err < 0 ? err : hl_manager_take(s->manager, out);
}

int hl_sandbox_restore(struct hl_sandbox *s, struct hl_snapshot *snapshot,
                       const void *state, struct hl_applied *done)
{
    int err = hl_machine_finish(&s->machine); /* S2 */
    if (err < 0)
        return err;
    err = hl_manager_restore(s->manager, snapshot, done);
    if (err < 0)
        return err;
    if (s->abi->ops->restored)
        s->abi->ops->restored(s->abi);
    err = s->machine.driver->load(s->machine.vm, state);
    s->rest = err < 0 ? HL_POISONED : HL_READY;
    return err;
}

struct hl_manager *hl_sandbox_manager(struct hl_sandbox *s)
{
    return s->manager;
}
