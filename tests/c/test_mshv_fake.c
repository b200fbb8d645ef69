/* The fake of /dev/mshv, before anything is tested with it. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mshv_bed.h"

static bool older;

/* Writes a number to as many pages as RCX says, and reports it. */
GUEST(count, "1: inc %eax\n"
             "mov $0x200000, %ebx\n"
             "xor %edx, %edx\n"
             "2: cmp %rcx, %rdx\n"
             "je 3f\n"
             "mov %eax, (%rbx)\n"
             "add $4096, %rbx\n"
             "inc %rdx\n"
             "jmp 2b\n"
             "3: out %al, $0x48\n"
             "jmp 1b");

static void runs_a_guest(void)
{
    struct bed bed = boot(older, count, count_end);

    set(&bed, HL_HV_RAX + 1, 3);
    for (uint64_t i = 1; i <= 50; i++)
        CHECK(call_out(&bed) == i);
    CHECK(bed.data[0] == 50 && bed.data[2 * PAGE] == 50);
    CHECK(bed.data[3 * PAGE] == 0);
    /* Who does not step over it meets it again. */
    for (int i = 0; i < 3; i++) {
        struct hl_hv_io_port_intercept io =
            leave(&bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);
        CHECK(io.rax == 51 && io.rcx == 3);
        CHECK(get(&bed, HL_HV_RIP) == io.header.rip);
        CHECK(bed.code[io.header.rip - CODE] == (char)0xe6);
        CHECK(io.instruction_bytes[0] == 0xe6);
        CHECK((io.header.execution_state & 3) == 3);
    }
    end(&bed);
}

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
        struct bed bed = boot(older, c->code, c->end);
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
        struct bed bed = boot(older, cases[i].code, cases[i].end);
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
    struct bed bed = boot(older, undefined, undefined_end);
    struct hl_hv_register none = {.name = HL_HV_IDTR};

    CHECK(set_registers(&bed, &none, 1) == 0);
    (void)leave(&bed, HL_HVMSG_UNRECOVERABLE_EXCEPTION);
    end(&bed);
}

/* The stub's OUT, at CPL 0. */
static void tells_an_exception(void)
{
    struct bed bed = boot(older, undefined, undefined_end);
    struct hl_hv_io_port_intercept io =
        leave(&bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);

    CHECK(io.port_number == HL_PORT_EXCEPTION);
    CHECK((io.header.execution_state & 3) == 0);
    const struct hl_x86_frame *frame =
        (const void *)(bed.tables + (get(&bed, HL_HV_RAX + 4) - TABLES));
    CHECK(frame->vector == 6 && frame->rip == CODE);
    end(&bed);
}

/* Every register takes another value and gives it back. */
static void keeps_registers(void)
{
    static const uint32_t names[] = {
        HL_HV_RAX,          HL_HV_RAX + 1,
        HL_HV_RAX + 15,     HL_HV_CR2,
        HL_HV_DR0,          HL_HV_DR3,
        HL_HV_STAR,         HL_HV_LSTAR,
        HL_HV_CSTAR,        HL_HV_SFMASK,
        HL_HV_SYSENTER_CS,  HL_HV_SYSENTER_EIP,
        HL_HV_SYSENTER_ESP, HL_HV_KERNEL_GS_BASE,
    };
    struct bed bed = boot(older, count, count_end);
    struct hl_hv_register list[HL_ARRAY_SIZE(names) + 1] = {0};
    union hl_hv_value value;

    for (size_t i = 0; i < HL_ARRAY_SIZE(names); i++) {
        list[i].name = names[i];
        list[i].value.u64[0] = 0x1000 + i;
    }
    list[HL_ARRAY_SIZE(names)] = list[0]; /* the last one of a name counts */
    list[HL_ARRAY_SIZE(names)].value.u64[0] = 77;
    CHECK(set_registers(&bed, list, HL_ARRAY_SIZE(list)) == 0);
    CHECK(get(&bed, names[0]) == 77);
    for (size_t i = 1; i < HL_ARRAY_SIZE(names); i++)
        CHECK(get(&bed, names[i]) == 0x1000 + i);
    CHECK(get_value(&bed, HL_HV_TR, &value) == 0);
    CHECK(value.segment.base == bed.at.tss);
    CHECK(value.segment.attributes == 0x8b);
    CHECK(get_value(&bed, HL_HV_CS, &value) == 0);
    CHECK(value.segment.attributes == 0xa0fb);
    CHECK(get(&bed, HL_HV_XFEM) == 7 && get(&bed, HL_HV_CR0) == 0x80010033);
    (void)get(&bed, HL_HV_DR6);
    (void)get(&bed, HL_HV_DR7);
    (void)get(&bed, HL_HV_PAT);
    CHECK(get(&bed, HL_HV_PENDING_INTERRUPTION) == 0);
    CHECK(get(&bed, HL_HV_INTERRUPT_STATE) == 0);
    CHECK(get(&bed, HL_HV_PENDING_EVENT0) == 0);
    end(&bed);
}

