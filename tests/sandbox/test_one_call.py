"""A call is one state: whatever runs meanwhile is refused, or waits.

From before the first argument is looked at until the result is converted.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hyperlight
from hyperlight import (
    GuestInterrupted,
    Sandbox,
)

New = Callable[..., Sandbox]
PACKAGE = str(Path(hyperlight.__file__).parent)

REFUSED: dict[str, Callable[[Sandbox], object]] = {
    "call": lambda s: s.call("Nothing"),
    "map": lambda s: s.map("Nothing", [()]),
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
        ours = frame.f_code.co_filename.startswith(PACKAGE)
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
