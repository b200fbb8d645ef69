"""Systems that programs of Linux do not run on."""

from __future__ import annotations

import sys

from hyperlight.errors import DriverUnavailable

__all__ = ["refuse_elsewhere"]


def refuse_elsewhere() -> None:
    """Raise DriverUnavailable, unless this is Linux."""
    if sys.platform != "linux":
        raise DriverUnavailable(
            "any", f"programs need Linux, and this is {sys.platform}"
        )
