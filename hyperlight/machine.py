"""A guest in its machine: what both kinds of sandboxes share."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import weakref
from pathlib import Path
from typing import NoReturn

from hyperlight._binding import core
from hyperlight.config import SandboxConfig, check_timeout
from hyperlight.drivers import choose_driver
from hyperlight.errors import (
    GuestAborted,
    GuestInterrupted,
    GuestTimeout,
    SandboxPoisoned,
    SnapshotMismatch,
    TrackerMissedPage,
    TrackerUnavailable,
)
from hyperlight.faults import describe_fault
from hyperlight.guest import shipped
from hyperlight.hostfuncs import HostFunction
from hyperlight.layout import Plan, plan
from hyperlight.manager import RestoreStats
from hyperlight.pageset import PageSet
from hyperlight.snapshot import Snapshot
from hyperlight.trackers import stay_ahead_of_faulthandler
from hyperlight.units import format_size

__all__ = ["Guest", "Machine", "deadline_of"]

_log = logging.getLogger("hyperlight.guest")

_MOST_ARGUMENTS = 64 + 1  # and the name
_ERROR_NO_FUNCTION, _ERROR_ARGUMENTS, _ERROR_HOST = 2, 3, 5  # guest/abi.h

_LARGE = 64 << 20  # bytes of tracked memory

Guest = str | os.PathLike[str] | bytes


class Machine:
    """What an UninitializedSandbox and the Sandbox made of it share.

    Whoever calls a method holds the lock.
    """

    def __init__(self, guest: Guest, config: SandboxConfig | None) -> None:
        self.core: core.SandboxCore | None = None
        self.lock = threading.RLock()
        #: Whose Python runs in the middle of a call.
        self.inside: str | None = None
        self.host_functions: dict[str, HostFunction] = {}
        if config is None:
            config = SandboxConfig()
        elif not isinstance(config, SandboxConfig):
            raise TypeError(f"config={config!r} is not a SandboxConfig")
        self.config = config
        self.name, file = _read_guest(guest)
        planned = plan(core.elf_facts(file), config)
        self.layout = planned.layout
        self.driver = choose_driver(config.driver)
        self.verifies = os.environ.get("HYPERLIGHT_VERIFY") == "1"
        self.identity = (
            self.driver,
            hashlib.sha256(file).digest(),
            planned.layout,
        )
        tracker, self.why = _tracker_for(self.driver, config.tracker, planned)
        self.core = core.SandboxCore(
            self.driver,
            tracker,
            config.rearm == "adaptive",
            file,
            planned.base,
            planned.slots,
            planned.mapped(),
            planned.spans(),
        )
        if self.core.tracker in ("uffd-sigbus", "sigsegv"):
            stay_ahead_of_faulthandler()
        #: Before the guest ran, and when it had come up.
        self.pristine: Snapshot | None = self.take("pristine")
        self.base: Snapshot | None = None
        _machines.add(self)

    def open_core(self) -> core.SandboxCore:
        """The core, or ValueError: closed."""
        if self.core is None:
            raise ValueError("operation on a closed Sandbox")
        return self.core

    def ready_core(self, what: str) -> core.SandboxCore:
        """The core, or why it cannot be used for that now."""
        opened = self.open_core()
        if self.inside is not None or opened.running:
            where = self.inside or "a signal handler"
            raise RuntimeError(
                f"{what} inside of {where}: the guest is in the middle of a "
                f"call; do it when that has ended"
            )
        return opened

    def usable_core(self, what: str) -> core.SandboxCore:
        """The core, unless it is poisoned as well."""
        opened = self.ready_core(what)
        if not opened.idle:
            raise SandboxPoisoned(
                f"{what} of a poisoned sandbox: its last call did not end "
                f"well, so restore it first"
            )
        return opened

    def take(self, name: str | None) -> Snapshot:
        """Freeze memory and processor state."""
        opened = self.usable_core("snapshot")
        snapshot = Snapshot(name, parent=opened.current)
        snapshot._identity = self.identity
        opened.take(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot | None) -> RestoreStats:
        """Put both back, to the current snapshot if it is None."""
        opened = self.ready_core("restore")
        if snapshot is None:
            snapshot = opened.current
        if snapshot._identity != self.identity:
            self.refuse(snapshot)
        stats = RestoreStats(*opened.restore(snapshot))
        if self.verifies:
            self.verify(snapshot)
        return stats

    def refuse(self, snapshot: Snapshot) -> NoReturn:
        """Say why a snapshot is not one of this machine."""
        theirs = snapshot._identity
        if theirs is None:
            why = "it is of memory of this process, not of a sandbox"
        elif theirs[0] != self.driver:
            why = f"it is of driver {theirs[0]!r}, and this is {self.driver!r}"
        elif theirs[1] != self.identity[1]:
            why = "it is of another guest"
        else:
            why = f"it is of another layout:\n{theirs[2]}"
        raise SnapshotMismatch(f"snapshot={snapshot!r}: {why}")

    def verify(self, snapshot: Snapshot) -> None:
        """Raise TrackerMissedPage if a write was missed."""
        opened = self.open_core()
        missed = PageSet._wrap(opened.verify(snapshot), opened.page_count)
        if missed:
            raise TrackerMissedPage(opened.tracker, list(missed))

    # Calls.

    def serve(self, reason: int, deadline: int) -> None:
        """Do what the guest asks for until it is ready.

        Raises:
            GuestAborted: It will never be.
        """
        opened = self.open_core()
        failure: Exception | None = None
        while reason != core.LEFT_READY:
            if reason == core.LEFT_HOST_CALL:
                failure = self._serve_call(opened)
            elif reason == core.LEFT_LOG:
                self._serve_log(opened)
            else:
                self._give_up(opened, reason)
            reason = opened.run(deadline)
        # A guest may also deal with a failure, or fail for another reason.
        if failure is not None and opened.failed_by() == _ERROR_HOST:
            opened.end()
            raise failure

    def _serve_call(self, opened: core.SandboxCore) -> Exception | None:
        """Call a host function for the guest; what it raised, if anything."""
        wanted, (name, *values) = opened.message(
            core.MESSAGE_CALL, _MOST_ARGUMENTS
        )
        function = self.host_functions.get(name)
        if function is None:
            opened.reply_error(
                _ERROR_NO_FUNCTION, f"no host function is called {name!r}"
            )
            return None
        complaint = function.complaint(values)
        if complaint is not None:
            opened.reply_error(_ERROR_ARGUMENTS, complaint)
            return None
        try:
            self.inside = f"host function {name!r}"
            result = function.function(*values)
        except Exception as error:
            self.inside = None
            text = f"{name}: {type(error).__name__}: {error}"
            opened.reply_error(_ERROR_HOST, text)
            return error
        finally:
            self.inside = None
        try:
            opened.reply(wanted, result)
        except (TypeError, ValueError) as error:
            refusal = type(error)(
                f"host function {name!r} returned {_brief(result)}, and the "
                f"guest wants {core.TYPES[wanted]}: {error}"
            )
            opened.reply_error(_ERROR_HOST, str(refusal))
            return refusal
        return None

    def _serve_log(self, opened: core.SandboxCore) -> None:
        level, text = opened.message(core.MESSAGE_LOG, 2)[1]
        try:
            self.inside = "a handler of log lines"
            _log.log(
                min(max(level, 1), 50), "%s", text, extra={"guest": self.name}
            )
        finally:
            self.inside = None

    def _give_up(self, opened: core.SandboxCore, reason: int) -> NoReturn:
        if reason == core.LEFT_TIMEOUT:
            raise GuestTimeout("the call took longer than it was allowed to")
        if reason == core.LEFT_INTERRUPTED:
            raise GuestInterrupted("the call was interrupted")
        if reason == core.LEFT_ABORT:
            code, text = opened.message(core.MESSAGE_ERROR, 2)[1]
            raise GuestAborted(f"the guest gave up: {text} (code {code})")
        raise describe_fault(
            opened.left_by(), self.layout, opened.left_detail()
        )

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        with self.lock:
            if self.core is None:
                return
            closing, self.core = self.ready_core("close"), None
            self.pristine = self.base = None
            closing.close()


# A child of fork has its parent's locks, held by threads that it has not.
_machines: weakref.WeakSet[Machine] = weakref.WeakSet()


def _renew_locks() -> None:
    for machine in _machines:
        machine.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}..."


def _read_guest(guest: Guest) -> tuple[str, bytes]:
    """A label for people, and the file's bytes."""
    if isinstance(guest, (bytes, bytearray, memoryview)):
        return f"{len(guest)} bytes", bytes(guest)
    if not isinstance(guest, (str, os.PathLike)):
        raise TypeError(
            f"guest={guest!r} is neither a path, nor bytes, nor the name of "
            f"a guest that ships"
        )
    path = Path(guest)
    if not path.exists():
        path = shipped(str(guest))
    return path.name, path.read_bytes()


