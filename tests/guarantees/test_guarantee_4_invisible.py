"""Tracking is invisible: the same values with it on, off, or switched."""

from __future__ import annotations

import array
import os
import random
import socket

import pytest
from conftest import new_manager

import hyperlight
from hyperlight import SharedMemory, SnapshotManager
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_switched_at_any_time(tracker: str, rearm: str) -> None:
    rng = random.Random(11)
    memory = SharedMemory(40 * PAGE)
    plain = bytearray(40 * PAGE)
    manager = None
    with memory:
        for _ in range(400):
            match rng.randrange(5):
                case 0:
                    if manager is None:
                        manager = SnapshotManager(
                            memory,
                            tracker=tracker,
                            rearm=rearm,  # type: ignore[arg-type]
                        )
                    else:
                        manager.close()
                        manager = None
                case 1 if manager is not None:
                    manager.take()
                case _:
                    at = rng.randrange(40 * PAGE - 8)
                    data = rng.randbytes(8)
                    memory.write(at, data)
                    plain[at : at + 8] = data
            at = rng.randrange(40 * PAGE - 64)
            assert memory.read(at, 64) == plain[at : at + 64]
        assert memory.read(0, memory.size) == plain
        if manager is not None:
            manager.close()
        assert memory.read(0, memory.size) == plain


def sees_kernel_writes(tracker: str) -> bool:
    return {i.name: i.kernel_writes for i in hyperlight.trackers()}[tracker]


def system_calls(view: memoryview) -> list[tuple[str, object]]:
    """Writes into `view` by the kernel; each gives 6000 bytes of 0x61."""
    data = b"a" * 6000

    def read() -> int:
        r, w = os.pipe()
        try:
            os.write(w, data)
            with open(r, "rb", buffering=0, closefd=False) as pipe:
                return pipe.readinto(view[:6000])
        finally:
            os.close(r)
            os.close(w)

    def readv() -> int:
        r, w = os.pipe()
        try:
            os.write(w, data)
            return os.readv(r, [view[:10], view[10:6000]])
        finally:
            os.close(r)
            os.close(w)

    def recv() -> int:
        a, b = socket.socketpair()
        with a, b:
            a.sendall(data)
            return b.recv_into(view[:6000], 6000, socket.MSG_WAITALL)

    return [("read", read), ("readv", readv), ("recv", recv)]


@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 3, 7])
def test_system_calls_write(tracker: str, call: int, first: int) -> None:
    """Seen where the tracker says so; EFAULT, never silence, elsewhere."""
    memory, manager = new_manager(16, tracker, "always")
    with memory, manager, memoryview(memory) as view:
        manager.take()
        with view[first * PAGE + 100 :] as target:
            _, function = system_calls(target)[call]
            if sees_kernel_writes(tracker):
                assert function() == 6000
                assert bytes(target[:6000]) == b"a" * 6000
                assert set(manager.changed()) == {first, first + 1}
                assert {first, first + 1} <= set(manager.dirty())
            else:
                with pytest.raises(OSError, match="Bad address"):
                    function()
                # touched by hand first, the pages are open
                for page in (first, first + 1):
                    view[page * PAGE + 50] = 1
                assert function() == 6000
                assert set(manager.changed()) == {first, first + 1}
        manager.restore()
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_short_count_when_only_the_tail_is_armed(trap: str) -> None:
    memory, manager = new_manager(4, trap, "always")
    with memory, manager, memoryview(memory) as view:
        manager.take()
        view[0] = 1  # page 0 is open, page 1 is not
        r, w = os.pipe()
        try:
            os.write(w, b"b" * 6000)
            count = os.readv(r, [view[100:6100]])
        except OSError:
            count = 0  # a pipe may also refuse the whole
        finally:
            os.close(r)
            os.close(w)
        assert count < 6000
        assert set(manager.changed()) == {0}
        assert memory.read(PAGE, PAGE) == bytes(PAGE)


def test_reads_do_not_dirty(real_tracker: str) -> None:
    memory, manager = new_manager(64, real_tracker)
    with memory, manager:
        memory.fill(0, 32 * PAGE, 4)
        manager.take()
        memory.read(0, memory.size)
        assert not manager.dirty()


def test_wide_accesses_across_pages(tracker: str) -> None:
    """One store that touches two armed pages."""
    import ctypes

    memory, manager = new_manager(4, tracker, "always")
    with memory, manager:
        manager.take()
        for at in (PAGE - 4, 2 * PAGE - 1):
            ctypes.c_uint64.from_address(memory.address + at).value = 2**64 - 1
        assert set(manager.changed()) == {0, 1, 2}


def test_array_module_and_slices(tracker: str) -> None:
    memory, manager = new_manager(8, tracker)
    with memory, manager, memoryview(memory).cast("d") as doubles:
        doubles[0 : 8 * PAGE // 8] = array.array("d", [1.5] * PAGE)
        manager.take()
        doubles[3 * PAGE // 8] = 2.5
        assert doubles[3 * PAGE // 8] == 2.5
        manager.restore()
        assert set(doubles) == {1.5}
