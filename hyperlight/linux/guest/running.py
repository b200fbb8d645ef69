"""One run of a script or call of a function, to the packet that ends it."""

from __future__ import annotations

import importlib
import linecache
import sys
import traceback
from types import ModuleType, TracebackType
from typing import Any

from .compiling import execute
from .packets import FAILED, NOTHING, PLAIN, RESULT, SHOWN, cut
from .values import decode, encode

__all__ = ["Runner"]

#: Where the code of this package is, which no traceback shows.
_OWN = __file__.rpartition("/")[0] + "/"


class Runner:
    """Runs scripts in one ``__main__``, and functions of any module.

    Args:
        limit: Bytes that a packet may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.renew()

    def renew(self) -> None:
        """A new, empty ``__main__``."""
        self._main = ModuleType("__main__")
        sys.modules["__main__"] = self._main
        self._scripts = 0

    def run(self, code: str, inputs: bytes | None) -> bytes:
        """Run a script. The packet to answer with."""
        self._scripts += 1
        filename = "<sandbox>"
        if self._scripts > 1:
            filename = f"<sandbox {self._scripts}>"
        # Tracebacks look there, also for what an earlier script defined.
        lines = code.splitlines(True)
        linecache.cache[filename] = (len(code), None, lines, filename)
        namespace = self._main.__dict__
        if inputs is not None:
            namespace.update(decode(inputs))
        try:
            has_value, value = execute(code, filename, namespace)
            packet = self._value(value) if has_value else RESULT + NOTHING
        except BaseException as error:
            packet = failure(error)
        flush()
        return packet

    def call(self, target: str, args: bytes, kwargs: bytes) -> bytes:
        """Call ``module:function``. The packet to answer with."""
        try:
            module, _, path = target.partition(":")
            function: Any = importlib.import_module(module)
            for name in path.split("."):
                function = getattr(function, name)
            value = function(*decode(args), **decode(kwargs))
            packet = RESULT + PLAIN + encode(value, "result", self._limit)
        except BaseException as error:
            packet = failure(error)
        flush()
        return packet

    def _value(self, value: object) -> bytes:
        try:
            return RESULT + PLAIN + encode(value, "value", self._limit)
        except (TypeError, ValueError):
            return RESULT + SHOWN + encode((shown(value),))


def flush() -> None:
    """Write out what was printed, whatever was made of these files."""
    for file in (sys.stdout, sys.stderr):
        # suppress() is dearer, and every run does this.
        try:  # noqa: SIM105
            file.flush()
        except BaseException:  # noqa: S110
            pass


def shown(value: object) -> str:
    """The repr of anything, of bounded length."""
    try:
        return cut(repr(value))
    except BaseException as error:
        name = type(value).__qualname__
        return f"<{name} object, whose repr raised {type(error).__name__}>"


def failure(error: BaseException) -> bytes:
    """The packet that tells of an exception."""
    kind = type(error)
    name = cut(str(kind.__qualname__), 200)
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{cut(str(kind.__module__), 200)}.{name}"
    try:
        message = cut(str(error))
    except BaseException:
        message = "<no text: str() failed>"
    try:
        text = cut(_traceback(error))
    except BaseException as other:
        text = f"{name}: {message}\n(no traceback: {type(other).__name__})\n"
    return RESULT + FAILED + encode((name, message, text))


def _traceback(error: BaseException) -> str:
    left, seen = [error], set()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _without_own(one.__traceback__)
            others = (one.__cause__, one.__context__)
            others += tuple(getattr(one, "exceptions", ()))
            left += [e for e in others if isinstance(e, BaseException)]
    return "".join(traceback.format_exception(error))


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package."""
    frames = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OWN):
            frames.append(trace)
        trace = trace.tb_next
    for frame in reversed(frames):
        frame.tb_next = trace
        trace = frame
    return trace
