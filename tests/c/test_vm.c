/* Machines: real guests, written here in assembler, on every driver. */
#include "os/wait.h"
#include "vm_bed.h"
#if defined(__x86_64__)
#include "vm/kvm/machine.h"
#endif

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
    RUN(leaves_and_goes_on);
    RUN(leaves_at_once);
    RUN(state_comes_back);
    RUN(states_move);
    RUN(model_specific_registers_are_loaded);
    RUN(after_a_fault_it_can_be_loaded);
    RUN(faults_are_reported);
    RUN(broken_machines_are_reported);
}

int main(void) { return on_every_driver(run_all); }
