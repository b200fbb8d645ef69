"""A call is one state: whatever runs meanwhile is refused, or waits.

From before the first argument is looked at until the result is converted.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tiny
from conftest import (
    interrupted,
    require_driver,
    run_python,
    wait_until_it_spins,
)

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
)
from hyperlight._binding import core

New = Callable[..., Sandbox]

REFUSED: dict[str, Callable[[Sandbox], object]] = {
    "call": lambda s: s.call("Nothing"),
    "restore": lambda s: s.restore(),
    "restore the base": lambda s: s.restore(s.base),
    "snapshot": lambda s: s.snapshot(),
    "transaction": lambda s: s.transaction().__enter__(),
    "devolve": lambda s: s.devolve().close(),
    "changed": lambda s: s.changed(),
    "verify": lambda s: s.verify(),
    "close": lambda s: s.close(),
    "exit": lambda s: s.__exit__(None, None, None),
}
ALLOWED: dict[str, Callable[[Sandbox], object]] = {
    "stats": lambda s: s.stats,
    "functions": lambda s: s.functions,
    "layout": lambda s: s.layout,
    "current": lambda s: s.current,
    "poisoned": lambda s: s.poisoned,
    "repr": repr,
}


def try_all(sandbox: Sandbox) -> None:
    """Everything, from the middle of a call of the same thread."""
    for name, use in REFUSED.items():
        with pytest.raises(RuntimeError, match="in the middle of a call"):
            pytest.fail(f"{name}: {use(sandbox)!r}")
    for use in ALLOWED.values():
        use(sandbox)
    assert not sandbox.poisoned


class Acts:
    """Foreign code of an argument, in whatever way it is looked at."""

    def __init__(self, act: Callable[[], object], value: Any) -> None:
        self.act, self.value = act, value

    def __index__(self) -> int:
        self.act()
        return int(self.value)

    def __float__(self) -> float:
        self.act()
        return float(self.value)

    def __repr__(self) -> str:
        self.act()
        return "Acts()"

    def __buffer__(self, flags: int) -> memoryview:
        self.act()
        return memoryview(self.value)


ARGUMENTS: dict[str, tuple[str, Any]] = {
    "index": ("EchoInt32", 7),
    "float": ("EchoDouble", 1.5),
}
if sys.version_info >= (3, 12):
    ARGUMENTS["buffer"] = ("EchoBytes", b"bytes")


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_from_an_argument(new_sandbox: New, kind: str) -> None:
    sandbox = new_sandbox()
    name, value = ARGUMENTS[kind]
    argument = Acts(lambda: try_all(sandbox), value)
    for _ in range(3):
        assert sandbox.call(name, argument) == value
        sandbox.restore()


def test_an_arguments_own_words_are_not_asked_for(new_sandbox: New) -> None:
    """One that is refused is named by its type, whatever it says of itself."""
    sandbox = new_sandbox()
    said: list[object] = []
    argument = Acts(lambda: said.append(1), 0)
    with pytest.raises(
        TypeError, match=r"Echo\(str\) -> str: argument 1, a v"
    ):
        sandbox.call("Echo", argument)
    assert not said

    def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        sandbox.call("EchoInt32", Acts(fails, 0))
    assert sandbox.call("Counter") == 1


def test_from_a_host_function(new_sandbox: New) -> None:
    sandboxes: list[Sandbox] = []

    def add(a: int, b: int) -> object:
        try_all(sandboxes[0])
        return Acts(lambda: try_all(sandboxes[0]), a + b)

    sandboxes.append(new_sandbox("simple", {"HostAdd": add}))
    assert sandboxes[0].call("Add", 2, 3) == 5


def test_from_a_handler_of_log_lines(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try_all(sandbox)
            seen.append(record.getMessage())

    handler = Handler()
    logger = logging.getLogger("hyperlight.guest")
    logger.addHandler(handler)
    try:
        sandbox.call("Log", logging.CRITICAL, "line")
    finally:
        logger.removeHandler(handler)
    assert len(seen) == 1


def test_from_a_signal_handler(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    seen: list[int] = []

    def handler(number: int, frame: object) -> None:
        if not seen:
            try_all(sandbox)
            sandbox.interrupt()
        seen.append(number)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(GuestInterrupted):
            sandbox.call("Spin")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen
    sandbox.restore()
    assert sandbox.call("Counter") == 1


def test_from_a_finalizer(new_sandbox: New) -> None:
    """As the collector runs it, whenever it likes."""
    sandboxes: list[Sandbox] = []
    seen: list[object] = []

    class Cycle:
        pass

    def on_gone(_: object) -> None:
        try_all(sandboxes[0])
        seen.append(1)

    def add(a: int, b: int) -> int:
        cycle = Cycle()
        cycle.itself = cycle  # type: ignore[attr-defined]
        references.append(weakref.ref(cycle, on_gone))
        del cycle
        gc.collect()
        return a + b

    references: list[object] = []
    sandboxes.append(new_sandbox("simple", {"HostAdd": add}))
    assert sandboxes[0].call("Add", 2, 3) == 5
    assert seen


def trace_each(
    function: Callable[[], object], act: Callable[[int], object]
) -> int:
    """Run it, and `act` before each line of this library's Python code."""
    count = 0

    def local(frame: Any, event: str, arg: object) -> Any:
        nonlocal count
        if event in ("line", "return"):
            count += 1
            sys.settrace(None)
            try:
                act(count)
            finally:
                sys.settrace(trace)
        return local

    def trace(frame: Any, event: str, arg: object) -> Any:
        ours = "/hyperlight/" in frame.f_code.co_filename
        return local if ours else None

    before = sys.gettrace()
    gc.disable()  # what is collected just then would be traced as well
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


