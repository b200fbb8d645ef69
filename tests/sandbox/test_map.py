"""Many calls at once: the results are those of a loop, the state is back."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperlight import (
    GuestAborted,
    GuestError,
    GuestTimeout,
    Sandbox,
    SandboxPoisoned,
    UninitializedSandbox,
)
from hyperlight._binding import core

New = Callable[..., Sandbox]
Outcome = tuple[Any, ...]


def outcome(value: object) -> Outcome:
    """A result or an error, to be compared."""
    if isinstance(value, Exception):
        return type(value), value.args
    return type(value), repr(value)


def loop(sandbox: Sandbox, name: str, arguments: Any) -> list[Outcome]:
    """What a program would do that has no map."""
    found = []
    for args in arguments:
        sandbox.restore()
        try:
            found.append(outcome(sandbox.call(name, *args)))
        except Exception as error:
            found.append(outcome(error))
    sandbox.restore()
    return found


def mapped(sandbox: Sandbox, name: str, arguments: Any) -> list[Outcome]:
    return [
        outcome(value)
        for value in sandbox.map(name, arguments, errors="return")
    ]


TYPES = {
    "Echo": st.tuples(st.text()),
    "EchoBytes": st.tuples(st.binary()),
    "EchoInt64": st.tuples(st.integers(-(2**64), 2**64)),
    "EchoFloat": st.tuples(st.floats(width=32)),
    "EchoBool": st.tuples(st.booleans()),
    "AddLocal": st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    "Add": st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    "Counter": st.tuples(),
    "Fail": st.tuples(st.integers(1000, 1003), st.text(max_size=9)),
    "Fault": st.tuples(st.sampled_from(["divide", "abort", "syscall", "?"])),
    "CallHost": st.tuples(st.sampled_from(["HostFails", "NoSuch"])),
}


@pytest.mark.parametrize("name", TYPES)
def test_it_is_a_loop(new_sandbox: New, name: str) -> None:
    def fails() -> None:
        raise KeyError("on purpose")

    sandbox = new_sandbox(
        "simple", {"HostAdd": lambda a, b: a + b, "HostFails": fails}
    )
    wrong = st.sampled_from([(), (1, 2, 3), (None,), (object,)])

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(TYPES[name] | wrong, max_size=12))
    def run(arguments: list[tuple[Any, ...]]) -> None:
        expected = loop(sandbox, name, arguments)
        assert mapped(sandbox, name, arguments) == expected
        assert not sandbox.poisoned
        sandbox.verify()
        assert not sandbox.changed(everything=True)
        bad = [i for i, found in enumerate(expected) if is_error(found)]
        if not bad:
            found = sandbox.map(name, iter(arguments))
            assert [outcome(value) for value in found] == expected
            return
        with pytest.raises(Exception) as caught:  # noqa: PT011
            sandbox.map(name, iter(arguments))
        raised: Any = caught.value
        assert raised.index == bad[0]
        assert outcome(raised) == expected[bad[0]]
        assert [outcome(v) for v in raised.results] == expected[: bad[0]]
        assert not sandbox.changed(everything=True)

    run()


def is_error(found: Outcome) -> bool:
    return issubclass(found[0], Exception)


def test_every_call_begins_at_the_same_state(simple: Sandbox) -> None:
    assert simple.map("Counter", [()] * 2000) == [1] * 2000
    assert simple.call("GetCounter") == 0
    simple.call("Counter")  # not part of the current snapshot
    assert simple.map("Counter", [()] * 3) == [1] * 3
    assert simple.call("GetCounter") == 0
    simple.call("Counter")
    assert simple.map("Counter", []) == []
    assert simple.call("GetCounter") == 0
    simple.call("Counter")
    one = simple.snapshot("one")
    assert simple.map("Counter", [()] * 3) == [2] * 3
    assert simple.current is one
    assert simple.call("GetCounter") == 1


def test_without_restores(simple: Sandbox) -> None:
    expected = list(range(1, 2501))
    assert simple.map("Counter", [()] * 2500, restore=False) == expected
    assert simple.call("Counter") == 2501
    with pytest.raises(TypeError) as caught:
        simple.map("Counter", [(), (), (5,), ()], restore=False)
    assert caught.value.index == 2  # type: ignore[attr-defined]
    assert caught.value.results == [2502, 2503]  # type: ignore[attr-defined]
    found = simple.map(
        "Counter", [(), (5,), ()], restore=False, errors="return"
    )
    assert [found[0], found[2]] == [2504, 2505]
    assert isinstance(found[1], TypeError)


def test_a_poisoned_sandbox_runs_no_more(simple: Sandbox) -> None:
    arguments = [("?",), ("divide",), ("?",), ("divide",), (5,)]
    found = simple.map("Fault", arguments, restore=False, errors="return")
    kinds = [GuestError, GuestAborted, SandboxPoisoned, SandboxPoisoned]
    assert [type(error) for error in found] == [*kinds, TypeError]
    assert simple.poisoned
    for errors in ("raise", "return"):
        with pytest.raises(SandboxPoisoned) as caught:
            simple.map("Nothing", [()], errors=errors)
        assert caught.value.index == 0  # type: ignore[attr-defined]
    simple.restore()
    assert simple.map("Nothing", [()]) == [None]


@pytest.mark.parametrize("where", [0, 1, 1023, 1024, 1025, 2999])
@pytest.mark.parametrize("bad", [(7,), ("\ud800",), (), (b"",)])
def test_an_error_anywhere(
    simple: Sandbox, where: int, bad: tuple[Any, ...]
) -> None:
    """In front of, at, and behind the ends of what is run at once."""
    many: list[Any] = [("",)] * 3000
    many[where] = bad
    with pytest.raises((TypeError, ValueError)) as caught:
        simple.map("Echo", many)
    raised: Any = caught.value
    assert (raised.index, len(raised.results)) == (where, where)
    found = simple.map("Echo", many, errors="return")
    assert len(found) == 3000
    assert [i for i, v in enumerate(found) if v != ""] == [where]
    assert not simple.changed(everything=True)


@pytest.mark.parametrize("where", [0, 1, 1023, 1024, 1500])
def test_a_host_function_fails_anywhere(new_sandbox: New, where: int) -> None:
    """No later call runs, and those before ran exactly once."""
    calls: list[int] = []

    def add(a: int, b: int) -> int:
        calls.append(a)
        if a == where:
            raise KeyError(a)
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    numbers = ((i, 1) for i in itertools.count())
    with pytest.raises(KeyError) as failed:
        sandbox.map("Add", numbers)
    raised: Any = failed.value
    assert raised.index == where
    assert raised.results == [i + 1 for i in range(where)]
    assert calls == list(range(where + 1))


def test_a_fault_after_many_results(simple: Sandbox) -> None:
    """Of functions that fault for some arguments, and never asked before."""
    base = simple.call("HeapBase")
    simple.restore()
    good, bad = (base, 4), (1 << 40, 4)
    many = [good, good, bad, good, bad, good]
    found = simple.map("Read", many, errors="return")
    assert [isinstance(v, GuestAborted) for v in found] == [
        v == bad for v in many
    ]
    with pytest.raises(GuestAborted) as caught:
        simple.map("Read", many)
    assert caught.value.index == 2  # type: ignore[attr-defined]
    assert caught.value.cr2 == 1 << 40
    assert len(caught.value.results) == 2  # type: ignore[attr-defined]
    assert not simple.poisoned


def test_timeouts_are_of_each_call(simple: Sandbox) -> None:
    found = simple.map("Spin", [()] * 3, errors="return", timeout=0.02)
    assert [type(v) for v in found] == [GuestTimeout] * 3
    assert "0.02 s (timeout)" in str(found[0])
    with pytest.raises(GuestTimeout) as caught:
        simple.map("Spin", [()] * 3, timeout=0.02)
    assert caught.value.index == 0  # type: ignore[attr-defined]
    assert not simple.poisoned
    with pytest.raises(ValueError, match="timeout"):
        simple.map("Nothing", [], timeout=0)
    assert simple.map("Nothing", [()], timeout=60) == [None]


def test_all_of_it_may_take_longer_than_one_call(new_sandbox: New) -> None:
    def slow(a: int, b: int) -> int:
        time.sleep(0.3)
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": slow})
    assert sandbox.map("Add", [(1, 2)] * 3, timeout=0.8) == [3] * 3


def test_host_functions_in_the_middle(new_sandbox: New) -> None:
    calls: list[tuple[int, int]] = []

    def add(a: int, b: int) -> int:
        calls.append((a, b))
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    arguments = [(i, -2 * i) for i in range(1500)]
    assert sandbox.map("Add", arguments) == [-i for i in range(1500)]
    assert calls == arguments


def test_logs_in_the_middle(
    new_sandbox: New, records: list[logging.LogRecord]
) -> None:
    sandbox = new_sandbox(log_lines=2)
    lines = [(20, f"line {i}") for i in range(5)]
    assert sandbox.map("Log", lines) == [None] * 5
    assert [r.getMessage() for r in records] == [text for _, text in lines]


def test_what_cannot_be_mapped(simple: Sandbox) -> None:
    with pytest.raises(ValueError, match="has no such function"):
        simple.map("NoSuch", [])
    with pytest.raises(ValueError, match="errors='ignore' is neither"):
        simple.map("Nothing", [], errors="ignore")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="iterable"):
        simple.map("Nothing", 5)  # type: ignore[call-overload]
    for wrong in (5, [1], "ab", None):
        with pytest.raises(TypeError, match="a tuple for each call") as caught:
            simple.map("EchoInt32", [(3,), wrong])  # type: ignore[list-item]
        assert caught.value.index == 1  # type: ignore[attr-defined]
        assert caught.value.results == [3]  # type: ignore[attr-defined]
    pair = namedtuple("pair", "a b")
    assert simple.map("AddLocal", [pair(1, 2)]) == [3]
    simple.close()
    for name in ("Nothing", "NoSuch"):
        with pytest.raises(ValueError, match="closed Sandbox"):
            simple.map(name, [])


def test_while_it_is_being_evolved(driver: str, new_sandbox: New) -> None:
    """There may be no snapshot yet to which a guest could be put back."""
    config = new_sandbox()._machine.config  # type: ignore[union-attr]

    def init(made: Sandbox) -> None:
        with pytest.raises(ValueError, match="take one first"):
            made.map("Counter", [()])
        assert made.map("Counter", [()] * 2, restore=False) == [1, 2]
        made.snapshot()
        assert made.map("Counter", [()] * 2) == [3, 3]

    with UninitializedSandbox("simple", config).evolve(init) as sandbox:
        assert sandbox.call("Counter") == 3
        assert sandbox.driver == driver


def test_what_is_kept_meanwhile_is_bounded(new_sandbox: New) -> None:
    """Large arguments and results, whatever their number."""
    sandbox = new_sandbox(input_size="256KiB", output_size="256KiB")
    piece = os.urandom(200_000)
    same = sandbox.map("EchoBytes", itertools.repeat((piece,), 40))
    assert all(value == piece for value in same)
    largest = [(size,) for size in (0, 1, 200_000, 262_144, 5)]
    found = sandbox.map("Large", largest, errors="return")
    assert [type(v) for v in found[:3]] == [bytes] * 3
    with pytest.raises(ValueError, match="too large for the buffer"):
        sandbox.map("EchoBytes", [(bytes(1 << 18),)])


def test_the_iterator_is_read_ahead_by_so_much(new_sandbox: New) -> None:
    calls: list[int] = []
    ahead: list[int] = []

    def add(a: int, b: int) -> int:
        calls.append(a)
        return b

    def arguments() -> Iterator[tuple[object, ...]]:
        for i in range(2100):
            ahead.append(i - len(calls))
            yield i, i

    sandbox = new_sandbox("simple", {"HostAdd": add})
    assert sandbox.map("Add", arguments()) == list(range(2100))
    assert max(ahead) == 1023


def test_the_gil_is_given_away_once_for_many(simple: Sandbox) -> None:
    """And for a restore; and once in 10 ms, where the emulator looks for
    signals, which is also time in which another process had the processor.
    """
    calls = 1000
    arguments = [("text",)] * calls
    simple.map("Echo", arguments)
    for _ in range(3):
        before, start = core.times_given_away(), time.monotonic()
        assert len(simple.map("Echo", arguments)) == calls
        slices = (time.monotonic() - start) / 0.01
        assert 1 <= core.times_given_away() - before <= 2 + slices


@pytest.mark.any_python
@pytest.mark.unsanitized  # whose allocator keeps what was freed
def test_no_memory_is_lost(new_sandbox: New) -> None:
    """In any number of calls: results are text, errors and large bytes."""
    sandbox = new_sandbox()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def some() -> None:
        for _ in range(4):
            sandbox.map("Nothing", itertools.repeat((), 6000))
            sandbox.map("Echo", itertools.repeat(("text" * 100,), 200))
            sandbox.map("Fail", [(1000, "no")] * 50, errors="return")
            sandbox.map("EchoBytes", [(bytes(16000),)] * 20)

    some()
    before = resident()
    for _ in range(3):
        some()
    assert resident() - before < 4 << 20


def test_a_guest_that_lies(new_sandbox: New) -> None:
    """What is no result is an error of its own call, and put back."""
    sandbox = new_sandbox(tiny.parrot())
    end = tiny.READY.to_bytes(8, "little")
    good = end + tiny.message(tiny.RESULT, tiny.value(tiny.NONE, 0))
    text = tiny.value(tiny.STR, b"\xff")
    number = tiny.value(tiny.I32, 1)
    lies = {
        "no message": end + bytes(24),
        "another type": end + tiny.message(tiny.RESULT, number),
        "too few": end + tiny.message(tiny.ERROR, number),
        "UTF-8": end + tiny.message(tiny.ERROR, number, text),
    }
    for why, lie in lies.items():
        many = [(good,), (lie,), (good,)]
        found = sandbox.map("Raw", many, errors="return")
        assert [found[0], found[2]] == [None, None], why
        assert isinstance(found[1], GuestAborted), why
        with pytest.raises(GuestAborted, match="message was expected") as e:
            sandbox.map("Raw", many)
        assert e.value.index == 1, why  # type: ignore[attr-defined]
        assert not sandbox.poisoned
        assert not sandbox.changed(everything=True)
    found = sandbox.map("Raw", [(lie,), (good,)], errors="return",
                        restore=False)  # fmt: skip
    assert [type(v) for v in found] == [GuestAborted, SandboxPoisoned]


@pytest.mark.parametrize("text", ["", "a\0b", "é" * 90, "x" * 999 + "€😀"])
def test_text_of_any_kind(simple: Sandbox, text: str) -> None:
    assert simple.map("Echo", [(text,)] * 3) == [text] * 3
