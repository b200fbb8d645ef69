"""One request to a Python sandbox, until its result is there.

Nothing that comes from the guest is believed: each packet is checked before
anything is made of it, and one that is wrong ends the request.
"""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from hyperlight.errors import (
    GuestAborted,
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    LimitExceeded,
)
from hyperlight.linux.answers import Answers
from hyperlight.linux.conversation import Conversation
from hyperlight.linux.guest.packets import (
    ASK,
    ENTROPY,
    FAILED,
    KNOWN,
    LONGEST,
    NOTHING,
    PLAIN,
    RESULT,
    ROOM,
    SHOWN,
    USUAL,
)
from hyperlight.linux.guest.values import decode, encode
from hyperlight.linux.results import PythonError
from hyperlight.text import brief

__all__ = ["Dialogue", "Limits", "Outcome", "Stream"]

#: What is called with each piece of output.
Stream = Callable[[str], object]

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Limits(NamedTuple):
    """What a request may take."""

    #: What is limited, as errors name it.
    what: str
    #: Seconds in the guest; None: no limit.
    seconds: float | None
    #: Who set that.
    origin: str
    #: Bytes of a packet.
    packet: int
    #: Bytes of output, of both streams together.
    output: int


class Outcome(NamedTuple):
    """What a guest answered to a request."""

    value: Any
    #: The repr of a value that is no plain one.
    shown: str | None
    has_value: bool
    error: PythonError | None


class _Text:
    """One stream of output: collected, and passed on as it comes."""

    def __init__(self, stream: Stream | None) -> None:
        self._decoder = _new_decoder("backslashreplace")
        self._stream = stream
        self._pieces: list[str] = []
        self._raw: list[bytes] = []

    def add(self, data: bytes, final: bool = False) -> None:
        self._raw.append(data)
        text = self._decoder.decode(data, final)
        if text:
            self._pieces.append(text)
            if self._stream is not None:
                self._stream(text)

    def text(self) -> str:
        return "".join(self._pieces)

    def bytes(self) -> bytes:
        return b"".join(self._raw)


