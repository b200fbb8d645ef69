# csrc/mem: mappings and bitmaps.

cimport cython

from libc.errno cimport EEXIST, ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memmove, memset
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer)
from cpython.exc cimport PyErr_CheckSignals
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from "os/map.h" nogil:
    cdef enum hl_huge:
        HL_HUGE_NEVER, HL_HUGE_AUTO, HL_HUGE_ALWAYS
    struct hl_map:
        void *addr
        size_t size
    size_t hl_page_size()
    int hl_map_create(hl_map *map, size_t size, hl_huge huge)
    void hl_map_destroy(hl_map *map)
    size_t hl_map_count()

cdef extern from "os/vma.h" nogil:
    struct hl_vma:
        int prot
        bint anonymous
    int hl_vma_query(const void *addr, size_t size, hl_vma *vma)

cdef extern from "os/forked.h" nogil:
    unsigned hl_fork_generation()

cdef extern from "mem/bitmap.h" nogil:
    size_t hl_bitmap_words(size_t page_count)
    void hl_bitmap_set(uint64_t *bits, size_t page)
    size_t hl_bitmap_count(const uint64_t *bits, size_t page_count)
    void hl_bitmap_clear_range(uint64_t *bits, size_t first, size_t count)

cdef extern from "mem/runs.h" nogil:
    struct hl_run:
        size_t first
        size_t count
    size_t hl_runs_next(const uint64_t *bits, size_t page_count,
                        size_t *cursor, hl_run *runs, size_t cap)

# What memory asks its manager; the rest is in manager.pxi.
cdef extern from "manager/manager.h" nogil:
    struct hl_manager:
        pass
    hl_manager *hl_manager_ref(hl_manager *manager)
    void hl_manager_unref(hl_manager *manager)
    bint hl_manager_ended(const hl_manager *manager)
    void hl_manager_expect(hl_manager *manager, hl_run run)

cdef extern from "track/range.h" nogil:
    bint hl_range_find(const void *addr, size_t size, uintptr_t *start,
                       uintptr_t *end)

cdef extern from "<sys/mman.h>":
    int PROT_READ, PROT_WRITE

from operator import index

PAGE_SIZE = hl_page_size()
# Faults for a few pages cost no more than to un-arm them.
cdef size_t BULK = 2 * hl_page_size()
# Giving back more than this takes long enough to let other threads run.
cdef size_t LARGE = 64 * hl_page_size()

HUGE_NEVER = <int>HL_HUGE_NEVER
HUGE_AUTO = <int>HL_HUGE_AUTO
HUGE_ALWAYS = <int>HL_HUGE_ALWAYS


