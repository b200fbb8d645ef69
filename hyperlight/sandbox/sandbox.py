"""The sandbox lifecycle: load, initialize, call, snapshot, restore."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, overload

from hyperlight.pageset import PageSet
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.functions import (
    GuestFunction,
    HostFunction,
    Value,
)
from hyperlight.sandbox.holder import Holder
from hyperlight.sandbox.machine import Guest, Machine
from hyperlight.snapshot import Snapshot
from hyperlight.stats import RestoreStats, SandboxStats
from hyperlight.text import brief, listed

__all__ = ["Sandbox", "UninitializedSandbox"]


class UninitializedSandbox(Holder):
    """A guest in its machine that has not run yet.

    Args:
        guest: Path of an ELF file, its bytes, or the name of a guest that
            ships (``"simple"``).
        config: Sizes, driver, limits.

    Raises:
        ValueError: `guest` is not a guest; the text says what is wrong.
        FileNotFoundError: There is no such file.
        LayoutError: Its image does not fit the requested sizes.
        DriverUnavailable: The requested driver, or every driver, fails here.
        TrackerUnavailable: The driver has no such tracker.
        MemoryError: There is not enough memory for it.
    """

    _gone = "operation on an UninitializedSandbox that is closed or evolved"

    def __init__(
        self, guest: Guest, config: SandboxConfig | None = None
    ) -> None:
        self._machine = None
        self._token = object()
        self._machine = Machine(guest, config, self._token)

    def register(
        self, name: str, function: Callable[..., Any]
    ) -> UninitializedSandbox:
        """Let the guest call a Python function by this name.

        Annotations declare the types of its parameters: ``int``, ``float``,
        ``bool``, ``str``, ``bytes``; a parameter without one takes any value.
        The guest chooses the type of the result. An exception ends the guest's
        call and reaches the caller of :meth:`Sandbox.call`.

        Raises:
            TypeError: It is not callable, or a guest cannot call it.
            ValueError: `name` is not a valid name, or is taken.
        """
        machine = self._open()
        machine.core.refuse_fork()
        made = HostFunction(name, function)
        if made.name in machine.calls.host_functions:
            raise ValueError(f"name={made.name!r} is already registered")
        machine.calls.host_functions[made.name] = made
        return self

    def evolve(
        self, init: Callable[[Sandbox], object] | None = None
    ) -> Sandbox:
        """Run the guest's initialization, and return a callable sandbox.

        Args:
            init: Called with the sandbox before the base snapshot is taken;
                its effects are part of that snapshot.

        Raises:
            GuestAborted: The guest's initialization failed.
            GuestTimeout: It took longer than ``config.call_timeout``.
            RuntimeError: It is already being evolved.

        If this or `init` raises, this object is unchanged. Otherwise the
        returned sandbox replaces it, and this object can no longer be used.
        """
        machine = self._open()
        made = Sandbox.__new__(Sandbox)
        made._machine, made._token = machine, object()
        try:
            if not machine.core.claim(made._token):
                raise RuntimeError("evolve: it is already being evolved")
            self._open()  # another thread may just have done it
            made._functions = machine.come_up(made._token)
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

    def __enter__(self) -> UninitializedSandbox:
        self._open()
        return self

    def __repr__(self) -> str:
        if self._machine is None or self.closed:
            return "<UninitializedSandbox, closed or evolved>"
        return (
            f"<UninitializedSandbox of {self._machine.name!r}, driver "
            f"{self._machine.driver!r}>"
        )


class Sandbox(Holder):
    """A guest whose functions Python can call and whose state it can restore.

    Args:
        guest: Path of an ELF file, its bytes, or the name of a guest that
            ships (``"simple"``).
        host_functions: Functions that the guest may call, by name; see
            :meth:`UninitializedSandbox.register`.
        config: Sizes, driver, limits.

    Raises:
        GuestAborted: The guest did not come up.
        GuestTimeout: It took longer than ``config.call_timeout``.
        ValueError, FileNotFoundError, LayoutError, DriverUnavailable,
            TrackerUnavailable, MemoryError: As :class:`UninitializedSandbox`.

    Any thread may call any method. Calls on one sandbox run one at a time: a
    second thread waits. Other Python threads run while the guest runs. After
    :func:`os.fork` only the parent can use the sandbox.
    """

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

    def call(
        self, name: str, *args: object, timeout: float | None = None
    ) -> Value:
        """Call a function of the guest.

        Args:
            name: One of :attr:`functions`.
            *args: Of the types in its signature: ``int`` for ``int32`` and the
                like, ``float``, ``bool``, ``str``, any contiguous buffer for
                ``bytes``.
            timeout: Seconds; None for the configuration's ``call_timeout``.

        Returns:
            An ``int``, ``float``, ``bool``, ``str``, ``bytes`` or None.

        Raises:
            ValueError: There is no such function, or an argument does not fit
                its type or the input buffer. The guest did not run.
            TypeError: Too many arguments, too few, or one of another type.
                The guest did not run.
            SandboxPoisoned: An earlier call failed: restore first.
            GuestError: The function failed. The sandbox stays usable.
            GuestAborted: The guest faulted; the sandbox is poisoned.
            GuestTimeout, GuestInterrupted: The sandbox is poisoned.
            Exception: The exception of a host function, if the guest passed it
                on. The sandbox stays usable.
        """
        machine = self._machine or self._open()
        function = self._functions.get(name) or self._no_function(name)
        return machine.call(self._token, function, args, timeout)

    def _no_function(self, name: str) -> NoReturn:
        self._open()
        raise ValueError(
            f"name={brief(name)}: the guest has no such function; "
            f"it has {listed(self._functions)}"
        )

    @overload
    def map(
        self,
        name: str,
        arguments: Iterable[tuple[object, ...]],
        *,
        restore: bool = True,
        errors: Literal["raise"] = "raise",
        timeout: float | None = None,
    ) -> list[Value]: ...
    @overload
    def map(
        self,
        name: str,
        arguments: Iterable[tuple[object, ...]],
        *,
        restore: bool = True,
        errors: Literal["return"],
        timeout: float | None = None,
    ) -> list[Value | Exception]: ...
    def map(
        self,
        name: str,
        arguments: Iterable[tuple[object, ...]],
        *,
        restore: bool = True,
        errors: Literal["raise", "return"] = "raise",
        timeout: float | None = None,
    ) -> Sequence[Value | Exception]:
        """Call a function of the guest for each tuple of arguments.

        What :meth:`call` and :meth:`restore` in a loop would give, with no
        Python between the calls: they run many at a time, without the GIL.
        For other threads, and for :meth:`interrupt`, all of it is one call.

        Args:
            name: One of :attr:`functions`.
            arguments: Any iterable of tuples, of any length. It is read ahead
                of the calls by up to 1024 tuples or 1 MiB, in the middle of
                the call: it cannot use this sandbox.
            restore: Every call begins in the state of :attr:`current`, and
                however this ends, the sandbox is in that state. If False, each
                call begins as the last one left it, and nothing is restored.
            errors: What happens to an error of a call, or of its arguments.
                ``"raise"``: no later call runs, and it is raised.
                ``"return"``: it is in the list in place of the result. With
                ``restore=False`` the calls after one that poisoned the sandbox
                are :class:`SandboxPoisoned`.
            timeout: Seconds for each call; None for the configuration's
                ``call_timeout``.

        Returns:
            The results, in the order of the arguments.

        Raises:
            TypeError: `arguments` cannot be iterated over, or holds something
                else than tuples.
            ValueError: `errors` is neither of these; or there is no snapshot
                yet to restore, in an `init` of
                :meth:`UninitializedSandbox.evolve`.
            GuestInterrupted: By :meth:`interrupt`, whatever `errors` is.
            Exception: As :meth:`call` and :meth:`restore`, or what iterating
                over `arguments` raises.

        Whatever ends it, Ctrl-C included, has two more attributes: ``index``,
        the number of the call that failed or was to come next, from 0 on, and
        ``results``, a list of what the calls before it gave.
        """
        machine = self._machine or self._open()
        function = self._functions.get(name) or self._no_function(name)
        if errors not in ("raise", "return"):
            raise ValueError(
                f"errors={brief(errors)} is neither 'raise' nor 'return'"
            )
        return machine.map(
            self._token,
            function,
            iter(arguments),
            timeout,
            restores=bool(restore),
            goes_on=errors == "return",
        )

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the guest's memory and processor state.

        The cost is proportional to what changed since the last snapshot or
        restore. A snapshot outlives its sandbox, and can be restored into any
        other sandbox of the same guest, configuration of sizes, and driver.

        Raises:
            SandboxPoisoned: A call did not end normally.
            RuntimeError: Called from a host function.
            MemoryError: No snapshot was taken.
        """
        return self._open().take(self._token, name)

    def restore(self, snapshot: Snapshot | None = None) -> RestoreStats:
        """Restore the state of the guest, poisoned or not.

        Nothing is left of calls since then in memory, buffers or registers.

        Args:
            snapshot: A snapshot of this guest, from any sandbox; None for
                :attr:`current`.

        Raises:
            SnapshotMismatch: It has another guest, layout or driver.
            RuntimeError: Called from a host function.
        """
        machine = self._machine
        if machine is None or snapshot is not None:
            machine = self._open()
        return machine.restore(self._token, snapshot)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Snapshot]:
        """Restore the present state at the end of a ``with`` block.

        Also if the block raises or poisons the sandbox.
        """
        snapshot = self.snapshot("transaction")
        try:
            yield snapshot
        finally:
            if not self.closed:
                self.restore(snapshot)

    def devolve(self) -> UninitializedSandbox:
        """The sandbox as it was before :meth:`UninitializedSandbox.evolve`.

        This object can no longer be used; host functions stay registered.

        Raises:
            RuntimeError: Called from a host function.
        """
        machine = self._open()
        if machine.core.making is self._token:
            raise RuntimeError("devolve: it is still being evolved")
        fresh = UninitializedSandbox.__new__(UninitializedSandbox)
        fresh._machine, fresh._token = machine, object()
        machine.put_back_to_pristine(self._token, fresh._token)
        return fresh

    def interrupt(self) -> None:
        """End the call under way, if any, with GuestInterrupted.

        May be called from any thread, or from a signal handler.
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
        """The snapshot that the guest equalled at the last take or restore."""
        return self._open().current()

    @property
    def base(self) -> Snapshot:
        """The snapshot that was taken after the guest's initialization."""
        snapshot = self._open().base
        if snapshot is None:
            raise ValueError("there is no base snapshot yet, or no longer")
        return snapshot

    @property
    def functions(self) -> dict[str, str]:
        """Signatures of the functions that the guest exports, by name."""
        self._open()
        return {f.name: f.signature for f in self._functions.values()}

    @property
    def tracker(self) -> str:
        """Name of the tracker that notices the guest's writes."""
        return self._open().core.tracker

    @property
    def poisoned(self) -> bool:
        """A call did not end normally; restore the sandbox to use it again."""
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

    def __enter__(self) -> Sandbox:
        self._open()
        return self

    def __repr__(self) -> str:
        machine = self._machine
        if machine is None or self.closed:
            return "<Sandbox, closed>"
        return (
            f"<Sandbox of {machine.name!r}, {len(self._functions)} functions, "
            f"driver {machine.driver!r}>"
        )
