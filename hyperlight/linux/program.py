"""Unmodified Linux programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hyperlight.errors import HyperlightError, ProgramExited
from hyperlight.linux.files import Files
from hyperlight.linux.machine import ProgramMachine, Recipe
from hyperlight.linux.sandbox import ProgramSandbox
from hyperlight.sandbox.config import SandboxConfig, config_or_default
from hyperlight.text import brief

__all__ = ["ENVIRONMENT", "Completed", "Program"]

#: What a program has in its environment if nothing is said.
ENVIRONMENT = {"HOME": "/", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}


@dataclass(frozen=True)
class Completed:
    """How a program ended, and what it wrote."""

    #: What it exited with, 0 to 255; None: a signal ended it.
    exit_code: int | None
    #: Number of the signal that ended it; None: it exited.
    signal: int | None
    #: What it wrote to its standard output.
    stdout: bytes
    #: What it wrote to its standard error.
    stderr: bytes
    #: System calls that were not served, by name, and how often.
    refused: dict[str, int] = field(default_factory=dict)
    #: More for people: what ended it.
    detail: str = ""


class Program:
    """A recipe for running an unmodified Linux program; nothing runs yet.

    Args:
        argv: Arguments, the first of which is the path of the program among
            its files.
        env: Its environment; None: ``PATH``, ``HOME`` and ``LANG`` only.
        files: What it sees as files; None: the file ``argv[0]`` of the host,
            and nothing else.
        cwd: The folder that it begins in.
        config: Memory, limits, driver.

    Raises:
        TypeError: An argument has the wrong type, or `argv` is empty.

    A program has one thread, no other processes and no network. What it asks
    for beyond that is refused with the error that it expects, and counted.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        files: Files | None = None,
        cwd: str | os.PathLike[str] = "/",
        config: SandboxConfig | None = None,
    ) -> None:
        if isinstance(argv, (str, bytes)) or not argv:
            raise TypeError(f"argv={brief(argv)} is not a list of arguments")
        texts = tuple(os.fspath(argument) for argument in argv)
        variables = dict(ENVIRONMENT if env is None else env)
        for text in (*texts, *variables, *variables.values()):
            if not isinstance(text, str):
                raise TypeError(f"argv and env: {brief(text)} is not text")
        if files is None:
            files = Files().host(texts[0])
            texts = (os.path.abspath(texts[0]), *texts[1:])
        elif not isinstance(files, Files):
            raise TypeError(f"files={brief(files)} is not a Files")
        self._recipe = Recipe(
            texts,
            variables,
            files.copy(),
            os.fspath(cwd),
            config_or_default(config),
        )

    def run(
        self,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes, bytes], None] | None = None,
    ) -> Completed:
        """Run it to its end, in a machine of its own.

        Args:
            stdin: What it reads from its standard input.
            timeout: Seconds; None for the configuration's ``call_timeout``.
            on_output: Called with what was written to standard output and to
                error, as soon as it is; then they are not in the result.

        Raises:
            LimitExceeded, GuestTimeout: With the output so far.
            HyperlightError: It waits for a request: use :meth:`bake`.
            FileNotFoundError, ValueError: It cannot be run.
            TypeError: `stdin` is not bytes, or `on_output` cannot be called.
        """
        if on_output is not None and not callable(on_output):
            raise TypeError(f"on_output={brief(on_output)} cannot be called")
        stdin = bytes(memoryview(stdin))
        token = object()
        machine = ProgramMachine(self._recipe, token, stdin, on_output)
        try:
            machine.exchange(token, None, timeout, "run")
        except ProgramExited as ended:
            return Completed(
                ended.exit_code,
                ended.signal,
                ended.stdout,
                ended.stderr,
                ended.refused,
                ended.detail,
            )
        finally:
            machine.close(token)
        raise HyperlightError(
            "the program waits for a request: bake() is for such programs"
        )

    def bake(self, *, timeout: float | None = None) -> ProgramSandbox:
        """Run it until it waits for its first request, and keep it there.

        Its start is trusted; from then on no memory becomes executable any
        more. The sandbox answers requests, and can be put back to this state.

        Raises:
            ProgramExited: It ended instead.
            LimitExceeded, GuestTimeout: As :meth:`run`.
        """
        token = object()
        machine = ProgramMachine(self._recipe, token)
        try:
            machine.exchange(token, None, timeout, None)
            machine.bake(token)
        except BaseException:
            machine.close(token)
            raise
        return ProgramSandbox._of(machine, token)

    def __repr__(self) -> str:
        return f"<Program {' '.join(self._recipe.argv)!r}>"