@cython.no_gc_clear  # the collector would let go of a buffer and not release it
cdef class MemoryCore:
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
              f"mmap of {size} bytes")
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

    def __getbuffer__(self, Py_buffer *view, int flags):
        self._open()
        PyBuffer_FillInfo(view, self, self.at, self.size, 0, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    def __len__(self):
        return self.size

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
        with nogil:
            memcpy(to, self.at + at, n)
        self.unhold()
        return out

    @cython.final
    cdef hl_manager *_to_tell(self, size_t length) noexcept:
        """Who wants to know of a write: a reference, or NULL."""
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
            manager = self._to_tell(n)
            with nogil:
                announce(manager, at, n)
                memmove(self.at + at, view.buf, n)
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
        manager = self._to_tell(n)
        with nogil:
            announce(manager, at, n)
            memset(self.at + at, value, n)
        self.unhold()


cdef void announce(hl_manager *manager, size_t offset,
                   size_t length) noexcept nogil:
    """Say that bytes, at least one, are about to be written."""
    cdef size_t page = hl_page_size()
    cdef hl_run run
    if manager == NULL:
        return
    run.first = offset // page
    run.count = (offset + length - 1) // page - run.first + 1
    hl_manager_expect(manager, run)
    hl_manager_unref(manager)


cdef str not_borrowable(Py_buffer *lender):
    """Why a buffer cannot be tracked, or None."""
    cdef uintptr_t at = <uintptr_t>lender.buf
    cdef uintptr_t end = at + lender.len
    cdef size_t page = hl_page_size()
    cdef bint mapped
    if lender.len == 0:
        return "buffer is empty"
    if at % page:
        return (f"buffer at {at:#x} does not start on a page boundary "
                f"({page} bytes): use an mmap, or an array over a "
                f"hyperlight.SharedMemory")
    if lender.len % page:
        return (f"buffer of {lender.len} bytes does not end on a page "
                f"boundary: its size must be a multiple of {page}")
    with nogil:
        mapped = is_open_memory(at, end)
    if not mapped:
        return "buffer is not mapped readable and writable throughout"
    return None


cdef bint is_open_memory(uintptr_t at, uintptr_t end) noexcept nogil:
    """Readable and writable throughout, or so before somebody tracked it.

    A tracker may have closed any page of what it tracks; what is managed was
    looked at by then.
    """
    cdef uintptr_t start, stop
    cdef hl_vma vma
    while at < end:
        if not hl_range_find(<const void *>at, end - at, &start, &stop):
            start = stop = end
        if start > at:
            if hl_vma_query(<const void *>at, start - at, &vma) < 0:
                return False
            if not vma.prot & PROT_READ or not vma.prot & PROT_WRITE:
                return False
        at = stop
    return True


# Bitmaps travel as bytes: whole 64-bit words, bits past the end clear.

# More pages than this could not be numbered in any address space.
cdef size_t MOST_PAGES = <size_t>1 << 52

# Bytes of a bitmap that are looked through in less than some 20 us.
cdef size_t QUICK_BITS = 256 << 10


cdef bytes new_bits(size_t page_count):
    cdef bytes bits
    if page_count > MOST_PAGES:
        raise MemoryError(f"a bitmap of {page_count} pages")
    bits = PyBytes_FromStringAndSize(NULL, hl_bitmap_words(page_count) * 8)
    cdef char *to = PyBytes_AS_STRING(bits)
    cdef size_t size = len(bits)
    if page_count < QUICK_BITS:
        memset(to, 0, size)
    else:  # nobody else has it yet
        with nogil:
            memset(to, 0, size)
    return bits


cdef uint64_t *words_of(bytes bits):
    return <uint64_t *>PyBytes_AS_STRING(bits)


cdef void clear_tail(bytes bits, size_t page_count):
    cdef size_t total = <size_t>len(bits) * 8
    hl_bitmap_clear_range(words_of(bits), page_count, total - page_count)


cdef int check_bits(bytes bits, size_t page_count) except -1:
    if <size_t>len(bits) != hl_bitmap_words(page_count) * 8:
        raise ValueError(
            f"{len(bits)} bytes are not the bitmap of {page_count} pages")
    return 0


def bits_of_pages(size_t page_count, pages):
    """The bitmap with the given pages set; IndexError for one outside."""
    cdef bytes bits = new_bits(page_count)
    cdef uint64_t *words = words_of(bits)
    cdef size_t done = 0
    for page in pages:
        # Once: what is checked is what is used, whoever's class it is.
        number = index(page)
        if not 0 <= number < page_count:
            raise IndexError(
                f"page {number} is not in 0..{page_count - 1}" if page_count
                else f"page {number} is not in a set over no pages")
        hl_bitmap_set(words, number)
        done += 1
        if done % 16384 == 0:
            let_others_run()
    return bits


cdef int let_others_run() except -1:
    """In a long loop that makes Python objects."""
    with nogil:
        pass
    PyErr_CheckSignals()
    return 0


def bits_count(bytes bits not None, size_t page_count):
    """How many pages are set."""
    cdef uint64_t *words = words_of(bits)
    cdef size_t n
    check_bits(bits, page_count)
    if <size_t>len(bits) < QUICK_BITS:
        return hl_bitmap_count(words, page_count)
    with nogil:
        n = hl_bitmap_count(words, page_count)
    return n


def bits_runs(bytes bits not None, size_t page_count):
    """``[(first, count), ...]`` of the set pages, ascending."""
    cdef hl_run chunk[64]
    cdef size_t cursor = 0, n = 64, i
    cdef uint64_t *words = words_of(bits)
    cdef bint quick = <size_t>len(bits) < QUICK_BITS
    check_bits(bits, page_count)
    found = []
    while n == 64:
        if len(found) % 8192 == 8128:
            let_others_run()
        if quick:
            n = hl_runs_next(words, page_count, &cursor, chunk, 64)
        else:
            with nogil:
                n = hl_runs_next(words, page_count, &cursor, chunk, 64)
        for i in range(n):
            found.append((chunk[i].first, chunk[i].count))
    return found


def bits_combine(bytes a not None, bytes b not None, int how):
    """Both of one length; how: 0 for ``|``, 1 ``&``, 2 ``^``, 3 ``-``."""
    cdef size_t i, n = len(a) // 8
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n * 8)
    cdef uint64_t *x = words_of(a)
    cdef uint64_t *y = words_of(b)
    cdef uint64_t *to = words_of(out)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} bytes do not combine")
    if n * 8 < QUICK_BITS:
        combine(x, y, to, n, how)
    else:
        with nogil:
            combine(x, y, to, n, how)
    return out


cdef void combine(const uint64_t *a, const uint64_t *b, uint64_t *to,
                  size_t n, int how) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if how == 0:
            to[i] = a[i] | b[i]
        elif how == 1:
            to[i] = a[i] & b[i]
        elif how == 2:
            to[i] = a[i] ^ b[i]
        else:
            to[i] = a[i] & ~b[i]
