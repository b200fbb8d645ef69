/* System calls that leave the machine, on every driver; mshv over its fake. */
#include "vm_bed.h"

#ifndef _WIN32
#include "fake/mshv/fake.h"
#endif

/* Run, and expect a system call. */
static struct hl_exit system_call(struct bed *bed)
{
    struct hl_exit left = run(bed);
    if (left.reason != HL_EXIT_SYSTEM_CALL)
        describe(left);
    CHECK(left.reason == HL_EXIT_SYSTEM_CALL);
    return left;
}

static char *code_of(struct bed *bed) { return bed->input - PAGE; }

/* As a program does it: all registers but three are kept. */
GUEST(calls, "mov $0x1111, %edi\n"
             "mov $0x2222, %esi\n"
             "mov $0x3333, %edx\n"
             "mov $0x4444, %r10d\n"
             "mov $0x5555, %r8d\n"
             "mov $0x6666, %r9d\n"
             "xor %ebx, %ebx\n"
             "1: inc %ebx\n"
             "mov %ebx, %eax\n"
             "stc\n"
             "syscall\n"
             "calls_behind: setc %bpl\n"
             "add %rax, 0x600000\n"
             "jmp 1b");
extern const char calls_behind[];

static void check_call(struct bed *bed, uint64_t round)
{
    const struct hl_vm_regs *regs = ops->regs(bed->vm);

    CHECK(regs->gpr[HL_RAX] == round && regs->gpr[HL_RBX] == round);
    CHECK(regs->gpr[HL_RDI] == 0x1111 && regs->gpr[HL_RSI] == 0x2222);
    CHECK(regs->gpr[HL_RDX] == 0x3333 && regs->gpr[10] == 0x4444);
    CHECK(regs->gpr[8] == 0x5555 && regs->gpr[9] == 0x6666);
    CHECK(regs->gpr[HL_RSP] == STACK + PAGE);
}

/* The same, whether the instruction was replaced or not. */
static void calls_leave(void)
{
    struct bed bed = boot(calls, calls_end);
    uint64_t sum = 0, told;

    for (uint64_t round = 1; round <= 40; round++) {
        struct hl_exit left = system_call(&bed);
        check_call(&bed, round);
        CHECK(left.value == 0 ||
              left.value == CODE + (uint64_t)(calls_behind - calls) - 2);
        if (round > 20 && left.value != 0) {
            char *at = code_of(&bed) + (left.value - CODE);
            CHECK(memcmp(at, "\x0f\x05", 2) == 0);
            memcpy(at, "\xe6\x4a", 2);
            CHECK(ops->code_changed == NULL);
        }
        CHECK(round <= 21 || left.value == 0);
        ops->regs(bed.vm)->gpr[HL_RAX] = round * 3;
        sum += round * 3;
        if (round > 1)
            CHECK((ops->regs(bed.vm)->gpr[HL_RBP] & 0xff) == 1);
        memcpy(&told, bed.data, sizeof told);
        CHECK(told == sum - round * 3);
    }
    end(&bed);
}

/* What SYSCALL clears comes back, and nothing that CPL 3 may not set. */
GUEST(flags, "pushfq\n"
             "orl $0x240cd5, (%rsp)\n" /* AC and ID, too */
             "popfq\n"
             "mov $1, %eax\n"
             "syscall\n"
             "pushfq\n"
             "pop %rax\n"
             "out %al, $0x48");

static void flags_are_kept(void)
{
    struct bed bed = boot(flags, flags_end);

    (void)system_call(&bed);
    uint64_t had = ops->regs(bed.vm)->rflags;
    CHECK((had & 0x240cd5) == 0x240cd5 && (had & 0x3200) == 0);
    CHECK((call(&bed) & 0x240cd5) == 0x240cd5);
    end(&bed);
}

/* FS points where the program asked for, at once and after a load. */
GUEST(threads, "1: mov $158, %eax\n"
               "syscall\n"
               "mov %fs:0, %rax\n"
               "out %al, $0x48\n"
               "jmp 1b");

static void threads_are_set(void)
{
    struct bed bed = boot(threads, threads_end);
    void *state = malloc(ops->state_size);
    const uint64_t marks[] = {11, 22, 33};

    memcpy(bed.data, marks, sizeof marks);
    for (uint64_t i = 0; i < 3; i++) {
        (void)system_call(&bed);
        CHECK(ops->set_thread(bed.vm, DATA + 8 * i) == 0);
        if (i == 1)
            CHECK(ops->save(bed.vm, state) == 0);
        CHECK(call(&bed) == marks[i]);
    }
    CHECK(ops->load(bed.vm, state) == 0);
    CHECK(call(&bed) == marks[1]);
    free(state);
    end(&bed);
}

