"""Put memory back the way it was, at a cost proportional to what changed.

>>> from hyperlight import SharedMemory, SnapshotManager
>>> with SharedMemory("1MiB") as memory, SnapshotManager(memory) as manager:
...     before = manager.take("before")
...     memory.write(5000, b"changed")
...     manager.restore(before).pages_zeroed
1
"""

import sys as _sys

from hyperlight._late import Package as _Package
from hyperlight._moved import find_moved as _find_moved
from hyperlight.version import __version__

# As typing's, which takes longer to import than all of this. At run time, see
# hyperlight._late.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperlight.errors import (
        DriverUnavailable,
        EmulatorWarning,
        GuestAborted,
        GuestError,
        GuestInterrupted,
        GuestTimeout,
        HyperlightError,
        LayoutError,
        LimitExceeded,
        ProgramExited,
        SandboxPoisoned,
        SnapshotMismatch,
        TrackerMissedPage,
        TrackerOverlap,
        TrackerUnavailable,
    )
    from hyperlight.linux.files import Files
    from hyperlight.linux.program import Completed, Program
    from hyperlight.linux.python import PythonSandbox
    from hyperlight.linux.results import PythonError, PythonResult, RunStats
    from hyperlight.linux.sandbox import ProgramSandbox
    from hyperlight.manager import SnapshotManager
    from hyperlight.memory import SharedMemory
    from hyperlight.pageset import PageSet
    from hyperlight.sandbox.config import SandboxConfig
    from hyperlight.sandbox.drivers import DriverInfo, drivers
    from hyperlight.sandbox.layout import MemoryLayout, Region
    from hyperlight.sandbox.sandbox import Sandbox, UninitializedSandbox
    from hyperlight.snapshot import Snapshot
    from hyperlight.stats import (
        ManagerStats,
        RestoreStats,
        SandboxStats,
        TrackingStats,
    )
    from hyperlight.trackers import (
        FaultHandlerInfo,
        TrackerInfo,
        fault_handlers,
        reclaim_fault_handlers,
        trackers,
    )

__all__ = [
    "__version__",
    # memory
    "SharedMemory",
    # snapshots
    "ManagerStats",
    "PageSet",
    "RestoreStats",
    "Snapshot",
    "SnapshotManager",
    "TrackingStats",
    # sandboxes
    "MemoryLayout",
    "Region",
    "Sandbox",
    "SandboxConfig",
    "SandboxStats",
    "UninitializedSandbox",
    # programs
    "Completed",
    "Files",
    "Program",
    "ProgramSandbox",
    "PythonError",
    "PythonResult",
    "PythonSandbox",
    "RunStats",
    # what this host has
    "DriverInfo",
    "FaultHandlerInfo",
    "TrackerInfo",
    "drivers",
    "fault_handlers",
    "reclaim_fault_handlers",
    "trackers",
    # errors
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
    # warnings
]

_sys.modules[__name__].__class__ = _Package
_find_moved()
del TYPE_CHECKING
