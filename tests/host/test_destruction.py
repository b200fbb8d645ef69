"""The end of objects: half built, in cycles, while others use them."""

from __future__ import annotations

import copy
import mmap
import os
import pickle

import pytest
from conftest import TRAPS, new_manager, run_python
from test_ownership import check_usable

from hyperlight import (
    SharedMemory,
    Snapshot,
    SnapshotManager,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_half_built_and_twice_built() -> None:
    half = SnapshotManager.__new__(SnapshotManager)
    assert half.closed
    assert half.current is None
    half.close()
    for call in (half.take, half.restore, half.push, half.pop, half.dirty):
        with pytest.raises(ValueError, match="closed SnapshotManager"):
            call()
    assert repr(half) == "<SnapshotManager, closed>"
    raw = core.ManagerCore.__new__(core.ManagerCore)
    assert raw.closed
    raw.close()
    snapshot = Snapshot.__new__(Snapshot)
    assert "empty" in repr(snapshot)
    assert snapshot.parent is None
    memory, manager = new_manager(4, "full")
    with memory, manager:
        taken = manager.take()
        with pytest.raises(ValueError, match="already set up"):
            manager.__init__(memory)  # type: ignore[misc]
        assert manager.current is taken
        with pytest.raises(ValueError, match="already taken"):
            manager._core.take(taken)  # type: ignore[union-attr]
        check_usable(memory, manager)


DESTRUCTORS = """
import sys, threading, time
from hyperlight import SharedMemory, SnapshotManager
sys.setswitchinterval(3600)
turns, stop = [0], False
def spin():
    while not stop:
        turns[0] += 1
        time.sleep(0)
thread = threading.Thread(target=spin)
def runs_during(make, end):
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        boxed = make()
        time.sleep(0.01)
        before = turns[0]
        end(boxed)
        if turns[0] > before:
            return True
    return False
def snapshot():
    memory.fill(0, memory.size, 1)
    manager.restore(base)
    memory.fill(0, memory.size, 1)
    made = manager.take()
    manager.restore(base)
    return [made]
def filled():
    made = SharedMemory("64MiB")
    made.fill(0, made.size, 1)
    return [made]
def managed():
    made = SharedMemory("64MiB")
    made.fill(0, made.size, 1)
    made = SnapshotManager(made, tracker=sys.argv[1])
    made.take()
    return [made]
memory = SharedMemory("64MiB")
manager = SnapshotManager(memory, tracker="full")
base = manager.take()
thread.start()
for name, make, end in (
    ("snapshot", snapshot, list.clear),
    ("memory", filled, list.clear),
    ("memory.close", filled, lambda box: box[0].close()),
    ("manager", managed, list.clear),
    ("manager.close", managed, lambda box: box[0].close()),
):
    print(name, runs_during(make, end))
stop = True
thread.join()
"""


def test_no_destructor_holds_the_gil() -> None:
    """Other threads run while memory goes.

    With a switch interval of an hour, they run only if the GIL is let go.
    """
    result = run_python(DESTRUCTORS, TRAPS[-1])
    assert result.returncode == 0, result
    lines = dict(line.rsplit(" ", 1) for line in result.stdout.splitlines())
    assert lines == dict.fromkeys(
        ("snapshot", "memory", "memory.close", "manager", "manager.close"),
        "True",
    )


def test_a_stack_goes_in_pieces() -> None:
    """Others run between them: with an interval of an hour, only there."""
    if not core.CAN_FAIL:
        pytest.skip("built without HYPERLIGHT_FAULT_INJECTION=1")
    result = run_python(
        """
import sys, threading, time, weakref
from hyperlight import SharedMemory, SnapshotManager
from hyperlight._binding import core
sys.setswitchinterval(3600)
turns, stop = [0], False
def spin():
    while not stop:
        turns[0] += 1
        time.sleep(0)
thread = threading.Thread(target=spin)
thread.start()
core.plan_failure("linger", 0, 2**31)
moments = set()
patience = time.monotonic() + 60
while len(moments) < 2 and time.monotonic() < patience:
    manager = SnapshotManager(SharedMemory("4KiB"), tracker="full")
    note = lambda _: moments.add(turns[0])
    refs = [weakref.ref(manager.push(), note) for _ in range(3000)]
    moments.clear()
    manager.close()
stop = True
thread.join()
print("in pieces" if len(moments) > 1 else "at once")
"""
    )
    assert result.stdout == "in pieces\n", result


def test_close_while_a_copy_is_under_way() -> None:
    """Refused, or it waits; never unmapped under it."""
    result = run_python(
        """
import threading, time
from hyperlight import SharedMemory
refused = turn = 0
patience = time.monotonic() + 60
while turn < 40 or not refused and time.monotonic() < patience:
    turn += 1
    memory = SharedMemory("32MiB")
    work = [lambda: memory.fill(0, memory.size, 1),
            lambda: memory.read(0, memory.size)][turn % 2]
    thread = threading.Thread(target=work)
    thread.start()
    while True:
        try:
            memory.close()
            break
        except BufferError:
            refused += 1
    thread.join()
print("done", refused > 0)
""",
    )
    assert "done True" in result.stdout, result


def test_memory_closed_while_a_manager_is_made(trap: str) -> None:
    """ValueError, or a manager that keeps its memory."""
    result = run_python(
        """
import sys, threading, time
from hyperlight import SharedMemory, SnapshotManager
for turn in range(400):
    memory = SharedMemory("1MiB")
    go = threading.Barrier(2)
    def close():
        go.wait()
        time.sleep(turn % 40 * 1e-5)
        try:
            memory.close()
        except BufferError:
            pass
    thread = threading.Thread(target=close)
    thread.start()
    go.wait()
    try:
        manager = SnapshotManager(memory, tracker=sys.argv[1])
    except ValueError:
        thread.join()
        continue
    thread.join()
    assert not memory.closed
    manager.take()
    manager.restore()
    manager.close()
print("done")
""",
        trap,
    )
    assert result.stdout == "done\n", result


def test_copies_and_pickles() -> None:
    memory, manager = new_manager(4, "full")
    with memory, manager:
        snapshot = manager.take()
        assert copy.copy(snapshot) is snapshot
        assert copy.deepcopy([snapshot])[0] is snapshot
        for owner, word in (
            (memory, "SharedMemory"),
            (manager, "SnapshotManager"),
        ):
            for call in (copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=f"a {word} cannot be c"):
                    call(owner)
        for owner in (memory, manager, snapshot):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError, match="cannot be pickled: it"):
                    pickle.dumps(owner, protocol)
        check_usable(memory, manager)


def test_changed_compares_what_is_reported_or_everything() -> None:
    """A write that no tracker sees, through the file behind the memory."""
    fd = os.memfd_create("pages")
    os.ftruncate(fd, 8 * PAGE)
    unseen = mmap.mmap(fd, 8 * PAGE)
    backing = mmap.mmap(fd, 8 * PAGE)
    os.close(fd)
    with SharedMemory.from_buffer(backing) as memory:
        with SnapshotManager(memory, tracker="sigsegv") as manager:
            base = manager.take()
            memory.write(2 * PAGE, b"seen")
            unseen[5 * PAGE] = 1
            assert list(manager.changed()) == [2]
            assert list(manager.changed(everything=True)) == [2, 5]
            assert list(manager.changed(base, everything=True)) == [2, 5]
            assert list(manager.changed(base, everything=False)) == [2]
