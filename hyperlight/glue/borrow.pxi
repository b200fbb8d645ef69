# Buffers of others.


cdef str not_borrowable(Py_buffer *lender):
    """Why a buffer cannot be tracked, or None."""
    cdef uintptr_t at = <uintptr_t>lender.buf
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
        mapped = hl_mappings_are_open(lender.buf, lender.len)
    if not mapped:
        return "buffer is not mapped readable and writable throughout"
    return None
