"""The module ``host`` of the guest: functions that the host answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

__all__ = ["HostError", "provide"]

#: Ask the host, and wait: for the function, its arguments.
Ask = Callable[[str, "tuple[Any, ...]", "dict[str, Any]"], Any]


class HostError(RuntimeError):
    """A host function raised an exception.

    Attributes:
        type (str): The name of its class.
        message (str): Its text.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.type = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


HostError.__module__ = "host"


def provide(
    names: Iterable[str], ask: Ask, known: Callable[[str], bool]
) -> None:
    """Make ``import host`` work.

    Args:
        names: Of the functions that there are now.
        ask: Calls one.
        known: Whether there is one of a name that is not among them.
    """
    module = ModuleType("host", "Functions that the host of this sandbox has.")

    def function(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return ask(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        call.__module__ = "host"
        return call

    def attribute(name: str) -> Any:
        if name.startswith("__") or not known(name):
            raise AttributeError(f"the host has no function {name!r}")
        found = function(name)
        setattr(module, name, found)
        return found

    for name in names:
        setattr(module, name, function(name))
    module.__dict__["HostError"] = HostError
    module.__dict__["__getattr__"] = attribute
    sys.modules["host"] = module
