"""What ends many calls: iterators, interrupts, signals, forks, threads."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import interrupted
from test_one_call import Acts, try_all
from test_one_call_forks import FORKED, child_may_only_close

from hyperlight import GuestInterrupted, Sandbox

New = Callable[..., Sandbox]
Arguments = Iterator[tuple[object, ...]]

ONE = itertools.repeat(())


def is_back(sandbox: Sandbox) -> bool:
    """It equals its current snapshot, and can be called."""
    same = not sandbox.changed(everything=True) and not sandbox.poisoned
    return same and sandbox.map("Counter", [()] * 2) == [1, 1]


@pytest.mark.parametrize("errors", ["raise", "return"])
@pytest.mark.parametrize("where", [0, 1, 1024, 1500])
def test_an_iterator_that_raises(
    simple: Sandbox, where: int, errors: Any
) -> None:
    """The calls before it run; it is not one of the errors of calls."""

    def arguments() -> Arguments:
        for i in range(where):
            yield (i,)
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose") as caught:
        simple.map("EchoInt32", arguments(), errors=errors)
    raised: Any = caught.value
    assert raised.index == where
    assert raised.results == list(range(where))
    assert is_back(simple)


def test_an_iterator_is_ended_by_more_than_an_error(simple: Sandbox) -> None:
    """At once: what was read ahead does not run any more."""

    def arguments() -> Arguments:
        yield from [()] * 5
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        simple.map("Counter", arguments(), errors="return", restore=False)
    raised: Any = caught.value
    assert (raised.index, raised.results) == (0, [])
    assert simple.call("GetCounter") == 0


def test_an_error_that_takes_no_attributes(simple: Sandbox) -> None:
    class Odd(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    class Odder(Exception):
        index = property(lambda self: 5)
        results = property(lambda self: 5)

    def arguments(kind: type[Exception]) -> Arguments:
        yield ()
        raise kind

    for kind in (Odd, Odder):
        with pytest.raises(kind):
            simple.map("Nothing", arguments(kind))


def test_from_the_iterator(simple: Sandbox) -> None:
    """It is in the middle of the call."""

    def arguments() -> Arguments:
        for i in range(3):
            try_all(simple)
            yield (i,)

    assert simple.map("EchoInt32", arguments()) == [0, 1, 2]

    def calls() -> Arguments:
        yield (1,)
        simple.call("Nothing")

    with pytest.raises(RuntimeError, match="inside of the iterator of arg"):
        simple.map("EchoInt32", calls())
    with pytest.raises(RuntimeError, match="close inside of"):
        simple.map("EchoInt32", (simple.close() or (i,) for i in range(3)))  # type: ignore[func-returns-value]
    assert is_back(simple)


def test_from_an_argument(simple: Sandbox) -> None:
    arguments = [(Acts(lambda: try_all(simple), i),) for i in range(3)]
    assert simple.map("EchoInt32", arguments) == [0, 1, 2]

    def fails() -> None:
        raise LookupError("on purpose")

    many = [(1,), (Acts(fails, 0),), (3,)]
    found = simple.map("EchoInt32", many, errors="return")
    assert [found[0], found[2]] == [1, 3]
    assert isinstance(found[1], LookupError)


def test_from_a_host_function(new_sandbox: New) -> None:
    sandboxes: list[Sandbox] = []

    def add(a: int, b: int) -> object:
        try_all(sandboxes[0])
        return Acts(lambda: try_all(sandboxes[0]), a + b)

    sandboxes.append(new_sandbox("simple", {"HostAdd": add}))
    assert sandboxes[0].map("Add", [(2, 3)] * 3) == [5] * 3


def test_arguments_that_change_while_they_are_read(simple: Sandbox) -> None:
    data = bytearray(b"before")

    def arguments() -> Arguments:
        yield (data,)
        data[:] = b"after!"
        yield (data,)

    assert simple.map("EchoBytes", arguments()) == [b"before", b"after!"]


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_an_interrupt_ends_all(simple: Sandbox, errors: Any) -> None:
    with interrupted(simple) as caught:
        simple.map("Spin", ONE, errors=errors)
    raised: Any = caught.value
    assert (raised.index, raised.results) == (0, [])
    assert is_back(simple)
    with interrupted(simple) as caught:
        simple.map("Counter", ONE, errors=errors)
    raised = caught.value
    assert raised.index == len(raised.results)
    assert set(raised.results) == {1}
    assert is_back(simple)
    with interrupted(simple):
        simple.map("Spin", ONE, restore=False, errors=errors)
    assert simple.poisoned
    simple.restore()


def test_an_interrupt_from_the_iterator(simple: Sandbox) -> None:
    """It ends the call to come: all of it is one call."""

    def arguments() -> Arguments:
        yield from [()] * 2
        simple.interrupt()
        yield ()

    with pytest.raises(GuestInterrupted) as caught:
        simple.map("Counter", arguments(), errors="return", restore=False)
    assert caught.value.index == 0  # type: ignore[attr-defined]
    assert not simple.poisoned  # none has run
    assert simple.call("Counter") == 1


def test_an_interrupt_from_a_host_function(new_sandbox: New) -> None:
    sandboxes: list[Sandbox] = []

    def add(a: int, b: int) -> int:
        if a == 5:
            sandboxes[0].interrupt()
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    sandboxes.append(sandbox)
    with pytest.raises(GuestInterrupted) as caught:
        sandbox.map("Add", ((i, 1) for i in range(9)), errors="return")
    raised: Any = caught.value
    assert (raised.index, raised.results) == (5, [1, 2, 3, 4, 5])
    assert is_back(sandbox)


def test_interrupts_all_the_time(simple: Sandbox) -> None:
    """Whenever it comes, the state is back and the results are right."""
    over = threading.Event()

    def pester() -> None:
        while not over.wait(0.001):
            simple.interrupt()

    thread = threading.Thread(target=pester)
    thread.start()
    try:
        for _ in range(40):
            try:
                found = simple.map("Counter", [()] * 100)
            except GuestInterrupted as error:
                found = error.results  # type: ignore[attr-defined]
            assert set(found) <= {1}
    finally:
        over.set()
        thread.join()
    assert is_back(simple)


def test_ctrl_c(simple: Sandbox) -> None:
    """In a call that spins, and between short ones without end."""
    main = threading.main_thread().ident
    assert main is not None
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("Spin", "Counter"):
        timer = threading.Timer(
            0.1, lambda: signal.pthread_kill(main, signal.SIGINT)
        )
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                simple.map(name, ONE, timeout=60, errors="return")
            timer.join()
        finally:
            signal.signal(signal.SIGINT, old)
            old = signal.signal(signal.SIGINT, signal.default_int_handler)
        raised: Any = caught.value
        assert raised.index == len(raised.results)
        assert is_back(simple)
    signal.signal(signal.SIGINT, old)


def test_signals_to_another_thread(simple: Sandbox) -> None:
    """No run of the guest notices them; they are looked for all the same."""
    seen: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.02):
            signal.pthread_kill(threading.get_ident(), signal.SIGALRM)

    def arguments() -> Arguments:
        patience = time.monotonic() + 60
        while not seen and time.monotonic() < patience:
            yield from [()] * 1024

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert set(simple.map("Counter", arguments())) == {1}
        assert seen
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGALRM, old)


def test_signals_are_seen_between_calls(new_sandbox: New) -> None:
    """Not only where new arguments are needed: 1000 calls that are read at
    once, and a signal to another thread that comes when they have begun.
    """
    sandbox = new_sandbox(heap_size="8MiB")
    where = sandbox.call("HeapBase")
    begun = threading.Event()

    def on_alarm(*args: object) -> None:
        raise LookupError("on purpose")

    def send() -> None:
        begun.wait(30)
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)

    def arguments() -> Arguments:
        yield from [(where, 4 << 20, 1)] * 999
        begun.set()
        yield where, 4 << 20, 1

    old = signal.signal(signal.SIGALRM, on_alarm)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(LookupError, match="on purpose") as caught:
            sandbox.map("FillHeap", arguments(), restore=False)
        assert caught.value.index < 1000  # type: ignore[attr-defined]
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, old)


def test_a_handler_that_raises(simple: Sandbox) -> None:
    """It is no error of a call, whatever its class."""

    def on_alarm(*args: object) -> None:
        with pytest.raises(RuntimeError, match="in the middle of a call"):
            simple.call("Nothing")
        raise LookupError("on purpose")

    old = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(LookupError, match="on purpose"):
            simple.map("Spin", ONE, errors="return")
    finally:
        signal.signal(signal.SIGALRM, old)
    assert is_back(simple)


def test_other_threads_wait(simple: Sandbox) -> None:
    """For all of it, as for one call."""
    begun, ended = threading.Event(), threading.Event()
    found: list[object] = []

    def arguments() -> Arguments:
        yield ()
        begun.set()
        time.sleep(0.05)
        assert not found
        yield from [()] * 2000
        ended.set()

    def call() -> None:
        begun.wait(30)
        found.append(simple.call("Counter"))
        assert ended.is_set()

    thread = threading.Thread(target=call)
    thread.start()
    assert simple.map("Counter", arguments()) == [1] * 2001
    thread.join()
    assert found == [1]


def test_a_child_that_is_made_in_the_middle(new_sandbox: New) -> None:
    """By the iterator or by a host function: it can only close."""
    parent = os.getpid()

    def add(a: int, b: int) -> int:
        return a + b + 100 * (b == 7 and os.fork() == 0)

    def arguments() -> Arguments:
        yield 1, 2
        os.fork()
        yield 3, 4

    for many in (arguments(), [(1, 2), (3, 7), (3, 4)]):
        sandbox = new_sandbox("simple", {"HostAdd": add})
        found: object
        try:
            found = sandbox.map("Add", many, errors="return")
        except ValueError as error:
            found = str(error)
        if os.getpid() != parent:
            status = 1
            try:
                assert FORKED in str(found), found
                child_may_only_close(sandbox)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert isinstance(found, list)
        assert found[0] == 3
        assert is_back(sandbox)


def test_nothing_keeps_what_a_map_held(simple: Sandbox) -> None:
    """No cycles: neither of results that are errors, nor of the one raised."""

    class Argument:
        pass

    def many() -> Iterator[tuple[object, ...]]:
        for i in range(9):
            argument = Argument()
            kept.append(weakref.ref(argument))
            yield (argument,) if i % 2 else (i,)

    kept: list[weakref.ref[Argument]] = []
    gc.collect()
    gc.disable()
    try:
        found: object = simple.map("EchoInt32", many(), errors="return")
        del found
        assert not any(ref() for ref in kept)
        with contextlib.suppress(TypeError):
            simple.map("EchoInt32", many())
        assert not any(ref() for ref in kept)
    finally:
        gc.enable()


def test_a_call_that_cannot_begin(
    simple: Sandbox, fail: Callable[..., None]
) -> None:
    """It is an error of that call, which does not poison."""
    fail("run", 2, 1)
    found = simple.map("Counter", [()] * 4, errors="return")
    assert [found[0], found[1], found[3]] == [1, 1, 1]
    assert isinstance(found[2], OSError)
    fail("run", 2, 1)
    with pytest.raises(OSError, match="run") as caught:
        simple.map("Counter", [()] * 4)
    assert caught.value.index == 2  # type: ignore[attr-defined]
    assert is_back(simple)


def test_a_batch_is_one_of_its_thread(simple: Sandbox) -> None:
    """The core's own methods refuse to be called out of it."""
    machine = simple._machine
    assert machine is not None
    function = simple._functions["Nothing"]
    uses: list[Callable[[], object]] = [
        lambda: machine.core.add(function, ()),
        lambda: machine.core.run_added([]),
        lambda: machine.core.pass_over(),
        lambda: machine.core.finish(function, 1, None, machine),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="no call is under way"):
            use()
