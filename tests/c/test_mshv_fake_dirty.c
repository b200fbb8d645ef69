/* The fake of /dev/mshv: dirty pages as Hyper-V keeps them, and what it does
 * when a switch or a plan says so. */
#include "mshv_bed.h"

/* Writes to as many pages as RCX says, and reports how often it did. */
GUEST(writer, "1: inc %eax\n"
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

static struct bed boot_writer(uint64_t pages)
{
    struct bed bed = boot(writer, writer_end);

    set(&bed, HL_HV_RAX + 1, pages);
    return bed;
}

static int track(const struct bed *bed, uint64_t value)
{
    struct hl_hv_property property = {.code = HL_HV_GPA_PAGE_ACCESS_TRACKING,
                                      .value = value};
    struct hl_mshv_hvcall hvcall = {
        .code = HL_HVCALL_SET_PARTITION_PROPERTY,
        .in_size = sizeof property,
        .in = (uintptr_t)&property,
    };
    struct hl_mshv_old_property old = {.code = HL_HV_GPA_PAGE_ACCESS_TRACKING,
                                       .value = value};

    return bed->older ? call(bed->partition, HL_MSHV_OLD_SET_PROPERTY, &old)
                      : call(bed->partition, HL_MSHV_ROOT_HVCALL, &hvcall);
}

/* Of `count` pages from `addr` on: a byte each, 1 or 0; -errno.  In the
 * bytes of the bitmap, or behind the last page, nothing is written. */
static int ask(const struct bed *bed, uint64_t addr, size_t count, int op,
               uint8_t *dirty)
{
    uint8_t bits[256 + 8];
    struct hl_mshv_access_bitmap current = {
        .type = HL_MSHV_ACCESS_DIRTY,
        .op = (uint8_t)op,
        .page_count = count,
        .gpa_page = addr / PAGE,
        .bitmap = (uintptr_t)bits,
    };
    struct hl_mshv_old_access old = {
        .count = (uint32_t)count,
        .flags = op == HL_MSHV_OP_CLEAR ? HL_MSHV_OLD_CLEAR_DIRTY
                 : op == HL_MSHV_OP_SET ? HL_MSHV_OLD_SET_DIRTY
                                        : 0,
        .gpa_page = addr / PAGE,
        .states = (uintptr_t)bits,
    };

    memset(bits, 0xcc, sizeof bits);
    memset(dirty, 0xee, count);
    int err = bed->older
                  ? call(bed->partition, HL_MSHV_OLD_GET_ACCESS, &old)
                  : call(bed->partition, HL_MSHV_GET_ACCESS_BITMAP, &current);
    size_t size = bed->older ? old.count : (count + 7) / 8;
    for (size_t i = err < 0 ? 0 : size; i < sizeof bits; i++)
        CHECK(bits[i] == 0xcc);
    for (size_t i = 0; i < (bed->older ? size : count) && err == 0; i++)
        dirty[i] = bed->older ? (bits[i] & HL_MSHV_STATE_DIRTY) != 0
                              : bits[i / 8] >> (i % 8) & 1;
    return err < 0 ? err : (int)(bed->older ? size : count);
}

/* How many of the data's pages are dirty, which are the first ones. */
static int dirty_now(const struct bed *bed, int op)
{
    uint8_t dirty[DATA_PAGES];
    int count = 0;

    CHECK(ask(bed, DATA, DATA_PAGES, op, dirty) == (int)DATA_PAGES);
    while (count < (int)DATA_PAGES && dirty[count])
        count++;
    for (size_t i = (size_t)count; i < DATA_PAGES; i++)
        CHECK(dirty[i] == 0);
    return count;
}

static void tells_what_was_written(void)
{
    struct bed bed = boot_writer(3);
    uint8_t dirty[DATA_PAGES];

    CHECK(ask(&bed, DATA, 1, HL_MSHV_OP_CLEAR, dirty) == -EIO);
    CHECK(track(&bed, 2) == -EINVAL);
    CHECK(track(&bed, 1) == 0 && track(&bed, 1) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    CHECK(call_out(&bed) == 1);
    bed.data[9 * PAGE] = 1; /* the host's writes are not found */
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 3);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    CHECK(call_out(&bed) == 2);
    /* Pages that nobody asked for stay as they are. */
    CHECK(ask(&bed, DATA + PAGE, 2, HL_MSHV_OP_CLEAR, dirty) == 2);
    CHECK(dirty[0] == 1 && dirty[1] == 1);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 1);
    end(&bed);
}

