"""One row of the table in test_memory_kinds.py, each cell in its process.

Usage: kinds.py ROW TRACKER.... For each tracker prints "== TRACKER", makes
memory of that kind, tracks it, does to it what its owner may do, and prints a
line for each: its name, a colon, and `exact`, `missed`, or `-` where the
kernel does not have it for this memory. If the memory is refused: `refused`, a
colon, and the error's class and text. Last comes `status`, a colon, and how
the process ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import sys
import tempfile
import threading
import traceback

from hyperlight import SharedMemory, SnapshotManager, TrackerUnavailable

PAGE = mmap.PAGESIZE
HUGE = 2 << 20
PAGES = 16
SIZE = PAGES * PAGE
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.malloc.restype = LIBC.mmap.restype = LIBC.mremap.restype = ctypes.c_void_p
LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
LIBC.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_long),
)
LIBC.mremap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int),
    ctypes.c_void_p,
)
LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

RW = mmap.PROT_READ | mmap.PROT_WRITE
PRIVATE, SHARED = mmap.MAP_PRIVATE, mmap.MAP_SHARED
ANONYMOUS = mmap.MAP_ANONYMOUS
FIXED, GROWSDOWN, LOCKED = 0x10, 0x100, 0x2000
NORESERVE, HUGETLB = 0x4000, 0x40000
MFD_HUGETLB = 4

_kept: list[object] = []  # what owns memory, until the process ends
_memfds: list[int] = []


def at_address(address: int, size: int) -> ctypes.Array:
    return (ctypes.c_char * size).from_address(address)


def raw(flags: int, prot: int = RW, size: int = SIZE, fd: int = -1):
    address = LIBC.mmap(None, size, prot, flags, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return at_address(address, size)


def memfd(size: int = SIZE, flags: int = 0) -> int:
    fd = os.memfd_create("kinds", flags)
    os.ftruncate(fd, size)
    _memfds.append(fd)
    return fd


def filled(fd: int) -> int:
    with mmap.mmap(fd, os.fstat(fd).st_size) as everything:
        everything[:] = b"f" * len(everything)
    return fd


def file_in(folder: str | None) -> int:
    fd, path = tempfile.mkstemp(dir=folder)
    os.unlink(path)
    os.write(fd, b"f" * SIZE)
    return fd


def file_on_disk() -> int:
    """Not in a tmpfs, as far as there is another file system."""
    for folder in ("/var/tmp", os.getcwd()):
        with contextlib.suppress(OSError):
            return file_in(folder)
    return file_in(None)


def in_dev_shm() -> int:
    return file_in("/dev/shm")


def numpy_array():
    import numpy

    array = numpy.zeros(SIZE + PAGE, dtype=numpy.uint8)
    skip = -array.ctypes.data % PAGE
    return array[skip : skip + SIZE]


def in_heap(address: int) -> bool:
    with open("/proc/self/maps") as maps:
        return any(
            int(line.split("-")[0], 16)
            <= address
            < int(line.split("-")[1].split()[0], 16)
            for line in maps
            if line.endswith("[heap]\n")
        )


def block_in_heap():
    """What malloc gives out below its threshold for mappings."""
    address = LIBC.malloc(ctypes.c_size_t(SIZE + PAGE))
    start = (address + PAGE - 1) // PAGE * PAGE
    if not in_heap(start):
        raise NotImplementedError("malloc has no heap here")
    return at_address(start, SIZE)


def whole_heap():
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.endswith("[heap]\n"):
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                return at_address(start, end - start)
    raise NotImplementedError("there is no heap here")


def own_data():
    """The writable part of the extension module."""
    from hyperlight import _core

    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.endswith(f"{_core.__file__}\n") and " rw-p " in line:
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                return at_address(start, end - start)
    raise NotImplementedError("it has none of its own")


def main_stack():
    with open("/proc/self/maps") as maps:
        line = next(line for line in maps if line.endswith("[stack]\n"))
    end = int(line.split("-")[1].split()[0], 16)
    return at_address(end - SIZE, SIZE)


def thread_stack():
    """The stack of the thread that makes the manager."""
    size = ctypes.c_size_t()
    address = ctypes.c_void_p()
    attributes = ctypes.create_string_buffer(64)
    LIBC.pthread_self.restype = ctypes.c_ulong
    LIBC.pthread_getattr_np(ctypes.c_ulong(LIBC.pthread_self()), attributes)
    LIBC.pthread_attr_getstack(
        attributes, ctypes.byref(address), ctypes.byref(size)
    )
    assert address.value is not None
    return at_address(address.value + size.value - 2 * SIZE, SIZE)


def with_mlock(memory):
    if LIBC.mlock(ctypes.c_void_p(address_of(memory)), len(memory)):
        raise NotImplementedError("RLIMIT_MEMLOCK")
    return memory


def advised_huge(flags: int):
    """Two whole huge pages, as far as the kernel can have them here."""
    everything = raw(flags, size=3 * HUGE)
    _kept.append(everything)
    start = -(-address_of(everything) // HUGE) * HUGE
    LIBC.madvise(start, 2 * HUGE, 14)  # MADV_HUGEPAGE
    return at_address(start, 2 * HUGE)


def address_of(memory) -> int:
    return ctypes.addressof((ctypes.c_char * 1).from_buffer(memory))


ROWS = {
    "private anonymous": lambda: mmap.mmap(-1, SIZE, PRIVATE | ANONYMOUS),
    "shared anonymous": lambda: mmap.mmap(-1, SIZE),
    "SharedMemory": lambda: SharedMemory(SIZE),
    "numpy array": numpy_array,
    "memfd, shared": lambda: mmap.mmap(memfd(), SIZE),
    "memfd, private": lambda: mmap.mmap(filled(memfd()), SIZE, PRIVATE),
    "/dev/shm": lambda: mmap.mmap(in_dev_shm(), SIZE),
    "file, shared": lambda: mmap.mmap(file_on_disk(), SIZE),
    "file, private": lambda: mmap.mmap(file_on_disk(), SIZE, PRIVATE),
    "hugetlbfs, private": lambda: raw(
        PRIVATE | ANONYMOUS | HUGETLB, size=2 * HUGE
    ),
    "hugetlbfs, shared": lambda: raw(
        SHARED | ANONYMOUS | HUGETLB, size=2 * HUGE
    ),
    "hugetlbfs, memfd": lambda: raw(
        SHARED, size=2 * HUGE, fd=memfd(2 * HUGE, MFD_HUGETLB)
    ),
    "hugetlbfs, memfd, private": lambda: raw(
        PRIVATE, size=2 * HUGE, fd=filled(memfd(2 * HUGE, MFD_HUGETLB))
    ),
    "huge pages, private": lambda: advised_huge(PRIVATE | ANONYMOUS),
    "huge pages, shared": lambda: advised_huge(SHARED | ANONYMOUS),
    "locked": lambda: with_mlock(raw(PRIVATE | ANONYMOUS)),
    "MAP_NORESERVE": lambda: raw(PRIVATE | ANONYMOUS | NORESERVE),
    "stack-growing": lambda: raw(PRIVATE | ANONYMOUS | GROWSDOWN),
    "read-only": lambda: raw(PRIVATE | ANONYMOUS, mmap.PROT_READ),
    "write-only": lambda: raw(PRIVATE | ANONYMOUS, mmap.PROT_WRITE),
    "truncated": lambda: mmap.mmap(memfd(), SIZE),
    "block of malloc's in the heap": block_in_heap,
    "the process's own heap": whole_heap,
    "the main thread's stack": main_stack,
    "a thread's own stack": thread_stack,
    "this library's own data": own_data,
}


def pages_that_differ(a: bytes, b: bytes) -> set[int]:
    return {
        i
        for i in range(len(a) // PAGE)
        if a[i * PAGE : (i + 1) * PAGE] != b[i * PAGE : (i + 1) * PAGE]
    }


class Refused(Exception):
    """The kernel does not do this to this memory."""


class Cell:
    """Memory of one kind under one tracker."""

    def __init__(self, row: str, tracker: str) -> None:
        self.row = row
        owner = ROWS[row]()
        _kept.append(owner)
        self.memory = (
            owner
            if isinstance(owner, SharedMemory)
            else SharedMemory.from_buffer(owner)
        )
        self.huge = row.startswith("huge")
        # a part of whole pages; not the first, so that it has neighbours
        self.first, self.count = (512, 512) if self.huge else (8, 4)
        self.manager = SnapshotManager(
            self.memory, tracker=tracker, rearm="always"
        )

    def part(self) -> tuple[int, int]:
        return (
            self.memory.address + self.first * PAGE,
            self.count * PAGE,
        )

    def everything_there(self) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
        """Huge pages are few: they are given back."""
        size = self.memory.size
        return ctypes.c_void_p(self.memory.address), ctypes.c_size_t(size)

    def fill(self) -> None:
        """Filled pages, and one that is zero although it was touched."""
        for page in range(self.memory.page_count):
            self.memory.write(page * PAGE, bytes([page % 255 + 1]) * PAGE)
        self.memory.write((self.first + 1) * PAGE, bytes(PAGE))

    def everything(self) -> bytes:
        return self.memory.read(0, self.memory.size)

    def advise(self, advice: int) -> None:
        if LIBC.madvise(*self.part(), advice):
            raise Refused(os.strerror(ctypes.get_errno()))

    # what an owner does

    def op_write(self) -> None:
        memoryview(self.memory)[self.first * PAGE + 5] = 77

    def op_system_call(self) -> None:
        r, w = os.pipe()
        os.write(w, b"from a pipe")
        offset = (self.first + 2) * PAGE
        try:
            os.readv(r, [memoryview(self.memory)[offset : offset + 11]])
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            raise Refused("EFAULT") from None
        finally:
            os.close(r)
            os.close(w)

    def op_madv_dontneed(self) -> None:
        self.advise(4)

    def op_madv_dontneed_locked(self) -> None:
        self.advise(24)

    def op_madv_free(self) -> None:
        self.advise(8)

    def op_madv_remove(self) -> None:
        self.advise(9)

    def op_madv_pageout(self) -> None:
        self.advise(21)

    def op_madv_collapse(self) -> None:
        self.advise(25)

    def op_collapse_when_written(self) -> None:
        """No page is armed: then the kernel does it where it can."""
        for page in range(self.memory.page_count):
            memoryview(self.memory)[page * PAGE + 5] = 77
        LIBC.madvise(*self.part(), 25)

    def op_truncated(self) -> None:
        if self.row != "truncated":
            raise Refused("not a file of ours")
        fd = _memfds[-1]
        os.ftruncate(fd, self.first * PAGE)
        os.ftruncate(fd, SIZE)

    def op_mremap(self) -> None:
        """Its owner moves a part away and maps something else there."""
        if self.huge or self.row == "block of malloc's in the heap":
            raise Refused("not tried")
        start, size = self.part()
        away = LIBC.mmap(None, size, 0, PRIVATE | ANONYMOUS, -1, 0)
        if LIBC.mremap(start, size, size, 3, away) != away:
            raise Refused(os.strerror(ctypes.get_errno()))
        flags = PRIVATE | ANONYMOUS | FIXED
        assert LIBC.mmap(start, size, RW, flags, -1, 0) == start

    def run(self, op: str, look: bool) -> str:
        """`look`: the part is read before the tracker is asked."""
        self.fill()
        base = self.manager.take()
        before = self.everything()
        try:
            getattr(self, f"op_{op}")()
        except Refused:
            if self.everything() != before or self.manager.changed():
                return "changed although refused"
            return "-"
        if look:
            _ = self.memory.read(self.first * PAGE, self.count * PAGE)
        dirty = set(self.manager.dirty())
        differs = pages_that_differ(self.everything(), before)
        right = differs <= dirty
        self.manager.restore(base)
        right = right and self.everything() == before
        # and it goes on
        memoryview(self.memory)[self.first * PAGE] = 99
        right = right and self.first in self.manager.dirty()
        self.manager.restore(base)
        return "exact" if right and self.everything() == before else "missed"


OPS = [name[3:] for name in dir(Cell) if name.startswith("op_")]
OPS.sort(key=lambda name: name == "mremap")  # the last: it changes the kind


def main(row: str, tracker: str) -> None:
    try:
        cell = Cell(row, tracker)
    except (ValueError, TrackerUnavailable) as error:
        print(f"refused: {type(error).__name__}: {error}")
        return
    except NotImplementedError as error:
        print(f"absent: {error}")
        return
    print(f"tracker: {cell.manager.tracker}", flush=True)
    cell.manager.close()
    for op in OPS:
        for look in (False, True):
            cell = Cell(row, tracker)  # what one did is not the next one's
            shown = op.upper() if op.startswith("madv_") else op
            print(f"{shown}: {cell.run(op, look)}", flush=True)
            cell.manager.close()
            if row.startswith("hugetlbfs"):
                LIBC.munmap(*cell.everything_there())
            while _memfds:
                os.close(_memfds.pop())
    os._exit(0)  # what was moved away is not put back


def in_child(row: str, tracker: str) -> None:
    if row == "a thread's own stack":
        thread = threading.Thread(target=main, args=(row, tracker))
        thread.start()
        thread.join()
    else:
        main(row, tracker)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(f"== {name}", flush=True)
        pid = os.fork()
        if pid == 0:
            try:
                in_child(sys.argv[1], name)
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(f"status: {os.waitstatus_to_exitcode(status)}", flush=True)
