"""SnapshotManager: arguments, the stack, overlap, verify, its end."""

from __future__ import annotations

import ctypes
import mmap
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import new_manager, run_python

import hyperlight
from hyperlight import (
    DriverInfo,
    ManagerStats,
    RestoreStats,
    SharedMemory,
    SnapshotManager,
    SnapshotMismatch,
    TrackerMissedPage,
    TrackerOverlap,
    TrackingStats,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_arguments() -> None:
    with SharedMemory(PAGE) as memory:
        for bad in (None, b"bytes", bytearray(PAGE), mmap.mmap(-1, PAGE)):
            with pytest.raises(TypeError, match="from_buffer"):
                SnapshotManager(bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'auto', 'uffd'"):
            SnapshotManager(memory, tracker="magic")
        with pytest.raises(ValueError, match="'adaptive', 'always'"):
            SnapshotManager(memory, rearm="never")  # type: ignore[arg-type]
        memory.close()


# All the ways in which two ranges can lie: Allen's thirteen relations, as
# (first page, pages) against 4 pages from page 4 on.
OVERLAPPING = {
    "overlaps": (2, 4),
    "overlapped by": (6, 4),
    "starts": (4, 2),
    "started by": (4, 6),
    "during": (5, 2),
    "contains": (2, 8),
    "finishes": (6, 2),
    "finished by": (2, 6),
    "equals": (4, 4),
}
APART = {
    "before": (0, 3),
    "after": (9, 3),
    "meets": (0, 4),
    "met by": (8, 4),
}


@pytest.mark.parametrize("relation", [*OVERLAPPING, *APART])
@pytest.mark.parametrize("second", ["same", "full"])
def test_one_tracker_to_a_page(
    tracker: str, relation: str, second: str
) -> None:
    backing = mmap.mmap(-1, 12 * PAGE)
    view = memoryview(backing)
    first, count = {**OVERLAPPING, **APART}[relation]
    one = SharedMemory.from_buffer(view[4 * PAGE : 8 * PAGE])
    two = SharedMemory.from_buffer(view[first * PAGE : (first + count) * PAGE])
    other = tracker if second == "same" else "full"
    with one, two:
        with SnapshotManager(one, tracker=tracker) as manager:
            if relation in OVERLAPPING:
                with pytest.raises(TrackerOverlap, match=f"{one.address:#x}"):
                    SnapshotManager(two, tracker=other)
            else:
                with SnapshotManager(two, tracker=other) as neighbour:
                    manager.take()
                    neighbour.take()
                    backing[:] = b"x" * 12 * PAGE
                    assert len(manager.changed()) == 4
                    assert len(neighbour.changed()) == count
                    manager.restore()
                    assert len(neighbour.changed()) == count
                    neighbour.verify()
            manager.take()
            backing[5 * PAGE] = 7
            assert 1 in manager.dirty()
        # once it is closed, the pages are free again
        SnapshotManager(two, tracker=other).close()
    view.release()


def test_push_and_pop(tracker: str) -> None:
    memory, manager = new_manager(8, tracker)
    with memory, manager:
        for i in range(5):
            memory.write(i * PAGE, bytes([i + 1]))
            pushed = manager.push(f"level {i}")
            assert manager.current is pushed
        for i in reversed(range(5)):
            memory.fill(0, memory.size, 0xEE)
            stats = manager.pop()
            assert stats.pages_copied + stats.pages_zeroed == 8
            for page in range(5):
                expected = page + 1 if page <= i else 0
                assert memory.read(page * PAGE, 1)[0] == expected
        with pytest.raises(IndexError, match="pop without a push"):
            manager.pop()


def test_nothing_taken_yet(tracker: str) -> None:
    memory, manager = new_manager(5, tracker)
    with memory, manager:
        assert manager.current is None
        assert len(manager.dirty()) == 5
        for call in (manager.restore, manager.changed, manager.verify):
            with pytest.raises(ValueError, match="take one first"):
                call()


def test_mismatch() -> None:
    small, manager_small = new_manager(3, "full")
    large, manager_large = new_manager(4, "full")
    with small, manager_small, large, manager_large:
        snapshot = manager_small.take("small")
        manager_large.take()
        large.write(0, b"x")
        for call in (
            manager_large.restore,
            manager_large.changed,
            manager_large.verify,
        ):
            with pytest.raises(SnapshotMismatch, match=r"3 pages, and 4"):
                call(snapshot)
            for bad in (5, "small", object()):
                with pytest.raises(TypeError, match="not a Snapshot"):
                    call(bad)  # type: ignore[arg-type]
        assert large.read(0, 1) == b"x"


def test_after_close(tracker: str) -> None:
    memory, manager = new_manager(3, tracker)
    snapshot = manager.take()
    assert not manager.closed
    manager.close()
    manager.close()
    assert manager.closed
    assert repr(manager) == "<SnapshotManager, closed>"
    assert manager.current is None
    for call in (
        manager.take,
        manager.restore,
        lambda: manager.restore(snapshot),
        manager.push,
        manager.pop,
        manager.dirty,
        manager.changed,
        manager.verify,
        manager.__enter__,
        lambda: manager.stats,
        lambda: manager.tracker,
    ):
        with pytest.raises(ValueError, match="closed SnapshotManager"):
            call()
    memory.fill(0, memory.size, 1)
    memory.close()


def test_memory_cannot_go_before_its_manager(tracker: str) -> None:
    memory, manager = new_manager(3, tracker)
    with pytest.raises(BufferError, match="managers"):
        memory.close()
    manager.close()
    memory.close()


def test_dropped_without_close(real_tracker: str) -> None:
    """Even in a cycle, the collector takes memory and manager in order."""
    import gc

    for _ in range(20):
        memory, manager = new_manager(64, real_tracker)
        manager.take()
        memory.fill(0, memory.size, 1)
        memory.cycle = manager  # type: ignore[attr-defined]
        manager.cycle = memory  # type: ignore[attr-defined]
        del memory, manager
    gc.collect()
    assert core.counts()["managers"] == 0


def test_memory_is_writable_after_close(real_tracker: str) -> None:
    """Whoever owned it gets it back as it was: system calls work again."""
    import os

    backing = mmap.mmap(-1, 4 * PAGE)
    with SharedMemory.from_buffer(backing) as memory:
        with SnapshotManager(memory, tracker=real_tracker) as manager:
            manager.take()
    read, write = os.pipe()
    os.write(write, b"abc")
    assert os.readv(read, [memoryview(backing)[5:8]]) == 3
    os.close(read)
    os.close(write)
    assert backing[5:8] == b"abc"


def test_stats(tracker: str) -> None:
    memory, manager = new_manager(100, tracker, "always")
    with memory, manager:
        memory.fill(0, 10 * PAGE, 1)
        manager.take()
        memory.fill(0, 3 * PAGE, 2)
        memory.fill(50 * PAGE, PAGE, 2)
        done = manager.restore()
        assert isinstance(done, RestoreStats)
        assert done.bytes == (done.pages_copied + done.pages_zeroed) * PAGE
        stats = manager.stats
        assert stats["tracker"] == manager.tracker == tracker
        assert stats["rearm"] == "always"
        assert stats["passed_over"] == {}
        assert stats.keys() == ManagerStats.__required_keys__
        assert stats.keys() > TrackingStats.__required_keys__
        assert stats["why"] == "asked for by name"
        assert stats["takes"] == stats["restores"] == 1
        assert stats["pages"] == 100
        assert stats["pages_stored"] == stats["store_pages"] == 10
        if tracker == "full":
            assert (stats["pages_copied"], stats["pages_zeroed"]) == (10, 90)
        else:
            assert (stats["pages_copied"], stats["pages_zeroed"]) == (3, 1)
        assert set(stats) >= {"hot_pages", "pages_raced", "guesses"}


def test_bulk_writes_are_expected(real_tracker: str) -> None:
    memory, manager = new_manager(64, real_tracker, "always")
    with memory, manager:
        memory.fill(0, 10 * PAGE, 1)
        manager.take()
        memory.write(100, b"x" * 3 * PAGE)
        assert set(manager.dirty()) == {0, 1, 2, 3}
        assert manager.stats["pages_expected"] == 10 + 4
        memory.fill(20 * PAGE, 44 * PAGE)
        assert manager.stats["pages_expected"] == 10 + 4 + 44
        assert set(manager.dirty()) >= {0, 1, 2, 3}
        manager.verify()
        memory.write(PAGE - 1, b"few")
        memory.fill(5 * PAGE, PAGE, 7)
        assert manager.stats["pages_expected"] == 10 + 4 + 44
        manager.restore()
        assert memory.read(0, memory.size) == b"\1" * 10 * PAGE + bytes(
            54 * PAGE
        )
        manager.close()
        memory.fill(0, memory.size, 2)
        assert memory.read(0, memory.size) == b"\2" * memory.size
        with pytest.raises(IndexError):
            memory.fill(PAGE, memory.size)


def test_bulk_writes_are_expected_by_the_manager_there_is() -> None:
    """The first one of this memory is closed; the second one counts."""
    memory, manager = new_manager(64, "full")
    with memory:
        manager.close()
        memory.fill(0, 9 * PAGE, 1)
        with SnapshotManager(memory, tracker="full") as second:
            del manager
            memory.fill(0, 9 * PAGE, 1)
            assert second.stats["pages_expected"] == 9


def test_repr() -> None:
    memory, manager = new_manager(16, "full")
    with memory, manager:
        assert "tracker 'full', current None" in repr(manager)
        assert "64 KiB" in repr(manager)
        manager.take("x")
        assert "'x'" in repr(manager)


@pytest.fixture
def alias(tmp_path):
    """Memory, and another mapping of it that no tracker watches."""
    path = tmp_path / "shared"
    path.write_bytes(bytes(8 * PAGE))
    with path.open("r+b") as file:
        seen, unseen = (mmap.mmap(file.fileno(), 0) for _ in range(2))
    with SharedMemory.from_buffer(seen) as memory:
        yield memory, unseen


def test_verify_after_every_restore(alias, real_tracker, monkeypatch) -> None:
    """HYPERLIGHT_VERIFY=1 finds a page that restore left wrong."""
    if real_tracker == "uffd-sigbus":
        pytest.skip("uffd-sigbus does not track file mappings")
    memory, unseen = alias
    monkeypatch.setenv("HYPERLIGHT_VERIFY", "1")
    with SnapshotManager(memory, tracker=real_tracker) as manager:
        manager.take()
        memory.write(PAGE, b"x")
        manager.restore()
        unseen[2 * PAGE] = 1
        with pytest.raises(TrackerMissedPage) as caught:
            manager.restore()
        assert caught.value.pages == (2,)
        assert caught.value.tracker == real_tracker
    monkeypatch.setenv("HYPERLIGHT_VERIFY", "0")
    unseen[2 * PAGE] = 0
    with SnapshotManager(memory, tracker=real_tracker) as manager:
        manager.take()
        unseen[2 * PAGE] = 1
        manager.restore()  # not asked, not looked
        with pytest.raises(TrackerMissedPage):
            manager.verify()


def test_full_needs_no_tracking(alias) -> None:
    memory, unseen = alias
    with SnapshotManager(memory, tracker="full") as manager:
        manager.take()
        unseen[2 * PAGE] = 1
        assert list(manager.changed()) == [2]
        manager.restore()
        assert unseen[2 * PAGE] == 0
        manager.verify()


def test_interrupt_leaves_both_sides_agreeing() -> None:
    """Ctrl-C in the middle of takes and restores: current is what it is."""
    result = run_python(
        """
import hyperlight, random, signal, threading, time, os
memory = hyperlight.SharedMemory("4MiB")
manager = hyperlight.SnapshotManager(memory)
base = manager.take("base")
rng = random.Random(1)
stop = inside = False
def interrupt(*_):
    global inside  # once: the bookkeeping below is not under test
    if inside:
        inside = False
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupt)
def pester():
    while not stop:
        time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=pester, daemon=True)
kept, hits = [base], 0
thread.start()
deadline = time.monotonic() + 4
while time.monotonic() < deadline and hits < 200:
    try:
        inside = True
        memory.write(rng.randrange(1024) * 4096, b"x")
        kept.append(manager.take())
        manager.restore(rng.choice(kept[-3:]))
        inside = False
    except KeyboardInterrupt:
        hits += 1
inside, stop = False, True
thread.join()
manager.verify()
now = manager.current
assert memory.read(0, memory.size) == now.read(0, now.size) or manager.dirty()
manager.restore(base)
assert memory.read(0, memory.size) == bytes(memory.size)
print("hits", hits > 10)
"""
    )
    assert result.stdout == "hits True\n", result


def test_reentered_from_a_signal_handler() -> None:
    """A Python signal handler may use the manager it interrupts."""
    memory, manager = new_manager(64, "full")
    with memory, manager:
        base = manager.take()
        calls = []

        def handler(*_: object) -> None:
            manager.restore(base)
            calls.append(1)

        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for i in range(3000):
                memory.write(i % 64 * PAGE, b"x")
                manager.take()
                if len(calls) > 20:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        manager.verify()


def huge_bytes(memory: SharedMemory) -> int:
    """How much of it is in huge pages."""
    total, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            start, end = (int(part, 16) for part in found.groups())
            here = (
                start < memory.address + memory.size and memory.address < end
            )
        elif here and line.startswith("AnonHugePages:"):
            total += int(line.split()[1]) << 10
    return total


def can_collapse() -> bool:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 8 << 20, flags) as mapping:
        mapping.write(bytes(8 << 20))
        try:
            mapping.madvise(25)  # MADV_COLLAPSE, Linux 6.1
        except OSError:
            return False
    return True


@pytest.mark.parametrize("hugepages", [False, True])
def test_split_huge_pages_are_made_whole(
    real_tracker: str, hugepages: bool
) -> None:
    """Where a restore is a plain copy, it costs what a plain copy does."""
    memory, manager = new_manager(1024, real_tracker, hugepages=hugepages)
    with memory, manager:
        memory.fill(0, memory.size, 7)
        if hugepages and (
            huge_bytes(memory) < memory.size or not can_collapse()
        ):
            pytest.skip("no transparent huge pages to be had")
        base = manager.take()
        split = memory.size
        for i in range(40):
            memory.fill(0, memory.size, i)
            split = min(split, huge_bytes(memory))
            manager.restore(base)
            assert memory.read(0, memory.size) == b"\7" * memory.size
        if hugepages and split < memory.size:
            assert manager.stats["collapsed"] == 1
            assert huge_bytes(memory) == memory.size
        elif not hugepages:
            assert manager.stats["collapsed"] == huge_bytes(memory) == 0
        memory.write(5 * PAGE, b"x")
        assert 5 in manager.dirty()
        assert list(manager.changed()) == [5]
        manager.verify()


def test_many_managers(real_tracker: str) -> None:
    """Each has its own: nothing that two of them could fight over."""
    made = [new_manager(5 + i, real_tracker) for i in range(40)]
    for i, (memory, manager) in enumerate(made):
        memory.fill(0, memory.size, i)
        manager.take()
    for i, (memory, _) in enumerate(made):
        memory.write(i % 5 * PAGE, b"\xff")
    for i, (memory, manager) in enumerate(made):
        if i % 3 == 0:
            manager.close()
            memory.close()
    for i, (memory, manager) in enumerate(made):
        if i % 3:
            assert list(manager.changed()) == [i % 5]
            assert i % 5 in manager.dirty()
            manager.restore()
            assert memory.read(0, memory.size) == bytes([i]) * memory.size
            manager.close()
            memory.close()


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
    ]
    for info in infos:
        assert bool(info.reason) != info.available
        assert info.kernel_writes == (
            info.name in ("uffd", "softdirty", "full")
        )
        assert info.driver == ("kvm" if "kvm" in info.name else None)
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