static void peeks_and_sets(void)
{
    struct bed bed = boot_writer(3);

    CHECK(track(&bed, 1) == 0);
    CHECK(call_out(&bed) == 1);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 3);
    CHECK(dirty_now(&bed, HL_MSHV_OP_NOOP) == 0);
    /* Which has set all, but in the older one. */
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == (older ? 0 : (int)DATA_PAGES));
    fake_mshv_switch(FAKE_PEEK, 1);
    CHECK(dirty_now(&bed, HL_MSHV_OP_NOOP) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_NOOP) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_SET) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_NOOP) == (int)DATA_PAGES);
    end(&bed);
}

/* Only once all is set again. */
static void stops_tracking(void)
{
    struct bed bed = boot_writer(3);
    uint8_t dirty[DATA_PAGES];

    CHECK(track(&bed, 1) == 0 && track(&bed, 0) == 0);
    CHECK(track(&bed, 1) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    CHECK(track(&bed, 0) == -EIO);
    CHECK(call_out(&bed) == 1);
    CHECK(track(&bed, 0) == -EIO);
    CHECK(dirty_now(&bed, HL_MSHV_OP_SET) == 3);
    CHECK(track(&bed, 0) == 0);
    CHECK(ask(&bed, DATA, 1, HL_MSHV_OP_CLEAR, dirty) == -EIO);
    CHECK(call_out(&bed) == 2);
    end(&bed);
}

static void queries_are_checked(void)
{
    struct bed bed = boot_writer(64);
    uint8_t dirty[DATA_PAGES + 1];
    uint8_t bits[8];
    const struct hl_mshv_access_bitmap good = {
        .type = HL_MSHV_ACCESS_DIRTY,
        .op = HL_MSHV_OP_CLEAR,
        .page_count = 1,
        .gpa_page = DATA / PAGE,
        .bitmap = (uintptr_t)bits,
    };
    struct hl_mshv_access_bitmap bad[6] = {good, good, good, good, good, good};

    CHECK(track(&bed, 1) == 0);
    CHECK(call_out(&bed) == 1);
    CHECK(ask(&bed, DATA, 0, HL_MSHV_OP_CLEAR, dirty) == -EINVAL);
    /* Where there is no memory; what was asked for before is lost. */
    CHECK(ask(&bed, DATA + PAGE, DATA_PAGES, HL_MSHV_OP_CLEAR, dirty) ==
          -EINVAL);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 1);
    bad[0].type = 2;
    bad[1].op = 3;
    bad[2].reserved[0] = 1;
    bad[3].bitmap = 0;
    bad[4].page_count = UINT64_C(1) << 40;
    bad[5].bitmap = 8;
    for (int i = 0; i < 6 && !older; i++)
        CHECK(call(bed.partition, HL_MSHV_GET_ACCESS_BITMAP, &bad[i]) ==
              (i == 4   ? -ENOMEM
               : i == 5 ? -EFAULT
                        : -EINVAL));
    end(&bed);
}

/* CLEAR of accessed clears dirty, too. */
static void accessed_is_no_better(void)
{
    struct bed bed = boot_writer(3);
    uint8_t bits[DATA_PAGES / 8];
    struct hl_mshv_access_bitmap query = {
        .op = HL_MSHV_OP_CLEAR,
        .page_count = DATA_PAGES,
        .gpa_page = DATA / PAGE,
        .bitmap = (uintptr_t)bits,
    };

    CHECK(track(&bed, 1) == 0);
    CHECK(call_out(&bed) == 1);
    if (!older) {
        CHECK(call(bed.partition, HL_MSHV_GET_ACCESS_BITMAP, &query) == 0);
        CHECK((bits[0] & 7) == 7);
        CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    }
    end(&bed);
}

static void has_its_quirks(void)
{
    struct bed bed = boot_writer(3);
    struct hl_mshv_old_access_padded padded = {.count = 1,
                                               .gpa_page = DATA / PAGE};
    uint8_t bits[2] = {0, 0xaa};
    struct hl_mshv_access_bitmap query = {
        .type = HL_MSHV_ACCESS_DIRTY,
        .op = HL_MSHV_OP_CLEAR,
        .page_count = 5,
        .gpa_page = DATA / PAGE,
        .bitmap = (uintptr_t)bits,
    };
    uint8_t dirty[DATA_PAGES];

    fake_mshv_switch(FAKE_FIRST_ALL_DIRTY, 1);
    CHECK(track(&bed, 1) == 0);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == (int)DATA_PAGES);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    if (older) {
        fake_mshv_switch(FAKE_FEWER_PAGES, 2);
        CHECK(call_out(&bed) == 1);
        CHECK(ask(&bed, DATA, 64, HL_MSHV_OP_CLEAR, dirty) == 2);
        fake_mshv_switch(FAKE_FEWER_PAGES, 0);
        CHECK(ask(&bed, DATA, 3, HL_MSHV_OP_CLEAR, dirty) == 3);
        CHECK(!dirty[0] && !dirty[1] && dirty[2]);
        padded.states = (uintptr_t)dirty;
        CHECK(call(bed.partition, HL_MSHV_OLD_GET_ACCESS_PADDED, &padded) ==
              -ENOTTY);
        fake_mshv_switch(FAKE_PADDED, 1);
        CHECK(call(bed.partition, HL_MSHV_OLD_GET_ACCESS_PADDED, &padded) ==
              0);
        CHECK(ask(&bed, DATA, 3, HL_MSHV_OP_CLEAR, dirty) == -ENOTTY);
    } else {
        fake_mshv_switch(FAKE_STRAY_BITS, 1);
        CHECK(call(bed.partition, HL_MSHV_GET_ACCESS_BITMAP, &query) == 0);
        CHECK(bits[0] == 0xe0 && bits[1] == 0xaa);
    }
    end(&bed);
}

