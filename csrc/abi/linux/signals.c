#include "abi/linux/signals.h"

#include <string.h>

#include "abi/linux/ids.h"

enum { ILL = 4, TRAP, ABRT, BUS, FPE, KILL, SEGV = 11, STOP = 19 };

#define BIT(signal) (UINT64_C(1) << ((signal) - 1))

/* What ends nobody who does not handle it: CHLD, CONT, URG and WINCH, and what
 * stops a process, since there is nobody to let it go on. */
#define HARMLESS                                                              \
    (BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | BIT(22) | BIT(23) |    \
     BIT(28))
#define UNBLOCKABLE (BIT(KILL) | BIT(STOP))

#define SIG_DFL_ 0
#define SIG_IGN_ 1

#define SA_SIGINFO_ 4
#define SA_RESTORER_ 0x04000000
#define SA_ONSTACK_ 0x08000000
#define SA_RESTART_ 0x10000000
#define SA_NODEFER_ 0x40000000
#define SA_RESETHAND_ 0x80000000

#define SS_ONSTACK_ 1
#define SS_DISABLE_ 2
#define SS_AUTODISARM_ INT32_MIN
#define SMALLEST_STACK 2048

#define SI_TKILL_ (-6)

/* Flags that a handler's return may change: the arithmetic ones, DF, and AC.
 */
#define RFLAGS_SETTABLE UINT64_C(0x40cd5)
#define RFLAGS_DF UINT64_C(0x400)
#define RFLAGS_TF UINT64_C(0x100)

/* struct rt_sigframe and what is in it, from asm/sigcontext.h, ucontext.h and
 * signalfd's siginfo. */
struct mcontext {
    uint64_t r8_to_15[8];
    uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2, vectors, reserved[8];
};

struct frame {
    uint64_t return_to;
    uint64_t flags, link;
    struct hl_linux_stack stack;
    struct mcontext machine;
    uint64_t mask;
    struct {
        int32_t signal, error, code, pad, pid, uid;
        int32_t rest[26];
    } info;
};
_Static_assert(sizeof(struct mcontext) == 256, "asm/sigcontext.h");
_Static_assert(offsetof(struct frame, info) == 8 + 40 + 256 + 8,
               "asm/ucontext.h");

int hl_linux_signal_of(uint64_t vector)
{
    switch (vector) {
    case 0:
    case 16:
    case 19:
        return FPE;
    case 1:
    case 3:
        return TRAP;
    case 6:
        return ILL;
    case 17:
        return BUS;
    default:
        return SEGV;
    }
}

static bool is_signal(uint64_t number)
{
    return number >= 1 && number <= HL_LINUX_SIGNALS;
}

int64_t hl_linux_rt_sigaction(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_action new;

    if (!is_signal(args[0]) || args[3] != sizeof(uint64_t))
        return -EINVAL;
    struct hl_linux_action *action = &l->process->actions[args[0]];
    if (args[1]) {
        if (args[0] == KILL || args[0] == STOP)
            return -EINVAL;
        int err = hl_linux_get(l, args[1], &new, sizeof new);
        if (err < 0)
            return err;
    }
    if (args[2] && hl_linux_put(l, args[2], action, sizeof *action) < 0)
        return -EFAULT;
    if (args[1]) {
        *action = new;
        action->mask &= ~UNBLOCKABLE;
    }
    return 0;
}

int64_t hl_linux_rt_sigprocmask(struct hl_linux *l, const uint64_t *args)
{
    uint64_t *mask = &l->process->mask, had = *mask, set = 0, now = had;

    if (args[3] != sizeof had)
        return -EINVAL;
    if (args[1]) {
        int err = hl_linux_get(l, args[1], &set, sizeof set);
        if (err < 0)
            return err;
        switch (args[0]) {
        case 0:
            now |= set;
            break;
        case 1:
            now &= ~set;
            break;
        case 2:
            now = set;
            break;
        default:
            return -EINVAL;
        }
    }
    if (args[2] && hl_linux_put(l, args[2], &had, sizeof had) < 0)
        return -EFAULT;
    *mask = now & ~UNBLOCKABLE;
    return 0;
}

