"""Who owns what, whatever comes in between: exceptions, threads, collection.

Foreign code runs in the middle of a call wherever Python code does: from a
trace function at every bytecode (which stands for signal handlers), from
`__index__`, from finalizers, and in other threads while the GIL is away.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import mmap
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import new_manager, run_python

import hyperlight
from hyperlight import (
    PageSet,
    SharedMemory,
    Snapshot,
    SnapshotManager,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE
PACKAGE = str(Path(hyperlight.__file__).parent)


class Stop(Exception):
    """What a signal handler raises."""


def ask_for_bytecodes() -> None:
    """Python 3.12 looks whether anybody wants them when a trace is set."""

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        frame.f_trace_opcodes = True
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    (lambda: None)()
    sys.settrace(before)


def at_every_bytecode(
    operation: Callable[[], object], act: Callable[[], None]
) -> Iterator[int]:
    """Run it again and again, with `act` before its n-th bytecode.

    Yields after each run, until one ends before its n-th. What `act` raises
    ends the operation, as an exception of a signal handler does.
    """
    ask_for_bytecodes()
    for turn in range(100_000):
        left = turn
        acted = False

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left, acted
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and not acted:
                if left == 0:
                    acted = True
                    sys.settrace(None)
                    act()
                left -= 1
            return trace

        before = sys.gettrace()
        try:
            sys.settrace(trace)
            operation()
        except Stop:
            pass
        finally:
            sys.settrace(before)
        if not acted:
            return
        yield turn
    raise AssertionError("it never ends")


def stop() -> None:
    raise Stop


def from_another_thread(call: Callable[[], object]) -> object:
    """Its result; a lock that nobody lets go of is a failure, not a hang."""
    result: list[object] = []
    thread = threading.Thread(
        target=lambda: result.append(call()), daemon=True
    )
    thread.start()
    thread.join(30)
    assert result, "another thread waits for ever"
    return result[0]


def check_usable(memory: SharedMemory, manager: SnapshotManager) -> None:
    """The manager works, agrees with itself, and no lock is held."""
    current = manager.current
    from_another_thread(manager.verify)
    if current is None:
        return
    from_another_thread(manager.restore)
    assert manager.current is current
    assert memory.read(0, memory.size) == current.read(0, memory.size)


@pytest.mark.parametrize("name", ["take", "restore", "dirty", "changed"])
def test_exception_at_every_bytecode(name: str) -> None:
    memory, manager = new_manager(16, "full")
    with memory, manager:
        manager.take()
        turns = 0
        for turns in at_every_bytecode(getattr(manager, name), stop):
            memory.write(turns % 16 * PAGE, bytes([turns % 255 + 1]))
            check_usable(memory, manager)
        assert turns > 5


@pytest.mark.parametrize("length", [3, 9 * PAGE])
def test_exception_at_every_bytecode_of_a_write(length: int) -> None:
    """A bulk write tells the manager; nothing is left held."""
    memory, manager = new_manager(16, "full")

    def write() -> None:
        memory.write(0, b"x" * length)
        memory.fill(0, length, 1)

    with memory, manager:
        manager.take()
        for _ in at_every_bytecode(write, stop):
            check_usable(memory, manager)
        write()
        check_usable(memory, manager)


def test_push_is_one_step() -> None:
    """Current and on the stack, or neither."""
    memory, manager = new_manager(16, "full")
    with memory, manager:
        base = manager.take()
        for turn in at_every_bytecode(manager.push, stop):
            after = manager.current
            memory.write(turn % 16 * PAGE, b"later")
            if after is base:
                with pytest.raises(IndexError):
                    manager.pop()
            else:
                manager.pop()
                assert manager.current is after
                with pytest.raises(IndexError):
                    manager.pop()
            manager.restore(base)


def test_pop_is_one_step() -> None:
    """Restored and off the stack, or neither."""
    memory, manager = new_manager(16, "full")

    def fill_stack() -> None:
        manager.push()
        manager.push()
        manager.restore(base)

    with memory, manager:
        base = manager.take()
        fill_stack()
        for _ in at_every_bytecode(manager.pop, stop):
            popped = manager.current is not base
            left = 0
            with contextlib.suppress(IndexError):
                while True:
                    manager.pop()
                    left += 1
            assert left == 2 - popped
            fill_stack()


def fork_and_end(memory: SharedMemory, manager: SnapshotManager) -> None:
    """A child uses what it inherits, and ends it."""
    pid = os.fork()
    if pid == 0:
        try:
            manager.push()
            manager.pop()
            manager.verify()
            manager.close()
            memory.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


OTHERS: dict[str, Callable[[SharedMemory, SnapshotManager], object]] = {
    "take": lambda memory, manager: manager.take(),
    "restore": lambda memory, manager: manager.restore(),
    "push": lambda memory, manager: manager.push(),
    "pop": lambda memory, manager: manager.pop(),
    "dirty": lambda memory, manager: manager.dirty(),
    "write": lambda memory, manager: memory.fill(0, 4 * PAGE, 7),
    "close memory": lambda memory, manager: memory.close(),
    "close": lambda memory, manager: manager.close(),
    "collect": lambda memory, manager: gc.collect(),
    "fork": fork_and_end,
    "manage": lambda memory, manager: SnapshotManager(memory, tracker="full"),
}
REFUSALS = (ValueError, IndexError, BufferError, hyperlight.TrackerOverlap)


@pytest.fixture
def little_to_collect() -> Iterator[None]:
    """A collection looks at what the test made, not at all of pytest."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks
