"""Which errors are those of one call of a map, and which end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tiny

from hyperlight import GuestInterrupted, Sandbox

New = Callable[..., Sandbox]


def test_an_interrupt_of_another_sandbox(new_sandbox: New) -> None:
    """Is an error of the host function's call, as any that it raises."""

    def add(a: int, b: int) -> int:
        if a == 1:
            raise GuestInterrupted("Other")
        if a == 3:
            sandbox.interrupt()
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    many = [(i, 1) for i in range(3)]
    found = sandbox.map("Add", many, errors="return")
    assert [found[0], found[2]] == [1, 3]
    assert isinstance(found[1], GuestInterrupted)
    with pytest.raises(GuestInterrupted) as caught:
        sandbox.map("Add", [*many, (3, 1), (4, 1)], errors="return")
    raised: Any = caught.value
    assert raised.index == 3
    assert [raised.results[0], raised.results[2]] == [1, 3]


def test_a_handler_that_raises_after_a_host_call(new_sandbox: New) -> None:
    """It is no error of a call, wherever the guest was."""

    def tick() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    def on_alarm(*args: object) -> None:
        raise LookupError("on purpose")

    sandbox = new_sandbox(tiny.parrot(spins=True), {"Tick": tick})
    order = tiny.HOST_CALL.to_bytes(8, "little")
    order += tiny.message(tiny.CALL, tiny.value(tiny.STR, b"Tick"))
    old = signal.signal(signal.SIGALRM, on_alarm)
    try:
        for errors in ("return", "raise"):
            with pytest.raises(LookupError, match="on purpose") as caught:
                sandbox.map("Raw", [(order,)] * 2, errors=errors)
            assert caught.value.index == 0  # type: ignore[attr-defined]
            assert not sandbox.poisoned
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_map_without_memory_puts_back(
    simple: Sandbox, fail: Callable[..., None]
) -> None:
    simple.call("Counter")
    fail("room", 0, 1)
    with pytest.raises(MemoryError, match="map") as caught:
        simple.map("Counter", [()])
    assert caught.value.index == 0  # type: ignore[attr-defined]
    assert simple.call("GetCounter") == 0
    assert simple.map("Counter", [()]) == [1]


def test_a_close_that_waits_for_a_map(new_sandbox: New) -> None:
    """An error of a signal handler is not taken for one of the sandbox."""
    inside, go_on = threading.Event(), threading.Event()

    def add(a: int, b: int) -> int:
        inside.set()
        assert go_on.wait(30)
        return a + b

    def on_alarm(*args: object) -> None:
        raise ValueError("on purpose")

    sandbox = new_sandbox("simple", {"HostAdd": add})
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.extend(sandbox.map("Add", [(1, 2)] * 3))
    )
    thread.start()
    old = signal.signal(signal.SIGALRM, on_alarm)
    try:
        assert inside.wait(30)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(ValueError, match="on purpose"):
            sandbox.close()
        assert not sandbox.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        go_on.set()
        thread.join()
    assert found == [3] * 3
    sandbox.close()
    assert sandbox.closed
