/* The two interfaces of /dev/mshv, as the kernel and the hypervisor define
 * them: numbers and layouts, and nothing of ours.
 *
 * Current: include/uapi/linux/mshv.h and include/hyperv/ of Linux 6.15.
 * Older: what Microsoft's own kernels had before; known from the bindings of
 * rust-vmm/mshv before 0.3.  It differs in numbers, in how memory is mapped
 * and registers are moved, and in how dirty pages are told.
 *
 * Names are those of the headers, after HL_. */
#ifndef HL_VM_MSHV_UAPI_H
#define HL_VM_MSHV_UAPI_H

#include <sys/ioctl.h>

#include "base.h"

#define HL_MSHV_PAGE ((size_t)4096)

struct hl_hv_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attributes; /* as in bits 40 to 55 of a descriptor */
};

struct hl_hv_table {
    uint16_t pad[3];
    uint16_t limit;
    uint64_t base;
};

union hl_hv_value {
    uint64_t u64[2];
    struct hl_hv_segment segment;
    struct hl_hv_table table;
};

struct hl_hv_register {
    uint32_t name;
    uint32_t reserved1;
    uint64_t reserved2;
    union hl_hv_value value;
};

_Static_assert(sizeof(struct hl_hv_segment) == 16, "hvgdk_mini.h");
_Static_assert(sizeof(struct hl_hv_table) == 16, "hvgdk_mini.h");
_Static_assert(sizeof(struct hl_hv_register) == 32, "hvgdk_mini.h");

/* Names of registers. */
enum {
    HL_HV_PENDING_INTERRUPTION = 0x00010002,
    HL_HV_INTERRUPT_STATE = 0x00010003,
    HL_HV_PENDING_EVENT0 = 0x00010004,
    HL_HV_RAX = 0x00020000, /* to R15, as instructions number them */
    HL_HV_RIP = 0x00020010,
    HL_HV_RFLAGS = 0x00020011,
    HL_HV_CR0 = 0x00040000,
    HL_HV_CR2 = 0x00040001,
    HL_HV_CR3 = 0x00040002,
    HL_HV_CR4 = 0x00040003,
    HL_HV_XFEM = 0x00040005, /* XCR0 */
    HL_HV_DR0 = 0x00050000,
    HL_HV_DR1 = 0x00050001,
    HL_HV_DR2 = 0x00050002,
    HL_HV_DR3 = 0x00050003,
    HL_HV_DR6 = 0x00050004,
    HL_HV_DR7 = 0x00050005,
    HL_HV_ES = 0x00060000,
    HL_HV_CS = 0x00060001,
    HL_HV_SS = 0x00060002,
    HL_HV_DS = 0x00060003,
    HL_HV_FS = 0x00060004,
    HL_HV_GS = 0x00060005,
    HL_HV_LDTR = 0x00060006,
    HL_HV_TR = 0x00060007,
    HL_HV_IDTR = 0x00070000,
    HL_HV_GDTR = 0x00070001,
    HL_HV_EFER = 0x00080001,
    HL_HV_KERNEL_GS_BASE = 0x00080002,
    HL_HV_PAT = 0x00080004,
    HL_HV_SYSENTER_CS = 0x00080005,
    HL_HV_SYSENTER_EIP = 0x00080006,
    HL_HV_SYSENTER_ESP = 0x00080007,
    HL_HV_STAR = 0x00080008,
    HL_HV_LSTAR = 0x00080009,
    HL_HV_CSTAR = 0x0008000a,
    HL_HV_SFMASK = 0x0008000b,
    HL_HV_TSC_AUX = 0x0008007b,
};

/* Messages: why a guest left. */
#define HL_HVMSG_UNMAPPED_GPA 0x80000000u
#define HL_HVMSG_GPA_INTERCEPT 0x80000001u
#define HL_HVMSG_UNRECOVERABLE_EXCEPTION 0x80000021u
#define HL_HVMSG_X64_IO_PORT_INTERCEPT 0x80010000u

struct hl_hv_message {
    uint32_t type;
    uint8_t payload_size;
    uint8_t flags;
    uint8_t reserved[2];
    uint64_t sender;
    uint8_t payload[240];
};

enum { HL_HV_ACCESS_READ, HL_HV_ACCESS_WRITE, HL_HV_ACCESS_EXECUTE };

/* What the payload of each of them begins with. */
struct hl_hv_intercept {
    uint32_t vp_index;
    uint8_t instruction_length; /* in bits 0 to 3 */
    uint8_t access_type;
    uint16_t execution_state; /* CPL in bits 0 and 1 */
    struct hl_hv_segment cs;
    uint64_t rip, rflags;
};

#define HL_HV_IO_SIZE 7   /* bits of access_info: bytes */
#define HL_HV_IO_STRING 8 /* INS or OUTS */
#define HL_HV_IO_REP 16

