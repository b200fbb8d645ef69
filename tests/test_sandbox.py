"""Sandboxes: their life, their calls, their errors."""

from __future__ import annotations

import gc
import logging
import math
import os
import pickle
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from conftest import (
    SANDBOX_TRACKERS,
    interrupted,
    require_driver,
    require_tracker,
    wait_until_it_spins,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hyperlight
from hyperlight import (
    DriverUnavailable,
    GuestAborted,
    GuestError,
    GuestInterrupted,
    GuestTimeout,
    LayoutError,
    MemoryLayout,
    Sandbox,
    SandboxConfig,
    SandboxPoisoned,
    SandboxStats,
    SharedMemory,
    SnapshotManager,
    SnapshotMismatch,
    TrackerUnavailable,
    UninitializedSandbox,
    trackers,
)
from hyperlight._binding import core
from hyperlight.sandbox.faults import describe_fault

New = Callable[..., Sandbox]
MIB = 1 << 20


@pytest.fixture
def simple(new_sandbox: New) -> Sandbox:
    return new_sandbox("simple", {"HostAdd": lambda a, b: a + b})


# Arguments and results.


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


# What guests do.


def test_memory(simple: Sandbox) -> None:
    address = simple.call("Allocate", 5000)
    assert address in simple.layout["heap"]
    simple.call("FillHeap", address, 5000, 7)
    assert simple.call("Read", address, 5000) == bytes([7]) * 5000
    simple.call("Write", address + 100, b"abc")
    assert simple.call("Read", address + 99, 5) == b"\x07abc\x07"
    simple.call("Free", address)
    assert simple.call("Allocate", 1 << 40) == 0


def test_state_is_kept_until_restored(simple: Sandbox) -> None:
    assert [simple.call("Counter") for _ in range(3)] == [1, 2, 3]
    three = simple.snapshot("three")
    simple.call("Counter")
    stats = simple.restore(three)
    assert stats.pages_copied + stats.pages_zeroed > 0
    assert stats.tracker == simple.tracker
    assert simple.call("GetCounter") == 3
    simple.restore(simple.base)
    assert simple.call("GetCounter") == 0
    assert simple.current is simple.base
    simple.restore()
    assert not simple.changed()


def test_snapshots_form_a_tree(simple: Sandbox) -> None:
    states = {0: simple.snapshot("0")}
    for i in range(1, 6):
        simple.call("Counter")
        states[i] = simple.snapshot(str(i))
    assert states[3].parent is states[2]
    for i in (5, 0, 3, 3, 1, 4, 2):
        simple.restore(states[i])
        simple.verify()
        assert simple.call("GetCounter") == i
    del states[2], states[4]
    gc.collect()
    for i in (5, 0, 3, 1):
        simple.restore(states[i])
        assert simple.call("Counter") == i + 1


def test_snapshots_are_cheap(new_sandbox: New) -> None:
    sandbox = new_sandbox(heap_size="256MiB")
    sandbox.call("Counter")
    one = sandbox.snapshot()
    sandbox.call("Counter")
    two = sandbox.snapshot()
    assert two.nbytes < 100_000
    assert one.size == two.size > 256 * MIB


def test_transaction(simple: Sandbox) -> None:
    simple.call("Counter")
    with simple.transaction() as before:
        assert simple.call("Counter") == 2
        assert before.name == "transaction"
    assert simple.call("GetCounter") == 1
    with pytest.raises(KeyError), simple.transaction():
        simple.call("Counter")
        raise KeyError
    assert simple.call("GetCounter") == 1
    with pytest.raises(GuestAborted), simple.transaction():
        simple.call("Fault", "undefined")
    assert not simple.poisoned
    assert simple.call("Counter") == 2


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


# Host functions.


class Odd(Exception):
    """Not one of ours."""


def test_exceptions_pass_through_unchanged(new_sandbox: New) -> None:
    error = Odd("with", 3, "arguments")

    def fails() -> None:
        raise error

    sandbox = new_sandbox("simple", {"Fails": fails})
    with pytest.raises(Odd) as caught:
        sandbox.call("CallHost", "Fails")
    assert caught.value is error
    assert not sandbox.poisoned
    assert sandbox.call("Echo", "on") == "on"


def test_unknown_host_function(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    with pytest.raises(GuestError, match="no host function is called 'Nix'"):
        sandbox.call("CallHost", "Nix")
    with pytest.raises(GuestError, match="HostAdd"):
        sandbox.call("Add", 1, 2)
    assert not sandbox.poisoned


def test_wrong_arguments_for_a_host_function(new_sandbox: New) -> None:
    def text(a: str, b: int) -> int:
        return 0

    def one(a: int) -> int:
        return 0

    sandbox = new_sandbox("simple", {"HostAdd": text})
    with pytest.raises(
        GuestError, match="argument 1 of HostAdd is of type int"
    ):
        sandbox.call("Add", 1, 2)
    sandbox = new_sandbox("simple", {"HostAdd": one})
    with pytest.raises(GuestError, match="takes 1 argument, not 2"):
        sandbox.call("Add", 1, 2)


@pytest.mark.parametrize("bad", ["text", None, 2**40, 1.5])
def test_wrong_result_of_a_host_function(
    new_sandbox: New, bad: object
) -> None:
    sandbox = new_sandbox("simple", {"HostAdd": lambda a, b: bad})
    with pytest.raises((TypeError, ValueError), match=r"HostAdd.*int32"):
        sandbox.call("Add", 1, 2)
    assert not sandbox.poisoned


def test_large_replies(new_sandbox: New) -> None:
    sandbox = new_sandbox(
        "simple",
        {"HostEcho": lambda data: data},
        input_size="4MiB",
        output_size="2MiB",
    )
    data = os.urandom(MIB)
    assert sandbox.call("HostEcho", data) == data
    with pytest.raises(ValueError, match="too large"):
        big = new_sandbox("simple", {"HostEcho": lambda data: bytes(MIB)})
        big.call("HostEcho", b"small")


def test_a_host_function_may_not_touch_its_sandbox(new_sandbox: New) -> None:
    seen: list[str] = []

    def meddle() -> None:
        for use in (
            lambda: sandbox.call("Nothing"),
            sandbox.snapshot,
            sandbox.restore,
            sandbox.close,
            sandbox.devolve,
            lambda: sandbox.transaction().__enter__(),
            sandbox.verify,
            sandbox.changed,
        ):
            with pytest.raises(RuntimeError, match="inside of host function"):
                use()
            seen.append("refused")
        assert not sandbox.poisoned
        assert sandbox.functions
        assert sandbox.layout

    sandbox = new_sandbox("simple", {"Meddle": meddle})
    sandbox.call("CallHost", "Meddle")
    assert len(seen) == 8
    assert sandbox.call("Echo", "whole") == "whole"


def test_a_host_function_may_use_another_sandbox(new_sandbox: New) -> None:
    inner = new_sandbox()
    outer = new_sandbox(
        "simple", {"HostEcho": lambda data: inner.call("EchoBytes", data)}
    )
    assert outer.call("HostEcho", b"through two") == b"through two"


def test_a_log_handler_may_not_touch_its_sandbox(simple: Sandbox) -> None:
    seen: list[str] = []

    class Meddler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with pytest.raises(RuntimeError, match="handler of log lines"):
                simple.restore()
            seen.append(record.getMessage())

    logger = logging.getLogger("hyperlight.guest")
    handler = Meddler(level=1)
    logger.addHandler(handler)
    try:
        simple.call("Log", logging.ERROR, "line")
    finally:
        logger.removeHandler(handler)
    assert seen == ["line"]


def test_a_signal_handler_may_not_touch_its_sandbox(simple: Sandbox) -> None:
    seen: list[str] = []

    def on_alarm(*args: object) -> None:
        for use in (simple.restore, simple.close,
                    lambda: simple.call("Nothing")):  # fmt: skip
            with pytest.raises(RuntimeError, match="in the middle of a call"):
                use()
        assert not simple.poisoned
        seen.append("refused")
        simple.interrupt()  # but this

    old = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(GuestInterrupted):
            simple.call("Spin", timeout=60)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert seen == ["refused"]
    simple.restore()
    assert simple.call("Echo", "whole") == "whole"


def test_keyboard_interrupt_in_a_host_function(new_sandbox: New) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    sandbox = new_sandbox("simple", {"Stop": stop})
    with pytest.raises(KeyboardInterrupt):
        sandbox.call("CallHost", "Stop")
    assert sandbox.poisoned
    sandbox.restore()
    assert sandbox.call("Echo", "on") == "on"


def test_registering(driver: str) -> None:
    config = SandboxConfig(driver=driver)
    with UninitializedSandbox("simple", config) as fresh:
        fresh.register("A", len).register("B.c", print)
        with pytest.raises(ValueError, match="already registered"):
            fresh.register("A", len)
        for name in ("", "1x", "a b", "x" * 129):
            with pytest.raises(ValueError, match="name="):
                fresh.register(name, len)
        with pytest.raises(TypeError, match="not a str"):
            fresh.register(5, len)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="cannot be called"):
            fresh.register("C", 5)  # type: ignore[arg-type]

        def keyword(*, needed: int) -> None: ...

        def odd(a: list[int]) -> None: ...

        with pytest.raises(TypeError, match="keyword argument 'needed'"):
            fresh.register("D", keyword)
        with pytest.raises(TypeError, match="'a' is annotated"):
            fresh.register("E", odd)


# Ending calls.


def test_timeout(simple: Sandbox) -> None:
    start = time.monotonic()
    with pytest.raises(GuestTimeout):
        simple.call("Spin", timeout=0.05)
    assert 0.05 <= time.monotonic() - start < 20
    assert simple.poisoned
    simple.restore()
    assert simple.call("Echo", "on") == "on"


def test_call_timeout_of_the_configuration(new_sandbox: New) -> None:
    sandbox = new_sandbox(call_timeout=0.05)
    with pytest.raises(GuestTimeout):
        sandbox.call("Spin")
    sandbox.restore()
    sandbox.call("Nothing")


def test_interrupt(simple: Sandbox) -> None:
    for _ in range(5):
        with interrupted(simple):
            simple.call("Spin")
        simple.restore()
    assert simple.call("Echo", "on") == "on"


def test_an_interrupt_between_calls_does_nothing(simple: Sandbox) -> None:
    for _ in range(3):
        simple.interrupt()
        assert simple.call("Echo", "on") == "on"


def test_interrupts_all_the_time(simple: Sandbox) -> None:
    """Whenever it comes: a call ends well or with GuestInterrupted."""
    stop = threading.Event()

    def pester() -> None:
        while not stop.wait(0.0005):
            simple.interrupt()

    thread = threading.Thread(target=pester)
    thread.start()
    ended = {"well": 0, "interrupted": 0}
    try:
        for i in range(300):
            try:
                assert simple.call("EchoInt32", i) == i
                ended["well"] += 1
            except GuestInterrupted:
                simple.restore()
                ended["interrupted"] += 1
    finally:
        stop.set()
        thread.join()
    assert ended["well"] > 0
    assert simple.call("Echo", "on") == "on"


def test_keyboard_interrupt(simple: Sandbox) -> None:
    main = threading.main_thread().ident
    assert main is not None
    # A process that was started in the background ignores it.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(
        0.1, lambda: signal.pthread_kill(main, signal.SIGINT)
    )
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            simple.call("Spin", timeout=60)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, old)
    assert simple.poisoned
    simple.restore()
    assert simple.call("Echo", "on") == "on"


