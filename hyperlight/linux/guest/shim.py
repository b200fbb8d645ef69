"""What the guest's interpreter runs: start, bake, then serve the host.

The first read of the device is the point of baking: whatever is to be warm,
and every extension module, comes before it.
"""

from __future__ import annotations

import builtins
import gc
import io
import json
import sys
from typing import Any

from .loading import (
    import_extensions,
    import_if_possible,
    import_usual,
    preload,
)
from .packing import pack

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Start, bake and serve.

    Args:
        arguments: The device, and settings as JSON: ``paths`` to import from
            besides the standard library, ``preload``, ``extensions`` (modules
            to import if they can be), ``host`` (names of functions),
            ``limit`` (bytes of a packet).
    """
    where, text = arguments
    settings = json.loads(text)
    gc.disable()
    _prepare_interpreter(settings["paths"])
    preload(settings["preload"])
    import_if_possible(settings["extensions"])
    openssl = "ssl" in sys.modules
    import_extensions()
    import_usual()
    pack()
    # Only now: what serves requests is to lie close together.
    from .serving import serve

    serve(where, settings["host"], settings["limit"], openssl)


def _prepare_interpreter(paths: list[str]) -> None:
    sys.path[:] = [p for p in sys.path if not p.endswith(".zip")] + paths
    sys.argv = [""]
    sys.stdout = sys.__stdout__ = _lines_to(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _lines_to(2)  # type: ignore[misc]
    # What `site` would have added, without what else it does.
    from _sitebuiltins import Quitter, _Helper

    for name in ("exit", "quit"):
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _Helper()


def _lines_to(descriptor: int) -> io.TextIOWrapper:
    """A text file whose lines go out at once, with a system call each.

    What a script said before it was stopped is not lost. There is no binary
    buffer: in some versions its lock asks for the time, which is an exit.
    """
    raw: Any = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        raw, "utf-8", "backslashreplace", line_buffering=True
    )
