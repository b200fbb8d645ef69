"""Building guests: freestanding x86-64 programs that run in a sandbox.

A guest is C that includes ``hyperlight.h`` and exports functions; it is
linked with the SDK, which is part of this package, by the system's compiler.
"""

from hyperlight.guest.builder import (
    GuestBuildError,
    build,
    sdk_path,
    shipped,
)

__all__ = ["GuestBuildError", "build", "sdk_path", "shipped"]

for _name in __all__:
    globals()[_name].__module__ = "hyperlight.guest"
del _name
