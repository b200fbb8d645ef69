# csrc/track: trackers, ranges, the fault handler.

cdef extern from "track/track.h" nogil:
    struct hl_tracker_ops:
        const char *name
        bint kernel_writes
        bint arms
        bint splits_mappings
        bint uses_signal
        int (*probe)(char *why) noexcept nogil
    const hl_tracker_ops *const hl_trackers[]
    const size_t hl_tracker_count
    const hl_tracker_ops *hl_tracker_find(const char *name)
    int hl_tracker_accepts(const hl_tracker_ops *ops, const void *addr,
                           size_t page_count, hl_vma *vma, char *why)

cdef extern from "track/range.h" nogil:
    size_t hl_range_count()

cdef extern from "track/mappings.h" nogil:
    bint hl_mappings_are_open(const void *memory, size_t size)

cdef extern from "track/fault.h" nogil:
    enum: HL_FAULT_SIGNALS
    struct hl_fault_status_t "hl_fault_status":
        int signal
        bint installed
        bint first
    size_t hl_fault_status(hl_fault_status_t *status)
    void hl_fault_reclaim()
