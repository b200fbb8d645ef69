# What a snapshot holds.

@cython.no_gc_clear  # what it holds is in no cycle
cdef class SnapshotCore:
    """A snapshot, empty until a manager's take fills it."""

    cdef hl_snapshot *snapshot
    cdef bint filling  # a take is under way that will
    cdef bytes state  # of the vCPU, where it is a sandbox's
    #: A weak reference to what was current when it was taken, or None.
    cdef public object _parent
    cdef object __weakref__

    def __dealloc__(self):
        # Freeing a GiB of pages takes 40 ms: not with the GIL.  Letting it go
        # here is right: weak references are cleared by now, the collector does
        # not know this object any more, and whoever drops a reference must
        # expect any Python code to run, from a callback of one of those.
        cdef hl_snapshot *snapshot = self.snapshot
        self.snapshot = NULL
        if snapshot == NULL:
            return
        gil_wanted()
        hl_snapshot_unref(snapshot)
        gil_back()

    cdef hl_snapshot *_taken(self) except NULL:
        if self.snapshot == NULL:
            raise ValueError(
                "this Snapshot is empty: SnapshotManager.take makes one")
        return self.snapshot

    @property
    def _vcpu_state(self):
        """The processor's state as its driver keeps it, or None."""
        return self.state

    @property
    def page_count(self):
        """Number of pages."""
        return hl_snapshot_page_count(self._taken())

    @property
    def size(self):
        """Bytes of memory that the snapshot stands for."""
        return hl_snapshot_page_count(self._taken()) * hl_page_size()

    @property
    def nbytes(self):
        """Bytes that only this snapshot holds: pages and index.

        Falls as others come to share its pages, and rises as they go.
        """
        cdef hl_snapshot *s = self._taken()
        cdef size_t n
        gil_wanted()
        n = hl_snapshot_nbytes(s)
        gil_back()
        return n

    def read(self, offset, length):
        """The `length` bytes from `offset` on, as they were.

        Raises:
            IndexError: The range is not inside the snapshot.
            ValueError: `length` is negative.
        """
        cdef hl_snapshot *s = self._taken()
        size = hl_snapshot_page_count(s) * hl_page_size()
        offset, length = index(offset), index(length)
        if length < 0:
            raise ValueError(f"length={length} is negative")
        if offset < 0 or offset > size or length > size - offset:
            raise IndexError(
                f"offset={offset}, length={length} is outside of "
                f"{size} bytes")
        cdef size_t at = offset, n = length
        cdef bytes out = PyBytes_FromStringAndSize(NULL, length)
        cdef char *to = PyBytes_AS_STRING(out)
        gil_wanted()
        hl_snapshot_read(s, at, n, to)
        gil_back()
        return out

    def _diff(self, SnapshotCore other not None):
        cdef hl_snapshot *a = self._taken()
        cdef hl_snapshot *b = other._taken()
        cdef size_t n = hl_snapshot_page_count(a)
        if n != hl_snapshot_page_count(b):
            raise ValueError("the snapshots differ in size")
        cdef bytes bits = new_bits(n)
        cdef uint64_t *words = words_of(bits)
        cdef hl_pages found
        check(hl_pages_init(&found, n), "diff")
        gil_wanted()
        hl_snapshot_diff(a, b, &found)
        hl_snapshot_diff_exact(a, b, &found)
        hl_pages_read(&found, words)
        hl_pages_free(&found)
        gil_back()
        return bits
