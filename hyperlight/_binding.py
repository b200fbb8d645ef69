"""The C core, or what stands in for it on systems it is not built for."""

from __future__ import annotations

import sys

if sys.platform == "linux":
    from hyperlight import _core as core
else:
    from hyperlight import _absent as core

__all__ = ["core"]
