"""Put memory back the way it was, at a cost that follows what changed.

>>> from hyperlight import SharedMemory, SnapshotManager
>>> with SharedMemory("1MiB") as memory, SnapshotManager(memory) as manager:
...     before = manager.take("before")
...     memory.write(5000, b"changed")
...     manager.restore(before).pages_zeroed
1
"""

from hyperlight.drivers import DriverInfo, drivers
from hyperlight.errors import (
    HyperlightError,
    SnapshotMismatch,
    TrackerMissedPage,
    TrackerOverlap,
    TrackerUnavailable,
)
from hyperlight.manager import RestoreStats, SnapshotManager
from hyperlight.memory import SharedMemory
from hyperlight.pageset import PageSet
from hyperlight.snapshot import Snapshot
from hyperlight.trackers import (
    FaultHandlerInfo,
    TrackerInfo,
    fault_handlers,
    reclaim_fault_handlers,
    trackers,
)
from hyperlight.version import __version__

__all__ = [
    "__version__",
    # memory
    "SharedMemory",
    # snapshots
    "PageSet",
    "RestoreStats",
    "Snapshot",
    "SnapshotManager",
    # what this host has
    "DriverInfo",
    "FaultHandlerInfo",
    "TrackerInfo",
    "drivers",
    "fault_handlers",
    "reclaim_fault_handlers",
    "trackers",
    # errors
    "HyperlightError",
    "SnapshotMismatch",
    "TrackerMissedPage",
    "TrackerOverlap",
    "TrackerUnavailable",
]

for _name in __all__[1:]:
    globals()[_name].__module__ = "hyperlight"
del _name
