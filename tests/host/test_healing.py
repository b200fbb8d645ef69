"""What a phase of wide writes leaves behind: no later restore pays for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import pytest
from huge import can_collapse, huge_bytes

from hyperlight import SharedMemory, SnapshotManager
from hyperlight._binding import core

PAGE = core.PAGE_SIZE
HUGE = 2 << 20
BLOCKS = 32


@pytest.fixture
def memory():
    """Memory in huge pages, all of it in use."""
    with SharedMemory(BLOCKS * HUGE, hugepages=True) as memory:
        memory.fill(0, memory.size, 7)
        if huge_bytes(memory) < memory.size or not can_collapse():
            pytest.skip("no transparent huge pages to be had")
        yield memory


@pytest.fixture
def manager(memory):
    with SnapshotManager(memory) as manager:
        if manager.tracker != "uffd":
            pytest.skip(f"here auto is {manager.tracker}: it walks no tables")
        yield manager


def give_back(memory: SharedMemory, span: range) -> None:
    """As its owner does: these bytes are zero, and take no memory."""
    address = ctypes.c_void_p(memory.address + span.start)
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    assert madvise(address, ctypes.c_size_t(len(span)), 4) == 0


def write_everywhere(memory: SharedMemory) -> None:
    """A page in each huge page."""
    for block in range(BLOCKS):
        memory.write(block * HUGE + (block + 1) * PAGE, b"x")


def test_split_huge_pages_are_whole_after_64_restores(memory, manager) -> None:
    manager.take()
    write_everywhere(memory)
    manager.restore()
    assert huge_bytes(memory) == 0
    for i in range(64):
        memory.write(5 * HUGE, bytes([i]))  # hot: its block stays split
        manager.restore()
    assert huge_bytes(memory) == memory.size - HUGE
    assert manager.stats["collapsed"] == BLOCKS - 1
    assert memory.read(0, memory.size) == b"\7" * memory.size
    manager.verify()
    # They are armed again, all of them.
    write_everywhere(memory)
    assert len(manager.changed()) == BLOCKS
    manager.verify()


def test_takes_make_them_whole_as_well(memory, manager) -> None:
    manager.take()
    write_everywhere(memory)
    for i in range(64):
        memory.write(5 * HUGE, bytes([i]))
        last = manager.take()
    assert huge_bytes(memory) >= memory.size - HUGE
    write_everywhere(memory)
    memory.write(0, b"x")
    manager.restore(last)
    manager.verify()
    assert not manager.changed(everything=True)


def test_a_workload_that_splits_them_again_is_left_alone(
    memory, manager
) -> None:
    """Making them whole costs more than 100 cheap restores save."""
    manager.take()
    for _ in range(40):
        write_everywhere(memory)
        for i in range(100):
            memory.write(5 * HUGE, bytes([i]))
            manager.restore()
    # After 8, 32 and 128 quiet restores; the last does not occur.
    assert BLOCKS - 1 <= manager.stats["collapsed"] <= 3 * BLOCKS
    manager.verify()


def test_small_pages_that_should_be_so_stay(manager) -> None:
    with SharedMemory(8 * HUGE, hugepages=False) as small:
        small.fill(0, small.size, 7)
        with SnapshotManager(small, tracker="uffd") as other:
            other.take()
            for i in range(100):
                small.write(i * HUGE if i < 8 else 0, b"x")
                other.restore()
            assert other.stats["collapsed"] == huge_bytes(small) == 0


def test_a_block_with_holes_is_not_filled(memory, manager) -> None:
    """Its owner gave pages back, and nothing was written there since."""
    memory.fill(4 * HUGE, HUGE)
    manager.take()
    write_everywhere(memory)
    start = 4 * HUGE + 100 * PAGE
    give_back(memory, range(start, start + 50 * PAGE))
    for i in range(64):
        memory.write(5 * HUGE, bytes([i]))
        manager.restore()
    assert huge_bytes(memory) == memory.size - 2 * HUGE
    manager.verify()


@contextlib.contextmanager
def a_child() -> Iterator[None]:
    """One that shares every page, and does nothing."""
    ours, childs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(childs)
        os.read(ours, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(childs)
        os.waitpid(pid, 0)
        os.close(ours)


def test_a_block_that_a_child_shares_is_not_copied(memory, manager) -> None:
    """Its pages are this process's and the child's, in memory once."""
    manager.take()
    write_everywhere(memory)
    manager.restore()
    with a_child():
        for i in range(64):
            memory.write(5 * HUGE, bytes([i]))
            manager.restore()
        assert manager.stats["collapsed"] == huge_bytes(memory) == 0
    manager.verify()


def test_what_a_fork_shares_is_not_copied_though_all_is_hot(
    memory, manager
) -> None:
    """Takes only read it: nothing else would make it this process's own."""
    manager.take()
    while manager.stats["collapsed"] == 0:
        memory.fill(0, memory.size, manager.stats["takes"] % 100 + 1)
        manager.take()
    with a_child():
        manager.take()
        assert manager.stats["hot_pages"] == memory.page_count
        assert manager.stats["collapsed"] == 1
    memory.fill(0, memory.size, 111)
    manager.take()
    assert manager.stats["hot_pages"] == memory.page_count
    assert manager.stats["collapsed"] == 2
    manager.verify()
