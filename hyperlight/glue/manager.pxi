# csrc/manager: take and restore.

from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from weakref import ref as weak_reference

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

cdef extern from "manager/region.h" nogil:
    struct hl_region_stats:
        size_t takes, restores, stored, copied, zeroed
        size_t raced, guesses, reopened, collapsed, expected

cdef extern from "manager/manager.h" nogil:
    struct hl_mirror:
        void **current
        void *new_current
        void **top
        void *old_top
        void *new_top
    struct hl_done:
        hl_applied applied
        const char *tracker
    struct hl_manager_stats_t "hl_manager_stats":
        const char *tracker
        size_t pages, hot
        hl_region_stats counts
        hl_store_usage store
    int hl_manager_begin_with(void *memory, size_t page_count, bint borrowed,
                              const char *tracker, bint adaptive,
                              hl_manager **out, hl_choice *choice, char *why)
    void hl_manager_settle(hl_manager *manager)
    bint hl_manager_close(hl_manager *manager, hl_mirror *mirror)
    const char *hl_manager_tracker(const hl_manager *manager)
    int hl_manager_take_as(hl_manager *manager, hl_snapshot **out,
                           hl_mirror *mirror)
    int hl_manager_restore_as(hl_manager *manager, hl_snapshot *snapshot,
                              hl_mirror *mirror, hl_done *done)
    int hl_manager_dirty(hl_manager *manager, uint64_t *bits)
    int hl_manager_changed(hl_manager *manager, const hl_snapshot *snapshot,
                           uint64_t *bits)
    int hl_manager_differing(hl_manager *manager, const hl_snapshot *snapshot,
                             uint64_t *bits)
    ssize_t hl_manager_verify(hl_manager *manager,
                              const hl_snapshot *snapshot, uint64_t *missed)
    int hl_manager_stats(hl_manager *manager, hl_manager_stats_t *stats)
    size_t hl_manager_page_count(const hl_manager *manager)
    size_t hl_manager_count()

# Where an object keeps a reference: Cython itself takes no such address.
cdef extern from *:
    """
    #define HL_CURRENT_OF(core) ((void **)&(core)->_current)
    #define HL_TOP_OF(core) ((void **)&(core)->_top)
    #define HL_LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    """
    void **HL_CURRENT_OF(ManagerCore core)
    void **HL_TOP_OF(ManagerCore core)
    void *HL_LOAD(void **at)

cdef extern from "<errno.h>":
    int E2BIG, EACCES, EAGAIN, EBADF, EFAULT, ENODATA


@cython.final
@cython.trashcan(True)  # a stack may be deep
cdef class Pushed:
    """One entry of a manager's stack; never changed once it is on it."""

    cdef SnapshotCore snapshot
    cdef object below  # Pushed or None


cdef int given(hl_mirror *mirror, ManagerCore core, object current) except -1:
    """`current` goes into the record; the stack stays as it is."""
    Py_INCREF(current)
    mirror.current = HL_CURRENT_OF(core)
    mirror.new_current = <void *>current
    mirror.top = NULL
    return 0


cdef int given_top(hl_mirror *mirror, ManagerCore core, object old,
                   object new) except -1:
    """`new` goes on top as well, if `old` is what is there."""
    Py_INCREF(new)
    mirror.top = HL_TOP_OF(core)
    mirror.old_top = <void *>old
    mirror.new_top = <void *>new
    return 0


cdef object taken_back(hl_mirror *mirror):
    """Let go of what a call left: the old values, or the new if it failed.

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
    """Let go of a stack that nobody can reach any more.

    All at once would keep other threads waiting by its depth.
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


