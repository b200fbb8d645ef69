# csrc/manager: take and restore.

cimport cython

cdef extern from "snapshot/store.h" nogil:
    struct hl_store_usage:
        size_t pages
        size_t nodes
        size_t bytes
        size_t reserved

cdef extern from "snapshot/apply.h" nogil:
    struct hl_applied:
        size_t copied
        size_t zeroed

cdef extern from "manager.h" nogil:
    struct hl_manager:
        pass
    struct hl_manager_stats_t "hl_manager_stats":
        const char *tracker
        size_t pages, hot, takes, restores, stored, copied, zeroed
        size_t raced, guesses, reopened, collapsed, expected
        hl_store_usage store
    int hl_manager_new(void *memory, size_t page_count,
                       const hl_tracker_ops *tracker, bint adaptive,
                       hl_manager **out, char *why)
    void hl_manager_free(hl_manager *manager)
    const char *hl_manager_tracker(const hl_manager *manager)
    int hl_manager_take(hl_manager *manager, hl_snapshot **out)
    int hl_manager_restore(hl_manager *manager, hl_snapshot *snapshot,
                           hl_applied *done)
    void hl_manager_expect(hl_manager *manager, hl_run run)
    int hl_manager_dirty(hl_manager *manager, uint64_t *bits)
    int hl_manager_changed(hl_manager *manager, const hl_snapshot *snapshot,
                           uint64_t *bits)
    ssize_t hl_manager_verify(hl_manager *manager,
                              const hl_snapshot *snapshot, uint64_t *missed)
    void hl_manager_stats(hl_manager *manager, hl_manager_stats_t *stats)
    size_t hl_manager_page_count(const hl_manager *manager)
    size_t hl_manager_count()


@cython.no_gc_clear  # the memory must outlive its tracker, cycles or not
cdef class ManagerCore:
    """One region and its tracker.  The caller sees to one call at a time."""

    cdef hl_manager *manager
    cdef MemoryCore memory
    cdef const char *name_of
    cdef str name
    cdef readonly size_t page_count
    #: The SnapshotCore that memory equalled at the last take or restore.
    #: Changed together with the C side's, with no Python code in between.
    cdef readonly SnapshotCore current

    def __init__(self, MemoryCore memory not None, str tracker not None,
                 bint adaptive):
        cdef char why[HL_WHY_SIZE]
        cdef const hl_tracker_ops *ops = find_tracker(tracker)
        cdef int rc
        if self.manager != NULL:
            raise ValueError("this manager is already set up")
        memory._open()
        self.page_count = memory.size // hl_page_size()
        why[0] = 0
        with nogil:
            rc = hl_manager_new(memory.at, self.page_count, ops, adaptive,
                                &self.manager, why)
        if rc == 0:
            self.memory = memory
            memory.users += 1
        elif rc == -EEXIST:
            raise TrackerOverlap(why.decode())
        elif rc == -ENOMEM:
            raise MemoryError(f"tracker={tracker!r}: {why.decode()}")
        elif rc == -EMFILE or rc == -ENFILE:
            raise OSError(-rc, f"tracker={tracker!r}: {why.decode()}")
        else:
            raise TrackerUnavailable(tracker, why.decode())

    @property
    def tracker(self):
        """Name of the tracker in use."""
        cdef const char *name = hl_manager_tracker(self._open())
        if name != self.name_of:  # it changes after a fork at the most
            self.name_of = name
            self.name = name.decode()
        return self.name

    def close(self):
        """Stop tracking; a second call does nothing."""
        self._release()

    cdef void _release(self) noexcept:
        if self.manager == NULL:
            return
        hl_manager_free(self.manager)
        self.manager = NULL
        self.memory.users -= 1
        self.current = None

    def __dealloc__(self):
        self._release()

    cdef hl_manager *_open(self) except NULL:
        if self.manager == NULL:
            raise ValueError("operation on a closed SnapshotManager")
        return self.manager

    def take(self, SnapshotCore into not None):
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *taken = NULL
        cdef int rc
        if into.snapshot != NULL:
            raise ValueError("this Snapshot is taken already")
        with nogil:
            rc = hl_manager_take(m, &taken)
        check(rc, "take")
        into.snapshot = taken
        self.current = into

    def restore(self, SnapshotCore snapshot not None):
        """Returns what RestoreStats is made of."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = self._fitting(snapshot)
        cdef hl_applied done
        cdef int rc
        with nogil:
            rc = hl_manager_restore(m, s, &done)
        check(rc, "restore")
        self.current = snapshot
        return (done.copied, done.zeroed,
                (done.copied + done.zeroed) * hl_page_size(), self.tracker)

    cdef hl_snapshot *_fitting(self, SnapshotCore snapshot) except NULL:
        cdef hl_snapshot *s = snapshot._taken()
        if hl_snapshot_page_count(s) != self.page_count:
            raise ValueError("the snapshot is of another size")
        return s

    def expect(self, size_t offset, size_t length):
        """These bytes, at least one, are about to be written."""
        cdef hl_manager *m = self._open()
        cdef size_t page = hl_page_size()
        cdef hl_run run
        run.first = offset // page
        run.count = (offset + length - 1) // page - run.first + 1
        if run.first + run.count > self.page_count:
            raise IndexError(f"{offset}+{length} is outside of the memory")
        with nogil:
            hl_manager_expect(m, run)

    def dirty(self):
        cdef hl_manager *m = self._open()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        with nogil:
            rc = hl_manager_dirty(m, words)
        check(rc, "dirty")
        clear_tail(bits, self.page_count)
        return bits

    def changed(self, SnapshotCore snapshot not None):
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = self._fitting(snapshot)
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        with nogil:
            rc = hl_manager_changed(m, s, words)
        check(rc, "changed")
        return bits

    def verify(self, SnapshotCore snapshot not None):
        """Bitmap of the pages that the tracker missed."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = self._fitting(snapshot)
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        with nogil:
            rc = hl_manager_verify(m, s, words)
        check(rc, "verify")
        return bits

    def stats(self):
        """Counts since it was made."""
        return stats_of(self._open())


cdef dict stats_of(hl_manager *manager):
    cdef hl_manager_stats_t s
    hl_manager_stats(manager, &s)
    return {
        "tracker": s.tracker.decode(),
        "pages": s.pages,
        "hot_pages": s.hot,
        "takes": s.takes,
        "restores": s.restores,
        "pages_stored": s.stored,
        "pages_copied": s.copied,
        "pages_zeroed": s.zeroed,
        "pages_raced": s.raced,
        "guesses": s.guesses,
        "reopened": s.reopened,
        "collapsed": s.collapsed,
        "pages_expected": s.expected,
        "store_pages": s.store.pages,
        "store_nodes": s.store.nodes,
        "store_bytes": s.store.bytes,
        "store_reserved": s.store.reserved,
    }
