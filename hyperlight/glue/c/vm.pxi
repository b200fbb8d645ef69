# csrc/image, csrc/vm, csrc/choose: guests' files, drivers, which tracker.

cdef extern from "image/elf.h" nogil:
    enum:
        HL_ELF_SEGMENTS
    struct hl_elf_segment:
        uint64_t addr, size
        unsigned perms
    struct hl_elf:
        bint pie
        uint64_t entry, low, high, writable
        uint64_t tls_size, tls_align
        uint64_t interpreter, interpreter_size
        size_t segment_count
        hl_elf_segment segments[HL_ELF_SEGMENTS]
    int hl_elf_read(const void *file, size_t size, hl_elf *elf, char *why)
    int hl_elf_read_program(const void *file, size_t size, hl_elf *elf,
                            char *why)

cdef extern from "image/x86.h" nogil:
    enum:
        HL_PERM_READ, HL_PERM_WRITE, HL_PERM_EXECUTE, HL_PERM_BOTH

cdef extern from "vm/driver.h" nogil:
    enum:
        HL_VM_SLOTS, HL_X86_REGIONS, HL_EXIT_DETAIL
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
        char detail[HL_EXIT_DETAIL]
    struct hl_driver_ops:
        const char *name
        const char *device
        bint is_boundary
        bint host_sees_writes
        bint pins_memory
        bint is_unseen
        bint is_elsewhere
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
    size_t hl_x86_tables_size(uint64_t addr, const hl_x86_region *regions,
                              size_t count)

cdef extern from "choose.h" nogil:
    struct hl_wish:
        const hl_driver_ops *driver
        const char *name
        size_t page_count
    struct hl_candidate:
        const hl_tracker_ops *ops
    enum hl_because:
        HL_ASKED_FOR, HL_FIRST_CHOICE, HL_NEXT_CHOICE, HL_TOLD
    enum:
        HL_CANDIDATES
    struct hl_passed:
        const char *name
        char why[HL_WHY_SIZE]
    struct hl_choice:
        hl_candidate chosen
        hl_because because
        hl_passed passed[HL_CANDIDATES]
        size_t passed_count
    size_t hl_candidates(const hl_wish *wish, hl_candidate *into)
