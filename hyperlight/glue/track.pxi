# The trackers of this process, and the fault handler.

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
    cdef size_t n = hl_fault_status(status)
    return [(s.signal, bool(s.installed), bool(s.first))
            for s in status[:n]]


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
