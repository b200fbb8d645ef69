"""The C core, or what stands in for it on systems it is not built for."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as typing's, which takes long to import

# Checkers of types see one library, whatever system they run on.
if TYPE_CHECKING or sys.platform in ("linux", "win32"):
    from hyperlight import _core as core
else:
    from hyperlight import _absent as core

__all__ = ["core"]
