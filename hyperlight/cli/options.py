"""What commands share: options, and the error that is not the user's data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hyperlight.units import parse_size

__all__ = ["CannotRun", "Size", "json_flag"]

json_flag: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object."
)


class Size(click.ParamType[int]):
    """A size: ``64MiB`` or a number of bytes."""

    name = "size"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """The size in bytes."""
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class CannotRun(click.ClickException):
    """The command could not run; the message says why."""

    exit_code = 2
