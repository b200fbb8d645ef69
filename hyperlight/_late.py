"""Public names of the package, each imported when it is first used.

``import hyperlight`` so costs what finding a file costs, and a program that
only restores memory never imports what sandboxes need.
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
        "SandboxPoisoned",
        "SnapshotMismatch",
        "TrackerMissedPage",
        "TrackerOverlap",
        "TrackerUnavailable",
    ),
    "hyperlight.manager": ("SnapshotManager",),
    "hyperlight.memory": ("SharedMemory",),
    "hyperlight.pageset": ("PageSet",),
    "hyperlight.sandbox": ("Sandbox", "UninitializedSandbox"),
    "hyperlight.sandbox.config": ("SandboxConfig",),
    "hyperlight.sandbox.drivers": ("DriverInfo", "drivers"),
    "hyperlight.sandbox.layout": ("MemoryLayout", "Region"),
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

_WHERE = {name: where for where, names in MODULES.items() for name in names}

#: Modules that are attributes of the package, imported or not.
_SUBMODULES = {
    *(where.split(".")[1] for where in MODULES),
    "emulator",
    "guest",
    "registry",
    "text",
    "units",
}

#: Held while a name is imported, so that two threads never wait for each
#: other's modules (which Python refuses with an error), and over a fork: a
#: child has the locks of modules that other threads were about to import, and
#: nobody who gives them back, so it would wait for them for ever. Nothing in
#: the package uses the public names, so nobody who waits for this lock keeps
#: one of a module's; but somebody may hold any lock when he forks, therefore
#: there is an end to it.
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


class Package(_Module):
    """The package's own type, once it has begun.

    Wherever a module is imported from, what it defines of the public names is
    the package's from then on: attribute and ``__module__``. A module that has
    the name of a public function (``trackers``) does not take its place.
    """

    def __getattr__(self, name: str) -> object:
        if name in _WHERE or name in MOVED or name in _SUBMODULES:
            _acquire()
            try:
                return self._find(name)
            finally:
                _release()
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}"
        )

    def _find(self, name: str) -> object:
        if name in _WHERE:
            # First the package: it imports its modules, and a thread that has
            # the lock of one and waits for the package is a deadlock.
            __import__(_WHERE[name].rpartition(".")[0])
            __import__(_WHERE[name])
            self._adopt(_WHERE[name])
            return self.__dict__[name]
        full = f"{self.__name__}.{MOVED.get(name, name)}"
        __import__(full)
        return sys.modules[full]

    def __setattr__(self, name: str, value: object) -> None:
        """Called by the import system, too, when a submodule is complete."""
        if not isinstance(value, _Module):
            super().__setattr__(name, value)
            return
        if name not in _WHERE:
            super().__setattr__(name, value)
        inside = f"{self.__name__}.{name}"
        for where in MODULES:
            if where == inside or where.startswith(f"{inside}."):
                self._adopt(where)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_WHERE})

    def _adopt(self, where: str) -> None:
        """Make the public names of a module, if it is there, our own."""
        module = sys.modules.get(where)
        for name in MODULES[where] if module is not None else ():
            thing = getattr(module, name)
            thing.__module__ = self.__name__
            self.__dict__.setdefault(name, thing)
