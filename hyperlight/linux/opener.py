"""Starts the interpreter of a Python sandbox as a program in a machine."""

from __future__ import annotations

import dataclasses

from hyperlight.errors import HyperlightError
from hyperlight.linux.conversation import Sink, Start
from hyperlight.linux.files import Files
from hyperlight.linux.machine import ProgramMachine, Recipe
from hyperlight.pageset import PageSet
from hyperlight.sandbox.config import SandboxConfig, config_or_default
from hyperlight.snapshot import Snapshot
from hyperlight.stats import RestoreStats
from hyperlight.text import brief

__all__ = ["Baked", "open_baked"]

#: What scripts may call a home.
_ENVIRONMENT = {"HOME": "/", "LANG": "C.UTF-8", "PATH": "/python/bin"}


class Baked:
    """A baked program as a conversation."""

    def __init__(self, recipe: Recipe, streams: bool = False) -> None:
        early: list[tuple[bytes, bytes]] = []

        def keep(stdout: bytes, stderr: bytes) -> None:
            early.append((stdout, stderr))

        self._token = object()
        self._sink: Sink = keep
        self._machine = ProgramMachine(
            recipe, self._token, b"", self._pass if streams else None
        )
        try:
            self._machine.exchange(self._token, None, None, None)
            self._machine.bake(self._token)
        except BaseException as error:
            self._machine.close(self._token)
            if isinstance(error, HyperlightError) and early:
                outs, errs = map(b"".join, zip(*early, strict=True))
                error.stdout = outs + getattr(error, "stdout", b"")
                error.stderr = errs + getattr(error, "stderr", b"")
            raise

    def _pass(self, stdout: bytes, stderr: bytes) -> None:
        self._sink(stdout, stderr)

    def stream(self, sink: Sink) -> None:
        """Whom to give output as soon as it is written."""
        self._sink = sink

    def exchange(self, packet: bytes, timeout: float | None) -> bytes:
        """Give a packet to the program, and return the next it writes."""
        return self._machine.exchange(self._token, packet, timeout)

    def output(self) -> tuple[bytes, bytes]:
        """What it wrote in the last exchange."""
        if self._machine.core.poisoned:  # the error has it
            return b"", b""
        return self._machine.core.output(self._token)

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Freeze its state, which becomes the current one."""
        return self._machine.take(self._token, name)

    def restore(self, snapshot: Snapshot | None = None) -> RestoreStats:
        """Put back a state; None: the current one."""
        return self._machine.restore(self._token, snapshot)

    def changed(self, snapshot: Snapshot | None, everything: bool) -> PageSet:
        """Pages that differ from a state; None: the current one."""
        chosen = self._machine.chosen(snapshot)
        return self._machine.changed(self._token, chosen, everything)

    def interrupt(self) -> None:
        """End the exchange under way."""
        self._machine.core.interrupt(self._token)

    def close(self) -> None:
        """Free everything."""
        self._machine.close(self._token)


def open_baked(start: Start) -> Baked:
    """Start an interpreter, and return once it waits for its first packet.

    Raises:
        TypeError: `files` is no Files, or `config` no SandboxConfig.
    """
    files = Files() if start.files is None else start.files
    if not isinstance(files, Files):
        raise TypeError(f"files={brief(files)} is not a Files")
    files = files.copy()
    for host, guest in start.interpreter.shown:
        files.host(host, guest)
    config: SandboxConfig = config_or_default(start.config)
    config = dataclasses.replace(config, memory=start.memory)
    env = {**_ENVIRONMENT, **start.env}
    return Baked(Recipe(start.argv, env, files, "/", config), start.streams)
