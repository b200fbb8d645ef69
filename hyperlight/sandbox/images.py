"""Guests' files, and what follows from them, worked out once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hyperlight._binding import core
from hyperlight.guest.builder import shipped
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.functions import GuestFunction, functions_of
from hyperlight.sandbox.layout import Plan, plan

__all__ = ["Guest", "Image", "read_guest"]

Guest = str | os.PathLike[str] | bytes

#: Images that are kept for the next sandbox, and bytes of the largest.
_MOST = 8
_LARGEST = 4 << 20

#: Layouts that an image remembers.
_MOST_PLANS = 16


_Exports = tuple[tuple[str, ...], dict[str, GuestFunction]]


class Image:
    """A guest's file and all that depends on nothing else.

    It never changes, so any number of sandboxes and threads share it; what is
    worked out twice at once is the same twice.

    Raises:
        ValueError: The bytes are not a guest.
    """

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.core: core.ImageCore = core.ImageCore(file)
        self.digest: bytes = hashlib.sha256(file).digest()
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._exports: _Exports = (), {}

    def plan(self, config: SandboxConfig) -> Plan:
        """The layout for a configuration's sizes."""
        sizes = (
            config.heap_size,
            config.stack_size,
            config.input_size,
            config.output_size,
        )
        planned = self._plans.get(sizes)
        if planned is None:
            planned = plan(self.core.facts, config)
            if len(self._plans) >= _MOST_PLANS:
                self._plans = {}
            self._plans[sizes] = planned
        return planned

    def functions(self, signatures: list[str]) -> dict[str, GuestFunction]:
        """What the guest exports, by name; not to be changed.

        A guest may report others each time: the last ones are remembered.
        """
        key = tuple(signatures)
        known, functions = self._exports
        if known != key or not key:
            functions = functions_of(signatures)
            self._exports = key, functions
        return functions


#: The last one that was used first. Replaced, never changed: no thread sees it
#: half done.
_kept: tuple[Image, ...] = ()


def _image_of(file: bytes) -> Image:
    """The image of these bytes.

    They are compared, which takes microseconds: neither a name nor the times
    of a file tell whether its bytes are the same.
    """
    global _kept
    kept = _kept
    for i, image in enumerate(kept):
        if image.file == file:
            if i > 0:
                _kept = (image, *kept[:i], *kept[i + 1 :])
            return image
    image = Image(file)
    if len(file) <= _LARGEST:
        _kept = (image, *kept[: _MOST - 1])
    return image


def read_guest(guest: Guest) -> tuple[str, Image]:
    """A label for people, and the guest's image.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a guest.
        TypeError: It is neither a path, nor bytes, nor a name.
    """
    if isinstance(guest, (bytes, bytearray, memoryview)):
        return f"{len(guest)} bytes", _image_of(bytes(guest))
    if not isinstance(guest, (str, os.PathLike)):
        raise TypeError(
            f"guest={guest!r} is neither a path, nor bytes, nor the name of "
            f"a guest that ships"
        )
    path = Path(guest)
    if not path.exists():
        path = shipped(str(guest))
    return path.name, _image_of(path.read_bytes())
