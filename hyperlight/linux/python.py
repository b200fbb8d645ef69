"""Untrusted Python in a sandbox."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, NamedTuple

from hyperlight._copying import NotCopied
from hyperlight.linux.answers import Answers
from hyperlight.linux.conversation import Conversation, Opener, Start
from hyperlight.linux.dialogue import Dialogue, Limits, Outcome, Stream
from hyperlight.linux.elsewhere import refuse_elsewhere
from hyperlight.linux.files import Files
from hyperlight.linux.guest.packets import CALL, RUN
from hyperlight.linux.guest.values import encode
from hyperlight.linux.interpreter import find_interpreter
from hyperlight.linux.opener import open_baked
from hyperlight.linux.results import PythonError, PythonResult, RunStats
from hyperlight.linux.turns import Turn
from hyperlight.pageset import PageSet
from hyperlight.sandbox.config import SandboxConfig, check_timeout
from hyperlight.snapshot import Snapshot
from hyperlight.stats import RestoreStats
from hyperlight.text import brief

__all__ = ["PythonError", "PythonResult", "PythonSandbox"]

#: Bytes of one packet to the guest.
_PACKET = 16 << 20

#: Whose host functions this code runs in, from outside.
_inside: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar(
    "_inside", default=()
)


class _Answers(Answers):
    """Host functions of one sandbox, which knows when it is in them."""

    def call(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bytes:
        token = _inside.set((*_inside.get(), self))
        try:
            return super().call(name, args, kwargs)
        finally:
            _inside.reset(token)


class _Streams(NamedTuple):
    stdout: Stream | None
    stderr: Stream | None


class PythonSandbox(NotCopied):
    """A warm CPython in a sandbox, for code that nobody trusts.

    Args:
        python: Path of the interpreter; None for the one that runs this.
        preload: Modules and distributions to import before the sandbox
            starts, such as ``"numpy"``. The files of their distributions, and
            of what these depend on, are visible; nothing else that is
            installed is.
        paths: Folders of the host to import from, visible read only.
        files: What else scripts see.
        host_functions: What scripts may call as ``host.name(...)`` after
            ``import host``: plain values in, a plain value out. They may be
            ``async``.
        memory: How much memory it has, with the interpreter in it.
        config: Driver, tracker and limits.
        on_stdout, on_stderr: Called with output of scripts as it comes.

    Raises:
        ValueError: There is no such interpreter or distribution, or it cannot
            be shown to a guest.
        DriverUnavailable: This is not Linux, or there is no such driver.
        ProgramExited: Something in `preload` cannot be imported there; the
            text on its standard error says what.

    Every :meth:`run` and :meth:`call` begins in the state that the sandbox
    had when it was made, or was given by :meth:`snapshot` or :meth:`restore`,
    and that state is put back afterwards, whatever happened.

    Any thread may call any method; one runs at a time.
    """

    #: Starts the interpreter.
    _opener: ClassVar[Opener] = staticmethod(open_baked)

    def __init__(
        self,
        python: str | PathLike[str] | None = None,
        *,
        preload: Sequence[str] = (),
        paths: Sequence[str | PathLike[str]] = (),
        files: Files | None = None,
        host_functions: Mapping[str, Callable[..., Any]] | None = None,
        memory: int | str = "256MiB",
        config: SandboxConfig | None = None,
        on_stdout: Stream | None = None,
        on_stderr: Stream | None = None,
    ) -> None:
        self._conversation: Conversation | None = None
        refuse_elsewhere()
        self._turns = Turn()
        #: What runs, if something does.
        self._talk: Dialogue | None = None
        #: A run has not put the state back: so that comes first.
        self._left = False
        #: The last run left what it did, which is no snapshot yet.
        self._kept = False
        #: Sessions that are open.
        self._sessions = 0
        self._config = config or SandboxConfig()
        self._streams = _Streams(on_stdout, on_stderr)
        self._answers = _Answers(host_functions, _PACKET)
        interpreter = find_interpreter(python, preload=preload, paths=paths)
        start = Start(
            interpreter,
            interpreter.command(self._answers.names, _PACKET),
            interpreter.env,
            files,
            memory,
            config,
            self._streams != (None, None),
        )
        self._streaming = start.streams
        self._conversation = type(self)._opener(start)

    def run(
        self,
        code: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        keep: bool = False,
        on_stdout: Stream | None = None,
        on_stderr: Stream | None = None,
    ) -> PythonResult:
        """Run a script.

        Args:
            code: Its text. It may ``await`` at its top level.
            inputs: Variables that it finds, of plain values.
            timeout: Seconds in the guest; None for the configuration's
                ``call_timeout``. Time in host functions does not count.
            keep: Leave what it did: the next run begins there. Until then
                :meth:`restore` undoes it.
            on_stdout: Called with its output, instead of what was given to
                the sandbox. It comes as it is written if the sandbox was made
                with such a function, too; else when the script calls the
                host, and at its end.
            on_stderr: Likewise.

        Returns:
            The value of the last statement, output, and the exception that
            ended the script, if one did.

        Raises:
            TypeError: `inputs` holds what is no plain value; the text says
                where. The guest did not run.
            ValueError: They nest too deep, or are too large.
            GuestTimeout, GuestInterrupted, LimitExceeded, ProgramExited,
                GuestAborted: It did not come to its end. They have the output
                so far as ``stdout`` and ``stderr``, in bytes. The state before
                it was put back, also with `keep`.
        """
        if not isinstance(code, str):
            raise TypeError(f"code={brief(code)} is not a str")
        given = None
        if inputs is not None:
            given = encode(_variables(inputs), "inputs", _PACKET)
        content = encode((str.__str__(code), given))
        streams = _Streams(
            on_stdout or self._streams.stdout,
            on_stderr or self._streams.stderr,
        )
        limits = self._limits("run", timeout)
        with self._turn("run") as conversation:
            talk, outcome, stats = self._request(
                conversation, RUN, content, limits, keep, streams
            )
        return PythonResult(
            outcome.value,
            talk.stdout,
            talk.stderr,
            outcome.error,
            stats,
            outcome.has_value,
            outcome.shown,
        )

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function of a module that the guest can import.

        Args:
            function: Such as ``"json:loads"``; ``"__main__:name"`` for one
                that a run with ``keep=True`` defined.
            *args: Plain values.
            **kwargs: Plain values.

        Returns:
            What it returned, which must be a plain value.

        Raises:
            PythonError: It raised an exception, could not be found, or
                returned what is no plain value.
            TypeError: An argument is no plain value; the text says where. The
                guest did not run.
            GuestTimeout, GuestInterrupted, LimitExceeded, ProgramExited,
                GuestAborted: As for :meth:`run`.
        """
        if not isinstance(function, str) or ":" not in function:
            raise ValueError(
                f"function={brief(function)} is not of the form "
                f"'module:function'"
            )
        content = encode(
            (
                str.__str__(function),
                encode(args, "args", _PACKET),
                encode(kwargs, "kwargs", _PACKET),
            )
        )
        limits = self._limits("call", None)
        with self._turn("call") as conversation:
            talk, outcome, _ = self._request(
                conversation, CALL, content, limits, False, self._streams
            )
        if outcome.error is not None:
            talk.tell(outcome.error)
            raise outcome.error
        return outcome.value

    def _limits(self, what: str, timeout: float | None) -> Limits:
        seconds, origin = self._config.call_timeout, "call_timeout"
        if timeout is not None:
            seconds, origin = check_timeout("timeout", timeout), "timeout"
        output = int(self._config.output_limit)
        return Limits(what, seconds, origin, _PACKET, output)

    def _request(
        self,
        conversation: Conversation,
        kind: bytes,
        content: bytes,
        limits: Limits,
        keep: bool,
        streams: _Streams,
    ) -> tuple[Dialogue, Outcome, RunStats]:
        """Make a request from the current state, and put that back."""
        self._settle(conversation)
        talk = Dialogue(
            conversation, self._answers, limits, *streams, self._streaming
        )
        restored = None
        keeps = False
        # A Ctrl-C may come between any two lines from here on.
        self._left = True
        try:
            self._talk = talk
            outcome = talk.request(kind, content)
            keeps = keep or self._sessions > 0
        finally:
            self._talk = None
            if keeps:
                self._kept = True
            else:
                restored = conversation.restore()
            self._left = False
        stats = RunStats(talk.seconds, talk.host_calls, restored)
        return talk, outcome, stats

    def _settle(self, conversation: Conversation) -> None:
        """Make what was kept the current state: the next run may fail."""
        self._put_back(conversation)
        if self._kept:
            conversation.snapshot("kept")
            self._kept = False

    def _put_back(self, conversation: Conversation) -> None:
        """What a run should have done at its end, if it could not."""
        if self._left:
            conversation.restore()
            self._kept = self._left = False

    @contextlib.contextmanager
    def session(self) -> Iterator[PythonSandbox]:
        """Keep what runs and calls do, until the end of a ``with`` block.

        Then the state before it is put back. One that does not come to its
        end is undone alone: the session goes on from the state before it.
        """
        start = self.snapshot("session")
        self._sessions += 1
        try:
            yield self
        finally:
            self._sessions -= 1
            if not self.closed:
                self.restore(start)

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Freeze the state, which becomes the one that runs start from.

        Raises:
            RuntimeError: Called from a host function.
        """
        with self._turn("snapshot") as conversation:
            self._put_back(conversation)
            made: Snapshot = conversation.snapshot(name)
            self._kept = False
            return made

    def restore(self, snapshot: Snapshot | None = None) -> RestoreStats:
        """Put back a state, from which runs start then.

        Args:
            snapshot: One of this sandbox; None for the current one: undoes
                the last run with ``keep=True``.

        Raises:
            RuntimeError: Called from a host function.
        """
        with self._turn("restore") as conversation:
            restored: RestoreStats = conversation.restore(snapshot)
            self._kept = self._left = False
            return restored

    def changed(
        self, snapshot: Snapshot | None = None, *, everything: bool = False
    ) -> PageSet:
        """Pages of memory that differ from a state; as Sandbox.changed."""
        with self._turn("changed") as conversation:
            self._put_back(conversation)
            return conversation.changed(snapshot, everything)

    def interrupt(self) -> None:
        """End the run under way, if any, with GuestInterrupted.

        May be called from any thread, from a signal handler, or from a host
        function; then the run ends when that returns.
        """
        talk, conversation = self._talk, self._conversation
        if talk is not None:  # it may be in a host function
            talk.interrupt()
        if conversation is not None:
            conversation.interrupt()

    @contextlib.contextmanager
    def _turn(self, what: str) -> Iterator[Conversation]:
        """The conversation, for one thread at a time."""
        if self._answers in _inside.get():
            raise RuntimeError(
                f"{what}: called from one of its host functions"
            )
        with self._turns.taken(what):
            conversation = self._conversation
            if conversation is None:
                raise ValueError("operation on a closed PythonSandbox")
            yield conversation

    @property
    def closed(self) -> bool:
        """True once it was closed."""
        return self._conversation is None

    def close(self) -> None:
        """Free everything; a second call does nothing.

        Waits for a run under way.

        Raises:
            RuntimeError: Called from a host function, or else from the middle
                of a run of its own.
        """
        if self._conversation is None:
            return
        if self._turns.forked:  # nobody to wait for
            self._end(self._conversation)
            return
        with contextlib.suppress(ValueError), self._turn("close") as open_one:
            self._end(open_one)

    def _end(self, conversation: Conversation) -> None:
        self._conversation = None
        conversation.close()

    def __enter__(self) -> PythonSandbox:
        with self._turn("with"):
            return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if sys.flags.dev_mode and getattr(self, "_conversation", None):
            warnings.warn(
                f"unclosed {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ready"
        return f"<PythonSandbox, {state}>"


def _variables(inputs: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(inputs)
    for name in made:
        if type(name) is not str or not name.isidentifier():
            raise ValueError(f"inputs: {brief(name)} is no name of a variable")
    return made