/* State is saved and loaded in the middle of a call. */
static void state_is_of_the_guest(void)
{
    struct bed bed = boot(calls, calls_end);
    void *state = malloc(ops->state_size);

    for (uint64_t round = 1; round <= 3; round++)
        (void)system_call(&bed);
    CHECK(ops->save(bed.vm, state) == 0);
    struct hl_vm_regs was = *ops->regs(bed.vm);
    for (int again = 0; again < 3; again++) {
        for (uint64_t round = 4; round <= 6; round++) {
            (void)system_call(&bed);
            check_call(&bed, round);
        }
        CHECK(ops->load(bed.vm, state) == 0);
        CHECK(memcmp(ops->regs(bed.vm), &was, sizeof was) == 0);
    }
    free(state);
    end(&bed);
}

/* The guest can jump to the stub, with any RCX and R11. */
GUEST(forges, "mov %rdi, %rcx\n"
              "mov $-1, %r11\n"
              "mov %rsi, %rsp\n"
              "jmp *%rax\n"
              "nop\nnop\nnop\n"
              "forged_to: mov $77, %eax\n"
              "out %al, $0x48");
extern const char forged_to[];

static struct bed boot_forged(uint64_t to, uint64_t rsp)
{
    struct bed bed = boot(forges, forges_end);

    ops->regs(bed.vm)->gpr[HL_RDI] = to;
    ops->regs(bed.vm)->gpr[HL_RSI] = rsp;
    ops->regs(bed.vm)->gpr[HL_RAX] = bed.stub;
    return bed;
}

static bool has_stub(void)
{
    struct bed bed = boot(calls, calls_end);
    struct hl_exit left = system_call(&bed);

    end(&bed);
    return left.value != 0;
}

static void forged_calls_are_jumps(void)
{
    const uint64_t target = CODE + (uint64_t)(forged_to - forges);

    if (!has_stub()) { /* of a driver that needs none */
        printf("%s has no stub\n", ops->name);
        return;
    }
    struct bed bed = boot_forged(target, STACK + 8);
    struct hl_exit left = system_call(&bed);
    const struct hl_vm_regs *regs = ops->regs(bed.vm);
    CHECK(left.value == target - 2 && regs->rip == target);
    CHECK((regs->rflags & ~UINT64_C(0x244dd5)) == 2);
    ops->regs(bed.vm)->rflags = 2; /* else a trap */
    CHECK(call(&bed) == 77);
    CHECK(ops->regs(bed.vm)->gpr[HL_RSP] == STACK + 8);
    end(&bed);

    /* Where nothing can be, on a stack that is none. */
    static const uint64_t nowhere[] = {UINT64_C(1) << 47, UINT64_C(1) << 63,
                                       UINT64_MAX >> 1};
    void *state = malloc(ops->state_size);
    for (size_t i = 0; i < HL_ARRAY_SIZE(nowhere); i++) {
        bed = boot_forged(nowhere[i], 8);
        CHECK(ops->save(bed.vm, state) == 0);
        left = run(&bed);
        CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
        CHECK(ops->finish == NULL || ops->finish(bed.vm) == 0);
        CHECK(ops->load(bed.vm, state) == 0);
        ops->regs(bed.vm)->gpr[HL_RDI] = target;
        (void)system_call(&bed);
        ops->regs(bed.vm)->rflags = 2;
        CHECK(call(&bed) == 77);
        end(&bed);
    }
    free(state);
}

/* "Behind the instruction" is behind its prefixes, too, and where the bytes to
 * replace are, they are. */
static void prefixes_are_part_of_it(void)
{
    static const char *const prefixes[] = {
        "",         "\x40",
        "\x4f",     "\x66",
        "\xf2",     "\xf3",
        "\x2e",     "\x64",
        "\x67",     "\x66\x48",
        "\x48\x66", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66",
    };
    static const char behind[] = "\xb8\x07\0\0\0\xe6\x48"; /* 7 is told */

    for (size_t i = 0; i < HL_ARRAY_SIZE(prefixes); i++) {
        const size_t at = strlen(prefixes[i]);
        for (int replaced = 0; replaced < 2; replaced++) {
            char code[32];
            memcpy(code, prefixes[i], at);
            memcpy(code + at, replaced ? "\xe6\x4a" : "\x0f\x05", 2);
            memcpy(code + at + 2, behind, sizeof behind);
            struct bed bed = boot(code, code + at + 2 + sizeof behind);
            struct hl_exit left = system_call(&bed);
            CHECK(left.value == 0 || (!replaced && left.value == CODE + at));
            CHECK(replaced || ops->regs(bed.vm)->rip == CODE + at + 2);
            CHECK(call(&bed) == 7);
            end(&bed);
        }
    }
}

