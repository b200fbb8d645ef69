"""The sandbox lifecycle: load, initialize, call, snapshot, restore."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hyperlight._copying import NotCopied
from hyperlight.manager import RestoreStats
from hyperlight.pageset import PageSet
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.functions import (
    GuestFunction,
    HostFunction,
    Value,
    functions_of,
)
from hyperlight.sandbox.layout import MemoryLayout
from hyperlight.sandbox.machine import Guest, Machine
from hyperlight.snapshot import Snapshot
from hyperlight.stats import SandboxStats
from hyperlight.text import brief, listed

__all__ = ["Sandbox", "UninitializedSandbox"]


class UninitializedSandbox(NotCopied):
    """A guest in its machine, which has not run yet.

    Args:
        guest: Path of an ELF file, its bytes, or the name of a guest that
            ships (``"simple"``).
        config: Sizes, driver, limits.

    Raises:
        ValueError: `guest` is no guest; the text says what is wrong with it.
        FileNotFoundError: There is no such file.
        LayoutError: Its image and the sizes asked for do not fit together.
        DriverUnavailable: No driver works here, or the one asked for does not.
        TrackerUnavailable: The driver has no such tracker.
        MemoryError: There is no memory for it.
    """

    _bound_to = "machine"
    _machine: Machine | None = None  # until __init__ has run
    _token: object = None

    def __init__(
        self, guest: Guest, config: SandboxConfig | None = None
    ) -> None:
        self._machine = None
        self._token = object()
        self._machine = Machine(guest, config, self._token)

    def register(
        self, name: str, function: Callable[..., Any]
    ) -> UninitializedSandbox:
        """Let the guest call a function of Python by this name.

        Its annotations say what it takes: ``int``, ``float``, ``bool``,
        ``str``, ``bytes``; a parameter without one takes whatever comes. The
        guest says what it wants back. An exception ends the guest's call and
        reaches the caller of :meth:`Sandbox.call`.

        Raises:
            TypeError: It cannot be called, or a guest cannot serve it.
            ValueError: `name` is no name, or is taken.
        """
        machine = self._open()
        machine.core.refuse_fork()
        made = HostFunction(name, function)
        if made.name in machine.calls.host_functions:
            raise ValueError(f"name={made.name!r} is registered already")
        machine.calls.host_functions[made.name] = made
        return self

    def evolve(
        self, init: Callable[[Sandbox], object] | None = None
    ) -> Sandbox:
        """Run the guest's initialization, and have it callable.

        Args:
            init: Called with the sandbox; what it does there is part of the
                base snapshot that is taken then.

        Raises:
            GuestAborted: The guest did not come up.
            GuestTimeout: It took longer than ``config.call_timeout``.
            RuntimeError: It is being evolved already.

        Whatever is raised, here or by `init`, leaves this object as it was.
        Otherwise the sandbox takes its place: it is used up.
        """
        machine = self._open()
        made = Sandbox.__new__(Sandbox)
        made._machine, made._token = machine, object()
        try:
            if not machine.core.claim(made._token):
                raise RuntimeError("evolve of what is being evolved already")
            self._open()  # another thread may just have done it
            made._functions = functions_of(machine.come_up(made._token))
            if init is not None:
                init(made)
            machine.base = machine.take(made._token, "base")
            machine.core.face = made._token
            return made
        except BaseException:
            # What fails here is tried again before the guest is run again.
            if machine.core.making is made._token:
                with contextlib.suppress(Exception):
                    machine.put_back_to_pristine(made._token, self._token)
            raise
        finally:
            machine.core.unclaim(made._token)

    @property
    def layout(self) -> MemoryLayout:
        """Where everything lies in the guest's memory."""
        return self._open().layout

    @property
    def driver(self) -> str:
        """Name of the driver."""
        return self._open().driver

    @property
    def closed(self) -> bool:
        """True once it was closed, or evolved."""
        machine = self._machine
        return machine is None or not machine.is_open_for(self._token)

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        if self._machine is not None:
            self._machine.close(self._token)

    def _open(self) -> Machine:
        machine = self._machine
        if machine is None or self.closed:
            raise ValueError(
                "operation on an UninitializedSandbox that is closed or "
                "evolved"
            )
        return machine

    def __enter__(self) -> UninitializedSandbox:
        self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        _warn_unclosed(self)

    def __repr__(self) -> str:
        if self._machine is None or self.closed:
            return "<UninitializedSandbox, closed or evolved>"
        return (
            f"<UninitializedSandbox of {self._machine.name!r}, driver "
            f"{self._machine.driver!r}>"
        )