struct hl_hv_io_port_intercept {
    struct hl_hv_intercept header;
    uint16_t port_number;
    uint8_t access_info;
    uint8_t instruction_byte_count;
    uint32_t reserved;
    uint64_t rax;
    uint8_t instruction_bytes[16];
    struct hl_hv_segment ds, es;
    uint64_t rcx, rsi, rdi;
};

struct hl_hv_memory_intercept {
    struct hl_hv_intercept header;
    uint32_t cache_type;
    uint8_t instruction_byte_count;
    uint8_t access_info;
    uint8_t tpr_priority;
    uint8_t reserved;
    uint64_t gva, gpa;
    uint8_t instruction_bytes[16];
};

_Static_assert(sizeof(struct hl_hv_message) == 256, "hvgdk_mini.h");
_Static_assert(sizeof(struct hl_hv_intercept) == 40, "hvhdk.h");
_Static_assert(sizeof(struct hl_hv_io_port_intercept) == 128, "hvhdk.h");
_Static_assert(offsetof(struct hl_hv_io_port_intercept, rax) == 48, "hvhdk.h");
_Static_assert(sizeof(struct hl_hv_memory_intercept) == 80, "hvhdk.h");
_Static_assert(offsetof(struct hl_hv_memory_intercept, gpa) == 56, "hvhdk.h");

/* Hypercalls, by MSHV_ROOT_HVCALL; the kernel fills in the partition. */
#define HL_HVCALL_SET_PARTITION_PROPERTY 0x45
#define HL_HVCALL_GET_VP_REGISTERS 0x50
#define HL_HVCALL_SET_VP_REGISTERS 0x51
#define HL_HV_GPA_PAGE_ACCESS_TRACKING 0x00050005 /* a property: 1 is on */

struct hl_hv_property {
    uint64_t partition;
    uint32_t code, padding;
    uint64_t value;
};

struct hl_hv_registers_head { /* names or registers follow */
    uint64_t partition;
    uint32_t vp_index;
    uint8_t vtl, reserved8;
    uint16_t reserved16;
};

_Static_assert(sizeof(struct hl_hv_property) == 24, "hvhdk.h");
_Static_assert(sizeof(struct hl_hv_registers_head) == 16, "hvgdk_mini.h");

/* Both interfaces. */
struct hl_mshv_create_vp {
    uint32_t vp_index;
};

struct hl_mshv_vp_state {
    uint8_t type;
    uint8_t reserved[3];
    uint32_t size; /* whole pages; afterwards, what there is */
    uint64_t buffer;
};
#define HL_MSHV_STATE_XSAVE 1

/* The current one. */
struct hl_mshv_create_partition {
    uint64_t flags, isolation;
};

struct hl_mshv_memory {
    uint64_t size, guest_pfn, userspace_addr;
    uint8_t flags;
    uint8_t reserved[7];
};
#define HL_MSHV_MEMORY_WRITABLE 1
#define HL_MSHV_MEMORY_EXECUTABLE 2
#define HL_MSHV_MEMORY_UNMAP 4

struct hl_mshv_access_bitmap {
    uint8_t type, op;
    uint8_t reserved[6];
    uint64_t page_count, gpa_page, bitmap;
};
#define HL_MSHV_ACCESS_DIRTY 1
#define HL_MSHV_OP_NOOP 0 /* which sets: never used */
#define HL_MSHV_OP_CLEAR 1
#define HL_MSHV_OP_SET 2

struct hl_mshv_hvcall {
    uint16_t code, reps, in_size, out_size, status;
    uint8_t reserved[6];
    uint64_t in, out;
};

#define HL_MSHV_CREATE_PARTITION                                              \
    _IOW(0xb8, 0x00, struct hl_mshv_create_partition)
#define HL_MSHV_INITIALIZE_PARTITION _IO(0xb8, 0x00)
#define HL_MSHV_CREATE_VP _IOW(0xb8, 0x01, struct hl_mshv_create_vp)
#define HL_MSHV_SET_GUEST_MEMORY _IOW(0xb8, 0x02, struct hl_mshv_memory)
#define HL_MSHV_GET_ACCESS_BITMAP                                             \
    _IOWR(0xb8, 0x06, struct hl_mshv_access_bitmap)
#define HL_MSHV_ROOT_HVCALL _IOWR(0xb8, 0x07, struct hl_mshv_hvcall)
#define HL_MSHV_RUN_VP _IOR(0xb8, 0x00, struct hl_hv_message)
#define HL_MSHV_GET_VP_STATE _IOWR(0xb8, 0x01, struct hl_mshv_vp_state)
#define HL_MSHV_SET_VP_STATE _IOWR(0xb8, 0x02, struct hl_mshv_vp_state)