def _tracker_for(
    driver: str, wanted: str, planned: Plan
) -> tuple[str | None, str]:
    """The tracker to ask the core for (None: the first there is), and why.

    Raises:
        TrackerUnavailable: The driver cannot use the one that is wanted.
    """
    usable: tuple[str, ...] = ("kvm-ring", "kvm-log", "full")
    if driver != "kvm":
        usable = tuple(n for n, _ in core.TRACKERS)
    if wanted != "auto":
        if wanted not in usable:
            raise TrackerUnavailable(
                wanted,
                f"driver {driver!r} cannot tell a guest's writes by it",
                usable,
            )
        return wanted, "asked for by name"
    tracked = sum(size for _, size, logged in planned.slots if logged)
    # Guests write by instructions only, and a handler knows at once what a
    # walk of page tables has to look for.
    if (
        driver != "kvm"
        and tracked >= _LARGE
        and core.probe_tracker("uffd-sigbus") is None
    ):
        return "uffd-sigbus", (
            f"looking for writes in {format_size(tracked)} would cost more "
            f"than being told of each"
        )
    return None, "the first that this driver works with here"


def deadline_of(config: SandboxConfig, timeout: float | None) -> int:
    """In ns of the monotonic clock; 0 for none."""
    if timeout is None:
        timeout = config.call_timeout
        if timeout is None:
            return 0
    else:
        check_timeout("timeout", timeout)
    return min(time.monotonic_ns() + int(min(timeout, 1e9) * 1e9), 2**63 - 1)
