"""What a Python sandbox needs of the machine below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hyperlight.linux.interpreter import Interpreter
from hyperlight.pageset import PageSet

__all__ = ["Conversation", "Opener", "Sink", "Start"]

#: Called with what was written to standard output, and to error.
Sink = Callable[[bytes, bytes], None]


class Conversation(Protocol):
    """A baked program that waits for packets on its device.

    :meth:`exchange` may raise GuestTimeout, GuestInterrupted, GuestAborted,
    LimitExceeded and :class:`~hyperlight.ProgramExited`; after any of them the
    program is in no state to be spoken to, until :meth:`restore`. Output that
    such an error has as ``stdout`` and ``stderr`` is not in :meth:`output` any
    more.
    """

    def exchange(self, packet: bytes, timeout: float | None) -> bytes:
        """Give a packet to the program, and return the next that it writes."""

    def output(self) -> tuple[bytes, bytes]:
        """What it wrote to descriptors 1 and 2 in the last exchange."""

    def stream(self, sink: Sink) -> None:
        """Whom to give output as soon as it is written, in exchanges.

        Only if it was started with ``streams``. What was given is not in
        :meth:`output` any more.
        """

    def snapshot(self, name: str | None = None) -> Any:
        """Freeze its state, which becomes the current one."""

    def restore(self, snapshot: Any = None) -> Any:
        """Put back a state; None: the current one."""

    def changed(self, snapshot: Any, everything: bool) -> PageSet:
        """Pages that differ from a state; None: the current one."""

    def interrupt(self) -> None:
        """End the exchange under way, if any; from any thread."""

    def close(self) -> None:
        """Free everything."""


@dataclass(frozen=True)
class Start:
    """All that a machine must know to start an interpreter and bake it."""

    interpreter: Interpreter
    #: The program and its arguments, all of them.
    argv: tuple[str, ...]
    env: dict[str, str]
    #: What was given as `files`, `memory` and `config`, as it was given.
    files: Any
    memory: Any
    config: Any
    #: Output is wanted as soon as it is written.
    streams: bool = False


#: Starts an interpreter, and returns once it waits for its first packet.
Opener = Callable[[Start], Conversation]
