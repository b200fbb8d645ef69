"""Our signal handlers stay in front of others'."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import faulthandler
import functools

from hyperlight._binding import core

__all__ = ["stay_ahead_of_handlers"]


def stay_ahead_of_handlers() -> None:
    """Keep our handlers in front of those that are installed later.

    :func:`signal.signal`, ``faulthandler.enable`` and ``disable`` replace
    handlers unconditionally: the next write to an armed page would be reported
    as a crash, or repeated forever, as CPython's handler only makes a note and
    returns. So each of them is followed by
    :func:`hyperlight.reclaim_fault_handlers`, with no Python code in between,
    and their handlers get only faults that are not ours. A second call does
    nothing.
    """
    # Not signal.signal: code that imported it by name calls _signal's, too.
    for module, name in (
        (_signal, "signal"),
        (faulthandler, "enable"),
        (faulthandler, "disable"),
    ):
        original = getattr(module, name)
        if not hasattr(original, "_hyperlight"):
            wrapper = core.followed_by_reclaim(original)
            functools.update_wrapper(wrapper, original)
            wrapper._hyperlight = True
            setattr(module, name, wrapper)
