# csrc/vm: drivers, guests' files, page tables.

cdef extern from "image/elf.h" nogil:
    struct hl_elf_segment:
        uint64_t addr, size
        unsigned perms
    struct hl_elf:
        bint pie
        uint64_t entry, low, high, writable
        uint64_t tls_size, tls_align
        size_t segment_count
        hl_elf_segment segments[16]
    int hl_elf_read(const void *file, size_t size, hl_elf *elf, char *why)

cdef extern from "vm/driver.h" nogil:
    enum:
        HL_VM_SLOTS
    struct hl_x86_region:
        uint64_t addr, size
        unsigned perms
    struct hl_x86_frame:
        uint64_t vector, error, rip
    cdef enum hl_exit_reason:
        HL_EXIT_CALL, HL_EXIT_EXCEPTION, HL_EXIT_SHUTDOWN
        HL_EXIT_BAD_ACCESS, HL_EXIT_KICKED, HL_EXIT_INTERRUPTED
        HL_EXIT_TIMEOUT, HL_EXIT_UNKNOWN
    struct hl_exit:
        hl_exit_reason reason
        uint64_t value
        hl_x86_frame frame
        uint64_t cr2
        char detail[112]
    struct hl_driver_ops:
        const char *name
        const char *device
        bint is_boundary
        bint host_sees_writes
        const hl_vm_tracker *trackers
        size_t tracker_count
    struct hl_vm_tracker:
        const hl_tracker_ops *ops
    int hl_driver_try(const hl_driver_ops *ops, const hl_vm_tracker *tracker,
                      char *why)
    const hl_driver_ops *const hl_drivers[]
    const size_t hl_driver_count
    const hl_driver_ops *hl_driver_find(const char *name)
    void hl_emulator_set_library(const char *path)
    enum:
        HL_X86_REGIONS
    size_t hl_x86_tables_size(uint64_t addr, const hl_x86_region *regions,
                              size_t count)

cdef extern from "<errno.h>":
    int EMFILE, ENFILE, EAGAIN, EINTR


def set_emulator_library(str path not None):
    """Where the emulator is; remembered for the life of the process."""
    hl_emulator_set_library(os.fsencode(path))


cdef int read_elf(bytes file, hl_elf *elf) except -1:
    cdef char why[HL_WHY_SIZE]
    cdef const char *data = PyBytes_AS_STRING(file)
    cdef size_t size = len(file)
    cdef int rc
    why[0] = 0
    with nogil:
        rc = hl_elf_read(data, size, elf, why)
    if rc < 0:
        raise ValueError(f"not a guest: {why.decode()}")
    return 0


def elf_facts(bytes file not None):
    """What a guest's file asks for, as a dict; ValueError: it is no guest."""
    cdef hl_elf elf
    read_elf(file, &elf)
    return {
        "pie": bool(elf.pie),
        "entry": elf.entry,
        "low": elf.low,
        "high": elf.high,
        "writable": elf.writable,
        "tls_size": elf.tls_size,
        "tls_align": elf.tls_align,
        "segments": [(s.addr, s.size, s.perms)
                     for s in elf.segments[:elf.segment_count]],
    }


cdef size_t fill_regions(hl_x86_region *into, regions) except 0:
    cdef size_t n = 0
    if len(regions) > HL_X86_REGIONS:
        raise ValueError(f"{len(regions)} regions are too many")
    for addr, size, perms in regions:
        into[n] = hl_x86_region(addr, size, perms)
        n += 1
    return n


def tables_size(addr, regions):
    """Bytes of page tables and the like that regions need."""
    cdef hl_x86_region list_[32]
    cdef size_t n = fill_regions(list_, regions)
    return hl_x86_tables_size(addr, list_, n)
