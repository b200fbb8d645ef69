"""Calls of a guest: arguments, results, and what ends them."""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hyperlight
from hyperlight import (
    GuestAborted,
    GuestError,
    MemoryLayout,
    Sandbox,
    SandboxPoisoned,
    SandboxStats,
    trackers,
)
from hyperlight._binding import core
from hyperlight.sandbox.faults import describe_fault

New = Callable[..., Sandbox]
MIB = 1 << 20


def test_first_calls(simple: Sandbox) -> None:
    assert simple.call("Echo", "hi") == "hi"
    assert simple.call("Add", 2, 3) == 5
    assert simple.call("Nothing") is None
    assert simple.functions["Add"] == "Add(int32, int32) -> int32"
    assert "driver" in repr(simple)
    assert simple.stats["driver"] == simple.driver
    assert "first" in simple.stats["why"]
    assert simple.stats.keys() == SandboxStats.__required_keys__
    assert simple.stats["passed_over"].keys() <= {
        info.name for info in hyperlight.trackers() if not info.available
    }


def test_the_tracker_follows_from_the_size(new_sandbox: New) -> None:
    sandbox = new_sandbox(heap_size="64MiB")
    told = sandbox.driver == "emulator" and any(
        info.available for info in trackers() if info.name == "uffd-sigbus"
    )
    assert ("being notified" in sandbox.stats["why"]) is told
    assert (sandbox.stats["tracker"] == "uffd-sigbus") is told
    named = new_sandbox(tracker="full")
    assert named.stats["why"] == "asked for by name"


ECHOES: dict[str, st.SearchStrategy[Any]] = {
    "Echo": st.text(),
    "EchoBytes": st.binary(),
    "EchoInt32": st.integers(-(2**31), 2**31 - 1),
    "EchoInt64": st.integers(-(2**63), 2**63 - 1),
    "EchoUInt32": st.integers(0, 2**32 - 1),
    "EchoUInt64": st.integers(0, 2**64 - 1),
    "EchoFloat": st.floats(width=32),
    "EchoDouble": st.floats(),
    "EchoBool": st.booleans(),
}


@pytest.mark.parametrize("name", ECHOES)
def test_values_come_back(new_sandbox: New, name: str) -> None:
    sandbox = new_sandbox()

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ECHOES[name])
    def run(value: Any) -> None:
        back = sandbox.call(name, value)
        assert type(back) is type(value)
        if value != value:
            assert math.isnan(back)
        else:
            assert back == value
            assert repr(back) == repr(value)  # the zero's sign too

    run()


WRONG = [
    ("Echo", (), TypeError, "takes 1 argument, not 0"),
    ("Echo", ("a", "b"), TypeError, "takes 1 argument, not 2"),
    ("Echo", (b"a",), TypeError, "argument 1, b'a', is not a valid str"),
    ("Echo", (None,), TypeError, "is not a valid str"),
    ("Echo", ("\ud800",), ValueError, "argument 1"),
    ("EchoBytes", ("a",), TypeError, "is not a valid bytes"),
    ("EchoBytes", (memoryview(b"abcd")[::2],), (TypeError, ValueError), "1"),
    ("EchoInt32", (2**31,), ValueError, "2147483648 does not fit"),
    ("EchoInt32", (-(2**31) - 1,), ValueError, "does not fit"),
    ("EchoInt32", (1.0,), TypeError, "is not a valid int32"),
    ("EchoInt32", (True,), TypeError, "a bool"),
    ("EchoInt64", (2**63,), ValueError, "does not fit"),
    ("EchoUInt32", (-1,), ValueError, "does not fit"),
    ("EchoUInt64", (2**64,), ValueError, "does not fit"),
    ("EchoFloat", (1e300,), ValueError, "does not fit"),
    ("EchoFloat", ("1",), TypeError, "is not a valid float"),
    ("EchoDouble", (10**400,), ValueError, "is not a valid double"),
    ("EchoBool", (1,), TypeError, "not a bool"),
    ("EchoBytes", (bytes(16385),), ValueError, "too large for the buffer"),
    ("Echo", ("x" * 20000,), ValueError, "too large for the buffer"),
    ("NoSuch", (), ValueError, "has no such function; it has .*Echo"),
]


