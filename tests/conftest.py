"""Fixtures: every tracker of this host, memory, and a leak check."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake import mshv
from systems import lacking_here

mshv.provide()

pytest_plugins = ["python_sandboxes"]

import hyperlight
from hyperlight import (
    GuestInterrupted,
    Sandbox,
    SandboxConfig,
    SharedMemory,
    SnapshotManager,
    registry,
)
from hyperlight._binding import core
from hyperlight.guest.builder import shipped

HERE = Path(__file__).parent

_HOST = [tracker for tracker in registry.TRACKERS if tracker.driver is None]

TRACKERS = registry.HOST_TRACKERS

_reasons: dict[str, str] = {
    info.name: info.reason
    for info in hyperlight.trackers()
    if not info.available
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this system cannot run, and say what it lacks."""
    for item in items:
        call = getattr(item, "callspec", None)
        lacking = lacking_here(
            getattr(item, "function", None), call.params if call else {}
        )
        if lacking:
            reason = f"needs {lacking}, which {sys.platform} has not"
            item.add_marker(pytest.mark.skip(reason=reason))


def require_tracker(name: str) -> str:
    """`name`, or skip with the tracker's own reason."""
    if name not in {t.name for t in registry.TRACKERS}:
        pytest.skip(f"tracker {name}: {sys.platform} has none of that name")
    if name in _reasons:
        pytest.skip(f"tracker {name}: {_reasons[name]}")
    return name


@pytest.fixture(params=TRACKERS)
def tracker(request: pytest.FixtureRequest) -> str:
    """Each tracker that there is, one after the other."""
    return require_tracker(request.param)


@pytest.fixture(params=[t.name for t in _HOST if t.arms])
def real_tracker(request: pytest.FixtureRequest) -> str:
    """Each tracker that tracks."""
    return require_tracker(request.param)


def require_tracks(memory: SharedMemory, name: str) -> None:
    """Skip with the tracker's words if it does not track such memory."""
    reason = core.why_not_tracked(memory, name)
    if reason:
        pytest.skip(f"tracker {name}: {reason}")


#: Those that need a signal handler.
TRAPS = [t.name for t in _HOST if t.uses_signal]


@pytest.fixture(params=TRAPS)
def trap(request: pytest.FixtureRequest) -> str:
    """Each tracker that needs a signal handler."""
    return require_tracker(request.param)


def require_guest() -> None:
    """Skip where no guest was built with the library: they are for x86-64."""
    try:
        shipped()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["adaptive", "always"])
def rearm(request: pytest.FixtureRequest) -> str:
    """Both ways to deal with hot pages."""
    return str(request.param)


DRIVERS = tuple(d.name for d in registry.DRIVERS if not d.is_elsewhere)

_driver_reasons: dict[str, str] = {
    info.name: info.reason
    for info in hyperlight.drivers()
    if not info.available
}


def require_driver(name: str) -> str:
    """`name`, or skip with the driver's own reason."""
    if name in _driver_reasons:
        pytest.skip(f"driver {name}: {_driver_reasons[name]}")
    return name


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each hypervisor driver that there is, one after the other."""
    return require_driver(request.param)


#: Trackers that a sandbox can have, by driver.
SANDBOX_TRACKERS = {name: core.candidates(name, 1) for name in DRIVERS}


@pytest.fixture
def new_sandbox(driver: str) -> Iterator[Callable[..., Sandbox]]:
    """new_sandbox(guest="simple", host_functions=None, **config)."""
    made: list[Sandbox] = []

    def new(
        guest: object = "simple",
        host_functions: dict[str, Callable[..., object]] | None = None,
        **config: object,
    ) -> Sandbox:
        config.setdefault("driver", driver)
        config.setdefault("call_timeout", 60)
        sandbox = Sandbox(
            guest,  # type: ignore[arg-type]
            host_functions=host_functions,
            config=SandboxConfig(**config),  # type: ignore[arg-type]
        )
        made.append(sandbox)
        return sandbox

    yield new
    for sandbox in made:
        sandbox.close()


@pytest.fixture
def simple(new_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """The guest that ships, with a host function."""
    return new_sandbox("simple", {"HostAdd": lambda a, b: a + b})


def wait_until_it_spins(
    thread: threading.Thread, give_up: threading.Event | None = None
) -> None:
    """Until a thread has run for longer than it takes to begin a call.

    By its own time: however busy the machine is, its call has begun then.
    """
    if not thread.is_alive():
        return
    with contextlib.suppress(OSError):  # it has ended
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        begun = time.clock_gettime(clock)
        while time.clock_gettime(clock) - begun < 0.05:
            time.sleep(0.005)
            if give_up and give_up.is_set():
                return


@contextlib.contextmanager
def interrupted(
    sandbox: Sandbox,
) -> Iterator[pytest.ExceptionInfo[GuestInterrupted]]:
    """The call in this block, which spins, is ended by an interrupt().

    By one, unless the thread was busy otherwise before its call began.
    """
    caller, over = threading.current_thread(), threading.Event()

    def interrupt() -> None:
        while not over.is_set():
            wait_until_it_spins(caller, over)
            sandbox.interrupt()
            over.wait(2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(GuestInterrupted) as caught:
            yield caught
    finally:
        over.set()
        thread.join()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """What a test made is gone when it ends: mappings, managers, stores."""
    before = core.counts()
    yield
    if core.counts() != before:  # seldom, and it takes a while
        gc.collect()
    assert core.counts() == before


@pytest.fixture
def fail() -> Iterator[Callable[..., None]]:
    """Make the next passes of a point fail: fail(point, skip, count)."""
    if not core.CAN_FAIL:
        pytest.skip("built without HYPERLIGHT_FAULT_INJECTION=1")
    used: set[str] = set()

    def plan(point: str, skip: int = 0, count: int = 1) -> None:
        used.add(point)
        core.plan_failure(point, skip, count)

    yield plan
    for point in used:
        core.plan_failure(point, 0, 0)


def new_manager(
    pages: int, tracker: str, rearm: str = "adaptive", **kwargs: object
) -> tuple[SharedMemory, SnapshotManager]:
    """Memory of so many pages and its manager."""
    memory = SharedMemory(pages * core.PAGE_SIZE, **kwargs)  # type: ignore[arg-type]
    return memory, SnapshotManager(memory, tracker=tracker, rearm=rearm)  # type: ignore[arg-type]


#: The system call's number: x86-64's, or that of newer architectures.
USERFAULTFD = "323" if platform.machine() == "x86_64" else "282"


def run_python(
    script: str,
    *args: str,
    env: dict[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a script of tests/subprocess, or source text, in a new process."""
    path = HERE / "subprocess" / script
    command = [str(path)] if path.suffix == ".py" else ["-c", script]
    return subprocess.run(
        [sys.executable, *command, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=HERE,  # not the sources, which have no built core
        env={**os.environ, "USERFAULTFD": USERFAULTFD, **(env or {})},
    )


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What guests log."""
    logger = logging.getLogger("hyperlight.guest")
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)
