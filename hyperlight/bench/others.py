"""What one would reach for instead, to put memory back.

Each is a loop: write one word to each of the pages, and have the memory as it
was. Other libraries are only used where they are installed.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperlight import SharedMemory
from hyperlight.bench.host import BLOCK, Case, choose_pages

__all__ = ["OTHERS", "QUOTED", "QUOTED_FROM", "Way", "available"]

PAGE = mmap.PAGESIZE
WORDS = PAGE // 8
BYTE = 7  # what all of the memory is filled with


@dataclass(frozen=True)
class Way:
    """One iteration, and the memory that it leaves as it found it."""

    step: Callable[[], None]
    words: np.ndarray | None  # None: the memory goes with each iteration


def _first_words(case: Case) -> np.ndarray:
    return choose_pages(case.size // PAGE, case.dirty, case.pattern) * WORDS


def _filled(size: int) -> np.ndarray:
    """Words of memory that is laid out as a manager's would be."""
    memory = SharedMemory(size)
    for at in range(0, size, BLOCK):
        memory.fill(at, min(BLOCK, size - at), BYTE)
    return np.frombuffer(memoryview(memory), np.uint64)


def numpy_copyto(case: Case) -> Way:
    """Keep a copy, and copy all of it back."""
    words, saved = _filled(case.size), _filled(case.size)
    pages = _first_words(case)

    def step() -> None:
        words[pages] = 1
        np.copyto(words, saved)

    return Way(step, words)


def os_fork(case: Case) -> Way:
    """Let a child write, and end it."""
    words, pages = _filled(case.size), _first_words(case)

    def step() -> None:
        child = os.fork()
        if child == 0:
            words[pages] = 1
            os._exit(0)
        os.waitpid(child, 0)

    return Way(step, words)


def madv_dontneed(case: Case) -> Way:
    """Map a file privately, and drop the private pages."""
    file = os.memfd_create("base")
    block = bytes([BYTE]) * min(case.size, BLOCK)
    for _ in range(0, case.size, len(block)):
        os.write(file, block)
    mapped = mmap.mmap(file, case.size, mmap.MAP_PRIVATE)
    os.close(file)
    words, pages = np.frombuffer(mapped, np.uint64), _first_words(case)

    def step() -> None:
        words[pages] = 1
        mapped.madvise(mmap.MADV_DONTNEED)

    return Way(step, words)


def wasmtime(case: Case) -> Way:
    """A new instance, whose memory is zero, for each call."""
    w: Any = importlib.import_module("wasmtime")
    engine = w.Engine()
    count = case.size >> 16
    module = w.Module(engine, f'(module (memory (export "m") {count}))')
    pages = _first_words(case)

    def step() -> None:
        store = w.Store(engine)
        exported = w.Instance(store, module, []).exports(store)
        address = ctypes.addressof(exported["m"].data_ptr(store).contents)
        array = (ctypes.c_uint64 * (case.size // 8)).from_address(address)
        np.frombuffer(memoryview(array), np.uint64)[pages] = 1

    return Way(step, None)


def unicorn(case: Case) -> Way:
    """Keep a copy of an emulator's memory, and write all of it back."""
    u: Any = importlib.import_module("unicorn")
    words, saved = _filled(case.size), _filled(case.size).tobytes()
    pages = _first_words(case)
    machine = u.Uc(u.UC_ARCH_X86, u.UC_MODE_64)
    address = words.ctypes.data
    machine.mem_map_ptr(0, case.size, u.UC_PROT_ALL, address)

    def step() -> None:
        words[pages] = 1
        machine.mem_write(0, saved)

    return Way(step, words)


#: What could not be run here: figures quoted from one run on a machine of the
#: same kind, µs.  They are no part of any ratio.
QUOTED_FROM = "November 2026, KVM without hardware help"
QUOTED = (
    ("TinyKVM, all work memory kept", "reset, 0 pages dirty", "7"),
    ("TinyKVM, all work memory kept", "1 page", "9"),
    ("TinyKVM, all work memory kept", "16 pages", "10"),
    ("TinyKVM, all work memory kept", "256 pages", "70"),
    ("TinyKVM, all work memory kept", "4096 pages", "2000"),
    ("TinyKVM, all work memory kept", "1 page after 4096 once", "1970"),
    ("TinyKVM, as it comes", "reset, 0 pages dirty", "21"),
    ("TinyKVM, as it comes", "1 page", "24"),
    ("TinyKVM, as it comes", "16 pages", "32"),
    ("TinyKVM, as it comes", "256 pages", "130"),
    ("TinyKVM, as it comes", "4096 pages", "1460"),
    ("TinyKVM", "a call, 26.2 of it KVM_RUN", "36.6"),
    ("TinyKVM", "creation", "630 to 3000"),
    ("TinyKVM", "fork", "390 to 1090"),
)

OTHERS: dict[str, Callable[[Case], Way]] = {
    "numpy.copyto": numpy_copyto,
    "os.fork": os_fork,
    "MADV_DONTNEED": madv_dontneed,
    "wasmtime": wasmtime,
    "unicorn": unicorn,
}


def available(name: str) -> bool:
    """Whether the library it needs is installed."""
    if name not in ("wasmtime", "unicorn"):
        return True
    return importlib.util.find_spec(name) is not None
