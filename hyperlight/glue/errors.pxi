# From -errno to exceptions: the only place.

import os

from hyperlight.errors import TrackerOverlap, TrackerUnavailable


cdef extern from "why.h" nogil:
    enum: HL_WHY_SIZE
    int hl_why_errno(char *why, int err, const char *what)


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
