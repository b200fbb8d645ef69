# csrc/track: which trackers there are, and the fault handler.

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

cdef extern from "track/fault.h" nogil:
    enum: HL_FAULT_SIGNALS
    struct hl_fault_status_t "hl_fault_status":
        int signal
        bint installed
        bint first
    void hl_fault_status(hl_fault_status_t *status)
    void hl_fault_reclaim()

cdef extern from *:
    """
    #include "inject.h"
    #ifdef HL_FAULT_INJECTION
    #define HL_CAN_FAIL 1
    #else
    #define HL_CAN_FAIL 0
    static inline void hl_inject_plan(int point, unsigned skip, unsigned count)
    {
        (void)point;
        (void)skip;
        (void)count;
    }
    #endif
    """
    bint HL_CAN_FAIL
    cdef enum hl_inject_point:
        HL_INJECT_STORE_ALLOC
        HL_INJECT_NODE_ALLOC
        HL_INJECT_ARM
        HL_INJECT_COLLECT
        HL_INJECT_UNPROTECT
        HL_INJECT_SLICE
        HL_INJECT_THREAD
        HL_INJECT_RUN
        HL_INJECT_TABLE
        HL_INJECT_QUERY
        HL_INJECT_SLAB
        HL_INJECT_LINGER
    void HL_LINGER() nogil
    void hl_inject_plan(hl_inject_point point, unsigned skip, unsigned count)


cdef const hl_tracker_ops *find_tracker(str name) except NULL:
    cdef const hl_tracker_ops *ops = hl_tracker_find(name.encode())
    if ops == NULL:
        raise ValueError(f"no tracker is called {name!r}")
    return ops


def why_not_tracked(MemoryCore memory not None, str name not None):
    """Why a tracker takes no memory of this kind: None if it does."""
    cdef char why[HL_WHY_SIZE]
    cdef hl_vma vma
    cdef const hl_tracker_ops *ops = find_tracker(name)
    cdef int rc
    memory._open()
    why[0] = 0
    rc = hl_tracker_accepts(ops, memory.at, memory.size // hl_page_size(),
                            &vma, why)
    return None if rc >= 0 else why.decode()


def fault_status():
    """``[(signal number, installed, first), ...]``"""
    cdef hl_fault_status_t status[HL_FAULT_SIGNALS]
    hl_fault_status(status)
    return [(s.signal, bool(s.installed), bool(s.first))
            for s in status[:HL_FAULT_SIGNALS]]


def reclaim_faults():
    """Go in front of handlers that were put in front of ours."""
    hl_fault_reclaim()


def followed_by_reclaim(original):
    """`original`, and then reclaim_faults(), as one step.

    Not in Python: another thread could run before the second half, and write
    to an armed page while it holds the GIL.
    """
    def wrapper(*args, **kwargs):
        try:
            return original(*args, **kwargs)
        finally:
            hl_fault_reclaim()
    return wrapper


#: True in builds whose allocations and system calls can be made to fail.
CAN_FAIL = bool(HL_CAN_FAIL)

cdef dict inject_points = {
    "store-alloc": HL_INJECT_STORE_ALLOC,
    "node-alloc": HL_INJECT_NODE_ALLOC,
    "arm": HL_INJECT_ARM,
    "collect": HL_INJECT_COLLECT,
    "unprotect": HL_INJECT_UNPROTECT,
    "slice": HL_INJECT_SLICE,
    "thread": HL_INJECT_THREAD,
    "run": HL_INJECT_RUN,
    "table": HL_INJECT_TABLE,
    "query": HL_INJECT_QUERY,
    "slab": HL_INJECT_SLAB,
    "linger": HL_INJECT_LINGER,
}


def plan_failure(str point not None, unsigned skip=0, unsigned count=1):
    """Make `count` passes of a point fail after `skip` more; tests only."""
    if not HL_CAN_FAIL:
        raise RuntimeError("built without fault injection")
    hl_inject_plan(inject_points[point], skip, count)
