"""Who owns what, whatever comes in between: exceptions, threads, collection.

Foreign code runs in the middle of a call wherever Python code does: from a
trace function at every bytecode (which stands for signal handlers), from
`__index__`, from finalizers, and in other threads while the GIL is away.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import new_manager

import hyperlight
from hyperlight import (
    SharedMemory,
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