class Dialogue:
    """One request, its host calls and its output."""

    def __init__(
        self,
        conversation: Conversation,
        answers: Answers,
        limits: Limits,
        on_stdout: Stream | None,
        on_stderr: Stream | None,
        live: bool = False,
    ) -> None:
        self._conversation = conversation
        #: The conversation was started to stream.
        self._live = live
        self._answers = answers
        self._limits = limits
        self._texts = _Text(on_stdout), _Text(on_stderr)
        self._written = 0
        self._interrupted = False
        #: Seconds in the guest so far.
        self.seconds: float = 0.0
        self.host_calls: int = 0

    @property
    def stdout(self) -> str:
        """What was written so far."""
        return self._texts[0].text()

    @property
    def stderr(self) -> str:
        """What was written so far."""
        return self._texts[1].text()

    def request(self, kind: bytes, content: bytes) -> Outcome:
        """Make the request, serve the guest, and return what it answered.

        Raises:
            ValueError: The request is too large. The guest did not run.
            HyperlightError: The guest did not answer, or not as it should.
                Its output so far is in attributes of the error.
        """
        self._refuse_size(len(content))
        if self._live:
            self._conversation.stream(
                lambda *output: self._take_output(output)
            )
        packet = kind + os.urandom(ENTROPY) + content
        self._answers.failure = None
        try:
            while True:
                packet = self._exchange(packet)
                if packet[:1] == RESULT:
                    self._end_output()
                    return self._outcome(packet)
                packet = self._answer(packet)
        except HyperlightError as error:
            self._end_output()
            self.tell(error)
            raise

    def interrupt(self) -> None:
        """Let the guest not go on; ends no exchange that is under way."""
        self._interrupted = True

    def tell(self, error: HyperlightError) -> None:
        """Give an error the output so far."""
        error.stdout, error.stderr = (text.bytes() for text in self._texts)

    def _refuse_size(self, size: int) -> None:
        if size > self._limits.packet:
            raise ValueError(
                f"{self._limits.what}: code and values take {size} bytes as a "
                f"message, but at most {self._limits.packet} are allowed"
            )

    def _exchange(self, packet: bytes) -> bytes:
        if len(packet) > USUAL:
            room = self._once(ROOM + encode(len(packet)))
            if room != ROOM:
                self._abort("it made no room for a packet")
        return self._once(packet)

    def _once(self, packet: bytes) -> bytes:
        limits = self._limits
        if self._interrupted:
            raise GuestInterrupted(limits.what)
        left = None
        if limits.seconds is not None:
            left = limits.seconds - self.seconds
            if left <= 0:
                raise GuestTimeout(limits.what, limits.seconds, limits.origin)
        begun = time.monotonic()
        try:
            answer = self._conversation.exchange(packet, left)
        except HyperlightError as error:
            # It may have the output already, which is nowhere else then.
            self._take_output(
                (getattr(error, "stdout", b""), getattr(error, "stderr", b""))
            )
            self._take_output(self._conversation.output())
            if isinstance(error, GuestTimeout):
                raise GuestTimeout(
                    limits.what, limits.seconds, limits.origin
                ) from None
            raise
        finally:
            self.seconds += time.monotonic() - begun
        self._take_output(self._conversation.output())
        if len(answer) > limits.packet:
            raise LimitExceeded("packet_size", limits.packet)
        return answer

    def _take_output(self, output: tuple[bytes, bytes]) -> None:
        for text, data in zip(self._texts, output, strict=True):
            if data:
                room = self._limits.output - self._written
                self._written += len(data)
                text.add(data[: max(room, 0)])
        if self._written > self._limits.output:
            raise LimitExceeded("output_limit", self._limits.output)

    def _end_output(self) -> None:
        for text in self._texts:
            text.add(b"", True)

    def _answer(self, packet: bytes) -> bytes:
        """Do what the guest asks for."""
        kind, asked = packet[:1], self._decoded(packet, 1)
        if kind == KNOWN and type(asked) is str:
            return self._answers.known(asked)
        if kind != ASK or _types(asked) != (str, bytes, bytes):
            self._abort(f"it sent a packet of kind {brief(kind)}")
        name = asked[0]
        args, kwargs = (self._decoded(data) for data in asked[1:])
        if type(args) is not tuple or type(kwargs) is not dict:
            self._abort("it called a host function without arguments")
        if not all(type(key) is str for key in kwargs):
            self._abort("it called a host function with a key that is no str")
        self.host_calls += 1
        return self._answers.call(name, args, kwargs)

    def _outcome(self, packet: bytes) -> Outcome:
        kind = packet[1:2]
        if kind == NOTHING and len(packet) == 2:
            return Outcome(None, None, False, None)
        value = self._decoded(packet, 2)
        if kind == PLAIN:
            return Outcome(value, None, True, None)
        if kind == SHOWN and _texts(value, 1):
            return Outcome(None, value[0], True, None)
        if kind != FAILED or not _texts(value, 3):
            self._abort(f"it sent a result of kind {brief(kind)}")
        error = PythonError(*value)
        if error.type == "host.HostError":
            error.__cause__ = self._answers.failure
        return Outcome(None, None, False, error)

    def _decoded(self, data: bytes, start: int = 0) -> Any:
        try:
            return decode(data[start:])
        except ValueError as error:
            self._abort(f"it sent no value: {error}")

    def _abort(self, why: str) -> NoReturn:
        raise GuestAborted(f"the guest broke the protocol: {why}")


def _types(value: Any) -> tuple[type, ...] | None:
    """Types of the items of a tuple."""
    return tuple(map(type, value)) if type(value) is tuple else None


def _texts(value: Any, number: int) -> bool:
    """Whether these are texts, as short as the guest's own code cuts them."""
    return _types(value) == (str,) * number and all(
        len(text) <= LONGEST + 100 for text in value
    )