@cython.no_gc_clear  # the memory must outlive its tracker, cycles or not
cdef class ManagerCore:
    """One region and its tracker.  Any thread may call anything at any time.

    What is current and what was pushed is this object's and the C side's.  C
    changes both, with the manager's lock held and without the GIL, by
    exchanging the references below (struct hl_mirror): neither an exception
    nor a fork has a place in between.  Whoever holds the GIL may read one: it
    is let go of by somebody who holds the GIL, and was replaced before that.
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
        with nogil:
            hl_manager_close(m, &mirror)
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
            raise ValueError("no snapshot is current: take one first")
        if rc == -EINVAL:
            raise ValueError("the snapshot is of another size")
        if rc == -EFAULT:
            raise ValueError(
                f"{what}: part of the memory is not mapped any more")
        if rc == -EACCES:
            raise ValueError(
                f"{what}: its owner closed part of the memory (mprotect)")
        check(rc, what)
        return 0

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
            with nogil:
                rc = hl_manager_take_as(m, &into.snapshot, mirror)
            into.filling = False
        before = taken_back(mirror)
        if not empty:
            raise ValueError("this Snapshot is taken already")
        if rc == -EAGAIN:
            return None
        self._check(rc, "take")
        if before is not None:
            into._parent = weak_reference(before)
        return into

    def restore(self, SnapshotCore snapshot):
        """Returns what RestoreStats is made of; None for what is current."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s
        cdef hl_mirror mirror
        cdef hl_done done
        cdef int rc
        if snapshot is None:
            with nogil:
                rc = hl_manager_restore_as(m, NULL, NULL, &done)
        else:
            s = snapshot._taken()
            given(&mirror, self, snapshot)
            with nogil:
                rc = hl_manager_restore_as(m, s, &mirror, &done)
            taken_back(&mirror)
        self._check(rc, "restore")
        return self._stats_of_restore(&done)

    def pop(self):
        """restore() what was pushed last, and forget it, or neither."""
        cdef hl_manager *m = self._open()
        cdef hl_mirror mirror
        cdef hl_done done
        cdef Pushed top
        cdef hl_snapshot *s
        cdef int rc = -EAGAIN
        while rc == -EAGAIN:
            found = <object>HL_LOAD(HL_TOP_OF(self))
            if found is None:
                self._open()
                raise IndexError("pop without a push")
            top = found
            s = top.snapshot._taken()
            given(&mirror, self, top.snapshot)
            given_top(&mirror, self, top, top.below)
            with nogil:
                rc = hl_manager_restore_as(m, s, &mirror, &done)
            taken_back(&mirror)
        self._check(rc, "restore")
        return self._stats_of_restore(&done)

    cdef tuple _stats_of_restore(self, const hl_done *done):
        cdef size_t copied = done.applied.copied, zeroed = done.applied.zeroed
        return (copied, zeroed, (copied + zeroed) * hl_page_size(),
                self._named(done.tracker))

    def dirty(self):
        """Bitmap of the pages that may differ from what is current."""
        cdef hl_manager *m = self._open()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        with nogil:
            rc = hl_manager_dirty(m, words)
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
        with nogil:
            if everything:
                rc = hl_manager_differing(m, s, words)
            else:
                rc = hl_manager_changed(m, s, words)
        self._check(rc, "changed")
        return bits

    def verify(self, SnapshotCore snapshot):
        """Bitmap of the pages that the tracker missed; None as above."""
        cdef hl_manager *m = self._open()
        cdef hl_snapshot *s = NULL if snapshot is None else snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        with nogil:
            rc = hl_manager_verify(m, s, words)
        self._check(rc, "verify")
        return bits

    def stats(self):
        """Counts since it was made."""
        return stats_of(self._open())


cdef dict stats_of(hl_manager *manager):
    cdef hl_manager_stats_t s
    cdef int rc
    with nogil:
        rc = hl_manager_stats(manager, &s)
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
        "collapsed": s.counts.collapsed,
        "pages_expected": s.counts.expected,
        "store_pages": s.store.pages,
        "store_nodes": s.store.nodes,
        "store_bytes": s.store.bytes,
        "store_reserved": s.store.reserved,
    }
