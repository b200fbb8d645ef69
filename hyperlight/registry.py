"""The core's tables of trackers, drivers and ABIs, with their differences.

No other module of this package refers to one by name.
"""

from __future__ import annotations

from typing import NamedTuple

from hyperlight._binding import core

__all__ = ["ABIS", "DRIVERS", "HOST_TRACKERS", "TRACKERS", "Driver", "Tracker"]


class Tracker(NamedTuple):
    """A row of the core's table, struct hl_tracker_ops."""

    name: str
    #: The driver it belongs to; None: it tracks what this process writes.
    driver: str | None
    #: Writes by system calls are seen, not refused.
    kernel_writes: bool
    #: False: it treats every page as written.
    arms: bool
    #: Each first write raises a signal.
    uses_signal: bool
    #: Arming splits mappings, whose number is limited.
    splits_mappings: bool


class Driver(NamedTuple):
    """A row of the core's table, struct hl_driver_ops."""

    name: str
    #: The device file that it opens, if any.
    device: str | None
    #: It is a security boundary: it contains a hostile guest.
    is_boundary: bool
    #: A guest's writes are writes of this process.
    host_sees_writes: bool
    #: Pages of guest memory must not be dropped: all of it is resident.
    pins_memory: bool
    #: It has been tested on a fake of its hypervisor only.
    is_unseen: bool = False
    #: It is another system's: listed, with that for a reason.
    is_elsewhere: bool = False


#: Both in order of preference; trackers of this process come first.
TRACKERS = tuple(Tracker(*row) for row in core.TRACKERS)
DRIVERS = tuple(Driver(*row) for row in core.DRIVERS)

#: Names of the guest ABIs, in the order in which a file is offered to them.
ABIS = core.ABIS

#: Names of those that track what this process writes.
HOST_TRACKERS = tuple(t.name for t in TRACKERS if t.driver is None)
