"""What the cases of faults.py use: handlers in C terms, tracked memory."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import sys

from hyperlight import SharedMemory, SnapshotManager

_original_enable = faulthandler.enable
_original_signal = signal.signal

PAGE = os.sysconf("SC_PAGESIZE")
LIBC = ctypes.CDLL(None, use_errno=True)
SA_SIGINFO, SA_NODEFER, SA_RESETHAND, SA_ONSTACK = (
    4,
    0x40000000,
    0x80000000,
    0x08000000,
)
TRACKER = sys.argv[2]
SIGNAL = signal.SIGSEGV if TRACKER == "sigsegv" else signal.SIGBUS

# Real faults end here, without core files but where those are looked for.
if sys.argv[1] != "core":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class SigAction(ctypes.Structure):
    """struct sigaction of glibc on 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


HANDLER1 = ctypes.CFUNCTYPE(None, ctypes.c_int)
HANDLER3 = ctypes.CFUNCTYPE(
    None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)
_alive = []  # callbacks must not be collected


def install(handler, flags: int = 0, mask=(), sig: int = SIGNAL) -> None:
    action = SigAction(flags=flags)
    action.handler = (
        handler
        if isinstance(handler, int)
        else ctypes.cast(handler, ctypes.c_void_p).value
    )
    for number in mask:
        action.mask[(number - 1) // 64] |= 1 << (number - 1) % 64
    _alive.append(handler)
    if LIBC.sigaction(int(sig), ctypes.byref(action), None):
        raise OSError(ctypes.get_errno(), "sigaction")


def tracked() -> tuple[SharedMemory, SnapshotManager]:
    memory = SharedMemory(16 * PAGE)
    manager = SnapshotManager(memory, tracker=TRACKER)
    manager.take()
    return memory, manager


def check(memory: SharedMemory, manager: SnapshotManager) -> None:
    """Tracking works: armed, written, seen, put back."""
    for page in (2, 9):
        memory.write(page * PAGE, b"x")
    assert set(manager.dirty()) == {2, 9}, manager.dirty()
    manager.restore()
    assert memory.read(2 * PAGE, 1) == b"\0"


_mend = []  # calls that make the page of the last real fault writable


def real_fault() -> None:
    """A write that is nobody's: to a page that is mapped read-only."""
    LIBC.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(PAGE)
    if SIGNAL == signal.SIGSEGV:
        page = LIBC.mmap(None, size, 1, 0x22, -1, 0)
        _mend.append(lambda: LIBC.mprotect(ctypes.c_void_p(page), size, 3))
    else:
        fd = os.memfd_create("empty")  # past the end of a file: SIGBUS
        page = LIBC.mmap(None, size, 3, 1, fd, 0)
        _mend.append(lambda: os.ftruncate(fd, PAGE))
    ctypes.memset(page, 1, 1)
