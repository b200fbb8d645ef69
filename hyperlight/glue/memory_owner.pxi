# Memory: whose it is, who uses it, when it may be given back.

PAGE_SIZE = hl_page_size()
# Giving back more than this takes long enough to let other threads run.
cdef size_t LARGE = 64 * hl_page_size()

HUGE_NEVER = <int>HL_HUGE_NEVER
HUGE_AUTO = <int>HL_HUGE_AUTO
HUGE_ALWAYS = <int>HL_HUGE_ALWAYS


@cython.no_gc_clear  # the collector would let go of a buffer and not release it
cdef class MemoryOwner:
    """Page-aligned bytes: a mapping of our own, or a borrowed buffer.

    Three things keep it from being closed.  Views are counted.  So are the
    threads that are inside of a copy without the GIL, by hold() and unhold(),
    between which no Python code runs; a child of fork has none of them and
    forgets them.  The manager is asked.
    """

    cdef hl_map map
    cdef Py_buffer lender
    cdef bint borrowed
    cdef Py_ssize_t views
    cdef Py_ssize_t busy
    cdef unsigned busy_in  # the process that `busy` is of
    cdef hl_manager *manager  # the last that there was, a reference, or NULL
    cdef char *at
    cdef readonly size_t size
    cdef object __weakref__

    def _map(self, size_t size, int huge):
        self._claim_fresh()
        check(hl_map_create(&self.map, size, <hl_huge>huge),
              f"{hl_memory_call.decode()} of {size} bytes")
        self.at = <char *>self.map.addr
        self.size = self.map.size

    def _borrow(self, obj):
        cdef Py_buffer lender
        cdef str wrong
        self._claim_fresh()
        PyObject_GetBuffer(obj, &lender, PyBUF_WRITABLE | PyBUF_SIMPLE)
        try:
            wrong = not_borrowable(&lender)
            if wrong is not None:
                raise ValueError(wrong)
            self._claim_fresh()  # again: it has run code of others
        except BaseException:
            PyBuffer_Release(&lender)
            raise
        self.lender = lender
        self.borrowed = True
        self.at = <char *>lender.buf
        self.size = lender.len

    cdef int _claim_fresh(self) except -1:
        if self.at != NULL or self.size != 0:
            raise ValueError("this SharedMemory is already set up")
        return 0

    @cython.final
    cdef int _open(self) except -1:
        if self.at == NULL:
            raise ValueError("operation on a closed SharedMemory")
        return 0

    @cython.final
    cdef int hold(self) except -1:
        """Keep it open until unhold(); ValueError if it is closed."""
        cdef unsigned now = hl_fork_generation()
        self._open()
        if self.busy_in != now:
            self.busy_in = now
            self.busy = 0
        self.busy += 1
        return 0

    @cython.final
    cdef void unhold(self) noexcept:
        self.busy -= 1

    cdef void managed_by(self, hl_manager *manager) noexcept:
        cdef hl_manager *before = self.manager
        self.manager = hl_manager_ref(manager)
        if before != NULL:
            hl_manager_unref(before)

    cdef Py_ssize_t _users(self) noexcept:
        cdef Py_ssize_t n = self.views
        if self.busy_in == hl_fork_generation():
            n += self.busy
        return n + (self.manager != NULL
                    and not hl_manager_ended(self.manager))

    @property
    def address(self):
        """Address of the first byte, or 0 once closed."""
        return <uintptr_t>self.at

    @property
    def closed(self):
        """True once the memory was given back."""
        return self.at == NULL

    def close(self):
        """Give the memory back; a second call does nothing.

        Raises:
            BufferError: A view of it, or a manager, is still in use.
        """
        cdef Py_ssize_t users = self._users()
        if users:
            raise BufferError(
                f"{users} views or managers of this memory are in use: "
                f"release or close them first")
        self._release()

    cdef void _release(self) noexcept:
        cdef hl_map map = self.map
        if self.at == NULL:
            return
        # Nobody gets at it from here on, whatever runs below.
        self.at = NULL
        if self.borrowed:
            PyBuffer_Release(&self.lender)
            return
        memset(&self.map, 0, sizeof(self.map))
        if map.size < LARGE:
            hl_map_destroy(&map)
            return
        with nogil:
            hl_map_destroy(&map)

    def __dealloc__(self):
        # May let other threads run: weak references are cleared by now, and
        # the collector does not know this object any more.
        self._release()
        if self.manager != NULL:
            hl_manager_unref(self.manager)
