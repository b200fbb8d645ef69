"""Building guests: freestanding x86-64 programs that run in a sandbox.

A guest is C that includes ``hyperlight.h`` and exports functions; it is
linked with the SDK, which is part of this package, by the system's compiler.
"""

import sys as _sys

from hyperlight._late import Package as _Package

TYPE_CHECKING = False  # at run time, see hyperlight._late
if TYPE_CHECKING:
    from hyperlight.guest.builder import (
        GuestBuildError,
        build,
        sdk_path,
        shipped,
    )

__all__ = ["GuestBuildError", "build", "sdk_path", "shipped"]

_sys.modules[__name__].__class__ = _Package
del TYPE_CHECKING
