# What a restore did; counts since a manager was made; what is alive in this
# process.

cdef extern from *:
    """
    /* As the class of a named tuple does, without its Python code. */
    static PyObject *hl_named(PyObject *type, PyObject *arguments)
    {
        return PyTuple_Type.tp_new((PyTypeObject *)type, arguments, NULL);
    }
    """
    object named "hl_named"(object type, tuple arguments)


cdef object restore_stats(const hl_applied *done, str tracker):
    cdef size_t copied = done.copied, zeroed = done.zeroed
    return named(RestoreStats, ((
        copied, zeroed, (copied + zeroed) * hl_page_size(), tracker),))


cdef dict stats_of(hl_manager *manager):
    cdef hl_manager_stats_t s
    cdef int rc
    gil_wanted()
    rc = hl_manager_stats(manager, &s)
    gil_back()
    if rc == -EBADF:
        raise ValueError("operation on a closed SnapshotManager")
    check(rc, "stats")
    return {
        "tracker": s.tracker.decode(),
        "pages": s.pages,
        "hot_pages": s.hot,
        "takes": s.counts.takes,
        "restores": s.counts.restores,
        "pages_stored": s.counts.stored,
        "pages_copied": s.counts.copied,
        "pages_zeroed": s.counts.zeroed,
        "pages_raced": s.counts.raced,
        "guesses": s.counts.guesses,
        "reopened": s.counts.reopened,
        "pages_widened": s.counts.widened,
        "collapsed": s.counts.collapsed,
        "pages_expected": s.counts.expected,
        "store_pages": s.store.pages,
        "store_nodes": s.store.nodes,
        "store_bytes": s.store.bytes,
        "store_reserved": s.store.reserved,
    }


def drop_blank_machines():
    """Give up the machines that closed sandboxes left; returns how many."""
    cdef size_t dropped
    with nogil:
        dropped = hl_machine_drop_blanks()
    return dropped


def blank_machines():
    """How many there are."""
    return hl_machine_blanks()


def counts():
    """What is alive in this process, for leak tests.

    What is kept for the next sandbox is not.
    """
    cdef size_t snapshots, stores
    hl_snapshot_counts(&snapshots, &stores)
    return {
        "mappings": hl_map_count() - hl_machine_blanks(),
        "ranges": hl_range_count(),
        "managers": hl_manager_count(),
        "snapshots": snapshots,
        "stores": stores,
        "sandboxes": hl_sandbox_count(),
    }
