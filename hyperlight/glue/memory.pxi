# Memory: reads and writes.

# Faults for a few pages cost no more than to un-arm them.
cdef size_t BULK = 2 * hl_page_size()


cdef void expect(hl_manager *manager, size_t offset,
                 size_t length) noexcept nogil:
    """hl_manager_expect for bytes, at least one; drops the reference."""
    cdef size_t page = hl_page_size()
    cdef hl_run run
    if manager == NULL:
        return
    run.first = offset // page
    run.count = (offset + length - 1) // page - run.first + 1
    hl_manager_expect(manager, run)
    hl_manager_unref(manager)


cdef inline void gil_wanted_for(MemoryOwner memory, size_t size) noexcept:
    """The same in a memory.

    Pages of a borrowed one may be provided by a thread that waits for the GIL:
    by its own file system, or its own userfaultfd.
    """
    gil_wanted_for_copy(size)
    if memory.borrowed:
        hl_let_others_run()


@cython.no_gc_clear
cdef class MemoryCore(MemoryOwner):
    """Page-aligned bytes, read and written by copies or through views."""

    def __getbuffer__(self, Py_buffer *view, int flags):
        self._open()
        PyBuffer_FillInfo(view, self, self.at, self.size, 0, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    def __len__(self):
        return self.size

    @cython.final
    cdef int _range(self, offset, length) except -1:
        """Both are exact ints: nobody's code runs in the comparisons."""
        self._open()
        if length < 0:
            raise ValueError(f"length={length} is negative")
        if offset < 0 or offset > self.size or length > self.size - offset:
            raise IndexError(
                f"offset={offset}, length={length} is outside of "
                f"{self.size} bytes")
        return 0

    def read(self, offset, length):
        """The `length` bytes from `offset` on, as a copy.

        Raises:
            IndexError: The range is not inside the memory.
            ValueError: `length` is negative, or the memory is closed.
        """
        offset, length = index(offset), index(length)
        self._range(offset, length)
        cdef size_t at = offset, n = length
        cdef bytes out = PyBytes_FromStringAndSize(NULL, length)
        cdef char *to = PyBytes_AS_STRING(out)
        self.hold()
        gil_wanted_for(self, n)
        memcpy(to, self.at + at, n)
        gil_back()
        self.unhold()
        return out

    @cython.final
    cdef hl_manager *_expecting(self, size_t length) noexcept:
        """The manager that is to expect a write: a reference, or NULL."""
        if length < BULK or self.manager == NULL:
            return NULL
        return hl_manager_ref(self.manager)

    def write(self, offset, data):
        """Copy the bytes of `data`, any contiguous buffer, to `offset`.

        Raises:
            IndexError: It does not fit; nothing was written.
            ValueError: The memory is closed.
        """
        cdef Py_buffer view
        cdef hl_manager *manager
        cdef size_t at, n
        offset = index(offset)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._range(offset, view.len)
            at, n = offset, view.len
            self.hold()
            manager = self._expecting(n)
            gil_wanted_for(self, n)
            others_may_provide(data, view.buf, n)
            expect(manager, at, n)
            memmove(self.at + at, view.buf, n)
            gil_back()
            self.unhold()
        finally:
            PyBuffer_Release(&view)

    def fill(self, offset, length, byte=0):
        """Set `length` bytes from `offset` on to `byte` (0 to 255).

        Raises:
            IndexError: The range is not inside the memory.
            ValueError: `byte` or `length` is not in range, or it is closed.
        """
        offset, length, byte = index(offset), index(length), index(byte)
        self._range(offset, length)
        if not 0 <= byte <= 255:
            raise ValueError(f"byte={byte} is not in 0..255")
        cdef size_t at = offset, n = length
        cdef int value = byte
        cdef hl_manager *manager
        self.hold()
        manager = self._expecting(n)
        gil_wanted_for(self, n)
        expect(manager, at, n)
        memset(self.at + at, value, n)
        gil_back()
        self.unhold()
