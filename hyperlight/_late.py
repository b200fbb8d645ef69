"""Public names of the package, each imported when it is first used.

``import hyperlight`` so costs what finding a file costs, and a program that
only restores memory never imports what sandboxes need.

No package imports a module of its own while it is imported itself. Whoever
imports such a module from another thread has its lock and waits for the
package's, whose importer waits for the module: that is a deadlock, which
Python refuses with an error.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

from hyperlight._moved import MOVED

__all__ = ["MODULES", "Package"]

#: Public names by the module that defines them.
MODULES = {
    "hyperlight.errors": (
        "DriverUnavailable",
        "EmulatorWarning",
        "GuestAborted",
        "GuestError",
        "GuestInterrupted",
        "GuestTimeout",
        "HyperlightError",
        "LayoutError",
        "LimitExceeded",
        "ProgramExited",
        "SandboxPoisoned",
        "SnapshotMismatch",
        "TrackerMissedPage",
        "TrackerOverlap",
        "TrackerUnavailable",
    ),
    "hyperlight.linux.files": ("Files",),
    "hyperlight.linux.program": ("Completed", "Program"),
    "hyperlight.linux.python": ("PythonSandbox",),
    "hyperlight.linux.results": (
        "PythonError",
        "PythonResult",
        "RunStats",
    ),
    "hyperlight.linux.sandbox": ("ProgramSandbox",),
    "hyperlight.manager": ("SnapshotManager",),
    "hyperlight.memory": ("SharedMemory",),
    "hyperlight.pageset": ("PageSet",),
    "hyperlight.sandbox.config": ("SandboxConfig",),
    "hyperlight.sandbox.drivers": ("DriverInfo", "drivers"),
    "hyperlight.sandbox.layout": ("MemoryLayout", "Region"),
    "hyperlight.sandbox.sandbox": ("Sandbox", "UninitializedSandbox"),
    "hyperlight.snapshot": ("Snapshot",),
    "hyperlight.stats": (
        "ManagerStats",
        "RestoreStats",
        "SandboxStats",
        "TrackingStats",
    ),
    "hyperlight.trackers": (
        "FaultHandlerInfo",
        "TrackerInfo",
        "fault_handlers",
        "reclaim_fault_handlers",
        "trackers",
    ),
}

#: The same for each package: of two that have a name, the first is where it
#: belongs.
_PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "hyperlight": MODULES,
    "hyperlight.guest": {
        "hyperlight.guest.builder": (
            "GuestBuildError",
            "build",
            "sdk_path",
            "shipped",
        ),
    },
    "hyperlight.sandbox": {
        "hyperlight.sandbox.sandbox": ("Sandbox", "UninitializedSandbox"),
    },
}

_WHERE = {
    package: {
        name: where for where, names in modules.items() for name in names
    }
    for package, modules in _PUBLIC.items()
}

#: Modules that are attributes of a package, imported or not.
_SUBMODULES = {
    "hyperlight": {
        *(where.split(".")[1] for where in MODULES),
        "emulator",
        "guest",
        "registry",
        "text",
        "units",
    },
    "hyperlight.guest": {"builder", "cc"},
    "hyperlight.sandbox": {
        "batch",
        "calls",
        "config",
        "drivers",
        "faults",
        "functions",
        "holder",
        "images",
        "layout",
        "log",
        "machine",
        "sandbox",
        "state",
    },
}

#: Held while a name is imported, so that two threads never wait for each
#: other's modules (which Python refuses with an error), and over a fork: a
#: child has the locks of modules that other threads were about to import, and
#: nobody who gives them back, so it would wait for them for ever. Nothing
#: below the command line uses the public names, so nobody who waits for this
#: lock keeps one of a module's; but somebody may hold any lock when he forks,
#: therefore there is an end to it.
_lock = RLock()
_PATIENCE = 10.0  # seconds


def _acquire() -> None:
    _lock.acquire(timeout=_PATIENCE)


def _release() -> None:
    owned = _lock._is_owned()  # type: ignore[attr-defined]
    if owned:  # or else it waited in vain
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_acquire, after_in_parent=_release, after_in_child=_release
    )

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from types import ModuleType as _Module
else:
    _Module = type(sys)


def _import(name: str) -> _Module:
    """The module, imported with the lock held."""
    _acquire()
    try:
        __import__(name)
        return sys.modules[name]
    finally:
        _release()


def _adopt(where: str) -> None:
    """Make the public names of a module, which is complete, its packages'."""
    for package in reversed(_PUBLIC):
        for name in _PUBLIC[package].get(where, ()):
            thing = getattr(sys.modules[where], name)
            thing.__module__ = package
            sys.modules[package].__dict__.setdefault(name, thing)


class Package(_Module):
    """A package's own type, once it has begun.

    Wherever a module is imported from, what it defines of the public names is
    the package's from then on: attribute and ``__module__``. A module that has
    the name of a public function (``trackers``) does not take its place.
    """

    def __getattr__(self, name: str) -> object:
        package = self.__name__
        where = _WHERE[package].get(name)
        if where is not None:
            _import(where)
            _adopt(where)
            return self.__dict__[name]
        if name in _SUBMODULES[package]:
            return _import(f"{package}.{name}")
        if package == "hyperlight" and name in MOVED:
            return _import(f"{package}.{MOVED[name]}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        """Called by the import system, too, when a submodule is complete."""
        is_module = isinstance(value, _Module)
        if not is_module or name not in _WHERE[self.__name__]:
            super().__setattr__(name, value)
        if is_module:
            _adopt(f"{self.__name__}.{name}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_WHERE[self.__name__]})
