"""The roads by which memory changes, for test_limits.py.

Usage: limits.py ROAD TRACKER. Prints what happens: `seen`, `unseen` (and then
verify() finds out), `unchanged`, the name of an errno, or `absent` and why.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
import tempfile

from hyperlight import SharedMemory, SnapshotManager, TrackerMissedPage

PAGE = mmap.PAGESIZE
PAGES, HERE = 16, 3  # the page that changes
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
LIBC.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
LIBC.syscall.restype = ctypes.c_long
LIBC.ptrace.restype = ctypes.c_long
LIBC.ptrace.argtypes = (ctypes.c_long,) * 4
TRACKER = sys.argv[2]
PTRACE_POKEDATA, PTRACE_ATTACH, PTRACE_DETACH = 5, 16, 17
IORING_OP_READ_FIXED, IORING_OFF_SQES = 4, 0x10000000
IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427


class Absent(Exception):
    """This machine has no such road."""


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def filled_file() -> str:
    folder = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
    fd, path = tempfile.mkstemp(dir=folder)  # rather on a disk than in memory
    os.write(fd, b"d" * PAGE)
    os.close(fd)
    return path


class Tracked:
    def __init__(self, owner: object = None, before: object = None) -> None:
        if owner is None:
            self.memory = SharedMemory(PAGES * PAGE)
        else:
            self.memory = SharedMemory.from_buffer(owner)
        self.memory.fill(0, self.memory.size, 1)
        if callable(before):
            before(self)
        self.manager = SnapshotManager(
            self.memory, tracker=TRACKER, rearm="always"
        )
        self.manager.take()
        self.start = self.memory.read(0, self.memory.size)

    @property
    def address(self) -> int:
        return self.memory.address + HERE * PAGE

    def outcome(self) -> str:
        changed = self.memory.read(0, self.memory.size) != self.start
        seen = HERE in self.manager.dirty()
        try:
            self.manager.verify()
            assert not changed or seen
        except TrackerMissedPage:
            assert changed
            assert not seen
            return "unseen"
        return "seen" if seen else "unchanged"


def proc_self_mem() -> str:
    tracked = Tracked()
    fd = os.open("/proc/self/mem", os.O_RDWR)
    os.pwrite(fd, b"\2", tracked.address)
    return tracked.outcome()


def ptrace() -> str:
    """A child is the debugger."""
    tracked = Tracked()
    LIBC.prctl(0x59616D61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
    pid = os.fork()
    if pid == 0:
        parent = os.getppid()
        if LIBC.ptrace(PTRACE_ATTACH, parent, 0, 0):
            os._exit(255)
        LIBC.waitpid(parent, None, 0)
        poke = LIBC.ptrace(PTRACE_POKEDATA, parent, tracked.address, 7)
        number = ctypes.get_errno() if poke else 0
        LIBC.ptrace(PTRACE_DETACH, parent, 0, 0)
        os._exit(number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 255:
        raise Absent("ptrace is forbidden here")
    if status:
        raise OSError(status, os.strerror(status))
    return tracked.outcome()


def process_vm_writev() -> str:
    tracked = Tracked()
    source = ctypes.create_string_buffer(b"hello")
    ours = IoVec(ctypes.addressof(source), 5)
    there = IoVec(tracked.address, 5)
    checked(
        LIBC.process_vm_writev(
            *(os.getpid(), ctypes.byref(ours), 1, ctypes.byref(there), 1, 0)
        )
    )
    return tracked.outcome()


def direct_read() -> str:
    path = filled_file()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        raise Absent("no O_DIRECT here") from error
    finally:
        os.unlink(path)
    tracked = Tracked()
    first = HERE * PAGE
    os.preadv(fd, [memoryview(tracked.memory)[first : first + PAGE]], 0)
    return tracked.outcome()


def pinned() -> str:
    """A buffer registered with io_uring before it was armed."""
    parameters = ctypes.create_string_buffer(120)
    ring = LIBC.syscall(IO_URING_SETUP, 4, parameters)
    if ring < 0:
        raise Absent(f"io_uring: {os.strerror(ctypes.get_errno())}")
    entries = struct.unpack_from("<I", parameters, 0)[0]
    tail, array = struct.unpack_from("<4xI16xI", parameters, 40)

    def register(tracked: Tracked) -> None:
        buffer = IoVec(tracked.memory.address, tracked.memory.size)
        if LIBC.syscall(IO_URING_REGISTER, ring, 0, ctypes.byref(buffer), 1):
            raise Absent("buffers cannot be registered here")

    tracked = Tracked(before=register)
    path = filled_file()
    fd = os.open(path, os.O_RDONLY)
    os.unlink(path)
    queue = mmap.mmap(ring, array + entries * 4)
    calls = mmap.mmap(ring, entries * 64, offset=IORING_OFF_SQES)
    calls[:64] = struct.pack(
        "<BBHiQQIIQHHi16x",
        *(IORING_OP_READ_FIXED, 0, 0, fd, 0, tracked.address, PAGE),
        *(0, 0, 0, 0, 0),
    )
    struct.pack_into("<I", queue, array, 0)
    struct.pack_into("<I", queue, tail, 1)
    assert checked(LIBC.syscall(IO_URING_ENTER, ring, 1, 1, 1, None, 0)) == 1
    return tracked.outcome()


def another_mapping() -> str:
    fd = os.memfd_create("twice")
    os.ftruncate(fd, PAGES * PAGE)
    tracked = Tracked(mmap.mmap(fd, PAGES * PAGE))
    mmap.mmap(fd, PAGES * PAGE)[HERE * PAGE] = 9
    return tracked.outcome()


def write_to_the_file() -> str:
    fd = os.memfd_create("file")
    os.ftruncate(fd, PAGES * PAGE)
    tracked = Tracked(mmap.mmap(fd, PAGES * PAGE))
    os.pwrite(fd, b"\2", HERE * PAGE)
    return tracked.outcome()


def mlock() -> str:
    tracked = Tracked()
    checked(LIBC.mlock(tracked.memory.address, tracked.memory.size))
    LIBC.munlock(ctypes.c_void_p(tracked.memory.address), PAGES * PAGE)
    return tracked.outcome().replace("unchanged", "seen")


def populate_write() -> str:
    tracked = Tracked()
    memory = tracked.memory
    checked(LIBC.madvise(memory.address, memory.size, 23))
    return tracked.outcome()


ROADS = {
    "/proc/self/mem": proc_self_mem,
    "ptrace": ptrace,
    "process_vm_writev": process_vm_writev,
    "read with O_DIRECT": direct_read,
    "a pinned page": pinned,
    "another mapping": another_mapping,
    "write to the file": write_to_the_file,
    "mlock": mlock,
    "MADV_POPULATE_WRITE": populate_write,
}

try:
    print(ROADS[sys.argv[1]]())
except Absent as reason:
    print("absent", reason)
except OSError as refusal:
    print(errno.errorcode[refusal.errno or 0])
