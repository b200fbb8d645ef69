# What is current and what was pushed, exchanged by C (struct hl_mirror).

# Where an object keeps a reference: Cython itself takes no such address.
cdef extern from *:
    """
    #define HL_CURRENT_OF(core) ((void **)&(core)->_current)
    #define HL_TOP_OF(core) ((void **)&(core)->_top)
    #define HL_LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    """
    void **HL_CURRENT_OF(ManagerOwner core)
    void **HL_TOP_OF(ManagerOwner core)
    void *HL_LOAD(void **at)


@cython.final
@cython.trashcan(True)  # a stack may be deep
cdef class Pushed:
    """One entry of a manager's stack; never changed once it is on it."""

    cdef SnapshotCore snapshot
    cdef object below  # Pushed or None


cdef int given(hl_mirror *mirror, ManagerOwner core, object current) except -1:
    """`current` goes into the record; the stack stays as it is."""
    Py_INCREF(current)
    mirror.current = HL_CURRENT_OF(core)
    mirror.new_current = <void *>current
    mirror.top = NULL
    return 0


cdef int given_top(hl_mirror *mirror, ManagerOwner core, object old,
                   object new) except -1:
    """`new` goes on top as well, if `old` is what is there."""
    Py_INCREF(new)
    mirror.top = HL_TOP_OF(core)
    mirror.old_top = <void *>old
    mirror.new_top = <void *>new
    return 0


cdef object taken_back(hl_mirror *mirror):
    """Drop what a call left: the old values, or the new ones if it failed.

    Returns the first of them.
    """
    cdef object current = <object>mirror.new_current
    cdef object top = None
    if mirror.top != NULL:
        top = <object>mirror.new_top
        Py_DECREF(top)
    Py_DECREF(current)
    return current


cdef int take_apart(object top) except -1:
    """Drop a stack that is no longer reachable, one entry at a time.

    Dropping a deep one at once would keep other threads waiting.
    """
    cdef object below
    cdef int count = 0
    while top is not None:
        below = (<Pushed>top).below
        (<Pushed>top).below = None
        top = below
        count += 1
        if count % 256 == 0:
            with nogil:
                HL_LINGER()
    return 0