_Static_assert(HL_MSHV_CREATE_PARTITION == 0x4010b800, "linux/mshv.h");
_Static_assert(HL_MSHV_INITIALIZE_PARTITION == 0x0000b800, "linux/mshv.h");
_Static_assert(HL_MSHV_CREATE_VP == 0x4004b801, "linux/mshv.h");
_Static_assert(HL_MSHV_SET_GUEST_MEMORY == 0x4020b802, "linux/mshv.h");
_Static_assert(HL_MSHV_GET_ACCESS_BITMAP == 0xc020b806, "linux/mshv.h");
_Static_assert(HL_MSHV_ROOT_HVCALL == 0xc020b807, "linux/mshv.h");
_Static_assert(HL_MSHV_RUN_VP == 0x8100b800, "linux/mshv.h");
_Static_assert(HL_MSHV_GET_VP_STATE == 0xc010b801, "linux/mshv.h");
_Static_assert(HL_MSHV_SET_VP_STATE == 0xc010b802, "linux/mshv.h");

/* The older one. */
struct hl_mshv_old_create_partition {
    uint64_t flags;
    uint64_t disabled_features[2], disabled_xsave;
    uint64_t synthetic_features, isolation;
};

struct hl_mshv_old_memory {
    uint64_t size, guest_pfn, userspace_addr;
    uint32_t flags, padding;
};
#define HL_HV_MAP_READABLE 1
#define HL_HV_MAP_WRITABLE 2
#define HL_HV_MAP_EXECUTABLE 12

struct hl_mshv_old_registers {
    int32_t count, padding;
    uint64_t registers; /* struct hl_hv_register[count] */
};

struct hl_mshv_old_property {
    uint32_t code, padding;
    uint64_t value;
};

/* A byte a page: bit 0 accessed, bit 1 dirty.  The kernel had it packed at
 * first, and then padded. */
struct hl_mshv_old_access {
    uint32_t count; /* afterwards, how many were answered */
    uint64_t flags, gpa_page, states;
} __attribute__((packed));

struct hl_mshv_old_access_padded {
    uint32_t count, padding;
    uint64_t flags, gpa_page, states;
};
#define HL_MSHV_OLD_CLEAR_DIRTY 4
#define HL_MSHV_OLD_SET_DIRTY 8
#define HL_MSHV_STATE_DIRTY 2

#define HL_MSHV_OLD_CREATE_PARTITION                                          \
    _IOW(0xb8, 0x01, struct hl_mshv_old_create_partition)
#define HL_MSHV_OLD_MAP_MEMORY _IOW(0xb8, 0x02, struct hl_mshv_old_memory)
#define HL_MSHV_OLD_UNMAP_MEMORY _IOW(0xb8, 0x03, struct hl_mshv_old_memory)
#define HL_MSHV_OLD_CREATE_VP _IOW(0xb8, 0x04, struct hl_mshv_create_vp)
#define HL_MSHV_OLD_GET_REGISTERS                                             \
    _IOWR(0xb8, 0x05, struct hl_mshv_old_registers)
#define HL_MSHV_OLD_SET_REGISTERS                                             \
    _IOW(0xb8, 0x06, struct hl_mshv_old_registers)
#define HL_MSHV_OLD_RUN_VP _IOR(0xb8, 0x07, struct hl_hv_message)
#define HL_MSHV_OLD_GET_VP_STATE _IOWR(0xb8, 0x0a, struct hl_mshv_vp_state)
#define HL_MSHV_OLD_SET_VP_STATE _IOWR(0xb8, 0x0b, struct hl_mshv_vp_state)
#define HL_MSHV_OLD_SET_PROPERTY _IOW(0xb8, 0x0c, struct hl_mshv_old_property)
#define HL_MSHV_OLD_GET_ACCESS _IOWR(0xb8, 0x12, struct hl_mshv_old_access)
#define HL_MSHV_OLD_GET_ACCESS_PADDED                                         \
    _IOWR(0xb8, 0x12, struct hl_mshv_old_access_padded)

_Static_assert(HL_MSHV_OLD_CREATE_PARTITION == 0x4030b801, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_MAP_MEMORY == 0x4020b802, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_UNMAP_MEMORY == 0x4020b803, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_CREATE_VP == 0x4004b804, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_GET_REGISTERS == 0xc010b805, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_SET_REGISTERS == 0x4010b806, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_RUN_VP == 0x8100b807, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_GET_VP_STATE == 0xc010b80a, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_SET_VP_STATE == 0xc010b80b, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_SET_PROPERTY == 0x4010b80c, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_GET_ACCESS == 0xc01cb812, "mshv-bindings");
_Static_assert(HL_MSHV_OLD_GET_ACCESS_PADDED == 0xc020b812, "mshv-bindings");

#endif
