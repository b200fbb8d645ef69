"""Many calls of one function: where arguments come from, and errors go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from hyperlight._binding import core
from hyperlight.sandbox.functions import GuestFunction, Value

__all__ = ["Batch"]


class _Server(Protocol):
    def serve(
        self, function: GuestFunction, timeout: float | None, reason: int
    ) -> Exception | None: ...


class Batch:
    """One :meth:`Sandbox.map`.

    The core runs the calls, many at a time, with no Python in between; here is
    what happens before and after. Everything between the first argument and
    the last result is one call of the sandbox (csrc/turn.h).

    Args:
        server: Its ``serve`` is called in the middle of a call.
        timeout: As it was given; the limit in ns is what counts.
        goes_on: After errors, which are results then.
    """

    def __init__(
        self,
        core: core.SandboxCore,
        server: _Server,
        function: GuestFunction,
        timeout: float | None,
        arguments: Iterator[tuple[object, ...]],
        goes_on: bool,
    ) -> None:
        self._core = core
        self._server = server
        self._function = function
        self._timeout = timeout
        self._arguments = arguments
        self._goes_on = goes_on
        self._results: list[Value | Exception] = []
        #: What came in place of another call's arguments.
        self._refusal: Exception | None = None

    def run(self, token: object, limit: int, restores: bool) -> None:
        """Call the function for all arguments.

        Raises:
            BaseException: Whatever ended it; its `index` and `results` say
                how far it came.
        """
        try:
            self._core.run_batch(
                token,
                self._function,
                limit,
                restores,
                self._goes_on,
                self._work,
            )
        except BaseException as error:
            self._annotate(error)
            self._results = []
            raise

    def results(self) -> list[Value | Exception]:
        """What the calls gave, once.

        Exceptions among them lead to frames of this object and its callers: if
        those led to the list, it would be kept until a garbage collection.
        """
        try:
            return self._results
        finally:
            self._results = []

    def _annotate(self, error: BaseException) -> None:
        for name, value in (
            ("index", len(self._results)),
            ("results", self._results),
        ):
            # It may be of any class, which may have its own opinion.
            with contextlib.suppress(Exception):
                BaseException.__setattr__(error, name, value)

    def _work(self) -> None:
        more = True
        while more:
            more = self._fill()
            self._run()
            refusal, self._refusal = self._refusal, None
            if refusal is None:
                continue
            if more and self._goes_on:
                self._results.append(refusal)
                continue
            try:
                raise refusal
            finally:
                del refusal  # whose frames lead here

    def _fill(self) -> bool:
        """Add calls until it is time to run them; False: there are no more.

        A refusal with True is one of this call's arguments. With False it is
        what ended the iterator.
        """
        add, function = self._core.add, self._function
        self._core.inside = "the iterator of arguments"
        try:
            for args in self._arguments:
                try:
                    if add(function, args):
                        return True
                except Exception as error:
                    self._refusal = error
                    return True
        except Exception as error:
            self._refusal = error
        finally:
            self._core.inside = None
        return False

    def _run(self) -> None:
        """Run the calls that were added, and finish those that need it."""
        core = self._core
        while (reason := core.run_added(self._results)) is not None:
            try:
                value = core.finish(
                    self._function, reason, self._timeout, self._server
                )
            except Exception as error:
                # Who stopped it meant all of them.
                if not self._goes_on or core.stopped:
                    raise
                self._results.append(error)
            else:
                self._results.append(value)
            core.pass_over()