@pytest.mark.usefixtures("little_to_collect")
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ["take", "restore", "push", "pop", "changed"])
def test_any_call_in_the_middle_of_any(name: str, other: str) -> None:
    """Each is done or refused in words, and memory is a snapshot after."""

    def attempt(call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(REFUSALS):
            call(*args)

    memory, manager = new_manager(8, "full")
    manager.push()
    manager.push()
    manager.push()

    def one() -> None:
        attempt(getattr(manager, name))

    def act() -> None:
        attempt(OTHERS[other], memory, manager)

    for turn in at_every_bytecode(one, act):
        if manager.closed:
            manager = SnapshotManager(memory, tracker="full")
            manager.push()
        memory.write(turn % 8 * PAGE, b"x")
        check_usable(memory, manager)
    manager.close()
    memory.close()


def test_two_threads_pop_two_snapshots() -> None:
    memory, manager = new_manager(4, "full")
    with memory, manager:
        for i in range(400):
            memory.write(0, i.to_bytes(4, "little"))
            manager.push(str(i))
        popped: list[int] = []

        def pop() -> None:
            while True:
                try:
                    manager.pop()
                except IndexError:
                    return
                popped.append(1)

        threads = [threading.Thread(target=pop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(popped) == 400
        assert manager.current is not None
        check_usable(memory, manager)


def test_a_deep_stack_goes() -> None:
    """Its entries hang on each other: taking it apart must not recurse."""
    memory, manager = new_manager(1, "full")
    with memory:
        for _ in range(100_000):
            manager.push()
        manager.close()
        assert core.counts()["snapshots"] == 0


def test_parent_is_what_was_current() -> None:
    memory, manager = new_manager(4, "full")
    with memory, manager:
        first = manager.take()
        second = manager.push()
        assert first.parent is None
        assert second.parent is first
        manager.restore(first)
        third = manager.take()
        assert third.parent is first


class Evil:
    """A number that does something when it is asked for."""

    def __init__(self, value: int, act: Callable[[], object]) -> None:
        self.value = value
        self.act = act

    def __index__(self) -> int:
        self.act()
        return self.value


class Liar(int):
    """Compares as anything, and is something else."""

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_numbers_that_close_the_memory() -> None:
    for call in (
        lambda memory, number: memory.read(number, 1),
        lambda memory, number: memory.read(0, number),
        lambda memory, number: memory.write(number, b"x"),
        lambda memory, number: memory.fill(number, 1),
        lambda memory, number: memory.fill(0, number),
        lambda memory, number: memory.fill(0, 1, number),
    ):
        memory = SharedMemory(16 * PAGE)
        with pytest.raises(ValueError, match="closed SharedMemory"):
            call(memory, Evil(1, memory.close))


@pytest.mark.parametrize("value", [1 << 40, -1])
def test_numbers_that_lie_about_their_size(value: int) -> None:
    memory, manager = new_manager(16, "full")
    with memory, manager:
        snapshot = manager.take()
        for call in (
            lambda: memory.read(Liar(value), 1),
            lambda: memory.write(Liar(value), b"x"),
            lambda: memory.fill(Liar(value), 1),
            lambda: snapshot.read(Liar(value), 1),
            lambda: PageSet.from_pages(64, [Liar(value)]),
            lambda: SharedMemory(Liar(value << 10)),
        ):
            with pytest.raises((IndexError, MemoryError, ValueError)):
                call()
        assert Liar(value) not in PageSet.from_pages(64, [3])


def test_a_snapshot_that_lies_about_its_size() -> None:
    class Large(Snapshot):
        size = 1 << 40  # type: ignore[assignment]
        page_count = 8  # type: ignore[assignment]

    memory, manager = new_manager(4, "full")
    with memory, manager, SharedMemory(8 * PAGE) as other:
        snapshot = manager.take()
        snapshot.__class__ = Large
        with pytest.raises(IndexError):
            snapshot.read(1 << 30, 1)
        with SnapshotManager(other, tracker="full") as second:
            mine = second.take()
            for call in (
                lambda: second.restore(snapshot),
                lambda: second.changed(snapshot),
                lambda: second.verify(snapshot),
                lambda: mine.diff(snapshot),
            ):
                with pytest.raises(ValueError, match="size"):
                    call()


def test_names_that_compare_equal() -> None:
    class Any_(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("auto")

    with SharedMemory(PAGE) as memory:
        for bad in ({"tracker": Any_("magic")}, {"rearm": Any_("magic")}):
            with pytest.raises(ValueError, match="valid are"):
                SnapshotManager(memory, **bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="hugepages"):
            SharedMemory(PAGE, hugepages=Any_("yes"))  # type: ignore[arg-type]
        SnapshotManager(memory, tracker=Any_("full")).close()


def arena(kind: str, backing: mmap.mmap) -> Any:
    """Objects in a cycle, over somebody else's memory."""

    class Arena(SharedMemory):
        pass

    made = Arena.from_buffer(
        memoryview(backing) if kind == "view" else backing
    )
    if kind != "memory only":
        made.manager = SnapshotManager(made, tracker="sigsegv")
        made.snapshot = made.manager.push()
        made.snapshot.manager = made.manager
    if kind == "hooks":
        made.hooks = [made.manager.restore, made.read]
        made.hooks.append(made.hooks)
    elif kind == "weak":
        made.gone = weakref.ref(made, lambda _: None)
        made.manager.gone = weakref.ref(made.manager, made.read)
    elif kind == "finalizer":

        class Last:
            def __del__(self) -> None:
                try:
                    self.arena.manager.restore()
                    self.arena.read(0, 1)
                except ValueError:
                    pass

        made.last = Last()
        made.last.arena = made
    elif kind == "manager subclass":

        class Keeper(SnapshotManager):
            pass

        made.manager.close()
        made.manager = Keeper(made, tracker="sigsegv")
        made.manager.me = made.manager
        made.manager.take()
    made.me = made
    return made


@pytest.mark.parametrize(
    "kind",
    [
        *("memory only", "plain", "view", "hooks", "weak"),
        *("finalizer", "manager subclass"),
    ],
)
def test_cycles_are_collected(kind: str) -> None:
    """The owner gets its memory back, writable, and can close it."""
    backing = mmap.mmap(-1, 16 * PAGE)
    arena(kind, backing)
    gc.collect()
    assert core.counts()["managers"] == core.counts()["snapshots"] == 0
    backing[0] = 1
    backing.close()


def test_a_manager_of_a_cycle_that_is_brought_back_is_closed() -> None:
    """A finalizer may keep what was collected: closed, as a file is."""
    kept: list[Any] = []

    class Phoenix:
        def __del__(self) -> None:
            kept.append(self.manager)

    memory = SharedMemory(4 * PAGE)
    bird = Phoenix()
    bird.manager = SnapshotManager(memory)
    bird.manager.take()
    bird.me = bird
    del bird
    gc.collect()
    [manager] = kept
    assert manager.closed
    with pytest.raises(ValueError, match="closed SnapshotManager"):
        manager.take()
    memory.write(0, b"x")
    with SnapshotManager(memory) as again:
        again.take()
    memory.close()


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


def test_no_destructor_holds_the_gil() -> None:
    """Other threads run while memory goes.

    With a switch interval of an hour, they run only if the GIL is let go.
    """
    result = run_python(
        """
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
    made = SnapshotManager(made, tracker="sigsegv")
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
    )
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
