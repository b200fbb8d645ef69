# Snapshots of a guest.


@cython.no_gc_clear
cdef class SandboxState(SandboxRun):
    """A guest's memory and registers, in snapshots."""

    def take(self, token, SnapshotCore into not None):
        """Fill a snapshot, and make it current."""
        cdef hl_snapshot *taken = NULL
        cdef bytes state = PyBytes_FromStringAndSize(NULL, self.state_size)
        cdef char *to = PyBytes_AS_STRING(state)
        cdef SnapshotCore old
        cdef int rc
        if into.snapshot != NULL:
            raise ValueError("this Snapshot was already taken")
        self._enter(HL_WORK, "snapshot", token)
        gil_wanted()
        rc = hl_sandbox_take(self.sandbox, &taken, to)
        gil_back()
        old = self.current
        if rc == 0:
            into.snapshot = taken
            into.state = state
            self.current = into
        self._leave()
        if rc < 0:
            self._refuse(rc, "snapshot")

    def restore(self, token, SnapshotCore snapshot, face=None):
        """Returns RestoreStats.

        Args:
            snapshot: Of this guest, layout and driver; None: the current one.
            face: The token of the next owner; None: as before.
        """
        cdef hl_applied done
        cdef const char *state
        cdef SnapshotCore old
        cdef int rc
        if snapshot is not None and not self._fits(snapshot):
            raise ValueError("the snapshot does not fit this sandbox")
        self._enter(HL_WORK, "restore", token)
        if snapshot is None:
            snapshot = self.current
        if snapshot is None:  # never taken
            self._leave()
            raise ValueError("operation on a closed Sandbox")
        state = PyBytes_AS_STRING(snapshot.state)
        gil_wanted()
        rc = hl_sandbox_restore(self.sandbox, snapshot.snapshot, state, &done)
        gil_back()
        old = self.current
        if rc == 0:
            self.current = snapshot
            if face is not None:
                self.face = face
        self._leave()
        check(rc, "restore")
        return restore_stats(&done, self.tracker)

    cdef bint _fits(self, SnapshotCore snapshot) except -1:
        return (hl_snapshot_page_count(snapshot._taken()) == self.page_count
                and snapshot.state is not None
                and len(snapshot.state) == self.state_size)

    def changed(self, token, SnapshotCore snapshot not None, bint everything):
        """Bitmap of the pages that differ: see hl_manager_changed."""
        cdef hl_snapshot *s = snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        self._enter(HL_WORK, "changed", token)
        gil_wanted()
        if everything:
            rc = hl_manager_differing(hl_sandbox_manager(self.sandbox), s,
                                      words)
        else:
            rc = hl_manager_changed(hl_sandbox_manager(self.sandbox), s,
                                    words)
        gil_back()
        self._leave()
        check(rc, "changed")
        return bits

    def verify(self, token, SnapshotCore snapshot not None):
        """Bitmap of the pages that the tracker missed."""
        cdef hl_snapshot *s = snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        self._enter(HL_WORK, "verify", token)
        gil_wanted()
        rc = hl_manager_verify(hl_sandbox_manager(self.sandbox), s, words)
        gil_back()
        self._leave()
        check(rc, "verify")
        return bits

    def stats(self, token):
        """As ManagerCore.stats; also from inside of a call."""
        cdef bint mine
        self.refuse_fork()
        mine = self.is_calling()
        if not mine:
            self._enter(HL_WORK, "stats", token)
        try:
            return stats_of(hl_sandbox_manager(self.sandbox))
        finally:
            if not mine:
                self._leave()
