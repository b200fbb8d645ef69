"""What is imported before the sandbox starts, and what no more after.

From the bake on, no memory of the guest becomes executable. So extension
modules are loaded before: those of the standard library, all of them, since a
script may import any, and those of what was asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterable
from importlib.machinery import (
    ExtensionFileLoader,
    ModuleSpec,
)
from types import ModuleType
from typing import Any

__all__ = [
    "import_extensions",
    "import_if_possible",
    "import_usual",
    "is_loaded",
    "preload",
    "seal",
]

#: Of tests, of windows, or about a terminal that is not there.
_NOT = {"_tkinter", "readline", "xxlimited", "xxlimited_35", "xxsubtype"}
_NOT_BEGINNING = ("_test", "_ctypes_test", "_xx")

#: What scripts import most, and what running them needs.
_USUAL = """
    ast base64 bisect calendar collections contextlib copy csv dataclasses
    datetime decimal enum fractions functools hashlib heapq inspect io
    itertools json linecache math numbers operator os pathlib pprint random
    re secrets statistics string struct textwrap threading time traceback
    types typing unicodedata urllib.parse uuid warnings
"""


def import_usual() -> None:
    """Import modules that many scripts use."""
    import_if_possible(_USUAL.split())


def import_extensions() -> None:
    """Import every extension module of the standard library.

    One that cannot be imported, since a library of the system is missing,
    cannot be imported later either.
    """
    for folder in sys.path:
        if os.path.basename(folder) == "lib-dynload":
            import_if_possible(_extensions(folder))


def import_if_possible(names: Iterable[str]) -> None:
    """Import modules; one that fails, fails again when a script asks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            # The start of a module may raise anything, SystemExit too.
            with contextlib.suppress(BaseException):
                importlib.import_module(name)


def _extensions(folder: str) -> list[str]:
    return sorted(
        file.partition(".")[0]
        for file in os.listdir(folder)
        if is_loaded(file)
    )


def is_loaded(file: str) -> bool:
    """Whether the file is of an extension module that a guest imports."""
    return (
        file.endswith(".so")
        and file.partition(".")[0] not in _NOT
        and not file.startswith(_NOT_BEGINNING)
    )


def preload(names: Iterable[str]) -> None:
    """Import what was asked for.

    Raises:
        SystemExit: That failed; the text says what and why.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            kind = type(error).__name__
            sys.exit(f"hyperlight: preload={name!r}: {kind}: {error}")


def seal() -> None:
    """From now on, a late extension module is an ImportError that says why."""
    loaded = {
        getattr(module.__spec__, "origin", None)
        for module in list(sys.modules.values())
        if isinstance(getattr(module, "__loader__", None), ExtensionFileLoader)
    }
    create = ExtensionFileLoader.create_module

    def create_module(
        self: ExtensionFileLoader, spec: ModuleSpec
    ) -> ModuleType:
        if spec.origin in loaded:
            return create(self, spec)
        raise ImportError(
            f"{spec.name} is an extension module, and those are loaded only "
            f"before a sandbox starts: name it, or the distribution that has "
            f"it, in preload=",
            name=spec.name,
            path=spec.origin,
        )

    loader: Any = ExtensionFileLoader
    loader.create_module = create_module
