"""The command line: arguments in, tables or JSON out."""

from __future__ import annotations

import json
import logging
import pathlib
import sys
import warnings
from dataclasses import replace
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hyperlight import Sandbox, SandboxConfig, __version__, terminal
from hyperlight import demo as demo_module
from hyperlight import doctor as doctor_module
from hyperlight import guest as guest_module
from hyperlight import run as run_module
from hyperlight.drivers import choose_driver
from hyperlight.errors import (
    EmulatorWarning,
    GuestAborted,
    GuestError,
    GuestTimeout,
    HyperlightError,
)
from hyperlight.text import printable
from hyperlight.units import format_size, parse_size

_json_flag = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="pyhyperlight")
def cli() -> None:
    """Put memory back the way it was."""


@cli.command()
@_json_flag
def doctor(as_json: bool) -> None:
    """Say what this host has, what it lacks, and what to change."""
    report = doctor_module.examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    console = terminal.new_console()
    terminal.show_table(
        console,
        ("tracker", "works here", "system calls' writes", "why not"),
        [
            (
                row["name"],
                "yes" if row["available"] else "no",
                "seen" if row["kernel_writes"] else "EFAULT",
                row["reason"],
            )
            for row in report["trackers"]
        ],
    )
    terminal.show_table(
        console,
        ("driver", "works here", "why not"),
        [
            (row["name"], "yes" if row["available"] else "no", row["reason"])
            for row in report["drivers"]
        ],
    )
    terminal.show_table(
        console,
        ("this host", ""),
        [
            (name, "unknown" if value is None else str(value))
            for name, value in report["host"].items()
        ],
    )
    for line in report["advice"] or ["Nothing to change."]:
        mark = "- " if report["advice"] else ""
        console.print(f"{mark}{printable(line)}", soft_wrap=True)


class _Size(click.ParamType[int]):
    """A size: ``64MiB`` or a number of bytes."""

    name = "size"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@cli.command()
@click.option(
    "--size", type=_Size(), default="1GiB", show_default=True, help="Memory."
)
@click.option(
    "--tracker", default="auto", show_default=True, help="How to track."
)
@_json_flag
def demo(size: int, tracker: str, as_json: bool) -> None:
    """Fill memory, let a program write to it, and put it back both ways.

    Ends with status 1 if the bytes are not what they were, and with 2 if
    that could not be found out.
    """
    bars = terminal.new_console(stderr=True)
    try:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=bars,
            transient=True,
            disable=as_json or not bars.is_terminal,
        ) as progress:
            report = demo_module.run(size, tracker, _stepper(progress))
    except (HyperlightError, MemoryError, OSError, ValueError) as error:
        raise _CannotRun(str(error)) from None
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_demo(terminal.new_console(), report)
    sys.exit(0 if report["identical"] else 1)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("guest")
