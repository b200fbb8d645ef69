"""Managers: verifying, interrupts, huge pages, many of them."""

from __future__ import annotations

import mmap
import signal

import pytest
from conftest import new_manager, require_tracks, run_python
from huge import can_collapse, huge_bytes

from hyperlight import (
    SharedMemory,
    SnapshotManager,
    TrackerMissedPage,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


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
    memory, unseen = alias
    require_tracks(memory, real_tracker)
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


@pytest.mark.any_python
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
            assert manager.stats["collapsed"] == 2  # steps of a block each
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