class Sandbox(NotCopied):
    """A guest whose functions Python calls, and that can be put back.

    Args:
        guest: Path of an ELF file, its bytes, or the name of a guest that
            ships (``"simple"``).
        host_functions: What the guest may call, by name; see
            :meth:`UninitializedSandbox.register`.
        config: Sizes, driver, limits.

    Raises:
        GuestAborted: The guest did not come up.
        GuestTimeout: It took longer than ``config.call_timeout``.
        ValueError, FileNotFoundError, LayoutError, DriverUnavailable,
            TrackerUnavailable, MemoryError: As :class:`UninitializedSandbox`.

    Any thread may call any method. Calls on one sandbox are made one at a
    time: a second thread waits. Other threads of Python run while the guest
    does. After :func:`os.fork` the sandbox is the parent's.
    """

    _bound_to = "machine"
    _machine: Machine | None = None  # until __init__ has run
    _token: object = None

    def __init__(
        self,
        guest: Guest,
        *,
        host_functions: Mapping[str, Callable[..., Any]] | None = None,
        config: SandboxConfig | None = None,
    ) -> None:
        self._machine = None
        fresh = UninitializedSandbox(guest, config)
        try:
            for name, function in (host_functions or {}).items():
                fresh.register(name, function)
            made = fresh.evolve()
        except BaseException:
            fresh.close()
            raise
        self._take_over(made)

    _functions: dict[str, GuestFunction]

    def _take_over(self, other: Sandbox) -> None:
        self._functions, self._token = other._functions, other._token
        self._machine = other._machine

    def _open(self) -> Machine:
        machine = self._machine
        if machine is None or not machine.is_open_for(self._token):
            raise ValueError("operation on a closed Sandbox")
        return machine

    def call(
        self, name: str, *args: object, timeout: float | None = None
    ) -> Value:
        """Call a function of the guest.

        Args:
            name: One of :attr:`functions`.
            *args: As its signature says: ``int`` for ``int32`` and the like,
                ``float``, ``bool``, ``str``, any contiguous buffer for
                ``bytes``.
            timeout: Seconds; None for the configuration's ``call_timeout``.

        Returns:
            An ``int``, ``float``, ``bool``, ``str``, ``bytes`` or None.

        Raises:
            ValueError: There is no such function, or an argument does not fit
                its type or the input buffer. The guest did not run.
            TypeError: Too many arguments, too few, or one of another type.
                The guest did not run.
            SandboxPoisoned: An earlier call did not end well: restore first.
            GuestError: The function said no. The sandbox can go on.
            GuestAborted: A fault; the sandbox is poisoned.
            GuestTimeout, GuestInterrupted: It is poisoned.
            Exception: What a host function raised, if the guest passed that
                on. The sandbox can go on.
        """
        machine = self._open()
        function = self._functions.get(name)
        if function is None:
            raise ValueError(
                f"name={brief(name)}: the guest has no such function; "
                f"it has {listed(self._functions)}"
            )
        return machine.call(self._token, function, args, timeout)

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Freeze the guest as it is: memory and processor state.

        Costs what changed since the last snapshot or restore. A snapshot
        outlives its sandbox, and restores into any other sandbox of the same
        guest, configuration of sizes, and driver.

        Raises:
            SandboxPoisoned: A call did not end well.
            RuntimeError: Called from a host function.
            MemoryError: No snapshot was taken.
        """
        return self._open().take(self._token, name)

    def restore(self, snapshot: Snapshot | None = None) -> RestoreStats:
        """Make the guest what it was, poisoned or not.

        Nothing of the calls since is left: memory, buffers, registers.

        Args:
            snapshot: One of this guest, whichever sandbox took it; None for
                :attr:`current`.

        Raises:
            SnapshotMismatch: It is of another guest, layout or driver.
            RuntimeError: Called from a host function.
        """
        return self._open().restore(self._token, snapshot)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Snapshot]:
        """Keep state inside of a ``with``, and put it back on leaving.

        However it is left: by an exception, by a poisoned sandbox.
        """
        snapshot = self.snapshot("transaction")
        try:
            yield snapshot
        finally:
            if not self.closed:
                self.restore(snapshot)

    def devolve(self) -> UninitializedSandbox:
        """The sandbox as it was before :meth:`UninitializedSandbox.evolve`.

        This one is used up; its host functions are still registered.

        Raises:
            RuntimeError: Called from a host function.
        """
        machine = self._open()
        if machine.core.making is self._token:
            raise RuntimeError("devolve of what is being evolved")
        fresh = UninitializedSandbox.__new__(UninitializedSandbox)
        fresh._machine, fresh._token = machine, object()
        machine.put_back_to_pristine(self._token, fresh._token)
        return fresh

    def interrupt(self) -> None:
        """End the call under way with GuestInterrupted, if there is one.

        From any thread, or from a signal handler.
        """
        machine = self._machine
        if machine is not None:
            machine.core.interrupt(self._token)

    def verify(self, snapshot: Snapshot | None = None) -> None:
        """Prove by comparing that no write of the guest was missed.

        Raises:
            TrackerMissedPage: A page differs although nothing reported it.
        """
        machine = self._open()
        machine.verify(self._token, machine.chosen(snapshot))

    def changed(
        self, snapshot: Snapshot | None = None, *, everything: bool = False
    ) -> PageSet:
        """Pages of tracked memory that differ from a snapshot, by comparing.

        Args:
            snapshot: What to compare with; None for :attr:`current`.
            everything: Compare every page, and not only those that the
                tracker reported.
        """
        machine = self._open()
        chosen = machine.chosen(snapshot)
        return machine.changed(self._token, chosen, bool(everything))

    @property
    def current(self) -> Snapshot:
        """What the guest equalled at the last snapshot or restore."""
        return self._open().current()

    @property
    def base(self) -> Snapshot:
        """The snapshot that was taken when the guest had come up."""
        snapshot = self._open().base
        if snapshot is None:
            raise ValueError("there is no base snapshot yet, or any more")
        return snapshot

    @property
    def functions(self) -> dict[str, str]:
        """Signatures of what the guest exports, by name."""
        self._open()
        return {f.name: f.signature for f in self._functions.values()}

    @property
    def layout(self) -> MemoryLayout:
        """Where everything lies in the guest's memory."""
        return self._open().layout

    @property
    def driver(self) -> str:
        """Name of the driver."""
        return self._open().driver

    @property
    def tracker(self) -> str:
        """Name of what notices the guest's writes."""
        return self._open().core.tracker

    @property
    def poisoned(self) -> bool:
        """A call did not end well: only a restore makes it usable again."""
        return self._open().core.poisoned

    @property
    def stats(self) -> SandboxStats:
        """Counts, as :attr:`SnapshotManager.stats`, and the driver."""
        machine = self._open()
        counts = machine.core.stats(self._token)
        return {
            **counts,
            "driver": machine.driver,
            "why": machine.why,
            "passed_over": machine.core.passed_over.copy(),
        }

    @property
    def closed(self) -> bool:
        """True once it was closed, or devolved."""
        machine = self._machine
        return machine is None or not machine.is_open_for(self._token)

    def close(self) -> None:
        """Free everything; a second call does nothing.

        Waits for a call under way. Snapshots stay usable.

        Raises:
            RuntimeError: Called from a host function.
        """
        if self._machine is not None:
            self._machine.close(self._token)

    def __enter__(self) -> Sandbox:
        self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        _warn_unclosed(self)

    def __repr__(self) -> str:
        machine = self._machine
        if machine is None or self.closed:
            return "<Sandbox, closed>"
        return (
            f"<Sandbox of {machine.name!r}, {len(self._functions)} functions, "
            f"driver {machine.driver!r}>"
        )


def _warn_unclosed(sandbox: Sandbox | UninitializedSandbox) -> None:
    if not sys.flags.dev_mode or getattr(sandbox, "_token", None) is None:
        return
    if not sandbox.closed:
        warnings.warn(
            f"unclosed {sandbox!r}",
            ResourceWarning,
            stacklevel=3,
            source=sandbox,
        )
