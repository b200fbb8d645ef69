"""One call at a time: other threads, interrupts, deadlines."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import (
    interrupted,
)
from test_one_call import New, trace_each

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
)


def test_other_threads_wait(new_sandbox: New) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def add(a: int, b: int) -> int:
        inside.set()
        assert go_on.wait(30)
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    done: list[object] = []
    threads = [
        threading.Thread(target=lambda u=use: done.append(u()))
        for use in (
            lambda: sandbox.call("Counter"),
            sandbox.snapshot,
            sandbox.changed,
            sandbox.verify,
        )
    ]
    first = threading.Thread(target=sandbox.call, args=("Add", 1, 2))
    first.start()
    assert inside.wait(30)
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert not done
    go_on.set()
    for thread in (first, *threads):
        thread.join(30)
        assert not thread.is_alive()
    assert len(done) == len(threads)
    done.clear()


def test_who_waits_can_be_interrupted(new_sandbox: New) -> None:
    """A signal handler's exception ends the waiting for another thread."""
    inside, go_on = threading.Event(), threading.Event()

    def add(a: int, b: int) -> int:
        inside.set()
        assert go_on.wait(30)
        return a + b

    class Stop(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Stop

    sandbox = new_sandbox("simple", {"HostAdd": add})
    first = threading.Thread(target=sandbox.call, args=("Add", 1, 2))
    first.start()
    assert inside.wait(30)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Stop):
            sandbox.call("Nothing")
    finally:
        signal.signal(signal.SIGALRM, before)
        go_on.set()
        first.join()
    assert sandbox.call("Counter") == 1


# Interrupts and deadlines belong to one call.


def test_an_interrupt_ends_a_call_or_none(new_sandbox: New) -> None:
    """At whatever line of one call it comes, the next one is not ended."""
    sandbox = new_sandbox("simple", {"HostAdd": lambda a, b: a + b})
    line, lines, ended = 0, 1, 0
    while line < lines:
        line += 1

        def act(at: int, line: int = line) -> None:
            if at == line:
                sandbox.interrupt()

        try:
            lines = max(
                lines, trace_each(lambda: sandbox.call("Add", 1, 2), act)
            )
        except GuestInterrupted:
            ended += 1
            lines = max(lines, line + 1)
            sandbox.restore()
        assert not sandbox.poisoned
        assert sandbox.call("Add", 20, 22) == 42
    assert 0 < ended < line


def test_an_interrupt_of_what_was_used_up_does_nothing(driver: str) -> None:
    config = SandboxConfig(driver=driver)
    used = Sandbox("simple", config=config)
    asked: list[int] = []

    def add(a: int, b: int) -> int:
        used.interrupt()
        asked.append(1)
        return a + b

    with used.devolve().register("HostAdd", add).evolve() as sandbox:
        assert sandbox.call("Add", 1, 2) == 3
    assert asked


def test_an_interrupt_while_the_host_is_asked(new_sandbox: New) -> None:
    """The host function is not interrupted; the guest does not go on."""
    sandboxes: list[Sandbox] = []
    returned: list[int] = []

    def add(a: int, b: int) -> int:
        sandboxes[0].interrupt()
        returned.append(a + b)
        return a + b

    sandboxes.append(new_sandbox("simple", {"HostAdd": add}))
    with pytest.raises(GuestInterrupted):
        sandboxes[0].call("Add", 1, 2)
    assert returned == [3]
    sandboxes[0].restore()
    assert sandboxes[0].call("Nothing") is None


def test_host_functions_count_against_a_timeout(new_sandbox: New) -> None:
    def add(a: int, b: int) -> int:
        time.sleep(0.2)
        returned.append(a + b)
        return a + b

    returned: list[int] = []
    sandbox = new_sandbox("simple", {"HostAdd": add})
    with pytest.raises(GuestTimeout):
        sandbox.call("Add", 1, 2, timeout=0.1)
    assert returned == [3]


@contextlib.contextmanager
def within_a_second() -> Iterator[None]:
    """By this thread's own time; a busy machine may take longer, somewhat."""
    clock, own = time.monotonic(), time.thread_time()
    yield
    assert time.thread_time() - own < 1.05
    assert time.monotonic() - clock < 15


def spin_is_ended(sandbox: Sandbox) -> None:
    """By its deadline, and by interrupt(), both within a second."""
    with within_a_second(), pytest.raises(GuestTimeout):
        sandbox.call("Spin", timeout=0.05)
    sandbox.restore()
    with within_a_second(), interrupted(sandbox):
        sandbox.call("Spin", timeout=30)
    sandbox.restore()


@contextlib.contextmanager
def all_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def handled(action: Any) -> Iterator[None]:
    numbers = {signal.SIGURG, signal.SIGRTMAX - 3, signal.SIGALRM}
    before = {n: signal.signal(n, action) for n in numbers}
    try:
        yield
    finally:
        for number, action_before in before.items():
            signal.signal(number, action_before)


SIGNALS: dict[str, Callable[[], Any]] = {
    "blocked": all_blocked,
    "ignored": lambda: handled(signal.SIG_IGN),
    "default": lambda: handled(signal.SIG_DFL),
    "handled": lambda: handled(lambda *args: None),
}


@pytest.mark.parametrize("how", SIGNALS)
def test_spinning_is_ended_under_every_mask(
    new_sandbox: New, how: str
) -> None:
    sandbox = new_sandbox()
    sandbox.call("Nothing", timeout=5)  # whatever is set up by a first call
    with SIGNALS[how]():
        spin_is_ended(sandbox)
        assert signal.SIGURG not in signal.sigpending()
    spin_is_ended(sandbox)


def test_spinning_is_ended_in_every_thread(new_sandbox: New) -> None:
    sandboxes = [new_sandbox() for _ in range(3)]
    failed: list[BaseException] = []

    def work(sandbox: Sandbox, how: str) -> None:
        try:
            with (
                all_blocked() if how == "blocked" else contextlib.nullcontext()
            ):
                spin_is_ended(sandbox)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(sandbox, how))
        for sandbox, how in zip(
            sandboxes, ("blocked", "open", "blocked"), strict=True
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    spin_is_ended(sandboxes[0])  # the same one in another thread


def test_the_callers_mask_is_left_alone(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    for blocked in (set(), {signal.SIGURG}, {signal.SIGUSR1}):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        during = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        sandbox.call("Nothing", timeout=5)
        with contextlib.suppress(GuestTimeout):
            sandbox.call("Spin", timeout=0.02)
        sandbox.restore()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == during
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
