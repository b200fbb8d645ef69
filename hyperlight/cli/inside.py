"""Files inside a Python sandbox, and sessions that take turns in one.

What comes from inside is believed in nothing: code that ran there before may
have replaced what reads the file.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

from hyperlight import PythonSandbox
from hyperlight.errors import GuestAborted
from hyperlight.text import brief
from hyperlight.units import format_size

__all__ = [
    "LARGEST",
    "Sessions",
    "list_inside",
    "read_inside",
    "write_inside",
]

#: Bytes of a file that is copied out.
LARGEST = 64 << 20

#: Bytes that are read at once: an answer's are limited.
_PIECE = 512 << 10

#: What runs inside, in a namespace of its own: a script's may have other
#: meanings of these names.
_READ = """
(file := open(path, "rb"), file.seek(start), file.read(most), file.close())[2]
"""
_WRITE = """
import os
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "wb") as file:
    file.write(data)
"""
_LIST = """
sorted(
    (entry.name + "/" * entry.is_dir(), 0 if entry.is_dir()
     else entry.stat().st_size)
    for entry in __import__("os").scandir(path)
)
"""
_EVALUATE = "eval(__hyperlight__['code'], __hyperlight__)"
_EXECUTE = """
exec(__hyperlight__['code'], __hyperlight__)
del __hyperlight__
"""


def read_inside(
    sandbox: PythonSandbox, path: str, most: int, timeout: float
) -> bytes:
    """A file's bytes, as the sandbox has it now.

    Raises:
        PythonError: It cannot be read.
        ValueError: It has more than `most` bytes.
        GuestTimeout: One piece of it took longer than `timeout`.
        GuestAborted: The answer is no bytes.
    """
    found: list[bytes] = []
    size = 0
    while True:
        wanted = min(_PIECE, most + 1 - size)
        given: dict[str, Any] = {"code": _READ.strip(), "path": path}
        given |= {"start": size, "most": wanted}
        piece = _run(sandbox, _EVALUATE, given, timeout)
        if type(piece) is not bytes or len(piece) > wanted:
            raise GuestAborted(f"{brief(path)}: what was read is no bytes")
        found.append(piece)
        size += len(piece)
        if size > most:
            raise ValueError(
                f"{brief(path)} has more than {format_size(most)}"
            )
        if len(piece) < wanted:
            return b"".join(found)


def write_inside(
    sandbox: PythonSandbox, path: str, data: bytes, timeout: float
) -> None:
    """Write a file, and make its folder; undone as what scripts do.

    Raises:
        PythonError: It cannot be written.
        ValueError: The path is not absolute, or there are too many bytes.
        GuestTimeout: It took longer than `timeout`.
    """
    if not path.startswith("/"):
        raise ValueError(f"path={brief(path)} is not absolute")
    given = {"code": _WRITE, "path": path, "data": data}
    _run(sandbox, _EXECUTE, given, timeout)


def list_inside(
    sandbox: PythonSandbox, path: str, timeout: float
) -> list[tuple[str, int]]:
    """Names in a folder, those of folders with a slash, and sizes.

    Raises:
        PythonError: It cannot be read.
        GuestTimeout: It took longer than `timeout`.
        GuestAborted: The answer is no such list.
    """
    given = {"code": _LIST.strip(), "path": path}
    found = _run(sandbox, _EVALUATE, given, timeout)
    if type(found) is not list or not all(
        type(entry) is tuple and tuple(map(type, entry)) == (str, int)
        for entry in found
    ):
        raise GuestAborted(f"{brief(path)}: what was read is no folder")
    return found


def _run(
    sandbox: PythonSandbox, code: str, given: dict[str, Any], timeout: float
) -> Any:
    result = sandbox.run(
        code, inputs={"__hyperlight__": given}, timeout=timeout
    )
    if result.error is not None:
        raise result.error
    return result.value


class Sessions:
    """Sessions of one sandbox, each with a state of its own.

    A session costs the pages that it changed. They take turns: whatever one
    does begins in its state and ends with the clean one put back. Any thread
    may call any method.
    """

    def __init__(self, sandbox: PythonSandbox, most: int) -> None:
        self._sandbox = sandbox
        self._most = most
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._clean = sandbox.snapshot("clean")
        self._states: dict[str, Any] = {}

    def begin(self) -> str:
        """Begin a session, in the clean state; its name.

        Raises:
            ValueError: There are as many as there may be.
        """
        with self._lock:
            if len(self._states) >= self._most:
                raise ValueError(
                    f"there are {self._most} sessions, and no more may be: "
                    f"end one first"
                )
            name = f"session-{next(self._numbers)}"
            self._states[name] = self._clean
            return name

    def end(self, name: str) -> None:
        """End a session: nothing of it is left.

        Raises:
            ValueError: There is no such session.
        """
        with self._lock:
            self._state(name)
            del self._states[name]

    def names(self) -> list[str]:
        """Of those that have begun and not ended."""
        with self._lock:
            return list(self._states)

    @contextlib.contextmanager
    def turn(
        self, name: str | None, *, keep: bool = True
    ) -> Iterator[PythonSandbox]:
        """The sandbox in the state of a session, which what is done changes.

        None: in the clean state, and nothing is kept. Nor is it without
        `keep`, or if an exception leaves the ``with`` block.

        Raises:
            ValueError: There is no such session.
        """
        with self._lock:
            state = self._clean if name is None else self._state(name)
            with self._sandbox.session():
                self._sandbox.restore(state)
                yield self._sandbox
                if keep and name is not None:
                    self._states[name] = self._sandbox.snapshot(name)

    def _state(self, name: str) -> Any:
        state = self._states.get(name)
        if state is None:
            raise ValueError(f"there is no session {brief(name)}")
        return state
