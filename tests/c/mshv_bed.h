/* A small guest behind the fake of /dev/mshv, driven by raw calls. */
#ifndef HL_TESTS_MSHV_BED_H
#define HL_TESTS_MSHV_BED_H

#include <fcntl.h>
#include <string.h>

#include "check.h"
#include "fake/mshv/fake.h"
#include "image/x86.h"
#include "os/map.h"
#include "vm/mshv/uapi.h"

#define PAGE ((size_t)4096)
#define CODE ((uint64_t)1 << 20)
#define DATA ((uint64_t)2 << 20)
#define TABLES ((uint64_t)16 << 20)
#define DATA_PAGES ((size_t)64)
#define MOST_SET 32

/* Position-independent guests. */
#define GUEST(name, text)                                                     \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name              \
            "_end:\n.popsection\n");                                          \
    extern const char name[], name##_end[]

static bool older; /* which interface the tests use now */

/* False, after a word on it: the fake cannot run here. */
static inline bool begin(void)
{
    int fd = fake_mshv_calls.open("/dev/mshv", O_RDWR);

    if (fd < 0) {
        printf("skipped: %s\n", strerror(errno));
        return false;
    }
    CHECK(fake_mshv_calls.close(fd) == 0);
    fake_mshv_reset();
    return true;
}

static inline void on_both(void (*run)(void))
{
    for (int i = 0; i < 2; i++) {
        older = i;
        printf("%s interface:\n", older ? "older" : "current");
        run();
    }
}

struct bed {
    bool older;
    struct hl_map map;
    char *code, *data, *tables;
    size_t tables_size;
    struct hl_x86_tables at;
    int device, partition, vp;
};

static inline int call(int fd, unsigned long request, void *argument)
{
    int rc = fake_mshv_calls.ioctl(fd, request, argument);

    return rc < 0 ? -errno : rc;
}

static inline int set_registers(const struct bed *bed,
                                struct hl_hv_register *registers, size_t count)
{
    struct {
        struct hl_hv_registers_head head;
        struct hl_hv_register registers[MOST_SET];
    } in = {0};
    struct hl_mshv_hvcall hvcall = {
        .code = HL_HVCALL_SET_VP_REGISTERS,
        .reps = (uint16_t)count,
        .in_size = (uint16_t)(sizeof in.head + count * sizeof *registers),
        .in = (uintptr_t)&in,
    };
    struct hl_mshv_old_registers old = {(int32_t)count, 0,
                                        (uintptr_t)registers};

    if (bed->older)
        return call(bed->vp, HL_MSHV_OLD_SET_REGISTERS, &old);
    memcpy(in.registers, registers, count * sizeof *registers);
    return call(bed->vp, HL_MSHV_ROOT_HVCALL, &hvcall);
}

static inline int get_value(const struct bed *bed, uint32_t name,
                            union hl_hv_value *value)
{
    struct {
        struct hl_hv_registers_head head;
        uint32_t name;
    } in = {.name = name};
    struct hl_mshv_hvcall hvcall = {
        .code = HL_HVCALL_GET_VP_REGISTERS,
        .reps = 1,
        .in_size = sizeof in.head + sizeof in.name,
        .out_size = sizeof *value,
        .in = (uintptr_t)&in,
        .out = (uintptr_t)value,
    };
    struct hl_hv_register one = {.name = name};
    struct hl_mshv_old_registers old = {1, 0, (uintptr_t)&one};

    if (!bed->older)
        return call(bed->vp, HL_MSHV_ROOT_HVCALL, &hvcall);
    int rc = call(bed->vp, HL_MSHV_OLD_GET_REGISTERS, &old);
    *value = one.value;
    return rc;
}

static inline uint64_t get(const struct bed *bed, uint32_t name)
{
    union hl_hv_value value;

    CHECK(get_value(bed, name, &value) == 0);
    return value.u64[0];
}

static inline void set(const struct bed *bed, uint32_t name, uint64_t value)
{
    struct hl_hv_register one = {.name = name, .value.u64[0] = value};

    CHECK(set_registers(bed, &one, 1) == 0);
}