static void refuses_registers(void)
{
    struct bed bed = boot(older, count, count_end);
    struct hl_hv_register one = {.name = 0x12345678}, pair[2] = {0};
    union hl_hv_value value;

    CHECK(set_registers(&bed, &one, 1) == -EINVAL);
    CHECK(get_value(&bed, 0x12345678, &value) == -EINVAL);
    one = (struct hl_hv_register){.name = HL_HV_RAX, .reserved2 = 1};
    CHECK(set_registers(&bed, &one, 1) == -EINVAL);
    /* Paging in long mode without CR4.PAE. */
    one = (struct hl_hv_register){.name = HL_HV_CR4};
    CHECK(set_registers(&bed, &one, 1) == -EINVAL);
    CHECK(get(&bed, HL_HV_CR4) == 0x40620);
    /* Those before one that fails are set. */
    pair[0] = (struct hl_hv_register){.name = HL_HV_RAX, .value.u64[0] = 4711};
    pair[1].name = 0x12345678;
    CHECK(set_registers(&bed, pair, 2) == -EINVAL);
    CHECK(get(&bed, HL_HV_RAX) == 4711);
    end(&bed);
}

GUEST(vector, "1: paddq %xmm0, %xmm0\nmovq %xmm0, %rax\nout %al, $0x48\n"
              "jmp 1b");

static void keeps_vector_state(void)
{
    const unsigned long get_state =
        older ? HL_MSHV_OLD_GET_VP_STATE : HL_MSHV_GET_VP_STATE;
    const unsigned long set_state =
        older ? HL_MSHV_OLD_SET_VP_STATE : HL_MSHV_SET_VP_STATE;
    struct bed bed = boot(older, vector, vector_end);
    char *area = aligned_alloc(PAGE, PAGE);
    const struct hl_mshv_vp_state good = {.type = HL_MSHV_STATE_XSAVE,
                                          .size = (uint32_t)PAGE,
                                          .buffer = (uintptr_t)area};
    struct hl_mshv_vp_state s = good;
    uint64_t *xmm0 = (uint64_t *)(void *)(area + 160);

    CHECK(call(bed.vp, get_state, &s) == 0);
    CHECK(s.size >= 576 && s.size <= PAGE);
    *xmm0 = 5;
    area[512] |= 2;
    s = good;
    CHECK(call(bed.vp, set_state, &s) == 0);
    CHECK(call_out(&bed) == 10 && call_out(&bed) == 20);
    s = good;
    CHECK(call(bed.vp, get_state, &s) == 0 && *xmm0 == 20);
    s = good;
    s.size = 100;
    CHECK(call(bed.vp, get_state, &s) == -EINVAL);
    s = good;
    s.size = 0;
    CHECK(call(bed.vp, get_state, &s) == -EINVAL);
    s = good;
    s.buffer += 8;
    CHECK(call(bed.vp, get_state, &s) == -EINVAL);
    s = good;
    s.reserved[1] = 1;
    CHECK(call(bed.vp, get_state, &s) == -EINVAL);
    s = good;
    s.type = 9;
    CHECK(call(bed.vp, set_state, &s) == -EINVAL);
    free(area);
    end(&bed);
}

