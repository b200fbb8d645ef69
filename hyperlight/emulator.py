"""Location of the emulator's library."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hyperlight._binding import core

__all__ = ["find_emulator"]


def find_emulator() -> str | None:
    """Tell the core where the ``unicorn`` package has its library.

    Looks each time, since it may have been installed meanwhile.
    """
    for path in _libraries():
        core.set_emulator_library(path)
        return path
    return None


def _libraries() -> list[str]:
    """Paths of Unicorn's library, the preferred version first.

    Any error in a package of that name, or in the import system, means that
    there is no such library.
    """
    try:
        spec = importlib.util.find_spec("unicorn")
        found = [
            path
            for folder in (spec and spec.submodule_search_locations) or ()
            for pattern in ("libunicorn.so*", "unicorn.dll")
            for path in Path(folder, "lib").glob(pattern)
            if path.is_file()
        ]
    except Exception:
        return []
    return sorted(
        map(str, found), key=lambda path: (not path.endswith(".so.2"), path)
    )
