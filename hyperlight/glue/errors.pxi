# From -errno to exceptions: the only place.

cdef ssize_t check(ssize_t rc, str what) except -1:
    """Pass `rc` through, or raise what -errno means.

    The text names the call, and the limit that was met if it was one.
    """
    cdef char why[HL_WHY_SIZE]
    cdef bytes name
    if rc >= 0:
        return rc
    name = what.encode()
    hl_why_errno(why, <int>rc, name)
    if rc == -ENOMEM:
        raise MemoryError(why.decode("utf-8", "replace"))
    raise OSError(-rc, why.decode("utf-8", "replace"))


# A value may be refused with one of these; the text says which it was.
REFUSALS = (TypeError, ValueError, OverflowError, BufferError)


cdef refusal(error):
    """The class of our own error for one of REFUSALS."""
    return TypeError if isinstance(error, TypeError) else ValueError


cdef malformed(const char *wrong):
    return GuestAborted(
        f"the guest left {wrong.decode()} where a message was expected")