ENDS = ("devolve", "close", "exit")


@pytest.mark.parametrize("what", REFUSED)
def test_from_every_line_of_a_call(new_sandbox: New, what: str) -> None:
    """Refused within the call, and done outside of it: never in between."""

    def new() -> Sandbox:
        return new_sandbox("simple", {"HostAdd": lambda a, b: a + b})

    sandbox, use, line, lines = new(), REFUSED[what], 0, 1
    while line < lines:
        # A new machine for each line takes its time.
        line += 2 if what in ENDS else 1
        if sandbox.closed:
            sandbox = new()
        sandbox.restore(sandbox.base)
        assert sandbox.call("Counter") == 1
        results: list[object] = []

        def call(s: Sandbox = sandbox, results: Any = results) -> None:
            with contextlib.suppress(ValueError):  # closed before it began
                results.append(s.call("Add", 2, 3))

        def act(at: int, s: Sandbox = sandbox, line: int = line) -> None:
            if at == line:
                with contextlib.suppress(RuntimeError, ValueError):
                    use(s)

        lines = max(lines, trace_each(call, act))
        assert results in ([5], [])
        if not sandbox.closed:
            assert not sandbox.poisoned
            assert sandbox.call("Counter") in (1, 2)
        else:
            assert what in ENDS
    assert line > 3


@pytest.mark.parametrize("where", ["Add", "Nothing"])
def test_stopped_at_every_line_of_a_call(new_sandbox: New, where: str) -> None:
    """An exception at any line leaves it usable, or poisoned and says so."""

    class Stop(BaseException):
        pass

    sandbox = new_sandbox("simple", {"HostAdd": lambda a, b: a + b})
    args = (2, 3) if where == "Add" else ()
    line, lines = 0, 1
    while line < lines:
        line += 1

        def act(at: int, line: int = line) -> None:
            if at == line:
                raise Stop

        before = sandbox.call("Counter")
        with contextlib.suppress(Stop):
            lines = max(
                lines, trace_each(lambda: sandbox.call(where, *args), act)
            )
        lines = max(lines, line + 1) if line < 60 else lines
        if line == 60:
            break
        if sandbox.poisoned:
            sandbox.restore()
            before = 0
        assert sandbox.call("Counter") == before + 1
    assert line > 3


# Other threads.


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


# Forks.

FORKED = "belongs to the process that made it: a child of fork can only close"


