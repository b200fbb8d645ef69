"""Points inside of an operation, at one of which something else is done.

A way to count points is called a mode:

line    every line, return and exception in the package's Python
op      every place there where Python looks for signals: behind each call
call    before and behind every call into C
gc      every garbage collection, of which there is one at nearly every
        allocation, also those made by C
hook    wherever the library calls what was given to it: ``__index__``,
        ``__eq__``, ``__repr__``, host functions, handlers of log lines,
        signal handlers, finalizers
"""

from __future__ import annotations

import contextlib
import dis
import gc
import os
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import hyperlight

MODES = ("line", "op", "call", "gc", "hook")

_PACKAGE = os.path.dirname(hyperlight.__file__) + os.sep
_LOOKS = {
    code
    for name, code in dis.opmap.items()
    if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
}

_operations: dict[CodeType, bytes] = {}


def _looks(code: CodeType, offset: int) -> bool:
    """Whether the instruction there looks for signals when it is done."""
    if offset < 0:
        return True
    if code not in _operations:
        _operations[code] = code.co_code
    return _operations[code][offset] in _LOOKS


class Points:
    """Does something at the point with a number; None: only counts them."""

    def __init__(self, mode: str, at: int | None, act: Callable[[], object]):
        self.mode = mode
        self.at = at
        self.act = act
        self.count = 0
        self.where = ""
        self._on = False

    def hit(self, where: str) -> None:
        """One point; of another thread or of what is done there: none."""
        if not self._on:
            return
        number = self.count
        self.count += 1
        if number == self.at:
            self._on = False
            self.where = where
            self.act()

    @property
    def done(self) -> bool:
        """The point was reached."""
        return self.at is not None and self.count > self.at

    # What the modes are made of.

    def hook(self, name: str) -> None:
        """For foreign code: here it runs."""
        if self.mode == "hook":
            self.hit(name)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if self.mode == "op":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return _Operations(self)
        return self._local

    def _local(self, frame: FrameType, event: str, arg: object) -> Any:
        self.hit(f"{event} at {_place(frame)}")
        return self._local

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        if event.startswith("c_") and frame.f_code.co_filename.startswith(
            _PACKAGE
        ):
            name = getattr(arg, "__name__", "?")
            self.hit(f"{event} of {name} at {_place(frame)}")

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.hit("collection")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """The operation whose points they are."""
        thresholds = gc.get_threshold()
        self._on = True
        try:
            if self.mode in ("line", "op"):
                sys.settrace(self._trace)
            elif self.mode == "call":
                sys.setprofile(self._profile)
            elif self.mode == "gc":
                gc.callbacks.append(self._collecting)
                gc.set_threshold(1, 1000, 1000)
            yield
        finally:
            self._on = False
            sys.settrace(None)
            sys.setprofile(None)
            if self.mode == "gc":
                gc.set_threshold(*thresholds)
                gc.callbacks.remove(self._collecting)


class _Operations:
    """The trace function of one frame."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.last = -1

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            last, self.last = self.last, frame.f_lasti
            if _looks(frame.f_code, last):
                self.points.hit(f"{_place(frame)} +{frame.f_lasti}")
        return self


def _place(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename.removeprefix(_PACKAGE)
    return f"{file}:{frame.f_lineno} {code.co_name}"
