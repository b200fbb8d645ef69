"""A program in its machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from hyperlight._binding import core
from hyperlight.errors import (
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    LimitExceeded,
    ProgramExited,
)
from hyperlight.linux.calls import call_name
from hyperlight.linux.elsewhere import refuse_elsewhere
from hyperlight.linux.files import Files
from hyperlight.linux.giver import Giver
from hyperlight.linux.layout import plan_program
from hyperlight.linux.nodes import Content, Folder, HostFile
from hyperlight.sandbox.calls import Limit
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.faults import describe_fault
from hyperlight.sandbox.state import GuestState
from hyperlight.snapshot import Snapshot
from hyperlight.text import brief

__all__ = ["Ended", "ProgramMachine", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What a program is started with; see :class:`Program`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Files
    cwd: str
    config: SandboxConfig


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, or else the signal."""

    exit_code: int | None
    signal: int | None


class ProgramMachine(GuestState[core.ProgramCore]):
    """A program that has not run yet, and then one that waits for requests.

    Raises:
        FileNotFoundError: There is no such file among the program's.
        ValueError: It is no program.
        LayoutError, DriverUnavailable, TrackerUnavailable, MemoryError: As
            for any sandbox.
    """

    def __init__(
        self,
        recipe: Recipe,
        token: object,
        stdin: bytes = b"",
        on_output: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        refuse_elsewhere()
        config = _with_room(recipe.config, recipe.files)
        files = _with_folder(recipe.files, recipe.cwd)
        file = _executable(recipe.files, recipe.argv[0])
        image = core.ImageCore(file, True)
        path = image.facts["interpreter"].rstrip(b"\0").decode()
        loader = _executable(recipe.files, path) if path else None
        interpreter = None if loader is None else core.ImageCore(loader, True)
        planned = plan_program(image.facts, config)
        # Its states hold numbers of what this object keeps for it, such as the
        # bytes of files: they are of no other machine.
        own = os.urandom(16)
        digest = hashlib.sha256(file + (loader or b"") + own).digest()

        def make(driver: str, tracker: str | None) -> core.ProgramCore:
            return core.ProgramCore(
                driver,
                tracker,
                config.rearm == "adaptive",
                image,
                interpreter,
                planned.base,
                planned.slots,
                planned.mapped,
                planned.spans,
                _start_of(recipe),
            )

        super().__init__(recipe.argv[0], config, digest, planned, make)
        self._giver = Giver(self.core, files._root)
        self._on_output = on_output
        self._give_files(recipe, stdin)
        self.core.face = token

    def _give_files(self, recipe: Recipe, stdin: bytes) -> None:
        config = self.config
        calls = config.system_calls
        self.core.set_up(
            stdin,
            int(config.output_limit),
            (1 << 63) if calls is None else int(calls),
            int(config.open_files),
            self._on_output is not None,
        )
        try:
            self._giver.start(recipe.files._names_of(recipe.cwd))
        except OSError as error:
            raise ValueError(f"its files cannot be given: {error}") from None

    def exchange(
        self,
        token: object,
        request: bytes | None,
        timeout: float | None,
        what: str | None = "request",
    ) -> bytes:
        """Run until the program waits for a request; what it answered.

        Args:
            token: The holder's.
            request: None: it has not run yet, and nothing is asked.
            timeout: Seconds; None for the configuration's.
            what: What takes that time, as an error says it; None: its start,
                which has a limit of its own.

        Raises:
            ProgramExited: It ended instead.
            LimitExceeded, GuestTimeout, GuestInterrupted: The sandbox is
                poisoned, and the error carries the output so far.
        """
        limit = Limit.of(self.config, what, timeout)
        if what is None and timeout is None:
            seconds = self.config.start_timeout
            limit = Limit(None, seconds, "start_timeout")
        frozen = self.config.frozen_time
        return self.core.exchange(
            token,
            limit.nanoseconds(),
            request,
            0 if frozen is None else max(1, int(frozen * 1e9)),
            lambda reason: self._serve(limit, reason),
        )

    def _serve(self, limit: Limit, reason: int) -> None:
        """What the program asks for, until it waits for a request."""
        while reason != core.LEFT_READY:
            if reason == core.LEFT_ASKS:
                self.core.inside = "the program's files"
                self._giver.answer()
            elif reason == core.LEFT_OUTPUT:
                self.core.inside = "a handler of output"
                self._pass_output()
            else:
                self._give_up(limit, reason)
            self.core.inside = None
            reason = self.core.resume()

    def _pass_output(self) -> None:
        if self._on_output is not None:
            self._on_output(*self.core.output(self.core.face))

    def _give_up(self, limit: Limit, reason: int) -> NoReturn:
        error = self._error(limit, reason)
        error.stdout, error.stderr = self.core.output(self.core.face)
        raise error

    def _error(
        self, limit: Limit, reason: int
    ) -> ProgramExited | LimitExceeded | GuestTimeout | GuestInterrupted:
        end, number, exceeded, _ = self.core.ended()
        if reason == core.LEFT_TIMEOUT:
            return GuestTimeout(limit.function, limit.seconds, limit.origin)
        if reason == core.LEFT_INTERRUPTED:
            return GuestInterrupted(limit.function)
        if reason == core.LEFT_LIMIT:
            name = _LIMITS[exceeded]
            return LimitExceeded(name, getattr(self.config, name))
        if end == core.END_NONE:
            raise self._fault()
        exited = end == core.END_EXITED
        detail = ""
        if not exited:
            detail = _signal_name(number)
            if reason == core.LEFT_EXITED and self.core.left_by()[0] == (
                core.EXIT_EXCEPTION
            ):
                detail = f"{detail}: {self._fault()}"
        return ProgramExited(
            number if exited else None,
            None if exited else number,
            refused=self.refused(),
            detail=detail,
        )

    def _fault(self) -> HyperlightError:
        return describe_fault(
            self.core.left_by(),
            self.layout,
            read=lambda address, size: self.core.code_at(address)[:size],
            detail=self.core.left_detail(),
        )

    def refused(self) -> dict[str, int]:
        """System calls that were not served so far, in a call."""
        return {
            call_name(number): count
            for number, count in self.core.refused().items()
        }

    def bake(self, token: object) -> None:
        """End its trusted start, and take the base snapshot."""
        self.core.bake(token)
        self.base: Snapshot | None = self.take(token, "base")


_LIMITS = {
    core.LIMIT_OUTPUT: "output_limit",
    core.LIMIT_CALLS: "system_calls",
}


def _with_room(config: SandboxConfig, files: Files) -> SandboxConfig:
    """The configuration, with room for temporary folders."""
    if files.room <= int(config.files_size):
        return config
    return dataclasses.replace(config, files_size=files.room)


def _with_folder(files: Files, cwd: str) -> Files:
    """The files, with all that leads to this folder.

    Raises:
        ValueError: There is no such folder, or a link leads to it.
    """
    if not isinstance(files._find(cwd), Folder):
        raise ValueError(f"cwd={brief(cwd)}: the program has no such folder")
    try:
        return files.copy().folder(cwd)
    except NotADirectoryError:
        raise ValueError(
            f"cwd={brief(cwd)}: name the folder itself, and no link to it"
        ) from None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _executable(files: Files, path: str) -> bytes:
    """Bytes of a program's file.

    Raises:
        FileNotFoundError: The program's files have none there.
    """
    node = files._find(path)
    if isinstance(node, HostFile):
        return node.read()
    if isinstance(node, Content) and isinstance(node.data, bytes):
        return node.data
    raise FileNotFoundError(
        f"the program's files have no {path!r} that could be run"
    )


def _start_of(recipe: Recipe) -> tuple[bytes, int, int]:
    """Arguments and environment as the core has them.

    Raises:
        ValueError: A text has a NUL in it, or a name an equals sign.
    """
    texts = [*recipe.argv]
    for name, value in recipe.env.items():
        if not name or "=" in name:
            raise ValueError(f"env: {name!r} is no name of a variable")
        texts.append(f"{name}={value}")
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    for text in encoded:
        if b"\0" in text:
            raise ValueError(f"{text!r} has a NUL in it")
    return (
        b"".join(text + b"\0" for text in encoded),
        len(recipe.argv),
        len(recipe.env),
    )
