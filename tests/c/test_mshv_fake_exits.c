/* The fake of /dev/mshv: which messages a guest leaves by, and what of its
 * last instruction has happened by then. */
#include "mshv_bed.h"

/* Each leaves by another instruction; nothing of it may have happened. */
GUEST(by_dx, "mov $0x48, %edx\nnop\nout %al, %dx");
GUEST(by_in, "mov $7, %eax\nin $0x48, %al");
GUEST(by_in_dx, "mov $7, %eax\nmov $0x48, %edx\nin %dx, %al");
GUEST(by_ins, "mov $0x48, %edx\nmov $0x200000, %edi\ninsb");
GUEST(by_rep_ins, "mov $0x48, %edx\nmov $0x200000, %edi\nmov $9, %ecx\n"
                  "rep insb");
GUEST(by_outs, "mov $0x48, %edx\nmov $0x200000, %esi\noutsb");
GUEST(by_rep_outs, "mov $0x48, %edx\nmov $0x200000, %esi\nmov $9, %ecx\n"
                   "rep outsb");
GUEST(by_last_outs, "mov $0x48, %edx\nmov $0x200000, %esi\nmov $1, %ecx\n"
                    "rep outsb");

static const struct port_case {
    const char *code, *end;
    uint8_t at, length, access, info;
} port_cases[] = {
    {by_dx, by_dx_end, 6, 1, HL_HV_ACCESS_WRITE, 1},
    {by_in, by_in_end, 5, 2, HL_HV_ACCESS_READ, 1},
    {by_in_dx, by_in_dx_end, 10, 1, HL_HV_ACCESS_READ, 1},
    {by_ins, by_ins_end, 10, 1, HL_HV_ACCESS_READ, 1 | HL_HV_IO_STRING},
    {by_rep_ins, by_rep_ins_end, 15, 2, HL_HV_ACCESS_READ,
     1 | HL_HV_IO_STRING | HL_HV_IO_REP},
    {by_outs, by_outs_end, 10, 1, HL_HV_ACCESS_WRITE, 1 | HL_HV_IO_STRING},
    {by_rep_outs, by_rep_outs_end, 15, 2, HL_HV_ACCESS_WRITE,
     1 | HL_HV_IO_STRING | HL_HV_IO_REP},
    {by_last_outs, by_last_outs_end, 15, 2, HL_HV_ACCESS_WRITE,
     1 | HL_HV_IO_STRING | HL_HV_IO_REP},
};

static void stays_at_port_instructions(void)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(port_cases); i++) {
        const struct port_case *c = &port_cases[i];
        struct bed bed = boot(c->code, c->end);
        memset(bed.data, 0x55, PAGE);
        for (int again = 0; again < 2; again++) {
            struct hl_hv_io_port_intercept io =
                leave(&bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);
            if (io.header.rip != CODE + c->at || io.access_info != c->info)
                fprintf(stderr, "case %zu: rip %llx, info %x, length %d\n", i,
                        (unsigned long long)io.header.rip, io.access_info,
                        io.header.instruction_length);
            CHECK(io.port_number == HL_PORT_GUEST);
            CHECK(io.header.rip == CODE + c->at);
            CHECK(io.header.rip == get(&bed, HL_HV_RIP));
            CHECK(io.header.instruction_length == c->length);
            CHECK(io.header.access_type == c->access);
            CHECK(io.access_info == c->info);
            CHECK(io.rcx == (c->info & HL_HV_IO_REP
                                 ? (c->code == by_last_outs ? 1u : 9u)
                                 : 0u));
            CHECK(!(c->info & HL_HV_IO_STRING) || (io.rdi | io.rsi) == DATA);
            CHECK(c->access == HL_HV_ACCESS_WRITE ||
                  (io.rax & 0xff) == (c->info & HL_HV_IO_STRING ? 0u : 7u));
        }
        for (size_t at = 0; at < PAGE; at++)
            CHECK(bed.data[at] == 0x55);
        end(&bed);
    }
}

/* The page behind the data is in the tables only. */
GUEST(read_outside, "mov $0x240000, %ebx\nmov $7, %eax\nmov (%rbx), %rax");
GUEST(write_outside, "mov $0x240000, %ebx\nmov %rax, (%rbx)");
GUEST(move_outside, "mov $0x240000, %esi\nmov $0x200000, %edi\n"
                    "mov $0x55, %eax\nmovsb");

