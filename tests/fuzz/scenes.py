"""What the interleaving fuzzer plays with: objects, what is done to them, and
what must be true of them afterwards."""

from __future__ import annotations

import contextlib
import gc
import logging
import mmap
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import hyperlight
from hyperlight import (
    GuestAborted,
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
    SharedMemory,
    Snapshot,
    SnapshotManager,
    TrackerMissedPage,
    UninitializedSandbox,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE
PAGES = 16

#: What misuse may raise; never are those that say that something is broken.
DOCUMENTED = (
    *(RuntimeError, ValueError, TypeError, IndexError, BufferError),
    *(MemoryError, HyperlightError, KeyboardInterrupt),
)
NEVER = (GuestAborted, TrackerMissedPage, RecursionError)

Actions = dict[str, Callable[[Any], object]]
Errors = dict[str, type[BaseException]]

BOUND = 5  # seconds for what takes microseconds


class Broken(Exception):
    """A guarantee does not hold."""


def require(condition: object, what: str) -> None:
    if not condition:
        raise Broken(what)


def judge(error: BaseException, where: str) -> None:
    """Raise unless it is an error that may happen."""
    if isinstance(error, Broken):
        raise error
    if isinstance(error, NEVER) or not isinstance(error, DOCUMENTED):
        raise Broken(f"{where}: {type(error).__name__}: {error}") from error


def outcome_of(action: Callable[[], object], where: str) -> object:
    """What it returns, or the documented error that it raises."""
    try:
        return action()
    except BaseException as error:
        judge(error, where)
        return error.with_traceback(None)


def bounded(action: Callable[[], object], what: str) -> object:
    """In another thread, which has to end."""
    box: list[object] = []

    def run() -> None:
        try:
            box.append(action())
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND)
    require(not thread.is_alive(), f"hang: {what}")
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


class Child:
    """A child of fork; it has to end well, and says why it did not."""

    def __init__(self) -> None:
        self.words, self.said = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(self.said)
            return
        os.close(self.words)
        # Python's own handler would run in the main thread, which the child
        # of another has not.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(BOUND)

    def end(self, action: Callable[[], object]) -> NoReturn:
        """In the child: do a last thing."""
        code = 70
        try:
            outcome_of(action, "in the child")
            code = 0
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            os.write(self.said, text.encode()[:200])
        finally:
            os._exit(code)

    def wait(self, what: str) -> None:
        """In the parent: raise unless it ended well."""
        with open(self.words, "rb") as reader:
            text = reader.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code == -signal.SIGALRM:
            raise Broken(f"hang of a child: {what}")
        require(code == 0, f"child ended with {code}: {what}: {text}")


def forked(action: Callable[[], object], what: str) -> None:
    """In a child, which has to end well."""
    child = Child()
    if child.pid == 0:
        child.end(action)
    child.wait(what)


