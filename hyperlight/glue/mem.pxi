# csrc/mem: mappings and bitmaps.

from libc.errno cimport EEXIST, EFAULT, EINVAL, ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memmove, memset
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from "mem/map.h" nogil:
    cdef enum hl_huge:
        HL_HUGE_NEVER, HL_HUGE_AUTO, HL_HUGE_ALWAYS
    struct hl_map:
        void *addr
        size_t size
    size_t hl_page_size()
    int hl_map_create(hl_map *map, size_t size, hl_huge huge)
    void hl_map_destroy(hl_map *map)
    size_t hl_map_count()

cdef extern from "mem/vma.h" nogil:
    struct hl_vma:
        int prot
        bint anonymous
    int hl_vma_query(const void *addr, size_t size, hl_vma *vma)

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

cdef extern from "<sys/mman.h>":
    int PROT_READ, PROT_WRITE

from operator import index

PAGE_SIZE = hl_page_size()
cdef size_t BULK = 2 * hl_page_size()

HUGE_NEVER = <int>HL_HUGE_NEVER
HUGE_AUTO = <int>HL_HUGE_AUTO
HUGE_ALWAYS = <int>HL_HUGE_ALWAYS


cdef class MemoryCore:
    """Page-aligned bytes: a mapping of our own, or a borrowed buffer."""

    cdef hl_map map
    cdef Py_buffer lender
    cdef bint borrowed
    cdef Py_ssize_t users  # views, managers, and copies under way
    cdef char *at
    cdef readonly size_t size
    #: Called with offset and length before much is written at once.
    cdef public object _before_bulk
    cdef object __weakref__

    def _map(self, size_t size, int huge):
        self._claim_fresh()
        check(hl_map_create(&self.map, size, <hl_huge>huge),
              f"mmap of {size} bytes")
        self.at = <char *>self.map.addr
        self.size = self.map.size

    def _borrow(self, obj):
        cdef hl_vma vma
        cdef size_t page = hl_page_size()
        cdef int rc
        self._claim_fresh()
        PyObject_GetBuffer(obj, &self.lender, PyBUF_WRITABLE | PyBUF_SIMPLE)
        try:
            if self.lender.len == 0:
                raise ValueError("buffer is empty")
            if <uintptr_t>self.lender.buf % page:
                raise ValueError(
                    f"buffer at {<uintptr_t>self.lender.buf:#x} does not "
                    f"start on a page boundary ({page} bytes): use an mmap, "
                    f"or an array over a hyperlight.SharedMemory")
            if self.lender.len % page:
                raise ValueError(
                    f"buffer of {self.lender.len} bytes does not end on a "
                    f"page boundary: its size must be a multiple of {page}")
            rc = hl_vma_query(self.lender.buf, self.lender.len, &vma)
            if rc != -EFAULT and rc != -EINVAL:
                check(rc, "/proc/self/maps")
            if rc < 0 or not vma.prot & PROT_READ or (
                    not vma.prot & PROT_WRITE):
                raise ValueError(
                    "buffer is not mapped readable and writable throughout")
        except BaseException:
            PyBuffer_Release(&self.lender)
            raise
        self.borrowed = True
        self.at = <char *>self.lender.buf
        self.size = self.lender.len

    cdef int _claim_fresh(self) except -1:
        if self.at != NULL or self.size != 0:
            raise ValueError("this SharedMemory is already set up")
        return 0

    cdef int _open(self) except -1:
        if self.at == NULL:
            raise ValueError("operation on a closed SharedMemory")
        return 0

    cdef int _range(self, offset, length) except -1:
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
        if self.users:
            raise BufferError(
                f"{self.users} views or managers of this memory are in use: "
                f"release or close them first")
        self._release()

    cdef void _release(self) noexcept:
        if self.at == NULL:
            return
        self.at = NULL
        if self.borrowed:
            PyBuffer_Release(&self.lender)
        else:
            hl_map_destroy(&self.map)

    def __dealloc__(self):
        self._release()

    def __getbuffer__(self, Py_buffer *view, int flags):
        self._open()
        PyBuffer_FillInfo(view, self, self.at, self.size, 0, flags)
        self.users += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.users -= 1

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
        self.users += 1
        with nogil:
            memcpy(to, self.at + at, n)
        self.users -= 1
        return out

    cdef int _announce(self, size_t offset, size_t length) except -1:
        """Faults for a few pages cost no more than to un-arm them."""
        if length >= BULK and self._before_bulk is not None:
            self._before_bulk(offset, length)
            self._open()  # what was called may have closed it
        return 0

    def write(self, offset, data):
        """Copy the bytes of `data`, any contiguous buffer, to `offset`.

        Raises:
            IndexError: It does not fit; nothing was written.
            ValueError: The memory is closed.
        """
        cdef Py_buffer view
        cdef size_t at, n
        offset = index(offset)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._range(offset, view.len)
            at, n = offset, view.len
            self._announce(at, n)
            self.users += 1
            with nogil:
                memmove(self.at + at, view.buf, n)
            self.users -= 1
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
        self._announce(at, n)
        self.users += 1
        with nogil:
            memset(self.at + at, value, n)
        self.users -= 1


# Bitmaps travel as bytes: whole 64-bit words, bits past the end clear.

cdef bytes new_bits(size_t page_count):
    cdef size_t size = hl_bitmap_words(page_count) * 8
    cdef bytes bits = PyBytes_FromStringAndSize(NULL, size)
    memset(PyBytes_AS_STRING(bits), 0, size)
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
    for page in pages:
        if not 0 <= page < page_count:
            raise IndexError(f"page {page} is not in 0..{page_count - 1}")
        hl_bitmap_set(words, page)
    return bits


def bits_count(bytes bits not None, size_t page_count):
    """How many pages are set."""
    check_bits(bits, page_count)
    return hl_bitmap_count(words_of(bits), page_count)


def bits_runs(bytes bits not None, size_t page_count):
    """``[(first, count), ...]`` of the set pages, ascending."""
    cdef hl_run chunk[64]
    cdef size_t cursor = 0, n = 64, i
    cdef uint64_t *words = words_of(bits)
    check_bits(bits, page_count)
    found = []
    while n == 64:
        n = hl_runs_next(words, page_count, &cursor, chunk, 64)
        for i in range(n):
            found.append((chunk[i].first, chunk[i].count))
    return found
