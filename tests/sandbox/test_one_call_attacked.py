"""One call at a time: what was found by attacking it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import (
    require_driver,
    run_python,
    wait_until_it_spins,
)
from test_one_call import Acts
from test_one_call_forks import in_child
from test_one_call_threads import spin_is_ended

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
)
from hyperlight._binding import core

New = Callable[..., Sandbox]


@contextlib.contextmanager
def signals_during(work: Callable[[], object], often: float) -> Iterator[None]:
    """SIGALRM, so many in the time that `work` takes on this machine."""
    start = time.perf_counter()
    for _ in range(5):
        work()
    interval = max(0.0005, (time.perf_counter() - start) / 5 / often)
    before = signal.signal(signal.SIGALRM, lambda *args: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_while_a_guest_is_entered(new_sandbox: New) -> None:
    """It is begun again, and does not run in circles."""
    sandbox = new_sandbox()

    def work(i: int = 0) -> None:
        assert sandbox.call("AddLocal", i, 2, timeout=30) == i + 2
        sandbox.restore()

    with signals_during(work, 0.2):
        for i in range(400):
            work(i)


def test_a_signal_while_a_machine_is_made(driver: str) -> None:
    config = SandboxConfig(driver=driver)

    def work() -> None:
        Sandbox("simple", config=config).close()

    with signals_during(work, 3):
        for _ in range(30):
            work()


def test_a_pending_signal_of_the_callers_own(new_sandbox: New) -> None:
    """SIGURG, blocked and pending: for the caller, after the call too."""
    sandbox = new_sandbox()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        signal.raise_signal(signal.SIGURG)
        assert sandbox.call("Counter") == 1
        assert signal.SIGURG in signal.sigpending()
        spin_is_ended(sandbox)
        assert signal.sigwait({signal.SIGURG}) == signal.SIGURG
        assert signal.SIGURG not in signal.sigpending()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_child_of_a_call_closes_in_another_thread(driver: str) -> None:
    """The thread that forked still uses the sandbox."""
    result = run_python(
        """
import os, sys, threading
from hyperlight import Sandbox, SandboxConfig

sandbox = Sandbox("simple", config=SandboxConfig(driver=sys.argv[1]))

class Forks:
    def __index__(self):
        if os.fork() == 0:
            thread = threading.Thread(target=sandbox.close)
            thread.start()
            thread.join()
            assert sandbox.closed
        return 1

parent = os.getpid()
try:
    result = sandbox.call("AddLocal", Forks(), 2)
except ValueError as error:
    result = str(error)
if os.getpid() != parent:
    os._exit("belongs to the process" not in str(result))
assert result == 3, result
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
""",
        driver,
    )
    assert result.returncode == 0, result.stderr


def test_a_childs_thread_lets_go(new_sandbox: New) -> None:
    """Of a sandbox whose call was under way in a thread of the parent."""
    sandbox = new_sandbox()

    def spin() -> None:
        with pytest.raises(GuestInterrupted):
            sandbox.call("Spin", timeout=30)

    thread = threading.Thread(target=spin)
    thread.start()
    wait_until_it_spins(thread)

    def child() -> None:
        closer = threading.Thread(target=sandbox.close)
        closer.start()
        closer.join()
        assert core.counts()["sandboxes"] == 0

    in_child(child)
    sandbox.interrupt()
    thread.join()
    sandbox.restore()


def test_who_waits_gets_its_turn(new_sandbox: New) -> None:
    """Beside a thread that calls in a loop."""
    sandbox = new_sandbox()
    stop = threading.Event()
    calls = 0

    def loop() -> None:
        nonlocal calls
        while not stop.is_set():
            sandbox.call("Nothing")
            calls += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        for _ in range(5):
            before = calls
            sandbox.call("Nothing")
            assert calls - before < 1000
    finally:
        stop.set()
        thread.join()


def test_waiting_does_not_count_against_a_timeout(new_sandbox: New) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def add(a: int, b: int) -> int:
        inside.set()
        assert go_on.wait(30)
        return a + b

    sandbox = new_sandbox("simple", {"HostAdd": add})
    first = threading.Thread(target=sandbox.call, args=("Add", 1, 2))
    first.start()
    assert inside.wait(30)
    timer = threading.Timer(0.4, go_on.set)
    timer.start()
    assert sandbox.call("Counter", timeout=0.3) == 1
    first.join()
    timer.join()


def test_a_guest_that_never_ran_is_not_poisoned(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    with pytest.raises(GuestTimeout):
        sandbox.call("Nothing", timeout=5e-324)
    assert not sandbox.poisoned
    with pytest.raises(GuestInterrupted):
        sandbox.call("EchoInt32", Acts(sandbox.interrupt, 1))
    assert not sandbox.poisoned
    assert sandbox.call("Counter") == 1


def test_the_interpreter_ends_in_a_call(driver: str) -> None:
    """A daemon thread's call never ends then; who closes does not wait."""
    result = run_python(
        """
import sys, threading, time
from hyperlight import Sandbox, SandboxConfig

class Service:
    def __init__(self):
        config = SandboxConfig(driver=sys.argv[1])
        self.sandbox = Sandbox("simple", config=config)

    def __del__(self):
        self.sandbox.close()

service = Service()
threading.Thread(
    target=service.sandbox.call,
    args=("Spin",),
    kwargs={"timeout": 0.5},
    daemon=True,
).start()
time.sleep(0.2)
""",
        driver,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_a_limit_is_no_reason_for_the_emulator() -> None:
    require_driver("kvm")
    result = run_python(
        """
import os, resource
from hyperlight import Sandbox, guest

program = guest.shipped().read_bytes()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    os.close(held.pop())
for _ in range(8):
    try:
        with Sandbox(program) as sandbox:
            assert sandbox.driver == "kvm"
            break
    except OSError as error:
        assert "RLIMIT_NOFILE" in str(error), error
    os.close(held.pop())
else:
    raise SystemExit("never")
"""
    )
    assert result.returncode == 0, result.stderr
