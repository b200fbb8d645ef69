"""Trackers of this host: what is said of them, and their handlers."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable

import pytest
from conftest import new_manager, run_python

import hyperlight
from hyperlight import (
    DriverInfo,
    SharedMemory,
    SnapshotManager,
    TrackerOverlap,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_trackers_are_described() -> None:
    infos = hyperlight.trackers()
    assert [info.name for info in infos] == [
        "uffd",
        "uffd-sigbus",
        "sigsegv",
        "softdirty",
        "full",
        "kvm-ring",
        "kvm-log",
        "mshv",
        "whp",
    ]
    for info in infos:
        assert bool(info.reason) != info.available
        assert info.kernel_writes == (
            info.name in ("uffd", "softdirty", "full")
        )
        drivers = {
            "kvm-ring": "kvm",
            "kvm-log": "kvm",
            "mshv": "mshv",
            "whp": "whp",
        }
        assert info.driver == drivers.get(info.name)
        assert isinstance(info, hyperlight.TrackerInfo)
    for handler in hyperlight.fault_handlers():
        assert isinstance(handler, hyperlight.FaultHandlerInfo)
        assert handler.installed or not handler.first
    assert next(info for info in infos if info.name == "full").available
    assert all(isinstance(d, DriverInfo) for d in hyperlight.drivers())
    assert [d.name for d in hyperlight.drivers()]


def test_probing_disturbs_nothing(tracker: str) -> None:
    memory, manager = new_manager(8, tracker, "always")
    with memory, manager:
        manager.take()
        memory.write(PAGE, b"x")
        threads = [
            threading.Thread(target=hyperlight.trackers) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 in manager.dirty()
        memory.write(2 * PAGE, b"x")
        assert list(manager.changed()) == [1, 2]
        assert {1, 2} <= set(manager.dirty())


HANDLERS = {
    "signal.signal": "signal.signal(SIGNAL, note)",
    "signal by name": "by_name(SIGNAL, note)",
    "SIG_DFL": "signal.signal(SIGNAL, signal.SIG_DFL)",
    "siginterrupt": "signal.siginterrupt(SIGNAL, False)",
    "faulthandler": "faulthandler.enable()",
    "off and on": "faulthandler.enable(); faulthandler.disable()",
}


@pytest.mark.parametrize("how", HANDLERS)
def test_handlers_installed_after_tracking_began(trap: str, how: str) -> None:
    """Writes are tracked, and theirs gets what is not ours."""
    result = run_python(
        f"""
import faulthandler, os, signal, sys
from signal import signal as by_name
from hyperlight import SharedMemory, SnapshotManager
SIGNAL = signal.SIGSEGV if sys.argv[1] == "sigsegv" else signal.SIGBUS
noted = []
def note(number, frame):
    noted.append(number)
memory = SharedMemory("64KiB")
manager = SnapshotManager(memory, tracker=sys.argv[1])
manager.take()
{HANDLERS[how]}
with memoryview(memory) as view:
    view[5] = 1
memory.write(3 * 4096, b"x")
assert set(manager.dirty()) == {{0, 3}}
manager.restore()
if "note" in {HANDLERS[how]!r}:
    os.kill(os.getpid(), SIGNAL)
    assert noted == [SIGNAL], noted
    assert signal.getsignal(SIGNAL) is note
memory.write(0, b"x")
assert set(manager.dirty()) >= {{0}}
print("done")
""",
        trap,
        timeout=60,
    )
    assert result.stdout == "done\n", result


def test_wrong_memory_in_words() -> None:
    """One sentence, of the class that fits."""
    with SharedMemory("17TiB", hugepages=False) as memory:
        for tracker in ("auto", "full"):
            with pytest.raises(ValueError, match="too many to man") as caught:
                SnapshotManager(memory, tracker=tracker)
            assert str(caught.value).count("too many") == 1
    backing = mmap.mmap(-1, 8 * PAGE)
    libc = ctypes.CDLL(None)
    address = ctypes.addressof(ctypes.c_char.from_buffer(backing))
    memory = SharedMemory.from_buffer(backing)
    hole = ctypes.c_void_p(address + 2 * PAGE)
    assert libc.munmap(hole, ctypes.c_size_t(PAGE)) == 0
    for tracker in ("auto", "full"):
        with pytest.raises(ValueError, match="is not mapped throughout"):
            SnapshotManager(memory, tracker=tracker)
    with pytest.raises(ValueError, match="not mapped readable and writable"):
        SharedMemory.from_buffer(backing)
    libc.mmap.restype = ctypes.c_void_p
    fixed = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x10
    assert libc.mmap(hole, ctypes.c_size_t(PAGE), 3, fixed, -1, 0)
    memory.close()


def test_memory_that_somebody_tracks_can_be_borrowed(tracker: str) -> None:
    """It is closed by a tracker: it is as open as it was."""
    memory, manager = new_manager(16, tracker)
    with memory, manager:
        memory.fill(0, memory.size, 1)
        manager.take()
        with SharedMemory.from_buffer(memory) as view:
            with pytest.raises(TrackerOverlap):
                SnapshotManager(view)
            view.write(3 * PAGE, b"x")
            assert list(manager.changed()) == [3]
        with pytest.raises(BufferError), memoryview(memory):
            memory.close()


@pytest.mark.unsanitized
def test_take_with_little_address_space() -> None:
    """Smaller pieces are tried where the store's next one does not fit."""
    result = run_python(
        """
import resource
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory("300MiB", hugepages=False)
manager = SnapshotManager(memory, tracker="full")
memory.fill(0, memory.size, 1)
with open("/proc/self/status") as status:
    used = [int(l.split()[1]) for l in status if l.startswith("VmSize")][0]
limit = (used << 10) + (350 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
snapshot = manager.take()
memory.fill(0, memory.size, 2)
manager.restore()
assert memory.read(0, 4096) == memory.read(memory.size - 4096, 4096)
assert memory.read(memory.size - 1, 1) == b"\\1"
print("done")
"""
    )
    assert result.stdout == "done\n", result


def test_pages_of_the_store_in_any_pieces(fail: Callable[..., None]) -> None:
    memory, manager = new_manager(3000, "full")
    with memory, manager:
        for turn in range(12):
            fail("slab", turn % 5, turn)
            for page in range(3000):
                memory.write(
                    page * PAGE, (page * 13 + turn).to_bytes(4, "little")
                )
            try:
                made = manager.take()
            except MemoryError:
                assert turn > 8
                continue
            memory.fill(0, memory.size, 3)
            manager.restore(made)
            manager.verify()
            for page in range(0, 3000, 7):
                expected = (page * 13 + turn).to_bytes(4, "little")
                assert memory.read(page * PAGE, 4) == expected
