"""What every scene has: an outcome, a bound, a child; and foreign objects."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from hyperlight import (
    GuestAborted,
    HyperlightError,
    TrackerMissedPage,
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


class Scene(ABC):
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

    @abstractmethod
    def child(self) -> object:
        """What a child of fork goes on with."""

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

    @abstractmethod
    def check(self, name: str, result: object, disturbance: str) -> None:
        """What must be true after the operation of that name."""

    @abstractmethod
    def end(self) -> None:
        """Close everything; nothing is left."""


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