def test_signal_handlers_run_during_a_call(simple: Sandbox) -> None:
    count = 0

    def on_alarm(*args: object) -> None:
        nonlocal count
        count += 1

    old = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(GuestTimeout):
            simple.call("Spin", timeout=0.3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert count >= 3


# Threads.


def test_calls_from_many_threads(simple: Sandbox) -> None:
    results: list[int] = []

    def work() -> None:
        results.extend(simple.call("Counter") for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 161))


def test_python_runs_while_the_guest_does(simple: Sandbox) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    with pytest.raises(GuestTimeout):
        simple.call("Spin", timeout=0.3)
    done.set()
    thread.join()
    assert ticks > 5


def test_many_sandboxes_at_once(new_sandbox: New) -> None:
    sandboxes = [new_sandbox() for _ in range(4)]
    found: dict[int, list[int]] = {}

    def work(i: int) -> None:
        found[i] = [sandboxes[i].call("Counter") for _ in range(50)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == list(range(1, 51)) for i in range(4))


# Life.


def test_evolve_and_devolve(driver: str) -> None:
    config = SandboxConfig(driver=driver)
    fresh = UninitializedSandbox("simple", config)
    fresh.register("HostAdd", lambda a, b: a + b)
    assert "UninitializedSandbox" in repr(fresh)
    assert fresh.layout["heap"].size == 128 << 10
    assert fresh.driver == driver
    sandbox = fresh.evolve(lambda s: s.call("Counter"))
    assert fresh.closed
    with pytest.raises(ValueError, match="evolved"):
        fresh.evolve()
    assert sandbox.call("Counter") == 2
    sandbox.restore(sandbox.base)
    assert sandbox.call("GetCounter") == 1
    again = sandbox.devolve()
    assert sandbox.closed
    with pytest.raises(ValueError, match="closed"):
        sandbox.call("Counter")
    with again.evolve() as sandbox:
        assert sandbox.call("GetCounter") == 0
        assert sandbox.call("Add", 20, 22) == 42
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", "undefined")
        with sandbox.devolve() as again:  # poisoned or not
            assert not again.closed


