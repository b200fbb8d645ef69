/* The whp driver over the fake of WinHvPlatform.dll: machines, exits, state,
 * kicks, and each call failing.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is, which runs guests. */
#include <stdatomic.h>

#include "fake/whp/fake.h"
#include "os/native.h"
#include "os/threads.h"
#include "os/wait.h"
#include "vm/whp/machine.h"
#include "vm_bed.h"

#define FAULT 14
#define MS UINT64_C(1000000)

static void nothing_is_left(void)
{
    CHECK(fake_whp_count(FAKE_PARTITIONS) == 0);
    CHECK(fake_whp_count(FAKE_MAPPINGS) == 0);
    CHECK(fake_whp_count(FAKE_VIOLATIONS) == 0);
    CHECK(hl_map_count() == 0);
    fake_whp_reset();
}

static void the_library_may_be_absent(void)
{
    char why[HL_WHY_SIZE] = "";

    hl_whp_use_calls(NULL);
    int err = hl_driver_try(&hl_driver_whp, NULL, why);
    CHECK(err == 0 || strstr(why, "WinHvPlatform.dll") ||
          strstr(why, "no hypervisor"));
    hl_whp_use_calls(&fake_whp_calls);
    fake_whp_switch(FAKE_NO_HYPERVISOR, 1);
    CHECK(hl_driver_try(&hl_driver_whp, NULL, why) == -ENODEV);
    CHECK(strstr(why, "no hypervisor is running"));
    fake_whp_switch(FAKE_NO_HYPERVISOR, 0);
    CHECK(hl_driver_try(&hl_driver_whp, NULL, why) == 0);
    nothing_is_left();
}

GUEST(by_dx, "mov $0x48, %edx\n"
             "1: inc %eax\n"
             "out %al, %dx\n"
             "jmp 1b");

static void guests_call(void)
{
    struct bed bed = boot(count, count_end);

    for (uint64_t i = 1; i < 100; i++)
        CHECK(call(&bed) == i);
    CHECK(bed.data[0] == 99);
    bed.data[0] = 7; /* memory is the host's */
    CHECK(call(&bed) == 8);
    end(&bed);
    bed = boot(by_dx, by_dx_end);
    for (uint64_t i = 1; i < 5; i++)
        CHECK(call(&bed) == i);
    end(&bed);
    nothing_is_left();
}

GUEST(divide, "nop\nxor %ecx, %ecx\ndiv %ecx");
GUEST(write_code, "mov $0x400010, %ebx\nmovl $1, (%rbx)");
GUEST(run_data, "mov $0x600123, %eax\njmp *%rax");
GUEST(system_call, "nop\nsyscall");
GUEST(read_port, "in $0x48, %al");

static struct hl_exit leave(const char *code, const char *code_end)
{
    struct bed bed = boot(code, code_end);
    struct hl_exit left = run(&bed);

    end(&bed);
    return left;
}

static void exceptions_are_read(void)
{
    struct hl_exit left = leave(divide, divide_end);

    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 0);
    CHECK(left.frame.rip == CODE + 3 && left.frame.cs == HL_X86_USER_CODE);
    CHECK(left.frame.rsp == STACK + PAGE);
    left = leave(write_code, write_code_end);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == FAULT);
    CHECK(left.cr2 == CODE + 0x10 && (left.frame.error & 3) == 3);
    left = leave(run_data, run_data_end);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == FAULT);
    CHECK(left.cr2 == DATA + 0x123 && left.frame.rip == DATA + 0x123);
    left = leave(system_call, system_call_end);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 6);
    CHECK(left.frame.rip == CODE + 1);
    nothing_is_left();
}

static void other_exits_are_told(void)
{
    const struct {
        WHV_RUN_VP_EXIT_REASON reason;
        enum hl_exit_reason expected;
    } exits[] = {
        {WHvRunVpExitReasonUnrecoverableException, HL_EXIT_SHUTDOWN},
        {WHvRunVpExitReasonX64Halt, HL_EXIT_UNKNOWN},
        {WHvRunVpExitReasonUnsupportedFeature, HL_EXIT_UNKNOWN},
        {WHvRunVpExitReasonX64Cpuid, HL_EXIT_UNKNOWN},
        {WHvRunVpExitReasonX64IoPortAccess, HL_EXIT_UNKNOWN},
        {WHvRunVpExitReasonCanceled, HL_EXIT_KICKED},
    };
    struct bed bed = boot(count, count_end);
    struct hl_exit left;

    for (size_t i = 0; i < HL_ARRAY_SIZE(exits); i++) {
        fake_whp_switch(FAKE_EXIT, (long)exits[i].reason);
        CHECK(ops->run(bed.vm, &left) == 0);
        CHECK(left.reason == exits[i].expected);
        CHECK(left.reason != HL_EXIT_UNKNOWN ||
              left.value == (uint64_t)exits[i].reason);
        CHECK(call(&bed) == i + 1); /* V2 */
    }
    ops->regs(bed.vm)->rflags = 0; /* which no processor has */
    CHECK(ops->run(bed.vm, &left) == 0);
    CHECK(left.reason == HL_EXIT_UNKNOWN &&
          left.value == WHvRunVpExitReasonInvalidVpRegisterValue);
    end(&bed);
    left = leave(read_port, read_port_end);
    CHECK(left.reason == HL_EXIT_UNKNOWN &&
          left.value == WHvRunVpExitReasonX64IoPortAccess);
    nothing_is_left();
}