/* Behind it nothing can be executed: that is the next instruction's fault. */
static void pages_end_behind_it(void)
{
    const uint64_t last = CODE + PAGE - 2;
    char code[PAGE] = {0};

    memcpy(code + PAGE - 2, "\x0f\x05", 2);
    struct bed bed = boot(code, code + PAGE);
    for (int replaced = 0; replaced < 2; replaced++) {
        ops->regs(bed.vm)->rip = last;
        struct hl_exit left = system_call(&bed);
        if (left.value == last)
            memcpy(code_of(&bed) + PAGE - 2, "\xe6\x4a", 2);
    }
    struct hl_exit left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 14);
    CHECK(left.cr2 == CODE + PAGE && left.frame.rip == CODE + PAGE);
    end(&bed);
}

/* A trap may come of it, or may be lost; nobody else's. */
GUEST(traced, "pushfq\n"
              "orl $0x100, (%rsp)\n"
              "popfq\n"
              "syscall\n"
              "out %al, $0x48");

static void traced_calls_end_somehow(void)
{
    struct bed bed = boot(traced, traced_end);
    void *state = malloc(ops->state_size);

    CHECK(ops->save(bed.vm, state) == 0);
    for (int i = 0; i < 3; i++) {
        struct hl_exit left = run(&bed);
        CHECK(left.reason == HL_EXIT_SYSTEM_CALL ||
              (left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 1));
        CHECK(ops->finish == NULL || ops->finish(bed.vm) == 0);
        CHECK(ops->load(bed.vm, state) == 0);
    }
    free(state);
    end(&bed);
}

GUEST(wide, "mov $0x4a, %edx\nout %ax, %dx");
GUEST(before, "mov $0x49, %edx\nout %ax, %dx");
GUEST(behind, "out %al, $0x4b");
GUEST(exception_port, "out %al, $0x49");
GUEST(far, "mov $0x48, %edx\nout %eax, %dx");

static void no_port_more(void)
{
    static const struct {
        const char *code, *end;
    } guests[] = {
        {wide, wide_end},     {before, before_end},
        {behind, behind_end}, {exception_port, exception_port_end},
        {far, far_end},
    };
    for (size_t i = 0; i < HL_ARRAY_SIZE(guests); i++) {
        struct bed bed = boot(guests[i].code, guests[i].end);
        struct hl_exit left = run(&bed);
        CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
        end(&bed);
    }
}

/* Reading it leads nowhere, on all drivers: it is a port that CPL 3 has. */
GUEST(reads, "in $0x4a, %al");

static void the_port_cannot_be_read(void)
{
    struct bed bed = boot(reads, reads_end);

    CHECK(run(&bed).reason == HL_EXIT_UNKNOWN);
    end(&bed);
}

/* Without being asked for, neither the instruction nor the port does it. */
GUEST(instruction, "mov $1, %eax\nsyscall");
GUEST(port, "out %al, $0x4a");

static void off_is_off(void)
{
    system_calls = false;
    struct bed bed = boot(instruction, instruction_end);
    struct hl_exit left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 6);
    CHECK(left.frame.rip == CODE + 5);
    end(&bed);
    bed = boot(port, port_end);
    left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
    end(&bed);
    bed = boot(reads, reads_end);
    left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
    end(&bed);
    system_calls = true;
}

static void run_all(void)
{
    if (!ops->system_calls)
        return;
    system_calls = true;
    RUN(calls_leave);
    RUN(flags_are_kept);
    RUN(threads_are_set);
    RUN(state_is_of_the_guest);
    RUN(forged_calls_are_jumps);
    RUN(prefixes_are_part_of_it);
    RUN(pages_end_behind_it);
    RUN(traced_calls_end_somehow);
    RUN(no_port_more);
    RUN(the_port_cannot_be_read);
    RUN(off_is_off);
}

int main(void)
{
#ifndef _WIN32
    hl_mshv_use_calls(&fake_mshv_calls);
#endif
    return on_every_driver(run_all);
}
