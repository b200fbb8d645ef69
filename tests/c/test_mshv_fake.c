/* The fake of /dev/mshv, before anything is tested with it. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mshv_bed.h"

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
    struct bed bed = boot(count, count_end);

    set(&bed, HL_HV_RAX + 1, 3);
    for (uint64_t i = 1; i <= 50; i++)
        CHECK(call_out(&bed) == i);
    set(&bed, HL_HV_CR3, get(&bed, HL_HV_CR3)); /* and TR stays as it is */
    CHECK(call_out(&bed) == 51);
    CHECK(bed.data[0] == 51 && bed.data[2 * PAGE] == 51);
    CHECK(bed.data[3 * PAGE] == 0);
    /* Who does not step over it meets it again. */
    for (int i = 0; i < 3; i++) {
        struct hl_hv_io_port_intercept io =
            leave(&bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);
        CHECK(io.rax == 52 && io.rcx == 3);
        CHECK(get(&bed, HL_HV_RIP) == io.header.rip);
        CHECK(bed.code[io.header.rip - CODE] == (char)0xe6);
        CHECK(io.instruction_bytes[0] == 0xe6);
        CHECK((io.header.execution_state & 3) == 3);
    }
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
    struct bed bed = boot(count, count_end);
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
    struct bed bed = boot(count, count_end);
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
    struct bed bed = boot(vector, vector_end);
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
    for (int i = 0; i < 5; i++) {
        s = good;
        s.size = i == 0 ? 100 : i == 1 ? 0 : s.size;
        s.buffer += i == 2 ? 8 : 0;
        s.reserved[1] = i == 3;
        s.type = i == 4 ? 9 : s.type;
        CHECK(call(bed.vp, get_state, &s) == -EINVAL);
    }
    free(area);
    end(&bed);
}

static void memory_is_checked(void)
{
    struct bed bed = boot(count, count_end);
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
        struct bed bed = boot(count, count_end);
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

static void has_one_interface(void)
{
    struct bed bed = boot(count, count_end);
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

static const struct bed *busy;
static atomic_bool done, inside;

/* While it runs, and then end that. */
static void *use_partition(void *thread)
{
    char *more = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const uint64_t at = (uint64_t)64 << 20;
    struct {
        struct hl_hv_registers_head head;
        uint32_t name;
    } in = {.name = HL_HV_RIP};
    union hl_hv_value value;
    struct hl_mshv_hvcall hvcall = {
        .code = HL_HVCALL_GET_VP_REGISTERS,
        .reps = 1,
        .in_size = sizeof in,
        .out_size = sizeof value,
        .in = (uintptr_t)&in,
        .out = (uintptr_t)&value,
    };

    usleep(50000);
    CHECK(map_memory(busy, at, more, PAGE, 0) == 0);
    CHECK(unmap_memory(busy, at, more, PAGE) == 0);
    while (!busy->older &&
           call(busy->partition, HL_MSHV_ROOT_HVCALL, &hvcall) != -EIO) {
        hvcall.reps = 1; /* it was between two runs */
        hvcall.status = 0;
    }
    munmap(more, PAGE);
    for (atomic_store(&done, true); atomic_load(&inside); usleep(1000))
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

static void ignore(int number) { (void)number; }

GUEST(loop, "1: jmp 1b");

/* A signal that is not blocked, and comes while it runs. */
static void signals_interrupt(void)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct bed bed = boot(loop, loop_end);
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

/* RUN_VP holds the vp, and not the partition. */
static void partition_is_free_meanwhile(void)
{
    struct sigaction action = {.sa_handler = ignore};
    struct bed bed = boot(loop, loop_end);
    pthread_t self = pthread_self(), other;
    struct hl_hv_message message;

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    busy = &bed;
    for (int i = 0; i < 3; i++) {
        atomic_store(&done, false);
        atomic_store(&inside, true);
        CHECK(pthread_create(&other, NULL, use_partition, &self) == 0);
        while (!atomic_load(&done))
            CHECK(run(&bed, &message) == -EINTR);
        atomic_store(&inside, false);
        CHECK(pthread_join(other, NULL) == 0);
    }
    CHECK(get(&bed, HL_HV_RIP) == CODE);
    end(&bed);
}

/* Partitions of several threads have nothing to do with each other. */
static void *run_one(void *unused)
{
    for (int round = 0; round < 3; round++) {
        struct bed bed = boot(count, count_end);
        set(&bed, HL_HV_RAX + 1, 1);
        for (uint64_t i = 1; i <= 20; i++)
            CHECK(call_out(&bed) == i);
        CHECK(fake_mshv_calls.close(bed.partition) == 0);
        CHECK(fake_mshv_calls.close(bed.device) == 0);
        CHECK(fake_mshv_calls.close(bed.vp) == 0);
        hl_map_destroy(&bed.map);
    }
    return unused;
}

static void runs_on_threads(void)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, run_one, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = FAKE_PARTITIONS; i < FAKE_COUNTERS; i++)
        CHECK(fake_mshv_count(i) == 0);
}

/* A child closes what it has, and the parent goes on. */
static void forks(void)
{
    struct bed bed = boot(count, count_end);
    int status, ends[2];
    char byte;

    set(&bed, HL_HV_RAX + 1, 2);
    CHECK(call_out(&bed) == 1);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct bed mine = boot(count, count_end);
        set(&mine, HL_HV_RAX + 1, 2);
        CHECK(call_out(&mine) == 1);
        CHECK(read(ends[0], &byte, 1) == 1);
        fake_mshv_calls.close(mine.vp);
        fake_mshv_calls.close(mine.partition);
        fake_mshv_calls.close(mine.device);
        end(&bed); /* which finds nothing left */
        _exit(0);
    }
    bed.data[9 * PAGE] = 3; /* pinned pages stay the parent's */
    CHECK(write(ends[1], "", 1) == 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(call_out(&bed) == 2);
    close(ends[0]);
    close(ends[1]);
    end(&bed);
}

/* Descriptors that somebody else closed, and took the numbers of. */
static void notices_closed_descriptors(void)
{
    struct bed bed = boot(count, count_end);
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
    struct bed bed = boot(count, count_end);

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

static void with_each_interface(void)
{
    RUN(runs_a_guest);
    RUN(keeps_registers);
    RUN(refuses_registers);
    RUN(keeps_vector_state);
    RUN(memory_is_checked);
    RUN(notices_other_frames);
    RUN(has_one_interface);
    RUN(signals_interrupt);
    RUN(partition_is_free_meanwhile);
    RUN(runs_on_threads);
    RUN(forks);
    RUN(notices_closed_descriptors);
    RUN(lives_until_all_are_closed);
}

int main(void)
{
    if (!begin())
        return 0;
    on_both(with_each_interface);
    return 0;
}
