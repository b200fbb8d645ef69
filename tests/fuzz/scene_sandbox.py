"""Sandboxes, for any call in the middle of any."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
from typing import Any, ClassVar

from scene import (
    Actions,
    Errors,
    Foreign,
    ForeignError,
    Scene,
    bounded,
    forked,
    outcome_of,
    require,
    some_of,
    text_of,
)

from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
)

SECRET = "TOP-SECRET "


class SandboxScene(Scene):
    """A counter at 2, a page of the heap, and a snapshot of both."""

    def __init__(self, driver: str) -> None:
        super().__init__()
        self.driver = driver
        # One that a case left pending must not end the process.
        signal.signal(signal.SIGALRM, lambda *args: None)
        self.log = logging.getLogger("hyperlight.guest")
        self.handler = _Handler(self)
        self.log.addHandler(self.handler)
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        self.config = SandboxConfig(driver=driver, call_timeout=5)
        self.fresh: UninitializedSandbox | None = None
        self.made: list[Any] = []
        #: One that is used up: what it had is the other's now.
        self.used_up = self.new()
        self.sandbox = self.used_up.devolve().evolve()
        self.page = self.sandbox.call("Allocate", 4096)
        self.sandbox.call("FillHeap", self.page, 4096, 0xA5)
        self.sandbox.call("Counter")
        self.sandbox.call("Counter")
        self.snapshot = self.sandbox.snapshot("two")
        self.sandbox.call("Counter")

    def new(self) -> Sandbox:
        functions = {
            "HostAdd": self.host_add,
            "HostEcho": self.host_echo,
            "HostTick": self.host_tick,
        }
        return Sandbox("simple", host_functions=functions, config=self.config)

    def host_add(self, a: int, b: int) -> Any:
        self.hook("host function")
        return Foreign(self, a + b)

    def host_echo(self, data: bytes) -> bytes:
        self.hook("host function")
        return data

    def host_tick(self) -> None:
        raise ForeignError(self)

    # What is done to it.

    def construct(self) -> None:
        with self.new() as made:
            require(made.call("AddLocal", 2, 3) == 5, "a new one is wrong")

    def evolve(self) -> None:
        fresh = UninitializedSandbox("simple", self.config)
        try:
            fresh.register("HostAdd", self.host_add)

            def init(sandbox: Sandbox) -> None:
                self.hook("init")
                sandbox.call("Counter")

            made = fresh.evolve(init)
            with made:
                require(made.call("Counter") == 2, "init is not in the base")
        finally:
            fresh.close()

    def fork(self) -> None:
        forked(self.child, "fork")

    def evolve_failing(self) -> None:
        """What init was given is closed when it failed; the rest lives on."""
        kept: list[Sandbox] = []

        def init(sandbox: Sandbox) -> None:
            kept.append(sandbox)
            self.hook("init")
            sandbox.call("Counter")
            raise ForeignError(self)

        fresh = UninitializedSandbox("simple", self.config)
        try:
            with contextlib.suppress(ForeignError):
                fresh.evolve(init)
            for gone in kept:
                for action in (gone.restore, gone.snapshot, gone.devolve):
                    said = outcome_of(action, "of one that did not come up")
                    require(isinstance(said, ValueError), f"it gave {said!r}")
                gone.interrupt()
                gone.close()
            with fresh.evolve() as made:
                require(made.call("Counter") == 1, "left by an init")
        finally:
            fresh.close()

    def transaction(self) -> object:
        with self.sandbox.transaction():
            self.hook("inside")
            return self.sandbox.call("Counter")

    def devolve(self) -> None:
        fresh = self.sandbox.devolve()
        self.made.append(fresh)
        self.made.append(fresh.evolve())

    def spin(self) -> object:
        old = signal.signal(signal.SIGALRM, lambda *a: self.hook("signal"))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            return self.sandbox.call("Spin", timeout=0.03)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)

    def spin_blocked(self) -> object:
        """As in a thread of a program that takes all signals elsewhere."""
        every = signal.valid_signals()
        old = signal.pthread_sigmask(signal.SIG_BLOCK, every)
        try:
            self.hook("blocked")
            return self.sandbox.call("Spin", timeout=0.03)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def block_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def take_signals(self) -> None:
        """As a library does that wants to know of all."""
        self.spoiled = True
        for number in signal.valid_signals():
            if number not in (signal.SIGALRM, signal.SIGCHLD):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, lambda *args: None)

    def child(self) -> object:
        box = self.sandbox
        for action in (
            lambda: box.call("Counter"),
            lambda: box.restore(),
            lambda: box.snapshot(),
            lambda: box.poisoned,
            lambda: box.interrupt(),
        ):
            outcome_of(action, "in a child")
        require(self.snapshot.read(0, 64) is not None, "a snapshot")
        outcome_of(box.close, "close in a child")
        gc.collect()
        with self.new() as mine:
            require(mine.call("Add", 3, 4) == 7, "a sandbox of the child")
            said = outcome_of(
                lambda: mine.call("Spin", timeout=0.01), "in a child"
            )
            require(isinstance(said, GuestTimeout), f"Spin gave {said!r}")
        return None

    operations: ClassVar[Actions] = {
        "call": lambda s: s.sandbox.call("Counter"),
        "call-foreign": lambda s: s.sandbox.call(
            text_of(s, "AddLocal"), Foreign(s, 2), Foreign(s, 3)
        ),
        "call-float": lambda s: s.sandbox.call("EchoDouble", Foreign(s, 2.5)),
        "call-text": lambda s: s.sandbox.call("Echo", text_of(s, SECRET * 20)),
        "call-host": lambda s: s.sandbox.call("Add", 2, 3),
        "call-echo": lambda s: s.sandbox.call("HostEcho", b"x" * 5000),
        "call-failing": lambda s: s.sandbox.call("HostLoop"),
        "call-log": lambda s: s.sandbox.call("Log", 30, "a line"),
        "call-error": lambda s: s.sandbox.call("Fail", 1000, "no"),
        "call-refused": lambda s: s.sandbox.call(
            "LargeParameters", (SECRET * 20).encode(), Foreign(s, 3)
        ),
        "call-too-many": lambda s: s.sandbox.call("Counter", SECRET),
        "map": lambda s: s.sandbox.map("Counter", [()] * 3),
        "spin": lambda s: s.spin(),
        "spin-blocked": lambda s: s.spin_blocked(),
        "snapshot": lambda s: s.sandbox.snapshot(),
        "restore": lambda s: s.sandbox.restore(),
        "restore-any": lambda s: s.sandbox.restore(s.sandbox.base),
        "restore-none": lambda s: s.sandbox.restore(Foreign(s, 1)),
        "transaction": lambda s: s.transaction(),
        "changed": lambda s: s.sandbox.changed(),
        "verify": lambda s: s.sandbox.verify(),
        "poisoned": lambda s: s.sandbox.poisoned,
        "stats": lambda s: s.sandbox.stats,
        "repr": lambda s: repr(s.sandbox),
        "interrupt": lambda s: s.sandbox.interrupt(),
        "close": lambda s: s.sandbox.close(),
        "fork": lambda s: s.fork(),
        "devolve": lambda s: s.devolve(),
        "construct": lambda s: s.construct(),
        "evolve": lambda s: s.evolve(),
        "evolve-failing": lambda s: s.evolve_failing(),
        "interrupt-used-up": lambda s: s.used_up.interrupt(),
        "close-used-up": lambda s: s.used_up.close(),
    }
    disturbances: ClassVar[Actions] = some_of(
        operations,
        *("call", "call-host", "call-too-many", "map", "snapshot", "restore"),
        *("restore-any", "transaction", "changed", "verify", "poisoned"),
        *("interrupt", "close", "devolve", "construct", "stats"),
        *("evolve-failing", "interrupt-used-up", "close-used-up"),
    )

    def restore_and_call(self) -> None:
        self.sandbox.restore()
        self.sandbox.call("AddLocal", 100, 100)

    disturbances |= {
        "restore-and-call": restore_and_call,
        "block-signals": block_signals,
        "take-signals": take_signals,
    }
    expected: ClassVar[Errors] = {
        "call-failing": ForeignError,
        "call-error": HyperlightError,
        "call-refused": TypeError,
        "call-too-many": TypeError,
        "restore-none": TypeError,
        "spin": GuestTimeout,
        "spin-blocked": GuestTimeout,
    }
    results: ClassVar[dict[str, object]] = {
        "call": 4,
        "call-foreign": 5,
        "call-float": 2.5,
        "call-text": SECRET * 20,
        "call-host": 5,
        "call-echo": b"x" * 5000,
        "call-log": None,
        "map": [3, 3, 3],
        "transaction": 4,
    }
    harmless: ClassVar[frozenset[str]] = frozenset(
        ["none", "gc", "fork", "fork-on", "thread:fork"]
        + [
            f"{how}:{what}"
            for how in ("same", "thread")
            for what in (
                *("poisoned", "stats", "construct", "call-too-many"),
                *("interrupt-used-up", "close-used-up", "evolve-failing"),
            )
        ]
        + ["same:changed", "same:verify"]
    )

    def check(self, name: str, result: object, disturbance: str) -> None:
        self.settle()
        if isinstance(result, GuestInterrupted):
            require("interrupt" in disturbance, f"{name} gave {result!r}")
        if disturbance in self.harmless:
            self.check_result(name, result)
        elif not isinstance(result, BaseException):
            self.check_value(name, result)
        self.check_after(name, result, disturbance)
        bounded(lambda: self.check_use(), f"{name}, then any call")
        for made in self.made:
            if isinstance(made, Sandbox) and not made.closed:
                said = bounded(
                    lambda made=made: outcome_of(
                        lambda: made.call("Counter"), "evolved"
                    ),
                    "a call of the evolved one",
                )
                require(said == 1, f"the evolved one gave {said!r}")

    def check_after(self, name: str, result: object, disturbance: str) -> None:
        """Before it is used again."""

    def check_result(self, name: str, result: object) -> None:
        if name in self.expected:
            require(
                isinstance(result, self.expected[name]),
                f"{name} gave {result!r}",
            )
            return
        require(
            not isinstance(result, BaseException), f"{name} gave {result!r}"
        )
        if name in self.results:
            require(
                result == self.results[name], f"{name} gave {result!r:.100}"
            )

    def check_value(self, name: str, result: object) -> None:
        """Others may have counted meanwhile, or put it back."""
        if name in ("call", "transaction"):
            require(result in (1, 3, 4, 5, 6), f"{name} gave {result!r}")
        elif name == "map":
            require(
                result in ([n] * 3 for n in (1, 3, 4, 5, 6)),
                f"{name} gave {result!r}",
            )
        elif name in self.results:
            require(
                result == self.results[name], f"{name} gave {result!r:.100}"
            )

    def check_use(self) -> None:
        box = self.sandbox
        if box.closed:
            return
        if not box.poisoned:
            # A stale interrupt or deadline would end this one.
            require(box.call("Add", 20, 22) == 42, "the next call")
        for _ in range(2):
            box.restore(self.snapshot)
            require(not box.poisoned, "poisoned after restore")
            require(not len(box.changed()), "restore: pages differ")
            box.verify()
            got = box.call("ReadInput", 0, 8000)
            require(SECRET.encode() not in got, "another call's arguments")
            require(box.call("Counter") == 3, "restore: another counter")
            got = box.call("Read", self.page, 4096)
            require(got == b"\xa5" * 4096, "restore: another heap")
            box.restore(box.base)
            require(box.call("GetCounter") == 0, "restore: not the base")
            require(box.call("Add", 3, 4) == 7, "host functions")

    def end(self) -> None:
        self.log.removeHandler(self.handler)
        for made in (self.sandbox, *self.made):
            made.close()


class _Handler(logging.Handler):
    def __init__(self, scene: SandboxScene) -> None:
        super().__init__()
        self.scene = scene

    def handle(self, record: logging.LogRecord) -> bool:
        self.scene.hook("log handler")
        return True
