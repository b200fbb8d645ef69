/* Machines: real guests, written here in assembler, on every driver.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "manager/manager.h"
#include "os/map.h"
#include "os/wait.h"
#include "vm/driver.h"
#include "vm/watch.h"
#if defined(__x86_64__)
#include "vm/kvm/machine.h"
#endif

#define PAGE ((size_t)4096)
#define CODE ((uint64_t)0x400000)
#define DATA ((uint64_t)0x600000)
#define STACK ((uint64_t)0x7fe000)
#define INPUT ((uint64_t)0x500000)
#define TABLES ((uint64_t)0x10000)

/* The driver, and for writes_are_found its own tracker, or the host's. */
static const struct hl_driver_ops *ops;
static const struct hl_vm_tracker *own;
static const struct hl_tracker_ops *tracker;

/* Position-independent guests. */
#define GUEST(name, text)                                                     \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name              \
            "_end:\n.popsection\n");                                          \
    extern const char name[], name##_end[]

struct bed {
    struct hl_map map;
    struct hl_vm *vm;
    char *input, *data;
};

static struct bed boot(const char *code, const char *end)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {INPUT, PAGE, HL_PERM_READ},
                    {DATA, 16 * PAGE, HL_PERM_READ | HL_PERM_WRITE},
                    {STACK, PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 4,
        .slot_count = 5,
        .tracker = own,
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 4);
    char why[HL_WHY_SIZE] = "";
    struct bed bed;

    CHECK(hl_map_create(&bed.map, tables + 19 * PAGE, HL_HUGE_NEVER) == 0);
    char *memory = bed.map.addr;
    bed.input = memory + tables + PAGE;
    bed.data = bed.input + PAGE;
    const struct hl_vm_slot slots[] = {
        {memory, TABLES, tables, false},
        {memory + tables, CODE, PAGE, false},
        {bed.input, INPUT, PAGE, false},
        {bed.data, DATA, 16 * PAGE, own != NULL},
        {bed.data + 16 * PAGE, STACK, PAGE, own != NULL},
    };
    memcpy(config.slots, slots, sizeof slots);
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 4,
                       &config.tables) == 0);
    memcpy(memory + tables, code, (size_t)(end - code));
    int err = ops->create(&config, &bed.vm, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    struct hl_vm_regs *regs = ops->regs(bed.vm);
    regs->rip = CODE;
    regs->gpr[HL_RSP] = STACK + PAGE;
    return bed;
}

static struct hl_exit run(struct bed *bed)
{
    struct hl_exit left;
    do
        CHECK(ops->run(bed->vm, &left) == 0);
    while (left.reason == HL_EXIT_KICKED);
    return left;
}

static void describe(struct hl_exit left)
{
    fprintf(stderr,
            "reason %d, value %" PRIu64 ", vector %" PRIu64 ", error %" PRIx64
            ", rip %" PRIx64 ", cr2 %" PRIx64 "\n",
            (int)left.reason, left.value, left.frame.vector, left.frame.error,
            left.frame.rip, left.cr2);
}

/* Run, and expect a call. */
static uint64_t call(struct bed *bed)
{
    struct hl_exit left = run(bed);
    if (left.reason != HL_EXIT_CALL)
        describe(left);
    CHECK(left.reason == HL_EXIT_CALL);
    return left.value;
}

static void end(struct bed *bed)
{
    ops->destroy(bed->vm);
    hl_map_destroy(&bed->map);
}

GUEST(count, "mov $0x600000, %ebx\n"
             "1: incl (%rbx)\n"
             "mov (%rbx), %eax\n"
             "out %al, $0x48\n"
             "jmp 1b");

static void leaves_and_goes_on(void)
{
    struct bed bed = boot(count, count_end);

    for (uint64_t i = 1; i <= 100; i++) {
        CHECK(call(&bed) == i);
        CHECK(ops->regs(bed.vm)->gpr[0] == i);
    }
    CHECK(bed.data[0] == 100);
    end(&bed);
}

/* Nothing behind the instruction that leaves has happened yet. */
GUEST(later, "mov $0x600000, %ebx\n"
             "1: out %al, $0x48\n"
             "incl (%rbx)\n"
             "inc %ecx\n"
             "jmp 1b");

static void leaves_at_once(void)
{
    struct bed bed = boot(later, later_end);

    for (int i = 0; i < 10; i++) {
        (void)call(&bed);
        CHECK(bed.data[0] == i);
        CHECK(ops->regs(bed.vm)->gpr[HL_RCX] == (uint64_t)i);
    }
    end(&bed);
}