static inline int map_memory(const struct bed *bed, uint64_t addr, void *host,
                             size_t size, unsigned flags)
{
    struct hl_mshv_memory memory = {.size = size,
                                    .guest_pfn = addr / PAGE,
                                    .userspace_addr = (uintptr_t)host,
                                    .flags = (uint8_t)flags};
    struct hl_mshv_old_memory old = {
        .size = size,
        .guest_pfn = addr / PAGE,
        .userspace_addr = (uintptr_t)host,
        .flags =
            HL_HV_MAP_READABLE |
            (flags & HL_MSHV_MEMORY_WRITABLE ? HL_HV_MAP_WRITABLE : 0u) |
            (flags & HL_MSHV_MEMORY_EXECUTABLE ? HL_HV_MAP_EXECUTABLE : 0u),
    };

    return bed->older
               ? call(bed->partition, HL_MSHV_OLD_MAP_MEMORY, &old)
               : call(bed->partition, HL_MSHV_SET_GUEST_MEMORY, &memory);
}

static inline int unmap_memory(const struct bed *bed, uint64_t addr,
                               void *host, size_t size)
{
    struct hl_mshv_old_memory old = {.size = size,
                                     .guest_pfn = addr / PAGE,
                                     .userspace_addr = (uintptr_t)host};

    return bed->older
               ? call(bed->partition, HL_MSHV_OLD_UNMAP_MEMORY, &old)
               : map_memory(bed, addr, host, size, HL_MSHV_MEMORY_UNMAP);
}

/* Long mode at CPL 3, on the tables. */
static inline int set_mode(const struct bed *bed)
{
    const struct hl_hv_segment code = {0, UINT32_MAX, HL_X86_USER_CODE,
                                       0xa0fb};
    const struct hl_hv_segment data = {0, UINT32_MAX, HL_X86_USER_DATA,
                                       0xc0f3};
    const struct hl_hv_segment tss = {bed->at.tss, (uint32_t)bed->at.tss_limit,
                                      HL_X86_TSS, 0x8b};
    struct hl_hv_register registers[] = {
        {.name = HL_HV_CS, .value.segment = code},
        {.name = HL_HV_SS, .value.segment = data},
        {.name = HL_HV_DS, .value.segment = data},
        {.name = HL_HV_ES, .value.segment = data},
        {.name = HL_HV_FS, .value.segment = data},
        {.name = HL_HV_GS, .value.segment = data},
        {.name = HL_HV_TR, .value.segment = tss},
        {.name = HL_HV_GDTR,
         .value.table = {.limit = (uint16_t)bed->at.gdt_limit,
                         .base = bed->at.gdt}},
        {.name = HL_HV_IDTR,
         .value.table = {.limit = (uint16_t)bed->at.idt_limit,
                         .base = bed->at.idt}},
        {.name = HL_HV_CR0, .value.u64[0] = 0x80010033},
        {.name = HL_HV_CR3, .value.u64[0] = bed->at.cr3},
        {.name = HL_HV_CR4, .value.u64[0] = 0x40620},
        {.name = HL_HV_EFER, .value.u64[0] = 0xd00},
        {.name = HL_HV_XFEM, .value.u64[0] = 7},
        {.name = HL_HV_RIP, .value.u64[0] = CODE},
        {.name = HL_HV_RFLAGS, .value.u64[0] = 2},
        {.name = HL_HV_RAX + 4, .value.u64[0] = DATA + DATA_PAGES * PAGE},
    };

    return set_registers(bed, registers, HL_ARRAY_SIZE(registers));
}

static inline int make_partition(bool of_older, int device)
{
    struct hl_mshv_create_partition current = {.flags = 0};
    struct hl_mshv_old_create_partition old = {0};

    return of_older ? call(device, HL_MSHV_OLD_CREATE_PARTITION, &old)
                    : call(device, HL_MSHV_CREATE_PARTITION, &current);
}

static inline int make_vp(const struct bed *bed)
{
    struct hl_mshv_create_vp vp = {0};

    return call(bed->partition,
                bed->older ? HL_MSHV_OLD_CREATE_VP : HL_MSHV_CREATE_VP, &vp);
}