class Scene:
    """Objects for one case, and operations on them by name."""

    #: By name: what is done, and whose points are looked for.
    operations: ClassVar[Actions]
    #: By name: what is done at a point.
    disturbances: ClassVar[Actions]
    #: Errors that an operation raises by itself.
    expected: ClassVar[Errors]
    #: Of disturbances: those that change nothing that an operation could see.
    harmless: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self.hook: Callable[[str], None] = lambda name: None
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self.spoiled = False  # this process is not what it was
        self.forked: Child | None = None

    def disturb(self, name: str) -> None:
        """Do it: here, in another thread, or in a child."""
        kind, _, what = name.partition(":")
        if kind == "raise":
            raise KeyboardInterrupt
        if kind == "gc":
            gc.collect()
        elif kind == "fork":
            self._run(lambda: forked(self.child, name), name)
        elif kind == "fork-on":
            # The child goes on with the operation, as the parent does.
            self.forked = Child()
            if self.forked.pid == 0:
                self.threads.clear()
        elif kind == "thread":
            self._in_thread(what)
        elif kind == "fail":
            core.plan_failure(what, 0, 1)
        elif kind == "same":
            action = self.disturbances[what]
            self._run(lambda: action(self), name)

    def _run(self, action: Callable[[], object], name: str) -> None:
        try:
            outcome_of(action, f"disturbance {name}")
        except Broken as error:
            self.errors.append(error)

    def _in_thread(self, what: str) -> None:
        if what == "fork":
            target = lambda: self._run(  # noqa: E731
                lambda: forked(self.child, "thread:fork"), "thread:fork"
            )
        else:
            action = self.disturbances[what]
            target = lambda: self._run(  # noqa: E731
                lambda: action(self), f"thread:{what}"
            )
        thread = threading.Thread(target=target, daemon=True)
        self.threads.append(thread)
        thread.start()
        thread.join(0.005)  # it may have to wait for the operation

    def names(self, mode: str) -> list[str]:
        """All disturbances that there are for points of a mode."""
        names = ["none", "gc", "fork", "fork-on", "thread:fork"]
        names += [f"same:{name}" for name in self.disturbances]
        names += [f"thread:{name}" for name in self.disturbances]
        # Where Python raises what a signal handler raised, and nowhere else.
        if mode in ("op", "hook"):
            names.append("raise")
        if core.CAN_FAIL:
            names += [f"fail:{p}" for p in ("store-alloc", "node-alloc")]
            names += [f"fail:{p}" for p in ("arm", "collect")]
        return names

    def settle(self) -> None:
        """Threads have ended; what they and others found is raised."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if core.CAN_FAIL:
            for point in ("store-alloc", "node-alloc", "arm", "collect"):
                core.plan_failure(point, 0, 0)
        if self.forked is not None:
            self.forked.wait("fork-on")
        for thread in self.threads:
            thread.join(BOUND)
            require(not thread.is_alive(), "hang: disturbance in a thread")
        for error in self.errors:
            raise error

    def child(self) -> object:
        raise NotImplementedError

    def end_child(self, operation: str, result: object) -> None:
        """In a child that went on: it never comes back from here."""
        child = self.forked
        if child is None or child.pid:
            return

        def last() -> None:
            expected = self.expected.get(operation, ())
            # That child is not this one's, so that it cannot be waited for.
            if isinstance(result, ChildProcessError) and operation == "fork":
                return
            if isinstance(result, BaseException) and not isinstance(
                result, expected
            ):
                judge(result, f"{operation}, in the child")
            self.child()

        child.end(last)

    def check(self, name: str, result: object, disturbance: str) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError


class Foreign:
    """A number that runs foreign code wherever it is looked at."""

    def __init__(self, scene: Scene, number: float) -> None:
        self.scene, self.number = scene, number

    def __index__(self) -> int:
        self.scene.hook("__index__")
        return int(self.number)

    def __float__(self) -> float:
        self.scene.hook("__float__")
        return float(self.number)

    def __repr__(self) -> str:
        self.scene.hook("__repr__")
        return "<Foreign>"

    def __del__(self) -> None:
        # No exception comes out of here: only what returns is tried.
        with contextlib.suppress(KeyboardInterrupt):
            self.scene.hook("__del__")


class ForeignText(str):
    """Text that does."""

    scene: Scene

    def __eq__(self, other: object) -> bool:
        self.scene.hook("__eq__")
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        self.scene.hook("__ne__")
        return str.__ne__(self, other)

    def __hash__(self) -> int:
        self.scene.hook("__hash__")
        return str.__hash__(self)

    def __repr__(self) -> str:
        self.scene.hook("__repr__")
        return str.__repr__(self)

    def __str__(self) -> str:
        self.scene.hook("__str__")
        return str.__str__(self)


def text_of(scene: Scene, text: str) -> ForeignText:
    made = ForeignText(text)
    made.scene = scene
    return made


class ForeignError(Exception):
    """An exception that does when it is printed."""

    def __init__(self, scene: Scene) -> None:
        super().__init__("foreign")
        self.scene = scene

    def __str__(self) -> str:
        self.scene.hook("__str__")
        return "foreign"


def some_of(operations: Actions, *names: str) -> Actions:
    return {name: operations[name] for name in names}


# ---- Memory and its manager ----


def pages_of(one: bytes, other: bytes) -> set[int]:
    """Pages that differ."""
    return {
        page
        for page in range(len(one) // PAGE)
        if one[page * PAGE : (page + 1) * PAGE]
        != other[page * PAGE : (page + 1) * PAGE]
    }


def pattern(number: int) -> bytes:
    """Memory that is like no other, and never zero."""
    return b"".join(
        bytes([1 + (number * 37 + page * 11) % 255]) * PAGE
        for page in range(PAGES)
    )


class _Arena(SharedMemory):
    manager: SnapshotManager
    snapshot: Snapshot
    hook: Callable[[], object]
    again: object


class ManagerScene(Scene):
    """Two snapshots, one of them pushed, and pages written since."""

    def __init__(self, tracker: str, borrowed: bool) -> None:
        super().__init__()
        self.lender = mmap.mmap(-1, PAGES * PAGE, mmap.MAP_PRIVATE)
        if borrowed:
            self.memory = SharedMemory.from_buffer(self.lender)
        else:
            self.memory = SharedMemory(PAGES * PAGE)
        self.view = memoryview(self.memory)
        self.tracker = tracker
        self.manager = SnapshotManager(self.memory, tracker=tracker)
        self.known: dict[Snapshot, bytes] = {}
        for number in range(3):
            self.view[:] = pattern(number)
            snapshot = self.manager.push(f"level {number}")
            self.known[snapshot] = pattern(number)
        self.stack = list(self.known)
        self.manager.restore(self.stack[0])
        self.write(2, 9, 14)
        self.before = self.content()

    def content(self) -> bytes:
        return self.memory.read(0, PAGES * PAGE)

    def write(self, *pages: int) -> None:
        for page in pages:
            old = self.memory.read(page * PAGE + 5, 1)[0]
            self.memory.write(page * PAGE + 5, bytes([old ^ 0xFF]))

    # What is done to it.

    def other_manager(self) -> None:
        with SharedMemory(4 * PAGE) as memory:
            with SnapshotManager(memory, tracker=self.tracker) as manager:
                manager.take()
                memory.fill(0, 4 * PAGE, 3)
                manager.restore()
                require(not any(memory.read(0, 4 * PAGE)), "another's bytes")

    def second_manager(self) -> None:
        SnapshotManager(self.memory, tracker=self.tracker).close()

    def borrow_again(self) -> None:
        SharedMemory.from_buffer(self.view).close()

    def fork(self) -> None:
        forked(self.child, "fork")

    def cycle(self) -> None:
        """Objects that know each other, dropped: all is let go."""
        lender = mmap.mmap(-1, 4 * PAGE)
        arena = _Arena.from_buffer(lender)
        arena.manager = SnapshotManager(arena, tracker=self.tracker)
        arena.snapshot = arena.manager.take()
        arena.hook = arena.manager.restore
        arena.again = arena
        arena.write(0, b"x" * PAGE)
        del arena
        gc.collect()
        try:
            lender.close()
        except BufferError as error:
            raise Broken(f"a cycle is never let go: {error}") from None

    def some_view(self) -> bytes:
        with memoryview(self.memory) as view:
            return bytes(view[:PAGE])

    def release_all(self) -> None:
        self.view.release()
        self.manager.close()
        self.memory.close()

    def child(self) -> object:
        """What a child may do: use memory and snapshots, close all."""
        for snapshot, content in self.known.items():
            require(
                snapshot.read(0, len(content)) == content,
                "a snapshot in a child",
            )
        if not self.memory.closed and not self.manager.closed:
            snapshot = self.stack[1]
            result = outcome_of(
                lambda: self.manager.restore(snapshot), "in a child"
            )
            if not isinstance(result, BaseException):
                require(
                    self.memory.read(0, PAGES * PAGE) == self.known[snapshot],
                    "wrong bytes in a child",
                )
        self.manager.close()
        gc.collect()
        return None

    operations: ClassVar[Actions] = {
        "take": lambda s: s.manager.take(),
        "restore": lambda s: s.manager.restore(),
        "restore-any": lambda s: s.manager.restore(s.stack[1]),
        "push": lambda s: s.manager.push("A"),
        "pop": lambda s: s.manager.pop(),
        "dirty": lambda s: s.manager.dirty(),
        "changed": lambda s: s.manager.changed(),
        "verify": lambda s: s.manager.verify(),
        "stats": lambda s: s.manager.stats,
        "repr": lambda s: repr(s.manager),
        "close": lambda s: s.manager.close(),
        "new": lambda s: s.other_manager(),
        "second": lambda s: s.second_manager(),
        "second-foreign": lambda s: SnapshotManager(
            s.memory, tracker=text_of(s, "full")
        ),
        "borrow": lambda s: s.borrow_again(),
        "read": lambda s: s.memory.read(Foreign(s, 3), Foreign(s, 9000)),
        "write": lambda s: s.memory.write(
            Foreign(s, 2 * PAGE), s.before[2 * PAGE : 6 * PAGE]
        ),
        "fill": lambda s: s.memory.fill(
            Foreign(s, 0), Foreign(s, 4 * PAGE), Foreign(s, 3)
        ),
        "close-memory": lambda s: s.memory.close(),
        "fork": lambda s: s.fork(),
        "cycle": lambda s: s.cycle(),
        "view": lambda s: s.some_view(),
        "release-all": lambda s: s.release_all(),
        "restore-none": lambda s: s.manager.restore(Foreign(s, 1)),
        "take-named": lambda s: s.manager.take(text_of(s, "name")),
        "read-snapshot": lambda s: s.stack[0].read(
            Foreign(s, 4), Foreign(s, 5000)
        ),
        "diff": lambda s: s.stack[0].diff(s.stack[1]),
        "pageset": lambda s: hyperlight.PageSet.from_pages(
            Foreign(s, 16), [Foreign(s, 3), Foreign(s, 15)]
        ),
    }
    disturbances: ClassVar[Actions] = some_of(
        operations,
        *("take", "restore", "restore-any", "push", "pop", "dirty"),
        *("changed", "verify", "close", "new", "second", "borrow"),
        *("read", "write", "fill", "close-memory", "view"),
        *("release-all", "stats"),
    )
    disturbances |= {
        "poke": lambda s: s.write(3, 9, 11),
        "close-lender": lambda s: s.lender.close(),
    }
    expected: ClassVar[Errors] = {
        "second": ValueError,
        "second-foreign": ValueError,
        "close-memory": BufferError,
        "restore-none": TypeError,
        "pageset": TypeError,
        "borrow": ValueError,
    }
    harmless: ClassVar[frozenset[str]] = frozenset(
        ["none", "gc", "fork", "fork-on", "thread:fork"]
        + [
            f"{how}:{what}"
            for how in ("same", "thread")
            for what in (
                *("dirty", "changed", "verify", "new", "second", "read"),
                *("view", "stats", "close-memory", "borrow"),
            )
        ]
    )

    def names(self, mode: str) -> list[str]:
        names = super().names(mode)
        if self.tracker in ("sigsegv", "uffd-sigbus"):
            names.append("same:handlers")
        return names

    def replace_handlers(self) -> None:
        """As somebody else would who knows nothing of us."""
        self.spoiled = True
        for number in (signal.SIGSEGV, signal.SIGBUS):
            signal.signal(number, lambda *args: None)
        self.write(4)

    disturbances |= {"handlers": lambda s: None}

    def disturb(self, name: str) -> None:
        if name == "same:handlers":
            self._run(self.replace_handlers, name)
        elif name != "thread:handlers":
            super().disturb(name)

    def check(self, name: str, result: object, disturbance: str) -> None:
        self.settle()
        # It is refused where a thread uses the memory just then.
        in_use = isinstance(result, BufferError) and name == "release-all"
        if disturbance in self.harmless and not (
            in_use and disturbance.startswith("thread:")
        ):
            self.check_result(name, result)
        bounded(lambda: self.check_locks(), f"{name}, then any call")
        if not self.manager.closed and not self.memory.closed:
            self.check_stack(name, result, disturbance)
            self.check_memory()
        for snapshot, content in self.known.items():
            require(
                snapshot.read(0, len(content)) == content,
                "a snapshot has changed",
            )

    def check_result(self, name: str, result: object) -> None:
        """Undisturbed, it did what it is for."""
        wrong = f"{name} gave {result!r}"
        if name in self.expected:
            return
        require(not isinstance(result, BaseException), wrong)
        if name in ("take", "push", "take-named"):
            require(
                result.read(0, len(self.before)) == self.before,  # type: ignore[attr-defined]
                f"{name}: other bytes than memory had",
            )
            require(self.manager.current is result, "current is another")
        targets = {"restore": 0, "restore-any": 1, "pop": 2}
        if name in targets:
            require(
                self.content() == self.known[self.stack[targets[name]]],
                f"{name}: wrong bytes",
            )
        if name in ("dirty", "changed"):
            require({2, 9, 14} <= set(result), wrong)  # type: ignore[call-overload]
        if name == "changed":
            require({2, 9, 14} == set(result), wrong)  # type: ignore[call-overload]

    def check_locks(self) -> None:
        outcome_of(self.manager.dirty, "afterwards")
        outcome_of(lambda: self.manager.stats, "afterwards")

    def check_stack(self, name: str, result: object, disturbance: str) -> None:
        """What raised is done whole or not at all."""
        if disturbance != "raise" or not isinstance(result, KeyboardInterrupt):
            return
        current = self.manager.current
        require(current is not None, "no snapshot is current")
        assert current is not None
        expected = self.stack[2]
        if name == "push" and current is not self.stack[0]:
            expected = current
        if name == "pop" and current is self.stack[2]:
            expected = self.stack[1]
        if name not in ("push", "pop"):
            return
        content = self.known.get(expected, self.before)
        self.manager.pop()
        require(
            self.content() == content,
            f"{name} raised, and is neither done nor undone: the next pop "
            f"does not restore {expected!r}",
        )

    def check_memory(self) -> None:
        manager = self.manager
        size = PAGES * PAGE
        current = manager.current
        require(current is not None, "no snapshot is current")
        assert current is not None
        differing = pages_of(self.content(), current.read(0, size))
        dirty = set(manager.dirty())
        require(differing <= dirty, f"pages lost: {sorted(differing - dirty)}")
        manager.verify()
        taken = manager.take("afterwards")
        known = {**self.known, taken: self.content()}
        for snapshot, content in reversed(known.items()):
            manager.restore(snapshot)
            require(self.content() == content, "restore: wrong bytes")
            self.write(1, 9, 15)
            require({1, 9, 15} <= set(manager.dirty()), "writes not seen")
        manager.restore()
        require(
            self.content() == self.known[self.stack[0]],
            "restore: wrong bytes",
        )

    def end(self) -> None:
        self.view.release()
        self.manager.close()
        self.memory.close()
        self.lender.close()


# ---- Sandboxes ----

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
        *("call", "call-host", "call-too-many", "snapshot", "restore"),
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


def _scenes() -> dict[str, Callable[[], Scene]]:
    """Those that this host has, by name."""
    usable = {info.name for info in hyperlight.trackers() if info.available}
    drivers = {info.name for info in hyperlight.drivers() if info.available}
    wanted: dict[str, Callable[[], Scene]] = {}
    for tracker in ("uffd", "uffd-sigbus", "sigsegv", "full"):
        if tracker in usable:
            for borrowed in (False, True):
                name = f"{tracker}-borrowed" if borrowed else tracker
                wanted[name] = lambda t=tracker, b=borrowed: ManagerScene(t, b)
    for driver in ("kvm", "emulator"):
        if driver in drivers:
            wanted[driver] = lambda d=driver: SandboxScene(d)
    return wanted


SCENES = _scenes()


def holders() -> str:
    """What keeps snapshots alive, as far as the collector knows."""
    kinds = (core.SnapshotCore, core.ManagerCore, core.MemoryCore)
    return ", ".join(
        f"{type(one).__name__} {str(one)[:60]}"
        for one in gc.get_objects()
        if any(isinstance(held, kinds) for held in gc.get_referents(one))
    )


#: What earlier cases of this process have left, and may let go of any time.
_kept: Counter[str] = Counter()


def settle_process(raised: bool) -> None:
    """Nothing of a case is left."""
    global _kept
    end = time.monotonic() + 10
    while True:
        gc.collect()
        counts = Counter(core.counts())
        _kept &= counts
        left = counts - _kept
        if raised:
            # CPython keeps an exception, and so what its frames know, where a
            # trace function raises another while it is handled.
            for name in ("snapshots", "stores"):
                _kept[name] += left.pop(name, 0)
        if not left:
            return
        if time.monotonic() > end:
            raise Broken(f"left behind: {dict(left)}, held by {holders()}")
        time.sleep(0.01)