/* Registers, vector state and memory as they were. */
GUEST(vector, "1: addsd %xmm0, %xmm0\n"
              "movq %xmm0, %rax\n"
              "out %al, $0x48\n"
              "paddq %xmm1, %xmm1\n"
              "movq %xmm1, %rcx\n"
              "add $1, %rdx\n"
              "jmp 1b");

static void state_comes_back(void)
{
    struct bed bed = boot(vector, vector_end);
    void *state = malloc(ops->state_size);

    for (int i = 0; i < 5; i++)
        (void)call(&bed);
    CHECK(ops->save(bed.vm, state) == 0);
    for (int round = 0; round < 3; round++) {
        struct hl_vm_regs was = *ops->regs(bed.vm);
        for (int i = 0; i < 7; i++)
            (void)call(&bed);
        CHECK(ops->regs(bed.vm)->gpr[2] == was.gpr[2] + 7);
        CHECK(ops->load(bed.vm, state) == 0);
        CHECK(memcmp(ops->regs(bed.vm), &was, sizeof was) == 0);
    }
    free(state);
    end(&bed);
}

struct fault {
    const char *code, *end;
    uint64_t vector, error, cr2;
    uint64_t instead; /* another vector that will do, or 0 */
};

GUEST(divide, "xor %ecx, %ecx\nxor %edx, %edx\nmov $1, %eax\ndiv %ecx");
GUEST(undefined, "ud2");
GUEST(breakpoint, "int3");
GUEST(software, "int $0x80");
GUEST(halt, "hlt");
GUEST(cli, "cli");
GUEST(other_port, "out %al, $0x80");
GUEST(wide_port, "out %eax, $0x48");
GUEST(exception_port, "out %al, $0x49");
GUEST(in_port, "mov $0x3f8, %edx\nin %dx, %al");
GUEST(read_null, "xor %eax, %eax\nmov (%rax), %al");
GUEST(write_code, "lea 1f(%rip), %rax\n1: movb $0, (%rax)");
GUEST(run_data, "mov $0x600000, %eax\njmp *%rax");
GUEST(read_tables, "mov $0x10000, %eax\nmov (%rax), %rax");
GUEST(page_tables, "mov $0x19000, %eax\nmov %rax, (%rax)");
GUEST(write_tables, "mov $0x11000, %eax\nmov %rax, (%rax)");
GUEST(below_stack, "1: push %rax\njmp 1b");
GUEST(far_away, "mov $0x700000000000, %rax\nmov (%rax), %al");
GUEST(not_canonical, "mov $0x8000000000000000, %rax\nmov (%rax), %al");
GUEST(read_cr3, "mov %cr3, %rax");
GUEST(write_msr, "xor %ecx, %ecx\nwrmsr");
GUEST(call_kernel, "syscall");
GUEST(segment, "mov $0x08, %eax\nmov %eax, %ss");

/* Emulators number the gate in it differently. */
#define ANY UINT64_MAX

/* Where a KVM without hardware help is known to differ, both are right: the
 * guest is stopped and the host is told. */
static const struct fault faults[] = {
    {divide, divide_end, 0, 0, 0, 0},
    {undefined, undefined_end, 6, 0, 0, 0},
    {software, software_end, 13, ANY, 0, 6},
    {breakpoint, breakpoint_end, 13, ANY, 0, 3},
    {halt, halt_end, 13, 0, 0, 0},
    {cli, cli_end, 13, 0, 0, 0},
    {other_port, other_port_end, 13, 0, 0, 0},
    {wide_port, wide_port_end, 13, 0, 0, 0},
    {exception_port, exception_port_end, 13, 0, 0, 0},
    {in_port, in_port_end, 13, 0, 0, 0},
    {read_null, read_null_end, 14, 4, 0, 0},
    {write_code, write_code_end, 14, 7, CODE + 7, 0},
    {run_data, run_data_end, 14, 0x15, DATA, 0},
    {read_tables, read_tables_end, 14, 5, TABLES, 0},
    {write_tables, write_tables_end, 14, 7, TABLES + 0x1000, 0},
    {page_tables, page_tables_end, 14, 6, TABLES + 0x9000, 0},
    {below_stack, below_stack_end, 14, 6, STACK - 8, 0},
    {far_away, far_away_end, 14, 4, 0x700000000000, 0},
    {not_canonical, not_canonical_end, 13, 0, 0, 0},
    {read_cr3, read_cr3_end, 13, 0, 0, 0},
    {write_msr, write_msr_end, 13, 0, 0, 0},
    {call_kernel, call_kernel_end, 6, 0, 0, 14},
    {segment, segment_end, 13, 8, 0, 14},
};

