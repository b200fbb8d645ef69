"""Timeouts, interrupts, threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import (
    interrupted,
    run_python,
)

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
)

New = Callable[..., Sandbox]


def test_timeout(simple: Sandbox) -> None:
    start = time.perf_counter()
    with pytest.raises(GuestTimeout):
        simple.call("Spin", timeout=0.05)
    assert 0.05 <= time.perf_counter() - start < 20
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


@pytest.mark.parametrize("how", ["SIG_IGN", "SIG_DFL"])
def test_whatever_becomes_of_the_signal_meanwhile(
    driver: str, how: str
) -> None:
    """Its handler is the program's to change, also during a call."""
    script = """
import os, signal, sys, threading, time
from hyperlight import GuestTimeout, Sandbox, SandboxConfig
sandbox = Sandbox("simple", config=SandboxConfig(driver=sys.argv[1]))

def spin():
    try:
        sandbox.call("Spin", timeout=0.5)
    except GuestTimeout:
        print("ended", flush=True)

give_up = time.monotonic() + 20
thread = threading.Thread(target=spin, daemon=True)
thread.start()
while thread.is_alive():
    signal.signal(signal.SIGURG, getattr(signal, sys.argv[2]))
    thread.join(0.05)
    if time.monotonic() > give_up:
        break
os._exit(0)  # without the thread
"""
    assert run_python(script, driver, how).stdout == "ended\n"


def test_a_thread_that_got_the_id_of_another(driver: str) -> None:
    """It was woken by that one's id, which is given again."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip(f"{last} cannot be written")
    script = """
import os, sys, threading
from hyperlight import GuestTimeout, Sandbox, SandboxConfig
sandbox = Sandbox("simple", config=SandboxConfig(driver=sys.argv[1]))
first = None

def spin():
    global first, again
    me = threading.get_native_id()
    if first not in (None, me):
        return
    again, first = first == me, me
    try:
        sandbox.call("Spin", timeout=0.1)
    except GuestTimeout:
        sandbox.restore()

again = False
for _ in range(1000):
    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    thread.join(20)
    if thread.is_alive():
        os._exit(1)
    if again:
        break
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(first - 1))
print("again" if again else "never")
"""
    result = run_python(script, driver)
    assert result.returncode == 0, result.stderr
    if result.stdout == "never\n":
        pytest.skip("the id was always taken")


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
