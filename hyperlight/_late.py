"""Public names of the package, each imported when it is first used.

``import hyperlight`` so costs what finding a file costs, and a program that
only restores memory never imports what sandboxes need.
"""

from __future__ import annotations

import sys

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
        if name in _WHERE:
            __import__(_WHERE[name])
            self._adopt(_WHERE[name])
            return self.__dict__[name]
        if name in MOVED or name in _SUBMODULES:
            full = f"{self.__name__}.{MOVED.get(name, name)}"
            __import__(full)
            return sys.modules[full]
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}"
        )

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