static void faults_are_reported(void)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(faults); i++) {
        const struct fault *f = &faults[i];
        struct bed bed = boot(f->code, f->end);
        struct hl_exit left = run(&bed);
        bool right = left.frame.vector == f->vector &&
                     (f->error == ANY || left.frame.error == f->error) &&
                     (f->vector != 14 || left.cr2 == f->cr2);
        bool other = f->instead && left.frame.vector == f->instead;
        if (left.reason != HL_EXIT_EXCEPTION || !(right || other)) {
            fprintf(stderr, "fault %zu:\n", i);
            describe(left);
        }
        CHECK(left.reason == HL_EXIT_EXCEPTION && (right || other));
        end(&bed);
    }
}

/* What a guest cannot bring about while its tables are as they were built. */
static void broken_machines_are_reported(void)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {DATA, PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 2,
        .slot_count = 2, /* and none for the data */
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 2);
    struct hl_vm_config no_idt;
    char why[HL_WHY_SIZE] = "";
    struct hl_map map;
    struct bed bed;

    if (ops->host_sees_writes)
        return; /* it has no memory but slots, and uses no IDT */
    CHECK(hl_map_create(&map, tables + PAGE, HL_HUGE_NEVER) == 0);
    char *memory = map.addr;
    config.slots[0] = (struct hl_vm_slot){memory, TABLES, tables, false};
    config.slots[1] = (struct hl_vm_slot){memory + tables, CODE, PAGE, false};
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 2,
                       &config.tables) == 0);
    no_idt = config;
    no_idt.tables.idt_limit = 0;

    memcpy(memory + tables, undefined, (size_t)(undefined_end - undefined));
    CHECK(ops->create(&no_idt, &bed.vm, why) == 0);
    ops->regs(bed.vm)->rip = CODE;
    CHECK(run(&bed).reason == HL_EXIT_SHUTDOWN);
    ops->destroy(bed.vm);

    memcpy(memory + tables, count, (size_t)(count_end - count));
    CHECK(ops->create(&config, &bed.vm, why) == 0);
    ops->regs(bed.vm)->rip = CODE;
    struct hl_exit left = run(&bed);
    CHECK(left.reason == HL_EXIT_BAD_ACCESS && left.value == DATA);
    ops->destroy(bed.vm);
    hl_map_destroy(&map);
}

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
    static const struct {
        size_t first, count; /* pages */
    } sweeps[] = {
        {0, SWEPT}, {0, 3},     {0, SWEPT},    {9000, 500}, {9000, 500},
        {19999, 1}, {0, SWEPT}, {2000, 17000}, {300, 2},    {300, 2},
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

GUEST(spin, "1: jmp 1b");

static atomic_bool asked;

static void ask(void *context)
{
    struct bed *bed = context;
    atomic_store(&asked, true);
    ops->kick(bed->vm);
}

static void *ask_soon(void *argument)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    ask(argument);
    return NULL;
}

/* Run until somebody asks for an end, as a sandbox does. */
static void spin_until_asked(struct bed *bed)
{
    struct hl_exit left;

    do {
        CHECK(ops->run(bed->vm, &left) == 0);
        CHECK(left.reason == HL_EXIT_KICKED);
    } while (!atomic_exchange(&asked, false));
}

static int handled;
static void count_signal(int signal)
{
    (void)signal;
    handled++;
}

/* What the thread that runs a guest may have done with its signals. */
static void set_signals(int kind)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(kind & 1 ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
    signal(SIGURG, kind & 2 ? SIG_IGN : kind & 4 ? count_signal : SIG_DFL);
}

static void spinning_is_ended(void)
{
    struct bed bed = boot(spin, spin_end);
    pthread_t thread;
    sigset_t pending;

    for (int i = 0; i < 24; i++) {
        set_signals(i);
        CHECK(pthread_create(&thread, NULL, ask_soon, &bed) == 0);
        spin_until_asked(&bed);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(sigpending(&pending) == 0);
        CHECK(sigismember(&pending, SIGURG) == 0);
    }
    set_signals(0);
    CHECK(handled == 0);
    end(&bed);
}

/* A signal that the thread blocks and that is pending does not end runs. */
static void blocked_signals_do_not_end_runs(void)
{
    struct bed bed = boot(count, count_end);
    struct hl_exit left;
    sigset_t usr1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &usr1, NULL) == 0);
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
    for (uint64_t i = 1; i < 20; i++) {
        CHECK(ops->run(bed.vm, &left) == 0);
        CHECK(left.reason == HL_EXIT_CALL && left.value == i);
    }
    int got;
    CHECK(sigwait(&usr1, &got) == 0 && got == SIGUSR1);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL) == 0);
    end(&bed);
}