static void memory_is_checked(void)
{
    struct bed bed = boot(older, count, count_end);
    char *more = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const uint64_t at = (uint64_t)64 << 20;

    CHECK(map_memory(&bed, at, more, 100, 0) == -EINVAL);
    CHECK(map_memory(&bed, at, more, 0, 0) == -EINVAL);
    CHECK(map_memory(&bed, at, more + 8, PAGE, 0) == -EINVAL);
    CHECK(older || map_memory(&bed, at, more, PAGE, 8) == -EINVAL);
    CHECK(map_memory(&bed, CODE, more, PAGE, 0) == -EEXIST);
    CHECK(map_memory(&bed, CODE - PAGE, more, 2 * PAGE, 0) == -EEXIST);
    CHECK(map_memory(&bed, at, bed.data + PAGE, PAGE, 0) == -EEXIST);
    CHECK(map_memory(&bed, at, more, 4 * PAGE, 0) == 0);
    CHECK(fake_mshv_count(FAKE_MAPPINGS) == 4);
    CHECK(unmap_memory(&bed, at, more, 3 * PAGE) == -EINVAL);
    CHECK(unmap_memory(&bed, at + PAGE, more + PAGE, PAGE) == -EINVAL);
    CHECK(unmap_memory(&bed, at, more, 4 * PAGE) == 0);
    CHECK(unmap_memory(&bed, at, more, 4 * PAGE) == -EINVAL);
    CHECK(mprotect(more, PAGE, PROT_READ) == 0);
    CHECK(map_memory(&bed, at, more, PAGE, 0) == -EFAULT);
    munmap(more, 4 * PAGE);
    CHECK(map_memory(&bed, at, more, PAGE, 0) == -EINVAL);
    end(&bed);
}

/* A guest on Hyper-V would go on with the frames that were mapped. */
static void notices_other_frames(void)
{
    struct hl_hv_message message;

    for (int way = 0; way < 3; way++) {
        struct bed bed = boot(older, count, count_end);
        char *page = bed.data + 5 * PAGE;
        set(&bed, HL_HV_RAX + 1, 1);
        CHECK(call_out(&bed) == 1);
        CHECK(madvise(page, PAGE, MADV_DONTNEED) == 0);
        if (way > 0)
            *page = 1; /* another one is there */
        fake_mshv_switch(FAKE_FRAMES_EVERY, way == 1);
        int err = run(&bed, &message);
        if (way == 2 || (way == 1 && geteuid() != 0)) {
            CHECK(err == 0); /* nobody looked */
        } else {
            CHECK(err == -EFAULT);
            CHECK(fake_mshv_count(FAKE_VIOLATIONS) == 1);
        }
        fake_mshv_reset();
        end(&bed);
    }
}

/* Code must be mapped as such. */
static void notices_code_in_data(void)
{
    struct bed bed = boot(older, count, count_end);

    CHECK(unmap_memory(&bed, CODE, bed.code, PAGE) == 0);
    CHECK(map_memory(&bed, CODE, bed.code, PAGE, HL_MSHV_MEMORY_WRITABLE) ==
          0);
    struct hl_hv_io_port_intercept left = leave(&bed, HL_HVMSG_GPA_INTERCEPT);
    CHECK(left.header.access_type == HL_HV_ACCESS_EXECUTE);
    CHECK(fake_mshv_count(FAKE_VIOLATIONS) == 1);
    fake_mshv_reset();
    end(&bed);
}

static void has_one_interface(void)
{
    struct bed bed = boot(older, count, count_end);
    struct hl_mshv_create_vp vp = {0};

    CHECK(make_partition(!older, bed.device) == -ENOTTY);
    CHECK(call(bed.device, 0xb8ff, NULL) == -ENOTTY);
    CHECK(call(bed.partition,
               older ? HL_MSHV_CREATE_VP : HL_MSHV_OLD_CREATE_VP,
               &vp) == -ENOTTY);
    CHECK(call(bed.partition, older ? HL_MSHV_RUN_VP : HL_MSHV_OLD_RUN_VP,
               &vp) == -ENOTTY);
    CHECK(call(bed.vp, older ? HL_MSHV_RUN_VP : HL_MSHV_OLD_RUN_VP, &vp) ==
          -ENOTTY);
    CHECK(call(bed.vp, older ? HL_MSHV_OLD_CREATE_VP : HL_MSHV_CREATE_VP,
               &vp) == -ENOTTY);
    CHECK(make_vp(&bed) == -EEXIST);
    CHECK(call(bed.vp, older ? HL_MSHV_OLD_RUN_VP : HL_MSHV_RUN_VP, NULL) ==
          -EFAULT);
    end(&bed);
}