def test_evolve_that_fails_can_be_repeated(driver: str) -> None:
    fresh = UninitializedSandbox("simple", SandboxConfig(driver=driver))

    def fails(sandbox: Sandbox) -> None:
        sandbox.call("Counter")
        raise Odd

    with fresh:
        with pytest.raises(Odd):
            fresh.evolve(fails)
        with fresh.evolve() as sandbox:
            assert sandbox.call("GetCounter") == 0


def test_only_one_thread_evolves(driver: str) -> None:
    fresh = UninitializedSandbox("simple", SandboxConfig(driver=driver))
    made: list[Sandbox] = []
    refused: list[Exception] = []
    start = threading.Barrier(4)

    def evolve() -> None:
        start.wait()
        try:
            made.append(fresh.evolve(lambda s: time.sleep(0.05)))
        except (RuntimeError, ValueError) as error:  # being, was evolved
            refused.append(error)

    threads = [threading.Thread(target=evolve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    with made[0] as sandbox:
        assert sandbox.call("Counter") == 1


def test_a_call_that_waited_for_a_devolve_is_refused(driver: str) -> None:
    """Or comes first; but never runs in what has become another's."""
    inside, go_on = threading.Event(), threading.Event()

    def wait(a: int, b: int) -> int:
        inside.set()
        go_on.wait()
        return a + b

    sandbox = Sandbox(
        "simple",
        host_functions={"HostAdd": wait},
        config=SandboxConfig(driver=driver),
    )
    outcomes: list[object] = []
    fresh: list[UninitializedSandbox] = []

    def call() -> None:
        try:
            outcomes.append(sandbox.call("Counter"))
        except ValueError as error:
            outcomes.append(str(error))

    threads = [
        threading.Thread(target=sandbox.call, args=("Add", 1, 2)),
        threading.Thread(target=lambda: fresh.append(sandbox.devolve())),
        *(threading.Thread(target=call) for _ in range(4)),
    ]
    threads[0].start()
    inside.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    closed = "operation on a closed Sandbox"
    counts = sorted(o for o in outcomes if isinstance(o, int))
    assert counts == list(range(1, len(counts) + 1))
    assert outcomes.count(closed) == 4 - len(counts)
    with fresh[0].evolve() as again:
        assert again.call("Counter") == 1
    machine = sandbox._machine
    assert machine is not None
    function = sandbox._functions["Counter"]
    for use in (
        lambda: machine.call(sandbox._token, function, (), None),
        lambda: machine.take(sandbox._token, None),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_use_after_close(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    snapshot = sandbox.snapshot()
    sandbox.close()
    sandbox.close()
    assert sandbox.closed
    assert repr(sandbox) == "<Sandbox, closed>"
    for use in (
        lambda: sandbox.call("Nothing"),
        sandbox.snapshot,
        sandbox.restore,
        sandbox.devolve,
        sandbox.verify,
        sandbox.changed,
        lambda: sandbox.layout,
        lambda: sandbox.driver,
        lambda: sandbox.tracker,
        lambda: sandbox.functions,
        lambda: sandbox.poisoned,
        lambda: sandbox.stats,
        lambda: sandbox.base,
        lambda: sandbox.current,
        sandbox.__enter__,
        lambda: sandbox.transaction().__enter__(),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    sandbox.interrupt()
    assert snapshot.page_count > 0
    assert len(snapshot.read(0, 100)) == 100


def test_close_waits_for_a_call(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    ended: list[BaseException] = []

    def spin() -> None:
        try:
            sandbox.call("Spin", timeout=0.5)
        except GuestTimeout as error:
            ended.append(error)

    thread = threading.Thread(target=spin)
    begun = time.monotonic()
    thread.start()
    wait_until_it_spins(thread)
    sandbox.close()
    assert time.monotonic() - begun >= 0.5
    thread.join()
    assert ended


def test_a_snapshot_moves_to_another_sandbox(new_sandbox: New) -> None:
    one, other = new_sandbox(), new_sandbox()
    for _ in range(5):
        one.call("Counter")
    one.call("SetFloat", 2.5)
    address = one.call("Allocate", 100)
    one.call("Write", address, b"moved")
    five = one.snapshot("five")
    expected = (one.call("GetFloat"), one.call("GetMxcsr"))
    one.close()
    other.call("Counter")
    other.restore(five)
    other.verify()
    assert other.call("GetCounter") == 5
    assert other.call("Read", address, 5) == b"moved"
    other.restore(five)
    assert (other.call("GetFloat"), other.call("GetMxcsr")) == expected
    other.restore(other.base)
    assert other.call("GetCounter") == 0


def test_snapshots_of_others_are_refused(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    larger = new_sandbox(heap_size="1MiB")
    stranger = new_sandbox(tiny.guest(b"\x0f\x0b"))
    with SharedMemory("1MiB") as memory, SnapshotManager(memory) as manager:
        for theirs, why in (
            (larger.snapshot(), "another layout"),
            (stranger.snapshot(), "another guest"),
            (manager.take(), "not to a sandbox"),
        ):
            with pytest.raises(SnapshotMismatch, match=why):
                sandbox.restore(theirs)
            with pytest.raises(SnapshotMismatch, match=why):
                sandbox.verify(theirs)
    with pytest.raises(TypeError, match="not a Snapshot"):
        sandbox.restore("base")  # type: ignore[arg-type]
    assert sandbox.call("Echo", "unharmed") == "unharmed"


def test_drivers_do_not_share_snapshots() -> None:
    made = [
        Sandbox("simple", config=SandboxConfig(driver=require_driver(name)))
        for name in ("kvm", "emulator")
    ]
    with made[0], made[1]:
        with pytest.raises(SnapshotMismatch, match="its driver is 'kvm'"):
            made[1].restore(made[0].snapshot())


@pytest.mark.parametrize("tracker", sorted(
    {t for names in SANDBOX_TRACKERS.values() for t in names}
))  # fmt: skip
@pytest.mark.parametrize("rearm", ["adaptive", "always"])
def test_every_tracker(new_sandbox: New, driver: str, tracker: str,
                       rearm: str) -> None:  # fmt: skip
    if tracker not in SANDBOX_TRACKERS[driver]:
        with pytest.raises(
            TrackerUnavailable, match=f"driver '{driver}'"
        ) as caught:
            new_sandbox(tracker=tracker)
        works = {t.name for t in hyperlight.trackers() if t.available}
        assert set(caught.value.usable) == works & {*SANDBOX_TRACKERS[driver]}
        return
    require_tracker(tracker)
    sandbox = new_sandbox(tracker=tracker, rearm=rearm)
    assert sandbox.tracker == tracker
    for i in range(60):
        address = sandbox.call("Allocate", 5000 * (i % 7 + 1))
        sandbox.call("FillHeap", address, 5000 * (i % 7 + 1), i)
        sandbox.verify()
        sandbox.restore()
        sandbox.verify()
        assert sandbox.call("GetCounter") == 0


def test_what_is_no_guest(tmp_path: Path, driver: str) -> None:
    config = SandboxConfig(driver=driver)
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n", bytes(10000)):
        with pytest.raises(ValueError, match="not a guest"):
            Sandbox(data, config=config)
    with pytest.raises(
        FileNotFoundError, match=r"nor a shipped guest: .*simp"
    ):
        Sandbox(tmp_path / "nix", config=config)
    with pytest.raises(TypeError, match="guest="):
        Sandbox(5, config=config)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config="):
        Sandbox("simple", config="large")  # type: ignore[arg-type]
    with pytest.raises((IsADirectoryError, PermissionError)):
        Sandbox(tmp_path, config=config)
    with pytest.raises(ValueError, match="linked dynamically"):
        Sandbox("/proc/self/exe", config=config)
    low = tiny.elf(b"\x0f\x0b")
    low = low[:80] + struct.pack("<QQ", 0x1000, 0x1000) + low[96:]
    with pytest.raises((ValueError, LayoutError)):
        Sandbox(low, config=config)


def test_a_guest_of_my_own_wins_over_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simple").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not a guest"):
        Sandbox("simple", config=SandboxConfig(driver=driver))


def test_drivers_say_why() -> None:
    for info in hyperlight.drivers():
        assert info.available == (info.reason == "")
    for name in ("kvm", "emulator"):
        require = next(i for i in hyperlight.drivers() if i.name == name)
        if require.available:
            continue
        with pytest.raises(DriverUnavailable) as caught:
            Sandbox("simple", config=SandboxConfig(driver=name))
        assert caught.value.driver == name
        assert require.reason in str(caught.value)


def test_fork(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    sandbox.call("Counter")
    pid = os.fork()
    if pid == 0:
        try:
            for use in (lambda: sandbox.call("Counter"), sandbox.restore,
                        sandbox.snapshot):  # fmt: skip
                with pytest.raises((ValueError, OSError)):
                    use()
            sandbox.close()
            with Sandbox("simple", config=SandboxConfig(driver=driver)) as own:
                assert own.call("Counter") == 1
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sandbox.call("Counter") == 2
    sandbox.close()


def test_verify_after_every_restore(
    new_sandbox: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERLIGHT_VERIFY", "1")
    sandbox = new_sandbox()
    sandbox.call("Counter")
    sandbox.restore()
    assert sandbox.call("Counter") == 1
