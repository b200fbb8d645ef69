# Bitmaps travel as bytes: whole 64-bit words, bits past the end clear.

UNION = <int>HL_UNION
INTERSECTION = <int>HL_INTERSECTION
SYMMETRIC_DIFFERENCE = <int>HL_SYMMETRIC_DIFFERENCE
DIFFERENCE = <int>HL_DIFFERENCE

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
    if size < QUICK_BITS:
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
            f"a bitmap of {page_count} pages cannot have {len(bits)} bytes")
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


def bits_combine(bytes a not None, bytes b not None, int operation):
    """Both of one length; operation: one of UNION, INTERSECTION and so on."""
    cdef size_t n = len(a) * 8
    cdef bytes out = PyBytes_FromStringAndSize(NULL, len(a))
    cdef uint64_t *x = words_of(a)
    cdef uint64_t *y = words_of(b)
    cdef uint64_t *to = words_of(out)
    cdef hl_set_operation how = <hl_set_operation>operation
    if len(a) != len(b) or len(a) % 8:
        raise ValueError(
            f"bitmaps of {len(a)} and {len(b)} bytes cannot be combined")
    if <size_t>len(a) < QUICK_BITS:
        hl_bitmap_combine(to, x, y, n, how)
    else:
        with nogil:
            hl_bitmap_combine(to, x, y, n, how)
    return out
