"""One call at a time: forks, and threads of the library."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

import pytest
import tiny
from conftest import (
    require_driver,
    run_python,
    wait_until_it_spins,
)
from test_one_call import REFUSED, New
from test_one_call_threads import spin_is_ended

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
)

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
