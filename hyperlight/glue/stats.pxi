# What a restore did; counts since a manager was made; what is alive in this
# process.

cdef extern from *:
    """
    /* As the class of a named tuple does, without its Python code and without
     * another tuple.  Takes the references, also if it fails. */
    static PyObject *hl_named(PyObject *type, PyObject *one, PyObject *two,
                              PyObject *three, PyObject *four)
    {
        PyTypeObject *class = (PyTypeObject *)type;
        PyObject *items[4] = {one, two, three, four};
        PyObject *made = NULL;
        if (one && two && three && four)
            made = class->tp_alloc(class, 4);
        for (int i = 0; i < 4; i++) {
            if (made)
                PyTuple_SET_ITEM(made, i, items[i]);
            else
                Py_XDECREF(items[i]);
        }
        return made;
    }
    static PyObject *hl_restore_stats(PyObject *type, size_t copied,
                                      size_t zeroed, size_t bytes,
                                      PyObject *tracker)
    {
        Py_INCREF(tracker);
        return hl_named(type, PyLong_FromSize_t(copied),
                        PyLong_FromSize_t(zeroed), PyLong_FromSize_t(bytes),
                        tracker);
    }
    """
    object hl_restore_stats(object type, size_t copied, size_t zeroed,
                            size_t bytes, object tracker)


cdef object restore_stats(const hl_applied *done, str tracker):
    return hl_restore_stats(RestoreStats, done.copied, done.zeroed, (
        done.copied + done.zeroed) * hl_page_size(), tracker)


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