@pytest.mark.parametrize(("name", "args", "kind", "why"), WRONG)
def test_bad_arguments_never_reach_the_guest(
    simple: Sandbox, name: str, args: tuple[Any, ...], kind: Any, why: str
) -> None:
    before = simple.call("Counter")
    with pytest.raises(kind, match=why):
        simple.call(name, *args)
    assert not simple.poisoned
    assert simple.call("Counter") == before + 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_bad_timeouts(simple: Sandbox, seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        simple.call("Nothing", timeout=seconds)
    with pytest.raises(TypeError, match="timeout"):
        simple.call("Nothing", timeout="soon")  # type: ignore[arg-type]
    assert simple.call("Nothing", timeout=math.inf) is None


def test_buffers_of_all_kinds(simple: Sandbox) -> None:
    numpy = pytest.importorskip("numpy")
    for value in (
        bytearray(b"abc"),
        memoryview(b"abcd")[1:3],
        numpy.arange(7, dtype="f4"),
    ):
        assert simple.call("EchoBytes", value) == bytes(value)
    assert simple.call("EchoInt32", numpy.int16(-5)) == -5


def test_all_types_in_one_call(simple: Sandbox) -> None:
    text = simple.call(
        "Types", -1, -2, 3, 4, 0.5, 0.25, True, "text", b"bytes"
    )
    for part in ("-1", "-2", "3", "4", "0.5", "0.25", "true", "text"):
        assert part in text


def test_large_arguments_and_results(new_sandbox: New) -> None:
    sandbox = new_sandbox(input_size="64MiB", output_size="32MiB")
    data, text = os.urandom(30 * MIB), "é" * (10 * MIB)
    assert sandbox.call("LargeParameters", data, text) == 50 * MIB
    result = sandbox.call("Large", 20 * MIB)
    assert len(result) == 20 * MIB
    assert result[1000:1010] == bytes(i * 7 & 255 for i in range(1000, 1010))
    with pytest.raises(GuestError) as caught:
        sandbox.call("Large", 33 * MIB)
    assert caught.value.code == 6
    with pytest.raises(ValueError, match="too large"):
        sandbox.call("EchoBytes", bytes(64 * MIB))
    assert sandbox.call("Echo", "still there") == "still there"


def test_a_guest_says_no(simple: Sandbox) -> None:
    with pytest.raises(GuestError, match="not today") as caught:
        simple.call("Fail", 1234, "not today")
    assert (caught.value.code, caught.value.message) == (1234, "not today")
    assert not simple.poisoned
    assert simple.call("Echo", "on") == "on"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.message) == (1234, "not today")


FAULTS = {
    "divide": {0},
    "undefined": {6},
    "breakpoint": {3, 13},
    "privileged": {13},
    "io": {13},
    "read-null": {14},
    "write-null": {14},
    "write-code": {14},
    "execute-data": {14},
    "not-canonical": {13},
    "stack-overflow": {14},
    "fpu": {16, 6, 13},
    "simd": {19, 6},
    "int80": {13, 6},
    "syscall": {6, 14},
}


@pytest.mark.any_python
@pytest.mark.parametrize("kind", FAULTS)
def test_faults(simple: Sandbox, kind: str) -> None:
    simple.call("Counter")
    one = simple.snapshot()
    with pytest.raises(GuestAborted) as caught:
        simple.call("Fault", kind)
        if kind == "simd":
            pytest.skip("whoever imitates this processor knows no #XM")
    error = caught.value
    assert error.vector in FAULTS[kind]
    assert error.error_code is not None
    assert error.rip is not None
    assert simple.poisoned
    with pytest.raises(SandboxPoisoned, match="restore it first"):
        simple.call("Counter")
    with pytest.raises(SandboxPoisoned):
        simple.snapshot()
    simple.restore(one)
    simple.verify()
    assert not simple.poisoned
    assert simple.call("Counter") == 2
    again = pickle.loads(pickle.dumps(error))
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ((core.EXIT_SHUTDOWN, 0, 0, 0, 0, 0), "triple fault"),
        ((core.EXIT_BAD_ACCESS, 0x5000, 0, 0, 0, 0), "access to 0x5000"),
        ((core.EXIT_CALL, 77, 0, 0, 0, 0), r"guest exited .* \(77\)"),
        ((99, 17, 0, 0, 0, 0), r"machine stopped .* \(17\)"),
        ((core.EXIT_EXCEPTION, 0, 31, 5, 64, 0), "vector 31, error code 0x5"),
    ],
)
def test_what_ended_it_in_words(
    left: tuple[int, int, int, int, int, int], said: str
) -> None:
    with pytest.raises(GuestAborted, match=said):
        raise describe_fault(left, MemoryLayout([]))


@pytest.mark.parametrize("kind", ["abort", "stack-smash"])
def test_giving_up(simple: Sandbox, kind: str) -> None:
    with pytest.raises(GuestAborted, match="gave up") as caught:
        simple.call("Fault", kind)
    assert caught.value.vector is None
    simple.restore()
    assert simple.call("Echo", "back") == "back"


def test_recursion(simple: Sandbox) -> None:
    simple.call("Recurse", 20)
    with pytest.raises(GuestAborted, match="stack overflow"):
        simple.call("Recurse", 10**9)


def test_print_and_log(
    simple: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1, "hyperlight.guest")
    simple.call("Print", "printed")
    simple.call("Log", logging.WARNING, "logged")
    simple.call("Log", 10**6, "loud")
    simple.call("Log", -5, "%s is not a format")
    found = [(r.levelno, r.getMessage()) for r in caplog.records]
    assert found == [
        (logging.INFO, "printed"),
        (logging.WARNING, "logged"),
        (logging.CRITICAL, "loud"),
        (1, "%s is not a format"),
    ]
    assert caplog.records[0].guest == "simple"