static void counts(void)
{
    struct bed bed = boot_writer(3);
    const long before = fake_mshv_count(FAKE_HYPERCALLS);

    CHECK(track(&bed, 1) == 0);
    CHECK(fake_mshv_count(FAKE_HYPERCALLS) == before + 1);
    CHECK(call_out(&bed) == 1);
    CHECK(fake_mshv_count(FAKE_MESSAGES) == 1);
    const long calls = fake_mshv_count(FAKE_HYPERCALLS);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 3);
    CHECK(fake_mshv_count(FAKE_HYPERCALLS) == calls + 1);
    CHECK(fake_mshv_count(FAKE_CALLS + FAKE_QUERY) == 1);
    CHECK(fake_mshv_count(FAKE_PAGES_ASKED) == (long)DATA_PAGES);
    CHECK(fake_mshv_count(FAKE_PAGES_TOLD) == 3);
    end(&bed);
}

/* As a driver does: the kernel has reasons of its own for EINTR. */
static int run_through(const struct bed *bed)
{
    struct hl_hv_message message;
    int err;

    do
        err = run(bed, &message);
    while (err == -EINTR);
    return err;
}

static void fails_once(void)
{
    struct bed bed = boot_writer(3);
    struct hl_hv_message message;
    struct hl_hv_register one = {.name = HL_HV_RAX, .value.u64[0] = 41};

    fake_mshv_switch(FAKE_EINTR_ONCE, -1);
    for (int i = 0; i < 2; i++) {
        CHECK(track(&bed, 1) == -EINTR);
        CHECK(track(&bed, 1) == 0);
        const long failed = fake_mshv_count(FAKE_FAILED);
        CHECK(run(&bed, &message) == -EINTR);
        CHECK(fake_mshv_count(FAKE_FAILED) == failed + 1);
        CHECK(run_through(&bed) == 0);
    }
    fake_mshv_switch(FAKE_EINTR_ONCE, 1L << FAKE_RUN);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 3);
    CHECK(run(&bed, &message) == -EINTR);
    CHECK(run_through(&bed) == 0);
    fake_mshv_switch(FAKE_EINTR_ONCE, 0);
    fake_mshv_switch(FAKE_SPURIOUS_EVERY, 2);
    const long failed = fake_mshv_count(FAKE_FAILED);
    for (int i = 0; i < 10; i++)
        (void)run(&bed, &message);
    CHECK(fake_mshv_count(FAKE_FAILED) == failed + 5);
    fake_mshv_switch(FAKE_EAGAIN_ONCE, 1);
    if (!older) {
        CHECK(set_registers(&bed, &one, 1) == -EAGAIN);
        CHECK(track(&bed, 1) == -EAGAIN);
        CHECK(track(&bed, 1) == 0);
    }
    CHECK(set_registers(&bed, &one, 1) == 0);
    fake_mshv_switch(FAKE_EAGAIN_ONCE, 0);
    CHECK(get(&bed, HL_HV_RAX) == 41);
    end(&bed);
}

