"""The way to the host: one packet out, one packet in."""

from __future__ import annotations

import io
import os

from .packets import ROOM, USUAL
from .values import decode

__all__ = ["Device"]


class Device:
    """Packets over a device, or over an open descriptor.

    Args:
        where: A path, opened in packet mode as pipes have it, or ``fd:`` and
            a number.

    A packet in costs one system call and no allocation that makes another: it
    is read into memory that is there already.
    """

    def __init__(self, where: str) -> None:
        if where.startswith("fd:"):
            descriptor = int(where[3:])
        else:
            descriptor = os.open(where, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        self._file = io.FileIO(descriptor, "r+")
        self._room = memoryview(bytearray(USUAL))

    def receive(self) -> bytes:
        """Wait for the next packet of the host.

        Raises:
            EOFError: There will be none.
        """
        room = self._room
        while True:
            size = self._file.readinto(room)
            if not size:
                raise EOFError("the host is gone")
            if room[:1] != ROOM:
                return room[:size].tobytes()
            room = memoryview(bytearray(decode(room[1:size].tobytes())))
            self.send(ROOM)

    def send(self, packet: bytes) -> None:
        """Give a packet to the host, and wait until it sends the next."""
        self._file.write(packet)
