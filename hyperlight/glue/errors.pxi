# From -errno to exceptions: the only place.

import os

from hyperlight.errors import TrackerOverlap, TrackerUnavailable


cdef ssize_t check(ssize_t rc, str what) except -1:
    """Pass `rc` through, or raise what -errno means, naming the call."""
    if rc >= 0:
        return rc
    if rc == -ENOMEM:
        raise MemoryError(f"{what}: {os.strerror(ENOMEM)}")
    raise OSError(-rc, f"{what}: {os.strerror(-rc)}")
