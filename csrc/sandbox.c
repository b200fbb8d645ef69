#include "sandbox_parts.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/wait.h"
#include "vm/slots.h"
#include "vm/watch.h"

static atomic_size_t live;

size_t hl_sandbox_count(void) { return atomic_load(&live); }

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
    int err = hl_sandbox_set_up(s, config, choice, why);
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

/* Somebody wants the call to end. */
static bool is_to_end(struct hl_sandbox *s, struct hl_exit *exit)
{
    *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
    if (hl_turn_asked(&s->turn))
        exit->reason = HL_EXIT_INTERRUPTED;
    else if (s->deadline && hl_now() >= s->deadline)
        exit->reason = HL_EXIT_TIMEOUT;
    return exit->reason != HL_EXIT_KICKED;
}

/* Requests to end the call are checked before each run and after a kick, never
 * after the guest left by itself: then the call may have ended. */
static int run_until_exit(struct hl_sandbox *s, struct hl_exit *exit)
{
    if (is_to_end(s, exit))
        return 0;
    int err = run_watched(s, exit);
    if (err == 0 && exit->reason == HL_EXIT_KICKED)
        (void)is_to_end(s, exit);
    return err;
}

/* What the ABI has to do before the machine runs may take long, too. */
static enum hl_left resume(struct hl_sandbox *s, struct hl_exit *exit)
{
    if (s->abi->ops->resume == NULL)
        return HL_LEFT_SERVED;
    if (is_to_end(s, exit))
        return s->abi->ops->step(s->abi, NULL, exit);
    s->ran = true;
    return s->abi->ops->resume(s->abi, s->machine.vm);
}

int hl_sandbox_run(struct hl_sandbox *s, struct hl_exit *exit,
                   enum hl_left *left)
{
    int err = hl_turn_is_forked(&s->turn) ? -ECHILD : 0;

    while (err == 0) {
        *left = resume(s, exit);
        if (*left != HL_LEFT_SERVED)
            break;
        err = run_until_exit(s, exit);
        if (err == 0)
            *left = s->abi->ops->step(s->abi, s->machine.vm, exit);
        if (err < 0 || *left != HL_LEFT_SERVED)
            break;
    }
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