int64_t hl_linux_rt_sigpending(struct hl_linux *l, const uint64_t *args)
{
    uint64_t pending = l->process->pending;

    if (args[1] > sizeof pending)
        return -EINVAL;
    if (args[1] == 0)
        return 0;
    return hl_linux_put(l, args[0], &pending, args[1]);
}

static bool is_on(const struct hl_linux_stack *s, uint64_t sp)
{
    return !(s->flags & SS_DISABLE_) && s->size && sp > s->sp &&
           sp - s->sp <= s->size;
}

int64_t hl_linux_sigaltstack(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_stack *stack = &l->process->stack, had = *stack, new;
    bool on = is_on(stack, l->regs->gpr[HL_RSP]);

    had.flags = on ? SS_ONSTACK_ : stack->size ? 0 : SS_DISABLE_;
    if (args[0]) {
        int err = hl_linux_get(l, args[0], &new, sizeof new);
        if (err < 0)
            return err;
        new.flags &= ~SS_AUTODISARM_;
        if (on)
            return -EPERM;
        if (new.flags & ~(SS_DISABLE_ | SS_ONSTACK_))
            return -EINVAL;
        if (new.flags & SS_DISABLE_)
            new = (struct hl_linux_stack){0};
        else if (new.size < SMALLEST_STACK)
            return -ENOMEM;
        new.flags = new.reserved = 0;
    }
    if (args[1] && hl_linux_put(l, args[1], &had, sizeof had) < 0)
        return -EFAULT;
    if (args[0])
        *stack = new;
    return 0;
}

static int64_t raise_signal(struct hl_linux *l, uint64_t signal)
{
    if (signal == 0)
        return 0;
    if (!is_signal(signal))
        return -EINVAL;
    l->process->pending |= BIT(signal);
    return 0;
}

/* Its own number, its group, or all that it may: it is all of them. */
int64_t hl_linux_kill(struct hl_linux *l, const uint64_t *args)
{
    int32_t pid = (int32_t)args[0];

    if (pid != HL_LINUX_PID && pid != -HL_LINUX_PID && pid != 0 && pid != -1)
        return -ESRCH;
    return raise_signal(l, args[1]);
}

/* tkill has one argument less. */
int64_t hl_linux_tgkill(struct hl_linux *l, const uint64_t *args)
{
    if ((int32_t)args[0] <= 0 || (int32_t)args[1] <= 0)
        return -EINVAL;
    if ((int32_t)args[0] != HL_LINUX_PID || (int32_t)args[1] != HL_LINUX_PID)
        return -ESRCH;
    return raise_signal(l, args[2]);
}

static struct mcontext machine_of(const struct hl_vm_regs *r, uint64_t mask)
{
    struct mcontext m = {
        .rdi = r->gpr[HL_RDI],
        .rsi = r->gpr[HL_RSI],
        .rbp = r->gpr[HL_RBP],
        .rbx = r->gpr[HL_RBX],
        .rdx = r->gpr[HL_RDX],
        .rax = r->gpr[HL_RAX],
        .rcx = r->gpr[HL_RCX],
        .rsp = r->gpr[HL_RSP],
        .rip = r->rip,
        .rflags = r->rflags,
        .cs = HL_X86_USER_CODE,
        .ss = HL_X86_USER_DATA,
        .old_mask = mask,
    };

    memcpy(m.r8_to_15, &r->gpr[8], sizeof m.r8_to_15);
    return m;
}

/* A frame below the stack's red zone, aligned as a called function has it. */
static uint64_t frame_address(const struct hl_linux *l,
                              const struct hl_linux_action *action)
{
    const struct hl_linux_stack *stack = &l->process->stack;
    uint64_t sp = l->regs->gpr[HL_RSP] - 128;

    if (action->flags & SA_ONSTACK_ && stack->size &&
        !is_on(stack, l->regs->gpr[HL_RSP]))
        sp = stack->sp + stack->size;
    return ((sp - sizeof(struct frame)) & ~UINT64_C(15)) - 8;
}