static void deadlines_pass(void)
{
    struct bed bed = boot(spin, spin_end);

    for (unsigned i = 0; i < 20; i++) {
        struct hl_watch watch = {hl_now() + i * 500000, ask, &bed, NULL, NULL};
        CHECK(hl_watch_start(&watch) == 0);
        spin_until_asked(&bed);
        CHECK(hl_now() >= watch.deadline);
        hl_watch_stop(&watch);
        atomic_store(&asked, false); /* it may have asked again */
    }
    end(&bed);
}

/* A state that was saved in one machine goes on in another; whatever that one
 * was in the middle of. */
static void states_move(void)
{
    struct bed one = boot(vector, vector_end);
    struct bed other = boot(vector, vector_end);
    void *state = malloc(ops->state_size);

    for (int i = 0; i < 5; i++)
        (void)call(&one);
    CHECK(ops->save(one.vm, state) == 0);
    (void)call(&one);
    struct hl_vm_regs expected = *ops->regs(one.vm);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < round; i++)
            (void)call(&other);
        CHECK(ops->load(other.vm, state) == 0);
        if (round % 2) { /* saved as it was loaded */
            CHECK(ops->save(other.vm, state) == 0);
            CHECK(ops->load(one.vm, state) == 0);
        }
        (void)call(&other);
        CHECK(memcmp(ops->regs(other.vm), &expected, sizeof expected) == 0);
    }
    free(state);
    end(&one);
    end(&other);
}

/* No guest can write them, so what is in a state is changed instead. */
static void model_specific_registers_are_loaded(void)
{
#if defined(__x86_64__)
    if (strcmp(ops->name, "kvm") != 0)
        return;
    struct bed bed = boot(count, count_end);
    const struct hl_kvm *k = (const struct hl_kvm *)bed.vm;
    struct hl_kvm_state *state = malloc(ops->state_size);
    size_t found = 0;

    CHECK(call(&bed) == 1);
    CHECK(ops->save(bed.vm, state) == 0);
    for (size_t i = 0; i < k->msr_count; i++) {
        uint64_t was = state->rest.msrs[i];
        if (k->msrs[i] != 0xc0000102) /* kernel GS base */
            continue;
        found++;
        state->rest.msrs[i] = 0x1000;
        CHECK(ops->load(bed.vm, state) == 0);
        CHECK(call(&bed) == 2);
        CHECK(ops->save(bed.vm, state) == 0);
        CHECK(state->rest.msrs[i] == 0x1000);
        state->rest.msrs[i] = was;
        CHECK(ops->load(bed.vm, state) == 0);
        CHECK(ops->save(bed.vm, state) == 0);
        CHECK(state->rest.msrs[i] == was);
    }
    CHECK(found == 1);
    free(state);
    end(&bed);
#endif
}

static void after_a_fault_it_can_be_loaded(void)
{
    struct bed bed = boot(count, count_end);
    void *state = malloc(ops->state_size);

    CHECK(call(&bed) == 1);
    CHECK(ops->save(bed.vm, state) == 0);
    for (uint64_t i = 2; i < 20; i++) {
        ops->regs(bed.vm)->rip = i % 2 ? DATA : 0x123000;
        struct hl_exit left = run(&bed);
        CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 14);
        CHECK(ops->load(bed.vm, state) == 0);
        CHECK(call(&bed) == i); /* not the one that was left by, again */
    }
    free(state);
    end(&bed);
}

static void run_all(void)
{
    char why[HL_WHY_SIZE] = "";

    if (hl_driver_try(ops, NULL, why) < 0) {
        printf("skipped %s: %s\n", ops->name, why);
        return;
    }
    printf("driver %s:\n", ops->name);
    RUN(leaves_and_goes_on);
    RUN(leaves_at_once);
    RUN(state_comes_back);
    RUN(states_move);
    RUN(model_specific_registers_are_loaded);
    RUN(after_a_fault_it_can_be_loaded);
    RUN(faults_are_reported);
    RUN(broken_machines_are_reported);
    RUN(writes_are_found_by_every_tracker);
    RUN(many_pages_are_found);
    RUN(spinning_is_ended);
    RUN(blocked_signals_do_not_end_runs);
    RUN(deadlines_pass);
    CHECK(hl_map_count() == 0);
}

int main(void)
{
    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
    for (size_t i = 0; i < hl_driver_count; i++) {
        ops = hl_drivers[i];
        run_all();
    }
    return 0;
}
