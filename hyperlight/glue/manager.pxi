# A manager: take and restore.


@cython.no_gc_clear
cdef class ManagerCore(ManagerOwner):
    """One region and its tracker."""

    def take(self, SnapshotCore into not None):
        """Fill an empty snapshot, and make it current."""
        cdef hl_mirror mirror
        given(&mirror, self, into)
        return self._take(into, &mirror)

    def push(self, SnapshotCore into not None):
        """take(), and put it on the stack, or neither."""
        cdef hl_mirror mirror
        cdef Pushed entry = Pushed.__new__(Pushed)
        entry.snapshot = into
        while True:
            top = <object>HL_LOAD(HL_TOP_OF(self))
            entry.below = top
            given(&mirror, self, into)
            given_top(&mirror, self, top, entry)
            if self._take(into, &mirror) is not None:
                return into

    cdef _take(self, SnapshotCore into, hl_mirror *mirror):
        """`into`, or None where another thread changed the stack."""
        cdef hl_manager *m = self.manager
        cdef bint empty = into.snapshot == NULL and not into.filling
        cdef int rc = -EBADF
        if m != NULL and empty:
            into.filling = True
            gil_wanted()
            rc = hl_manager_take_as(m, &into.snapshot, mirror)
            gil_back()
            into.filling = False
        before = taken_back(mirror)
        if not empty:
            raise ValueError("this Snapshot was already taken")
        if rc == -EAGAIN:
            return None
        self._check(rc, "take")
        if before is not None:
            into._parent = weak_reference(before)
        return into

    def restore(self, SnapshotCore snapshot):
        """Returns RestoreStats; None: the current snapshot."""
        cdef hl_mirror mirror
        cdef hl_done done
        self._open()
        if snapshot is None:
            self._check(self._restore(NULL, NULL, &done), "restore")
        else:
            snapshot._taken()
            given(&mirror, self, snapshot)
            rc = self._restore(snapshot.snapshot, &mirror, &done)
            taken_back(&mirror)
            self._check(rc, "restore")
        return restore_stats(&done.applied, self._named(done.tracker))

    cdef int _restore(self, hl_snapshot *snapshot, hl_mirror *mirror,
                      hl_done *done) noexcept:
        cdef int rc
        gil_wanted()
        rc = hl_manager_restore_as(self.manager, snapshot, mirror, done)
        gil_back()
        return rc

    def time_of_restore(self):
        """ns that C takes to restore what is current; for benchmarks."""
        cdef hl_done done
        self._open()
        cdef uint64_t start = hl_now()
        self._check(self._restore(NULL, NULL, &done), "restore")
        return hl_now() - start

    def pop(self):
        """restore() the last pushed snapshot and forget it, or neither."""
        cdef hl_mirror mirror
        cdef hl_done done
        cdef Pushed top
        cdef hl_snapshot *s
        cdef int rc = -EAGAIN
        self._open()
        while rc == -EAGAIN:
            found = <object>HL_LOAD(HL_TOP_OF(self))
            if found is None:
                self._open()
                raise IndexError("pop without a push")
            top = found
            s = top.snapshot._taken()
            given(&mirror, self, top.snapshot)
            given_top(&mirror, self, top, top.below)
            rc = self._restore(s, &mirror, &done)
            taken_back(&mirror)
        self._check(rc, "restore")
        return restore_stats(&done.applied, self._named(done.tracker))

    def dirty(self):
        """Bitmap of the pages that may differ from what is current."""
        cdef hl_manager *m = self._open()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        gil_wanted()
        rc = hl_manager_dirty(m, words)
        gil_back()
        self._check(rc, "dirty")
        clear_tail(bits, self.page_count)
        return bits

    def changed(self, SnapshotCore snapshot, bint everything):
        """Bitmap of the pages that differ; None for what is current."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = NULL if snapshot is None else snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        gil_wanted()
        if everything:
            rc = hl_manager_differing(m, s, words)
        else:
            rc = hl_manager_changed(m, s, words)
        gil_back()
        self._check(rc, "changed")
        return bits

    def verify(self, SnapshotCore snapshot):
        """Bitmap of the pages that the tracker missed; None as above."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = NULL if snapshot is None else snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        gil_wanted()
        rc = hl_manager_verify(m, s, words)
        gil_back()
        self._check(rc, "verify")
        return bits

    def stats(self):
        """Counts since it was made."""
        return stats_of(self._open())