/* In the tables, but there is no memory for it. */
static void missing_memory_is_told(void)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {DATA, PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 2,
        .slot_count = 2,
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 2);
    char why[HL_WHY_SIZE] = "";
    struct hl_exit left;
    struct hl_map map;
    struct hl_vm *vm;

    CHECK(hl_map_create(&map, tables + PAGE, HL_HUGE_NEVER) == 0);
    char *memory = map.addr;
    config.slots[0] = (struct hl_vm_slot){memory, TABLES, tables, false};
    config.slots[1] = (struct hl_vm_slot){memory + tables, CODE, PAGE, false};
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 2,
                       &config.tables) == 0);
    memcpy(memory + tables, count, (size_t)(count_end - count));
    CHECK(hl_driver_whp.create(&config, &vm, why) == 0);
    hl_driver_whp.regs(vm)->rip = CODE;
    CHECK(hl_driver_whp.run(vm, &left) == 0);
    CHECK(left.reason == HL_EXIT_BAD_ACCESS && left.value == DATA);
    hl_driver_whp.destroy(vm);
    hl_map_destroy(&map);
    nothing_is_left();
}

/* Counts in a vector register, on the x87's stack, and in RCX. */
GUEST(state, "mov $1, %eax\n"
             "movd %eax, %xmm15\n"
             "fldz\n"
             "1: paddd %xmm15, %xmm7\n"
             "fld1\n"
             "faddp\n"
             "inc %rcx\n"
             "movd %xmm7, %eax\n"
             "shl $8, %eax\n"
             "or %ecx, %eax\n"
             "shl $8, %eax\n"
             "fistl -8(%rsp)\n"
             "or -8(%rsp), %eax\n"
             "out %al, $0x48\n"
             "jmp 1b");

static void state_is_kept(void)
{
    const struct hl_whp_calls *const tables[] = {
        &fake_whp_calls, &fake_whp_calls_1803, &fake_whp_calls_later};
    void *saved = malloc(hl_driver_whp.state_size);

    CHECK(saved != NULL);
    for (size_t i = 0; i < HL_ARRAY_SIZE(tables); i++) {
        hl_whp_use_calls(tables[i]);
        struct bed bed = boot(state, state_end);
        CHECK(call(&bed) == 0x010101 && call(&bed) == 0x020202);
        CHECK(ops->save(bed.vm, saved) == 0);
        CHECK(call(&bed) == 0x030303 && call(&bed) == 0x040404);
        CHECK(ops->load(bed.vm, saved) == 0);
        CHECK(call(&bed) == 0x030303);
        struct bed other = boot(state, state_end);
        CHECK(ops->load(other.vm, saved) == 0);
        CHECK(call(&other) == 0x030303);
        end(&other);
        /* After an exit that nothing goes on from. */
        ops->regs(bed.vm)->rip = 0;
        CHECK(run(&bed).reason == HL_EXIT_EXCEPTION);
        CHECK(ops->load(bed.vm, saved) == 0);
        CHECK(call(&bed) == 0x030303);
        end(&bed);
    }
    free(saved);
    hl_whp_use_calls(&fake_whp_calls);
    nothing_is_left();
}

static void partitions_may_lack_avx(void)
{
    fake_whp_switch(FAKE_NO_AVX, 1);
    struct bed bed = boot(count, count_end);
    CHECK(call(&bed) == 1);
    end(&bed);
    nothing_is_left();
}

/* Everything that a machine does; -errno of what failed. */
static int live(void *saved)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE}},
        .region_count = 1,
        .slot_count = 2,
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 1);
    char why[HL_WHY_SIZE] = "";
    struct hl_exit left;
    struct hl_map map;
    struct hl_vm *vm;

    CHECK(hl_map_create(&map, tables + PAGE, HL_HUGE_NEVER) == 0);
    char *memory = map.addr;
    config.slots[0] = (struct hl_vm_slot){memory, TABLES, tables, false};
    config.slots[1] = (struct hl_vm_slot){memory + tables, CODE, PAGE, false};
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 1,
                       &config.tables) == 0);
    memcpy(memory + tables, by_dx, (size_t)(by_dx_end - by_dx));
    int err = hl_driver_whp.create(&config, &vm, why);
    CHECK(err == 0 || why[0] != 0);
    if (err == 0) {
        hl_driver_whp.regs(vm)->rip = CODE;
        err = hl_driver_whp.save(vm, saved);
        if (err == 0)
            err = hl_driver_whp.run(vm, &left);
        if (err == 0)
            err = hl_driver_whp.load(vm, saved);
        if (err == 0)
            err = hl_driver_whp.run(vm, &left);
        CHECK(err < 0 || (left.reason == HL_EXIT_CALL && left.value == 1));
        hl_driver_whp.destroy(vm);
    }
    hl_map_destroy(&map);
    return err;
}

