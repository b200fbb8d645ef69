# A manager: its beginning, its end, its errors.


@cython.no_gc_clear  # the memory must outlive its tracker, cycles or not
cdef class ManagerOwner:
    """One region and its tracker.  Any thread may call anything at any time.

    Both this object and C record what is current and what was pushed.  C
    changes both, with the manager's lock held and perhaps without the GIL, by
    exchanging the references below (struct hl_mirror), so no exception or fork
    can come between.  With the GIL held one may be read: a reference is only
    dropped with the GIL held, after it was replaced.
    """

    cdef hl_manager *manager  # a reference, from __init__ to __dealloc__
    cdef bint starting
    cdef MemoryCore memory
    cdef const char *name_of
    cdef str name
    cdef readonly size_t page_count
    #: Which tracker was taken why, and what was tried before: name, reason.
    cdef readonly int because
    cdef readonly dict passed_over
    cdef object _current  # SnapshotCore or None
    cdef object _top  # Pushed or None

    def __init__(self, MemoryCore memory not None, str tracker, bint adaptive):
        cdef char why[HL_WHY_SIZE]
        cdef bytes name = b"" if tracker is None else tracker.encode()
        cdef const char *wanted = NULL
        cdef hl_choice choice
        cdef hl_manager *made = NULL
        cdef size_t page_count
        cdef int rc
        if self.manager != NULL or self.starting:
            raise ValueError("this manager is already set up")
        if tracker is not None:
            wanted = name
        why[0] = 0
        memory.hold()
        self.starting = True
        page_count = memory.size // hl_page_size()
        with nogil:
            rc = hl_manager_begin_with(memory.at, page_count, memory.borrowed,
                                       wanted, adaptive, &made, &choice, why)
        self.starting = False
        memory.unhold()
        if rc == 0:
            memory.managed_by(made)
            self.manager = made
            self.page_count = page_count
            hl_manager_settle(made)
            self.memory = memory
            self.because = choice.because
            self.passed_over = passed_over(&choice)
            return
        what = why.decode("utf-8", "replace")
        if choice.chosen.ops == NULL:
            refuse_tracker(&choice, tracker, what)
        tracker = choice.chosen.ops.name.decode()
        if rc == -EEXIST:
            raise TrackerOverlap(what)
        if rc == -ENOMEM:
            raise MemoryError(f"tracker={tracker!r}: {what}")
        if rc == -E2BIG or rc == -EFAULT:
            raise ValueError(f"memory: {what}")
        if rc == -EMFILE or rc == -ENFILE:
            raise OSError(-rc, f"tracker={tracker!r}: {what}")
        raise TrackerUnavailable(tracker, what)

    @property
    def tracker(self):
        """Name of the tracker in use."""
        return self._named(hl_manager_tracker(self._open()))

    cdef str _named(self, const char *name):
        if name != self.name_of:  # it changes after a fork at the most
            self.name = name.decode()
            self.name_of = name
        return self.name

    @property
    def closed(self):
        """True once tracking has ended, or where it never began."""
        return self.manager == NULL or hl_manager_ended(self.manager)

    @property
    def current(self):
        """The SnapshotCore that memory equalled at the last take or restore."""
        return <object>HL_LOAD(HL_CURRENT_OF(self))

    def close(self):
        """Stop tracking; a second call does nothing.  Waits for a call."""
        cdef hl_manager *m = self.manager
        cdef hl_mirror mirror
        if m == NULL:
            return
        given(&mirror, self, None)
        given_top(&mirror, self, None, None)
        gil_wanted()
        hl_manager_close(m, &mirror)
        gil_back()
        stack = <object>mirror.new_top
        taken_back(&mirror)
        take_apart(stack)

    def __del__(self):
        # The collector calls this before it takes anything of a cycle apart,
        # so that nothing is tracked any more when its memory goes.
        self.close()

    def __dealloc__(self):
        if self.manager != NULL:
            hl_manager_unref(self.manager)

    cdef hl_manager *_open(self) except NULL:
        if self.manager == NULL or hl_manager_ended(self.manager):
            raise ValueError("operation on a closed SnapshotManager")
        return self.manager

    cdef int _check(self, ssize_t rc, str what) except -1:
        if rc == -EBADF:
            raise ValueError("operation on a closed SnapshotManager")
        if rc == -ENODATA:
            raise ValueError("there is no current snapshot: take one first")
        if rc == -EINVAL:
            raise ValueError("the snapshot has a different size")
        if rc == -EFAULT:
            raise ValueError(
                f"{what}: part of the memory is no longer mapped")
        if rc == -EACCES:
            raise ValueError(
                f"{what}: its owner closed part of the memory "
                f"({hl_protect_call.decode()})")
        check(rc, what)
        return 0