static inline void build_guest(struct bed *bed, const char *code,
                               const char *end)
{
    const struct hl_x86_region regions[] = {
        {CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
        {DATA, (DATA_PAGES + 1) * PAGE, HL_PERM_READ | HL_PERM_WRITE}};

    bed->tables_size = hl_x86_tables_size(TABLES, regions, 2);
    CHECK(hl_map_create(&bed->map, bed->tables_size + (DATA_PAGES + 1) * PAGE,
                        HL_HUGE_NEVER) == 0);
    bed->code = bed->map.addr;
    bed->data = bed->code + PAGE;
    bed->tables = bed->data + DATA_PAGES * PAGE;
    CHECK(hl_x86_build(bed->tables, bed->tables_size, TABLES, regions, 2,
                       &bed->at) == 0);
    memcpy(bed->code, code, (size_t)(end - code));
}

/* One page of data is in the tables, but there is no memory for it. */
static inline struct bed boot(const char *code, const char *end)
{
    const unsigned rw = HL_MSHV_MEMORY_WRITABLE;
    struct bed bed = {.older = older};

    fake_mshv_switch(FAKE_OLDER, older);
    build_guest(&bed, code, end);
    bed.device = fake_mshv_calls.open("/dev/mshv", O_RDWR | O_CLOEXEC);
    CHECK(bed.device >= 0);
    bed.partition = make_partition(older, bed.device);
    CHECK(bed.partition >= 0);
    if (!older)
        CHECK(call(bed.partition, HL_MSHV_INITIALIZE_PARTITION, NULL) == 0);
    CHECK(map_memory(&bed, CODE, bed.code, PAGE, HL_MSHV_MEMORY_EXECUTABLE) ==
          0);
    CHECK(map_memory(&bed, DATA, bed.data, DATA_PAGES * PAGE, rw) == 0);
    CHECK(map_memory(&bed, TABLES, bed.tables, bed.tables_size,
                     rw | HL_MSHV_MEMORY_EXECUTABLE) == 0);
    bed.vp = make_vp(&bed);
    CHECK(bed.vp >= 0);
    CHECK(set_mode(&bed) == 0);
    return bed;
}

static inline void end(struct bed *bed)
{
    CHECK(fake_mshv_calls.close(bed->vp) == 0);
    CHECK(fake_mshv_calls.close(bed->partition) == 0);
    CHECK(fake_mshv_calls.close(bed->device) == 0);
    for (int i = FAKE_PARTITIONS; i < FAKE_COUNTERS; i++)
        CHECK(fake_mshv_count(i) == 0);
    CHECK(fake_mshv_count(FAKE_VIOLATIONS) == 0);
    hl_map_destroy(&bed->map);
    fake_mshv_reset();
}

static inline int run(const struct bed *bed, struct hl_hv_message *message)
{
    memset(message, 0, sizeof *message);
    return call(bed->vp, bed->older ? HL_MSHV_OLD_RUN_VP : HL_MSHV_RUN_VP,
                message);
}

/* Run to a message of that type, and return what it begins with. */
static inline struct hl_hv_io_port_intercept leave(const struct bed *bed,
                                                   uint32_t type)
{
    struct hl_hv_io_port_intercept payload;
    struct hl_hv_message message;
    int err;

    do
        err = run(bed, &message);
    while (err == -EINTR);
    if (err < 0 || message.type != (uint32_t)type)
        fprintf(stderr, "%s, message %x\n", strerror(-err), message.type);
    CHECK(err == 0 && message.type == (uint32_t)type);
    memcpy(&payload, message.payload, sizeof payload);
    return payload;
}

/* Run to a write to HL_PORT_GUEST and step over it; returns RAX. */
static inline uint64_t call_out(const struct bed *bed)
{
    struct hl_hv_io_port_intercept io =
        leave(bed, HL_HVMSG_X64_IO_PORT_INTERCEPT);

    CHECK(io.port_number == HL_PORT_GUEST);
    CHECK(io.header.access_type == HL_HV_ACCESS_WRITE);
    CHECK(get(bed, HL_HV_RIP) == io.header.rip);
    CHECK((io.header.instruction_length & 15) == 2);
    set(bed, HL_HV_RIP, io.header.rip + (io.header.instruction_length & 15));
    return io.rax;
}

#endif