static void any_call_may_fail(void)
{
    void *saved = malloc(hl_driver_whp.state_size);
    int failures = 0;

    CHECK(saved != NULL);
    for (int after = 0; after < 2; after++)
        for (int kind = 0; kind < FAKE_KINDS; kind++)
            for (int nth = 1; nth < 20; nth++) {
                fake_whp_fail(kind, nth, E_OUTOFMEMORY, after);
                int err = live(saved);
                if (fake_whp_fail_left() > 0)
                    break;
                /* What starts the vCPU is tried with less, and what ends a
                 * machine has nobody to tell. */
                CHECK(err == -ENOMEM || kind == FAKE_SET ||
                      kind == FAKE_DELETE);
                failures += err < 0;
                CHECK(fake_whp_count(FAKE_PARTITIONS) == 0);
                CHECK(fake_whp_count(FAKE_MAPPINGS) == 0);
            }
    CHECK(failures > 30);
    free(saved);
    fake_whp_fail(0, 0, 0, false);
    nothing_is_left();
}

static void errors_have_numbers(void)
{
    CHECK(hl_whp_errno(S_OK) == 0);
    CHECK(hl_whp_errno(E_OUTOFMEMORY) == -ENOMEM);
    CHECK(hl_whp_errno(E_ACCESSDENIED) == -EACCES);
    CHECK(hl_whp_errno(E_INVALIDARG) == -EIO);
    CHECK(hl_whp_errno(HL_WHV_E_GPA_RANGE_NOT_FOUND) == -EIO);
}

GUEST(spin, "1: inc %rax\njmp 1b");

static struct {
    struct hl_vm *vm;
    uint64_t delay;
    atomic_bool asked;
    _Atomic uint64_t when;
} kicker;

static void *kick(void *unused)
{
    const uint64_t until = hl_now() + kicker.delay;

    (void)unused;
    while (hl_now() < until)
        hl_yield();
    atomic_store(&kicker.when, hl_now());
    atomic_store(&kicker.asked, true);
    ops->kick(kicker.vm);
    return NULL;
}

static void kicks_end_runs_of(const struct bed *bed, uint64_t delay)
{
    struct hl_exit left;
    hl_thread thread;

    kicker.vm = bed->vm;
    kicker.delay = delay;
    atomic_store(&kicker.asked, false);
    CHECK(hl_thread_start(&thread, kick, NULL) == 0);
    do {
        CHECK(ops->run(bed->vm, &left) == 0);
        CHECK(left.reason == HL_EXIT_KICKED);
    } while (!atomic_load(&kicker.asked));
    hl_thread_join(thread);
}

/* At any moment; also where a cancel that comes too early is lost. */
static void kicks_end_runs(void)
{
    uint64_t seed = 1;

    for (int lost = 0; lost < 2; lost++) {
        fake_whp_switch(FAKE_CANCEL_LOST, lost);
        struct bed bed = boot(spin, spin_end);
        for (int i = 0; i < 100; i++)
            kicks_end_runs_of(&bed, next_random(&seed) % (2 * MS));
        end(&bed);
    }
    fake_whp_switch(FAKE_CANCEL_LOST, 0);
    nothing_is_left();
}

/* Outside of a run, the next one ends; the one after it does not. */
static void kicks_are_kept(void)
{
    struct bed bed = boot(count, count_end);
    struct hl_exit left;

    ops->kick(bed.vm);
    ops->kick(bed.vm);
    CHECK(ops->run(bed.vm, &left) == 0 && left.reason == HL_EXIT_KICKED);
    CHECK(ops->run(bed.vm, &left) == 0 && left.reason == HL_EXIT_CALL);
    fake_whp_switch(FAKE_SPURIOUS_EVERY, 2);
    for (uint64_t i = 2; i < 50; i++)
        CHECK(call(&bed) == i);
    end(&bed);
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
    hl_whp_use_calls(&fake_whp_calls);
    fake_whp_reset();
    RUN(the_library_may_be_absent);
    RUN(guests_call);
    RUN(exceptions_are_read);
    RUN(other_exits_are_told);
    RUN(missing_memory_is_told);
    RUN(state_is_kept);
    RUN(partitions_may_lack_avx);
    RUN(any_call_may_fail);
    RUN(errors_have_numbers);
    RUN(kicks_end_runs);
    RUN(kicks_are_kept);
    return 0;
}