static int enter_handler(struct hl_linux *l, int signal)
{
    struct hl_linux_process *p = l->process;
    struct hl_linux_action action = p->actions[signal];
    struct hl_vm_regs *r = l->regs;
    const struct frame frame = {
        .return_to = action.restorer,
        .stack = p->stack,
        .machine = machine_of(r, p->keeps_mask ? p->kept_mask : p->mask),
        .mask = p->keeps_mask ? p->kept_mask : p->mask,
        .info = {.signal = signal, .code = SI_TKILL_, .pid = HL_LINUX_PID},
    };
    uint64_t at = frame_address(l, &action);

    if (!(action.flags & SA_RESTORER_))
        return -EFAULT;
    int err = hl_linux_put(l, at, &frame, sizeof frame);
    if (err < 0)
        return err;
    p->keeps_mask = false;
    p->mask |= action.mask;
    if (!(action.flags & SA_NODEFER_))
        p->mask |= BIT(signal);
    if (action.flags & SA_RESETHAND_)
        p->actions[signal].handler = SIG_DFL_;
    r->gpr[HL_RDI] = (uint64_t)signal;
    r->gpr[HL_RSI] = at + offsetof(struct frame, info);
    r->gpr[HL_RDX] = at + offsetof(struct frame, flags);
    r->gpr[HL_RAX] = 0;
    r->gpr[HL_RSP] = at;
    r->rip = action.handler;
    r->rflags &= ~(RFLAGS_DF | RFLAGS_TF);
    return 0;
}

static bool is_ignored(const struct hl_linux *l, int signal)
{
    uint64_t handler = l->process->actions[signal].handler;

    return handler == SIG_IGN_ ||
           (handler == SIG_DFL_ && HARMLESS & BIT(signal));
}

/* The next that happens, or 0. */
static int next_signal(struct hl_linux *l)
{
    struct hl_linux_process *p = l->process;

    while (p->pending & ~p->mask) {
        int signal = 1 + __builtin_ctzll(p->pending & ~p->mask);
        if (!is_ignored(l, signal))
            return signal;
        p->pending &= ~BIT(signal);
    }
    return 0;
}

bool hl_linux_is_interrupted(struct hl_linux *l)
{
    return next_signal(l) != 0;
}

/* Reading and writing; waiting for a time or for several things is not. */
bool hl_linux_restarts(const struct hl_linux *l, uint64_t number)
{
    const struct hl_linux_process *p = l->process;
    int signal = 1 + __builtin_ctzll(p->pending & ~p->mask);
    bool transfers = number < 2 || number == 19 || number == 20 ||
                     (number >= 44 && number < 48);

    return transfers && p->actions[signal].flags & SA_RESTART_;
}

void hl_linux_deliver(struct hl_linux *l)
{
    struct hl_linux_process *p = l->process;
    int signal;

    while (l->end == HL_LINUX_RUNS && (signal = next_signal(l)) != 0) {
        uint64_t handler = p->actions[signal].handler;
        p->pending &= ~BIT(signal);
        if (handler == SIG_DFL_ || enter_handler(l, signal) < 0) {
            l->end = HL_LINUX_SIGNALLED;
            l->number = handler == SIG_DFL_ ? signal : SEGV;
        }
    }
}

/* The stack pointer is behind the address that the handler returned to.  What
 * the frame says is the program's own word on its own registers. */
int64_t hl_linux_rt_sigreturn(struct hl_linux *l, const uint64_t *args)
{
    struct hl_vm_regs *r = l->regs;
    struct frame frame;

    (void)args;
    if (hl_linux_get(l, r->gpr[HL_RSP] - 8, &frame, sizeof frame) < 0) {
        l->end = HL_LINUX_SIGNALLED;
        l->number = SEGV;
        return 0;
    }
    const struct mcontext *m = &frame.machine;
    memcpy(&r->gpr[8], m->r8_to_15, sizeof m->r8_to_15);
    r->gpr[HL_RDI] = m->rdi;
    r->gpr[HL_RSI] = m->rsi;
    r->gpr[HL_RBP] = m->rbp;
    r->gpr[HL_RBX] = m->rbx;
    r->gpr[HL_RDX] = m->rdx;
    r->gpr[HL_RCX] = m->rcx;
    r->gpr[HL_RSP] = m->rsp;
    r->rip = m->rip;
    r->rflags = (r->rflags & ~RFLAGS_SETTABLE) | (m->rflags & RFLAGS_SETTABLE);
    l->process->mask = frame.mask & ~UNBLOCKABLE;
    return (int64_t)m->rax;
}
