"""A conversation with an interpreter that is only a process.

It stands for a machine where what is tested is the talk of both sides. A
restore starts a new process; states that were kept cannot be put back.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from hyperlight import GuestTimeout
from hyperlight.errors import ProgramExited
from hyperlight.linux.conversation import Sink, Start
from hyperlight.linux.guest.packets import NOTHING, RESULT
from hyperlight.linux.interpreter import GUEST, PACKAGES, PATHS
from hyperlight.linux.python import PythonSandbox

_ROOM = 8 << 20


class FakeConversation:
    """See :class:`hyperlight.linux.conversation.Conversation`."""

    def __init__(self, start: Start, wrapper: tuple[str, ...] = ()) -> None:
        self.start = start
        self.wrapper = wrapper
        self.process: subprocess.Popen[bytes] | None = None
        self.exchanges = 0
        self._begin()

    def _argv(self, descriptor: int) -> list[str]:
        """The command as this host has its files."""
        interpreter = self.start.interpreter
        host = {guest: host for host, guest in interpreter.shown}
        argv = list(self.start.argv)
        argv[0] = interpreter.executable
        argv[argv.index(GUEST)] = host[GUEST]
        argv[-2] = f"fd:{descriptor}"
        argv[-1] = argv[-1].replace(PACKAGES, self._packages(host))
        for path in interpreter.paths:
            if path.startswith(PATHS):
                argv[-1] = argv[-1].replace(path, host[path])
        return [*self.wrapper, *argv]

    @staticmethod
    def _packages(host: dict[str, str]) -> str:
        for guest, path in host.items():
            if guest.startswith(PACKAGES):
                return path.removesuffix(guest.removeprefix(PACKAGES))
        return PACKAGES

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (ours, theirs):
            with contextlib.suppress(PermissionError):
                one.setsockopt(socket.SOL_SOCKET, 32, _ROOM)  # SO_SNDBUFFORCE
        self._socket = ours
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._seen = [0, 0]
        self.process = subprocess.Popen(
            self._argv(theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
            env={},
            pass_fds=[theirs.fileno()],
        )
        #: The device's number in the interpreter.
        self.descriptor = theirs.fileno()
        theirs.close()
        self.dirty = False

    def come_up(self) -> None:
        """Wait until it waits for its first packet, as a machine does."""
        assert self.process is not None
        state = Path(f"/proc/{self.process.pid}/syscall")
        # System call 0 is read, and the next number its descriptor.
        asleep = f"0 {self.descriptor:#x} "
        deadline = time.monotonic() + 60
        while state.exists() and self.process.poll() is None:
            if state.read_text().startswith(asleep):
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def exchange(self, packet: bytes, timeout: float | None) -> bytes:
        if not self.dirty:
            self.come_up()
        self.exchanges += 1
        self.dirty = True
        assert self.process is not None
        try:
            self._socket.settimeout(timeout)
            self._socket.send(packet)
            answer = self._socket.recv(_ROOM)
        except TimeoutError:
            raise GuestTimeout("exchange", timeout) from None
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            code = self.process.wait(10)
            if code < 0:
                raise ProgramExited(None, -code)
            raise ProgramExited(code, None)
        return answer

    def stream(self, sink: Sink) -> None:
        """A process streams nothing: all is in output()."""

    def output(self) -> tuple[bytes, bytes]:
        read = []
        for i, file in enumerate(self._files):
            size = os.fstat(file.fileno()).st_size
            data = os.pread(file.fileno(), size - self._seen[i], self._seen[i])
            self._seen[i] += len(data)
            read.append(data)
        return read[0], read[1]

    def snapshot(self, name: str | None = None) -> Any:
        pytest.fail("a process has no snapshots: needs_machine has")

    def restore(self, snapshot: Any = None) -> Any:
        assert snapshot is None
        if self.dirty:
            self._end()
            self._begin()

    def interrupt(self) -> None:
        pytest.fail("a process is not interrupted: a machine is")

    def _end(self) -> None:
        assert self.process is not None
        self._socket.close()
        self.process.kill()
        self.process.wait()
        for file in self._files:
            file.close()

    def close(self) -> None:
        self._end()


class FakePython(PythonSandbox):
    """A PythonSandbox over a process, which protects from nothing."""

    @staticmethod
    def _opener(start: Start) -> FakeConversation:
        return FakeConversation(start)


#: The answer to a request that gave nothing.
OK = RESULT + NOTHING


class Recorded:
    """A conversation that notes what is done to it."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers = list(answers)
        self.done: list[str] = []
        #: Raised by the next restore, in place of it.
        self.strikes: BaseException | None = None

    def exchange(self, packet: bytes, timeout: float | None) -> bytes:
        self.done.append("exchange")
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def output(self) -> tuple[bytes, bytes]:
        return b"", b""

    def snapshot(self, name: str | None = None) -> str:
        self.done.append("snapshot")
        return f"state {len(self.done)}"

    def restore(self, snapshot: object = None) -> None:
        strikes, self.strikes = self.strikes, None
        if strikes is not None:
            raise strikes
        self.done.append(f"restore {snapshot}")

    def changed(self, snapshot: object, everything: bool) -> None:
        self.done.append("changed")

    def interrupt(self) -> None:
        self.done.append("interrupt")

    def close(self) -> None:
        self.done.append("close")


def on(conversation: Recorded, **kwargs: Any) -> FakePython:
    """A sandbox that has this conversation."""

    class Sandbox(FakePython):
        @staticmethod
        def _opener(start: Start) -> Any:
            return conversation

    return Sandbox(**kwargs)


def recorded(*answers: bytes | BaseException) -> tuple[FakePython, list[str]]:
    """A sandbox that is answered so, and what was done to it."""
    conversation = Recorded(*answers)
    return on(conversation), conversation.done
