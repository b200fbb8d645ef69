"""Calls in the other direction, and code that runs in the middle of one."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import pytest

from hyperlight import (
    GuestError,
    GuestInterrupted,
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
)

New = Callable[..., Sandbox]
MIB = 1 << 20


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