@click.argument("function", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--driver", default="auto", show_default=True, help="How.")
@click.option(
    "--heap", type=_Size(), default="16MiB", show_default=True, help="Memory."
)
@click.option(
    "--buffers",
    type=_Size(),
    default="1MiB",
    show_default=True,
    help="Room for arguments, and for a result.",
)
@click.option(
    "--timeout", type=float, default=10, show_default=True, help="Seconds."
)
def run(
    guest: str,
    function: str | None,
    arguments: tuple[str, ...],
    driver: str,
    heap: int,
    buffers: int,
    timeout: float,
) -> None:
    """Call FUNCTION of GUEST, a program or the name of one that ships.

    Without FUNCTION it lists what there is. ARGUMENTS are text, turned into
    what the function takes; @FILE is a file's bytes. Results go to standard
    output as they are; only on a terminal, control characters in text are
    shown and not sent. Log lines of the guest go to standard error. Ends with
    status 1 if the guest failed.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level="INFO")
    try:
        config = SandboxConfig(
            driver=driver,
            heap_size=heap,
            input_size=buffers,
            output_size=buffers,
            call_timeout=timeout,
        )
        with warnings.catch_warnings(record=True) as unasked:
            warnings.simplefilter("always", EmulatorWarning)
            config = replace(config, driver=choose_driver(driver))
        for warning in unasked:
            click.echo(f"warning: {warning.message}", err=True)
        with Sandbox(guest, config=config) as sandbox:
            if function is None:
                result: Any = "\n".join(sandbox.functions.values())
            else:
                values = run_module.values_of(
                    sandbox.functions.get(function, ""), arguments
                )
                result = sandbox.call(function, *values)
    except (GuestAborted, GuestError, GuestTimeout) as error:
        raise click.ClickException(str(error)) from None
    except (HyperlightError, OSError, TypeError, ValueError) as error:
        raise _CannotRun(str(error)) from None
    if isinstance(result, str) and _is_terminal(sys.stdout):
        result = terminal.plain_lines(result)
    if result is not None:
        # color: without it click takes some of the text for colors.
        click.echo(result, nl=not isinstance(result, bytes), color=True)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


@cli.command()
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option(
    "-o",
    "--output",
    default="hyperlight-bench",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where results and report go.",
)
@click.option("--fast", "effort", flag_value="fast", help="Rough answers.")
@click.option(
    "--rigorous", "effort", flag_value="rigorous", help="Better ones."
)
@click.option("--smoke", "effort", flag_value="smoke", hidden=True)
@click.option(
    "--all", "everything", is_flag=True, help="Every size, count and pattern."
)
@click.option("--driver", default="auto", show_default=True, help="How.")
@click.option("--list", "lists", is_flag=True, help="Only say what there is.")
@click.option(
    "--report", "again", is_flag=True, help="Only write the report anew."
)
def bench(
    patterns: tuple[str, ...],
    output: str,
    effort: str | None,
    everything: bool,
    driver: str,
    lists: bool,
    again: bool,
) -> None:
    """Measure what tracking costs and gains, and write a report.

    PATTERN is a benchmark, a group of them, or either with wildcards; limits,
    phases and model are parts of the report. Without one, all is measured.
    The results are files of pyperf, which can compare them. Ends with status 1
    if something could not be measured.
    """
    # Here, since it needs what the rest of the command line does not.
    from hyperlight.bench import session

    directory = pathlib.Path(output)
    try:
        tasks = session.plan(
            directory,
            patterns,
            effort=effort or "usual",
            coarse=not everything,
            driver=driver,
        )
        lines = [task.name for task in tasks]
        failures: list[Any] = []
        if not lists:
            failures = [] if again else _measure(session, directory, tasks)
            for failed in failures:
                click.echo(
                    f"not measured: {failed.task}: {failed.reason}", err=True
                )
            lines = [str(session.write_report(directory))]
    except (HyperlightError, MemoryError, OSError, ValueError) as error:
        raise _CannotRun(str(error)) from None
    # Not above: what fails here is not the measuring.
    for line in lines:
        click.echo(line)
    sys.exit(1 if failures else 0)


def _measure(session: Any, directory: pathlib.Path, tasks: list[Any]) -> Any:
    """Run them under one bar that says what is being measured."""
    bars = terminal.new_console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=bars,
        disable=not bars.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(tasks))

        def step(name: str, done: int, total: int) -> None:
            progress.update(bar, description=name, completed=done, total=total)

        return session.run(directory, tasks, step)


@cli.group()
def guest() -> None:
    """Make programs that run in a sandbox."""


@guest.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", required=True, help="The program to write.")
@click.option(
    "-l",
    "--library",
    "libraries",
    multiple=True,
    help="A static library: a path, or a name as the linker has it.",
)
@click.option(
    "-f",
    "--flag",
    "flags",
    multiple=True,
    help="One more argument for the compiler, such as -f -DNDEBUG.",
)
@click.option("--cc", help="The compiler.  [default: $CC or cc]")
def build(
    sources: tuple[str, ...],
    output: str,
    libraries: tuple[str, ...],
    flags: tuple[str, ...],
    cc: str | None,
) -> None:
    """Compile C against the SDK and link it into a guest.

    Ends with status 2 and the compiler's words if that did not work.
    """
    try:
        path = guest_module.build(
            sources, output, cc=cc, libraries=libraries, flags=flags
        )
    except (HyperlightError, OSError) as error:
        raise _CannotRun(str(error)) from None
    click.echo(str(path))


class _CannotRun(click.ClickException):
    """Neither right nor wrong: the message says what was in the way."""

    exit_code = 2


def _stepper(progress: Progress) -> demo_module.Step:
    """A callback that shows one bar for each named step."""
    tasks: dict[str, Any] = {}

    def step(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=total)
        progress.update(tasks[name], completed=done)

    return step


def _print_demo(console: Console, report: dict[str, Any]) -> None:
    terminal.show_table(
        console,
        ("put back by", "pages", "bytes", "time", "ratio"),
        [
            (
                row["by"],
                f"{row['pages']:,}",
                format_size(row["bytes"]),
                f"{row['microseconds']:,.0f} µs",
                f"{demo_module.in_words(row['ratio'])} x",
            )
            for row in report["restores"]
        ],
    )
    console.print(terminal.cell(console, report["sentence"]), soft_wrap=True)


def main() -> NoReturn:
    """The command: run what its arguments say, and exit."""
    terminal.finish(_status)


def _status() -> int:
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Interrupted.", err=True)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