static void tells_what_is_outside(void)
{
    struct hl_hv_memory_intercept memory;
    const struct {
        const char *code, *end;
        uint8_t access;
    } cases[] = {{read_outside, read_outside_end, HL_HV_ACCESS_READ},
                 {move_outside, move_outside_end, HL_HV_ACCESS_READ},
                 {write_outside, write_outside_end, HL_HV_ACCESS_WRITE}};

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        struct bed bed = boot(cases[i].code, cases[i].end);
        bed.data[0] = 0x55;
        struct hl_hv_io_port_intercept left =
            leave(&bed, HL_HVMSG_UNMAPPED_GPA);
        memcpy(&memory, &left, sizeof memory);
        CHECK(memory.gpa == DATA + DATA_PAGES * PAGE);
        CHECK(memory.header.access_type == cases[i].access);
        CHECK(bed.data[0] == 0x55);
        if (i == 0) {
            CHECK(get(&bed, HL_HV_RIP) == CODE + 10);
            CHECK(get(&bed, HL_HV_RAX) == 7);
        }
        end(&bed);
    }
}

GUEST(undefined, "ud2");

/* No exception can be told where there is no table of them. */
static void tells_a_triple_fault(void)
{
    struct bed bed = boot(undefined, undefined_end);
    struct hl_hv_register none = {.name = HL_HV_IDTR};

    CHECK(set_registers(&bed, &none, 1) == 0);
    (void)leave(&bed, HL_HVMSG_UNRECOVERABLE_EXCEPTION);
    end(&bed);
}

/* The stub's OUT, at CPL 0. */
static void tells_an_exception(void)
{
    struct bed bed = boot(undefined, undefined_end);
    struct hl_hv_io_port_intercept io =
        leave(&bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);

    CHECK(io.port_number == HL_PORT_EXCEPTION);
    CHECK((io.header.execution_state & 3) == 0);
    const struct hl_x86_frame *frame =
        (const void *)(bed.tables + (get(&bed, HL_HV_RAX + 4) - TABLES));
    CHECK(frame->vector == 6 && frame->rip == CODE);
    end(&bed);
}

/* Code must be mapped as such. */
static void notices_code_in_data(void)
{
    struct bed bed = boot(by_dx, by_dx_end);

    CHECK(unmap_memory(&bed, CODE, bed.code, PAGE) == 0);
    CHECK(map_memory(&bed, CODE, bed.code, PAGE, HL_MSHV_MEMORY_WRITABLE) ==
          0);
    struct hl_hv_io_port_intercept left = leave(&bed, HL_HVMSG_GPA_INTERCEPT);
    CHECK(left.header.access_type == HL_HV_ACCESS_EXECUTE);
    CHECK(fake_mshv_count(FAKE_VIOLATIONS) == 1);
    fake_mshv_reset();
    end(&bed);
}

GUEST(selectors, "mov $0x1b, %eax\nmov %eax, %ds\nmov %eax, %es\n"
                 "mov %eax, %fs\nmov %eax, %gs\nout %al, $0x48");

static uint64_t own_selectors(void)
{
    uint16_t ds, es, fs, gs;

    __asm__ volatile("mov %%ds, %0" : "=m"(ds));
    __asm__ volatile("mov %%es, %0" : "=m"(es));
    __asm__ volatile("mov %%fs, %0" : "=m"(fs));
    __asm__ volatile("mov %%gs, %0" : "=m"(gs));
    return (uint64_t)ds | (uint64_t)es << 16 | (uint64_t)fs << 32 |
           (uint64_t)gs << 48;
}

/* A guest's are not left in the thread that ran it. */
static void leaves_no_selectors(void)
{
    struct bed bed = boot(selectors, selectors_end);
    const uint64_t before = own_selectors();

    CHECK(call_out(&bed) == 0x1b);
    CHECK(own_selectors() == before);
    end(&bed);
}

static void with_each_interface(void)
{
    RUN(stays_at_port_instructions);
    RUN(tells_what_is_outside);
    RUN(tells_a_triple_fault);
    RUN(tells_an_exception);
    RUN(notices_code_in_data);
    RUN(leaves_no_selectors);
}

int main(void)
{
    if (!begin())
        return 0;
    on_both(with_each_interface);
    return 0;
}
