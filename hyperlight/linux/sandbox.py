"""A baked program, which answers requests."""

from __future__ import annotations

from typing import NoReturn, cast

from hyperlight.linux.machine import ProgramMachine
from hyperlight.sandbox.machine import Machine
from hyperlight.sandbox.sandbox import Sandbox

__all__ = ["ProgramSandbox"]


class ProgramSandbox(Sandbox):
    """A program that was started once, and waits for requests.

    Made by :meth:`Program.bake`. Everything that a :class:`Sandbox` can do
    with its state is done the same way; a program has no functions to call.
    """

    _gone = "operation on a closed Sandbox"

    def __init__(self) -> None:
        raise TypeError("a ProgramSandbox is made by Program.bake()")

    @classmethod
    def _of(cls, machine: ProgramMachine, token: object) -> ProgramSandbox:
        made = cls.__new__(cls)
        made._functions, made._token = {}, token
        made._machine = cast(Machine, machine)  # its state is what is used
        return made

    def _program(self) -> ProgramMachine:
        return cast(ProgramMachine, self._open())

    def request(self, data: bytes, timeout: float | None = None) -> bytes:
        """One exchange: the program reads `data`, and writes an answer.

        Nothing is put back: :meth:`restore` does that, or :meth:`transaction`.

        Args:
            data: What the program reads from ``/dev/hyperlight``.
            timeout: Seconds; None for the configuration's ``call_timeout``.

        Returns:
            What the program wrote there before it waited for the next request.

        Raises:
            ProgramExited: It ended; restore the sandbox to use it again.
            LimitExceeded, GuestTimeout, GuestInterrupted: Likewise.
            SandboxPoisoned: An earlier request failed: restore first.
            TypeError: `data` is not bytes.
        """
        return self._program().exchange(
            self._token, bytes(memoryview(data)), timeout
        )

    def output(self) -> tuple[bytes, bytes]:
        """What the program wrote to standard output and error.

        Since the last request began, or since this was called.
        """
        return self._program().core.output(self._token)

    def devolve(self) -> NoReturn:
        """Not for programs: what was before the bake cannot be had again."""
        raise TypeError("devolve: a baked program cannot go back to its start")

    def __enter__(self) -> ProgramSandbox:
        super().__enter__()
        return self

    def __repr__(self) -> str:
        machine = self._machine
        if machine is None or self.closed:
            return "<ProgramSandbox, closed>"
        return (
            f"<ProgramSandbox of {machine.name!r}, driver {machine.driver!r}>"
        )