static void fails_as_planned(void)
{
    struct bed bed = boot_writer(3);
    struct hl_hv_message message;
    uint8_t dirty[DATA_PAGES];

    CHECK(track(&bed, 1) == 0);
    fake_mshv_fail(FAKE_RUN, 2, ENOMEM, false);
    CHECK(call_out(&bed) == 1);
    CHECK(fake_mshv_fail_left() == 1);
    CHECK(run(&bed, &message) == -ENOMEM);
    CHECK(fake_mshv_fail_left() == 0);
    CHECK(bed.data[0] == 1);
    fake_mshv_fail(FAKE_ANY, 1, EIO, false);
    CHECK(ask(&bed, DATA, 64, HL_MSHV_OP_CLEAR, dirty) == -EIO);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 3);
    /* After its effect: what it cleared is not told to anybody. */
    CHECK(call_out(&bed) == 2);
    fake_mshv_fail(FAKE_QUERY, 1, EFAULT, true);
    CHECK(ask(&bed, DATA, 64, HL_MSHV_OP_CLEAR, dirty) == -EFAULT);
    CHECK(dirty_now(&bed, HL_MSHV_OP_CLEAR) == 0);
    /* A partition that failed in the end is none. */
    const long alive = fake_mshv_count(FAKE_PARTITIONS);
    fake_mshv_fail(FAKE_CREATE_PARTITION, 1, ENOMEM, true);
    CHECK(make_partition(older, bed.device) == -ENOMEM);
    CHECK(fake_mshv_count(FAKE_PARTITIONS) == alive);
    fake_mshv_fail(FAKE_MAP, 1, ENOMEM, true);
    CHECK(unmap_memory(&bed, DATA, bed.data, DATA_PAGES * PAGE) == 0);
    CHECK(map_memory(&bed, DATA, bed.data, DATA_PAGES * PAGE, 1) == -ENOMEM);
    CHECK(map_memory(&bed, DATA, bed.data, DATA_PAGES * PAGE, 1) == -EEXIST);
    CHECK(fake_mshv_count(FAKE_FAILED) == 5);
    end(&bed);
}

/* The current interface's checks of hypercalls. */
static void hypercalls_are_checked(void)
{
    struct bed bed = boot(writer, writer_end);
    struct hl_hv_property property = {.code = HL_HV_GPA_PAGE_ACCESS_TRACKING,
                                      .value = 1};
    const struct hl_mshv_hvcall good = {
        .code = HL_HVCALL_SET_PARTITION_PROPERTY,
        .in_size = sizeof property,
        .in = (uintptr_t)&property,
    };
    struct hl_mshv_hvcall bad[8] = {good, good, good, good,
                                    good, good, good, good};

    bad[0].status = 1;
    bad[1].in = 0;
    bad[2].in_size = 7;
    bad[3].in_size = (uint16_t)(PAGE + 1);
    bad[4].reserved[0] = 1;
    bad[5].code = 1;
    bad[6].out = (uintptr_t)&property;
    bad[7].reps = 1;
    for (int i = 0; i < 8; i++)
        CHECK(call(bed.partition, HL_MSHV_ROOT_HVCALL, &bad[i]) == -EINVAL);
    bad[0] = good;
    CHECK(call(bed.vp, HL_MSHV_ROOT_HVCALL, &bad[0]) == -EINVAL);
    property.code = 0x00050001;
    CHECK(call(bed.partition, HL_MSHV_ROOT_HVCALL, &bad[0]) == -EIO);
    CHECK(bad[0].status != 0);
    end(&bed);
}

/* The current interface wants this said before anything else. */
static void partitions_are_initialized(void)
{
    struct bed bed = {0};
    struct hl_mshv_create_partition flags = {.flags = 1 << 9};

    fake_mshv_switch(FAKE_OLDER, 0);
    build_guest(&bed, writer, writer_end);
    bed.device = fake_mshv_calls.open("/dev/mshv", O_RDWR | O_CLOEXEC);
    CHECK(call(bed.device, HL_MSHV_CREATE_PARTITION, &flags) == -EINVAL);
    flags = (struct hl_mshv_create_partition){.isolation = 9};
    CHECK(call(bed.device, HL_MSHV_CREATE_PARTITION, &flags) == -EINVAL);
    bed.partition = make_partition(false, bed.device);
    CHECK(make_vp(&bed) == -EIO);
    CHECK(map_memory(&bed, CODE, bed.code, PAGE, 0) == -EIO);
    CHECK(call(bed.partition, HL_MSHV_INITIALIZE_PARTITION, NULL) == 0);
    CHECK(call(bed.partition, HL_MSHV_INITIALIZE_PARTITION, NULL) == 0);
    bed.vp = make_vp(&bed);
    CHECK(bed.vp >= 0);
    end(&bed);
}

static void with_each_interface(void)
{
    RUN(tells_what_was_written);
    RUN(peeks_and_sets);
    RUN(stops_tracking);
    RUN(queries_are_checked);
    RUN(accessed_is_no_better);
    RUN(has_its_quirks);
    RUN(counts);
    RUN(fails_once);
    RUN(fails_as_planned);
}

int main(void)
{
    if (!begin())
        return 0;
    on_both(with_each_interface);
    older = false; /* what only the current one has */
    RUN(hypercalls_are_checked);
    RUN(partitions_are_initialized);
    return 0;
}
