"""Functions of the host that a Python sandbox may call."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import keyword
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hyperlight.linux.guest.packets import RAISED, REPLY
from hyperlight.linux.guest.values import encode
from hyperlight.text import brief, printable

__all__ = ["Answers"]

#: Characters of an exception's text that reach the guest.
_LONGEST = 4000


class Answers:
    """Host functions by name, and calls of them.

    Args:
        functions: By name; a name is an identifier. They may be ``async``.
        limit: Bytes that a packet may have.

    Raises:
        TypeError: One cannot be called, or a name is no ``str``.
        ValueError: A name cannot be an attribute of the module ``host``.
    """

    def __init__(
        self, functions: Mapping[str, Callable[..., Any]] | None, limit: int
    ) -> None:
        self._functions = dict(functions or {})
        self._limit = limit
        #: The last exception of one of them.
        self.failure: Exception | None = None
        for name, function in self._functions.items():
            _check(name, function)

    @property
    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(self._functions)

    def known(self, name: str) -> bytes:
        """The packet that says whether there is one of this name."""
        return REPLY + encode(name in self._functions)

    def call(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bytes:
        """Call one, and return the packet that tells what came of it."""
        function = self._functions.get(name)
        if function is None:
            return _raised(
                "AttributeError",
                f"the host has no function {printable(name, 128)}",
            )
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = _awaited(result)
            return REPLY + encode(result, f"{name}()", self._limit)
        except Exception as error:
            self.failure = error
            return _raised(type(error).__name__, _text_of(error))


def _check(name: str, function: Any) -> None:
    if type(name) is not str:
        raise TypeError(f"host_functions: name {brief(name)} is not a str")
    if (
        not name.isidentifier()
        or keyword.iskeyword(name)
        or name.startswith("__")
        or name == "HostError"
    ):
        raise ValueError(
            f"host_functions: {brief(name)} cannot be called as host.name()"
        )
    if not callable(function):
        raise TypeError(f"host_functions[{name!r}] cannot be called")


def _raised(name: str, text: str) -> bytes:
    return RAISED + encode((name, text))


def _text_of(error: Exception) -> str:
    try:
        return str.__str__(str(error))[:_LONGEST]
    except Exception:
        return "<no text: str() failed>"


def _awaited(result: Awaitable[Any]) -> Any:
    """The result of an awaitable, also in the middle of a running loop."""

    async def wait() -> Any:
        return await result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    # A loop cannot wait for itself: another thread has one of its own.
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(wait()))
        except BaseException as error:
            failure.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