def in_child(function: Callable[[], object]) -> None:
    """Run it in a child of fork, which dies of what it raises."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(30)
            function()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def child_may_only_close(sandbox: Sandbox) -> None:
    uses = [
        *(u for n, u in REFUSED.items() if n not in ("close", "exit")),
        lambda s: s.interrupt(),
        lambda s: s.stats,
        lambda s: s.poisoned,
    ]
    for use in uses:
        with pytest.raises(ValueError, match=FORKED):
            use(sandbox)
    sandbox.close()
    sandbox.close()
    assert sandbox.closed


def test_a_child_may_only_close_it(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    sandbox.call("Nothing", timeout=5)
    in_child(lambda: child_may_only_close(sandbox))
    with contextlib.suppress(GuestTimeout):
        sandbox.call("Spin", timeout=0.02)
    in_child(lambda: child_may_only_close(sandbox))  # poisoned
    sandbox.restore()
    spin_is_ended(sandbox)
    fresh = UninitializedSandbox(
        "simple", SandboxConfig(driver=sandbox.driver)
    )

    def child() -> None:
        for use in (fresh.evolve, lambda: fresh.register("f", len)):
            with pytest.raises(ValueError, match=FORKED):
                use()
        fresh.close()

    in_child(child)
    fresh.close()


def test_a_child_that_is_made_in_a_call(new_sandbox: New) -> None:
    """By a host function: it cannot go on with the call, but close."""
    sandboxes: list[Sandbox] = []

    def add(a: int, b: int) -> int:
        in_child(lambda: child_may_only_close(sandboxes[0]))
        return a + b

    sandboxes.append(new_sandbox("simple", {"HostAdd": add}))
    assert sandboxes[0].call("Add", 1, 2, timeout=30) == 3

    def goes_on(a: int, b: int) -> int:
        return a + b + 100 * (os.fork() == 0)

    parent = os.getpid()
    sandboxes[0] = new_sandbox("simple", {"HostAdd": goes_on})
    try:
        result: object = sandboxes[0].call("Add", 1, 2)
    except ValueError as error:
        result = str(error)
    if os.getpid() != parent:
        sandboxes[0].close()
        os._exit(0 if FORKED in str(result) else 1)
    assert result == 3
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0


def test_a_child_while_another_thread_calls(new_sandbox: New) -> None:
    sandbox = new_sandbox()

    def spin() -> None:
        with pytest.raises(GuestInterrupted):
            sandbox.call("Spin", timeout=30)

    thread = threading.Thread(target=spin)
    thread.start()
    wait_until_it_spins(thread)
    in_child(lambda: child_may_only_close(sandbox))
    sandbox.interrupt()
    thread.join()
    sandbox.restore()
    spin_is_ended(sandbox)


def test_a_childs_own_deadlines(new_sandbox: New) -> None:
    """A child has its own, whatever its parent's were."""
    sandbox = new_sandbox()
    sandbox.call("Nothing", timeout=5)
    driver = sandbox.driver

    def child() -> None:
        own = Sandbox("simple", config=SandboxConfig(driver=driver))
        own.call("Nothing", timeout=5)
        sandbox.close()
        spin_is_ended(own)
        own.close()

    in_child(child)
    spin_is_ended(sandbox)


def test_no_thread_is_left_when_a_process_forks(driver: str) -> None:
    """Python 3.12 warns of forks beside other threads, also of ours."""
    result = run_python(
        """
import os, sys, warnings
warnings.simplefilter("error")
from hyperlight import Sandbox, SandboxConfig

def threads():
    return len(os.listdir("/proc/self/task"))

config = SandboxConfig(driver=sys.argv[1], start_timeout=None)
sandbox = Sandbox("simple", config=config)
alone = threads()  # but for a kernel's task for each KVM machine
for _ in range(3):
    sandbox.call("Nothing", timeout=5)
    assert threads() == alone + 1
    if alone > 1:
        warnings.simplefilter("ignore")
    pid = os.fork()
    if pid == 0:
        os._exit(threads() - 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert threads() == alone
""",
        require_driver(driver),
    )
    assert result.returncode == 0, result.stderr


def test_a_start_has_a_deadline_of_its_own(driver: str) -> None:
    """A guest that never comes up is not waited for, unless told to."""
    program = tiny.elf(b"\xeb\xfe")  # jmp to itself
    assert SandboxConfig().start_timeout == 60
    for limit, origin in (
        ({"start_timeout": 0.05}, "start_timeout"),
        ({"call_timeout": 0.05}, "call_timeout"),
    ):
        config = SandboxConfig(driver=driver, **limit)  # type: ignore[arg-type]
        with pytest.raises(GuestTimeout, match="the guest's start") as caught:
            Sandbox(program, config=config)
        assert caught.value.origin == origin


@pytest.mark.parametrize("point", ["thread", "run"])
def test_a_limit_of_tasks_is_named(
    new_sandbox: New, fail: Callable[..., None], point: str
) -> None:
    """No thread for a deadline, no task for the machine: nothing is lost."""
    sandbox = new_sandbox(start_timeout=None, call_timeout=None)
    in_child(lambda: None)  # ends the thread that there may be
    fail(point)
    with pytest.raises(OSError, match=r"RLIMIT_NPROC.*pids\.max"):
        sandbox.call("Counter", timeout=5)
    assert not sandbox.poisoned
    assert sandbox.call("Counter", timeout=5) == 1


# Found by attacking it.


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