static void *interrupt_soon(void *thread)
{
    usleep(50000);
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

static void ignore(int number) { (void)number; }

GUEST(loop, "1: jmp 1b");

/* A signal that is not blocked, and comes while it runs. */
static void signals_interrupt(void)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct bed bed = boot(older, loop, loop_end);
    pthread_t self = pthread_self(), other;
    struct hl_hv_message message;

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1); /* does not count */
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&other, NULL, interrupt_soon, &self) == 0);
        CHECK(run(&bed, &message) == -EINTR);
        CHECK(get(&bed, HL_HV_RIP) == CODE);
        CHECK(pthread_join(other, NULL) == 0);
    }
    end(&bed);
}

/* A child closes what it has, and the parent goes on. */
static void forks(void)
{
    struct bed bed = boot(older, count, count_end);
    int status;

    set(&bed, HL_HV_RAX + 1, 2);
    CHECK(call_out(&bed) == 1);
    pid_t child = fork();
    if (child == 0) {
        struct bed mine = boot(older, count, count_end);
        set(&mine, HL_HV_RAX + 1, 2);
        CHECK(call_out(&mine) == 1);
        fake_mshv_calls.close(mine.vp);
        fake_mshv_calls.close(mine.partition);
        fake_mshv_calls.close(mine.device);
        end(&bed);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    bed.data[0] = 3; /* pinned pages stay the parent's */
    CHECK(call_out(&bed) == 2);
    end(&bed);
}

/* Descriptors that somebody else closed, and took the numbers of. */
static void notices_closed_descriptors(void)
{
    struct bed bed = boot(older, count, count_end);
    struct hl_hv_message message;

    close(bed.vp);
    CHECK(run(&bed, &message) == -EBADF);
    close(bed.partition);
    int other = open("/dev/null", O_RDONLY);
    CHECK(other == bed.partition || other == bed.vp);
    CHECK(make_vp(&bed) == -ENOTTY || make_vp(&bed) == -EBADF);
    fake_mshv_sweep();
    CHECK(fake_mshv_count(FAKE_PARTITIONS) == 0);
    CHECK(fake_mshv_count(FAKE_DESCRIPTORS) == 1);
    CHECK(fake_mshv_calls.close(other) == 0);
    CHECK(fake_mshv_calls.close(bed.device) == 0);
    hl_map_destroy(&bed.map);
    fake_mshv_reset();
}

/* A partition lives as long as any of its descriptors. */
static void lives_until_all_are_closed(void)
{
    struct bed bed = boot(older, count, count_end);

    set(&bed, HL_HV_RAX + 1, 1);
    CHECK(fake_mshv_calls.close(bed.device) == 0);
    CHECK(fake_mshv_calls.close(bed.partition) == 0);
    CHECK(call_out(&bed) == 1);
    CHECK(fake_mshv_count(FAKE_PARTITIONS) == 1);
    CHECK(fake_mshv_calls.close(bed.vp) == 0);
    CHECK(fake_mshv_count(FAKE_PARTITIONS) == 0);
    CHECK(fake_mshv_calls.close(bed.vp) == -1 && errno == EBADF);
    hl_map_destroy(&bed.map);
}

static void on_both(void)
{
    for (int i = 0; i < 2; i++) {
        older = i;
        printf("%s interface:\n", older ? "older" : "current");
        RUN(runs_a_guest);
        RUN(stays_at_port_instructions);
        RUN(tells_what_is_outside);
        RUN(tells_a_triple_fault);
        RUN(tells_an_exception);
        RUN(keeps_registers);
        RUN(refuses_registers);
        RUN(keeps_vector_state);
        RUN(memory_is_checked);
        RUN(notices_other_frames);
        RUN(notices_code_in_data);
        RUN(has_one_interface);
        RUN(signals_interrupt);
        RUN(forks);
        RUN(notices_closed_descriptors);
        RUN(lives_until_all_are_closed);
    }
}

int main(void)
{
    int fd = fake_mshv_calls.open("/dev/mshv", O_RDWR);

    if (fd < 0) {
        printf("skipped: %s\n", strerror(errno));
        return 0;
    }
    CHECK(fake_mshv_calls.close(fd) == 0);
    fake_mshv_reset();
    on_both();
    return 0;
}
