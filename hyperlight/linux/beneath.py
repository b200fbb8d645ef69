"""Files of the host, opened beneath a folder and nowhere else.

``openat2`` (Linux 5.6) resolves a path so that no link, ``..`` or mount trick
leads out of the folder; where it is missing or forbidden, the path is walked
name by name, which comes to the same: no links are followed at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

__all__ = ["open_beneath", "open_root", "read_file"]

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

#: Nobody waits for the other end of a FIFO, and a terminal stays nobody's.
_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):
    _FLAGS |= getattr(os, _name, 0)  # elsewhere this module is imported, too

#: Larger files are EFBIG: they are copied into this process.
_LARGEST = 2 << 30


class _How(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_root(path: str) -> int:
    """A descriptor of a folder, for :func:`open_beneath`."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_beneath(root: int, path: str, flags: int = 0) -> int:
    """Open a path of a folder for reading.

    Raises:
        OSError: As ``open``; ELOOP: a link is on the way.
    """
    descriptor = _openat2(root, path, flags)
    if descriptor is None:
        descriptor = _walk(root, path, flags)
    return descriptor


def _openat2(root: int, path: str, flags: int) -> int | None:
    """None: the system does not have it, or forbids it."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = _How(
        _FLAGS | os.O_NOFOLLOW | flags,
        0,
        _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS,
    )
    done = libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if done >= 0:
        return int(done)
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EPERM):
        return None
    raise OSError(error, os.strerror(error), path)


def _walk(root: int, path: str, flags: int) -> int:
    *folders, last = path.split("/")
    at = root
    try:
        for name in (*folders, last):
            if name in ("", ".."):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
            wanted = flags if name is last else os.O_DIRECTORY
            below = os.open(name, _FLAGS | os.O_NOFOLLOW | wanted, dir_fd=at)
            if at != root:
                os.close(at)
            at = below
        return at
    except BaseException:
        if at != root:
            os.close(at)
        raise


def read_file(root: int, path: str) -> bytes:
    """All bytes of a regular file beneath the folder.

    Raises:
        OSError: As ``open``; EACCES: it is something else than a file; EFBIG.
    """
    with os.fdopen(open_beneath(root, path), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EACCES, "not a regular file", path)
        if status.st_size > _LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        pieces = []
        left = _LARGEST
        while left > 0 and (piece := file.read(min(left, 16 << 20))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
