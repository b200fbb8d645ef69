"""Untrusted Python from a clean state: in a sandbox, and in other ways.

Usage: programs.py [--json FILE] [--driver NAME] [--fast | --rigorous]

Prints a Markdown table as it goes. What is compared takes turns in one run.
The exit status is 3 if a limit is missed.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from hyperlight import HyperlightError, PythonSandbox, drivers
from hyperlight.bench.guests import driver_of, new
from hyperlight.bench.limits import EFFORTS, as_markdown
from hyperlight.bench.memory import used
from hyperlight.bench.parts import Absent, Limit, Programs, Ran, Saved
from hyperlight.bench.programs_ways import (
    MODULES,
    OTHERS,
    OURS,
    SCRIPTS,
    WASM,
    Script,
    Unusable,
    Way,
    command,
    sandbox,
)
from hyperlight.bench.rows import Effort, Side, Turns, at_least, at_most

__all__ = ["main", "measure"]

NOTHING = "Nothing, native guest"
GROUP = "programs"
WARM = 30  # runs until pages are hot
PATIENCE = 20.0  # seconds of starts after which no more are made
#: Imports what can be imported of what it is given.
IMPORTING = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
"""

Act = Callable[[], object]
Found = Ran | Saved | Limit | Absent


def measure(driver: str, effort: Effort) -> Iterator[Found]:
    """All of it, as it is measured; a reason for what could not be."""
    reasons = [f"{i.name}: {i.reason}" for i in drivers() if not i.available]
    if len(reasons) == len(drivers()):
        yield Absent(OURS, f"no driver works here: {'; '.join(reasons)}")
        return
    for modules in dict.fromkeys(script.modules for script in SCRIPTS):
        scripts = [s for s in SCRIPTS if s.modules == modules]
        try:
            with ExitStack() as stack:
                yield from _of_modules(stack, driver, effort, scripts)
        except (HyperlightError, MemoryError, OSError, ValueError) as error:
            names = ", ".join(script.name for script in scripts)
            yield Absent(f"{OURS}: {names}", f"{error}")


def _of_modules(
    stack: ExitStack, driver: str, effort: Effort, scripts: list[Script]
) -> Iterator[Found]:
    """Scripts that need the same: start, memory and runs."""
    modules = scripts[0].modules
    yield _start(driver, modules, effort)
    yield _memory(driver, modules)
    ours = stack.enter_context(sandbox(driver, modules))
    native = stack.enter_context(new("after", driver))

    def nothing() -> None:
        native.call("Nothing")
        native.restore()

    for script in scripts:
        yield from _own(ours, nothing, script, effort)
    is_bare = modules == MODULES
    for name, way in OTHERS.items():
        if is_bare or not way.is_bare:
            yield from _other(name, way, ours, scripts, effort)
        else:
            yield Absent(f"{name}: {scripts[0].name}", "it has no numpy")


def _own(
    ours: PythonSandbox, nothing: Act, script: Script, effort: Effort
) -> Iterator[Found]:
    """A run in our sandbox, beside the least that a sandbox can do."""
    run = functools.partial(ours.run, script.text)
    for _ in range(WARM):
        result = run()
        nothing()
    if result.error is not None:
        yield Absent(f"{OURS}: {script.name}", str(result.error))
        return
    if repr(result.value) != script.answer:
        yield Absent(f"{OURS}: {script.name}", f"gave {result.value!r}")
        return
    turns = _turns({OURS: run, NOTHING: nothing}, effort)
    restored = result.stats.restore
    assert restored is not None  # nothing was kept
    pages = restored.pages_copied + restored.pages_zeroed
    yield _ran(script, OURS, turns, pages)
    yield _ran(script, NOTHING, turns)
    if script is not SCRIPTS[0]:
        return
    yield at_most(
        GROUP,
        "run of pass + restore in a PythonSandbox, against a Nothing call + "
        "restore",
        turns.median(OURS),
        turns.median(NOTHING),
        3,
        ratio=turns.ratio(OURS, [NOTHING]),
    )


def _other(
    name: str,
    way: Way,
    ours: PythonSandbox,
    scripts: list[Script],
    effort: Effort,
) -> Iterator[Found]:
    """Another way, in turns with ours."""
    with ExitStack() as stack:
        try:
            run = way.open(stack, scripts[0].modules)
        except (Unusable, OSError) as error:
            yield Absent(name, str(error))
            return
        for script in scripts:
            act = functools.partial(run, script)
            try:
                answer = act()
            except Exception as error:  # others fail in whatever way
                yield Absent(f"{name}: {script.name}", str(error))
                continue
            if answer != script.answer:
                yield Absent(f"{name}: {script.name}", f"gave {answer!r:.80}")
                continue
            own = functools.partial(ours.run, script.text)
            for _ in range(WARM):
                own()
            turns = _turns({OURS: own, name: act}, effort)
            yield _ran(script, name, turns)
            if name == WASM:
                yield _beside_wasm(script, turns)


def _turns(acts: dict[str, Act], effort: Effort) -> Turns:
    """Each after one of its own, as in a loop: caches hold what it needs."""
    return Turns({name: Side(act, act) for name, act in acts.items()}, effort)


def _beside_wasm(script: Script, turns: Turns) -> Limit:
    return at_least(
        GROUP,
        f"{script.name} in a PythonSandbox, beside {WASM}",
        turns.median(OURS),
        turns.median(WASM),
        10,
        times=1 / turns.ratio(OURS, [WASM]),
        noise=0,
    )


def _ran(
    script: Script, way: str, turns: Turns, pages: int | None = None
) -> Ran:
    took = turns.median(way)
    spread = statistics.median(abs(s - took) for s in turns.samples[way])
    return Ran(script.name, way, took, spread, pages)


def _start(driver: str, modules: tuple[str, ...], effort: Effort) -> Limit:
    """The first sandbox of a new process, and the same modules without."""
    script = str(Path(__file__).with_name("programs_start.py"))
    firsts: list[float] = []
    plains: list[float] = []
    deadline = time.monotonic() + PATIENCE
    while not firsts or (
        len(firsts) < effort.fresh and time.monotonic() < deadline
    ):
        said = _said([sys.executable, script, driver, *modules])
        took, names = said.splitlines()
        firsts.append(float(took))
        began = time.perf_counter()
        _said(command("-c", IMPORTING, *names.split()))
        plains.append(time.perf_counter() - began)
    first, plain = map(statistics.median, (firsts, plains))
    return Limit(
        group=GROUP,
        what=f"first PythonSandbox of a process, preload {', '.join(modules)},"
        " against a plain start with the same imports",
        value=first,
        unit="s",
        against=plain,
        ratio=first / plain,
        limit="<= 3 x + 0.3 s",
        kept=first <= 3 * plain + 0.3,
    )


def _said(arguments: list[str]) -> str:
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise ValueError(lines[-1])
    return done.stdout


def _memory(driver: str, modules: tuple[str, ...], count: int = 2) -> Saved:
    """Private memory of live ones, each after a run."""
    made: list[PythonSandbox] = []

    def start() -> None:
        made.append(sandbox(driver, modules))
        made[-1].run("pass")

    try:
        start()  # what the first of a process keeps for all
        gc.collect()
        before = used()
        for _ in range(count):
            start()
        after = used()
        whole = made[0].snapshot().size
    finally:
        for one in made:
            one.close()
    return Saved(
        f"live PythonSandbox, preload {', '.join(modules)}",
        driver_of(driver),
        count,
        max(after[0] - before[0], 0),
        max(after[1] - before[1], 0),
        count * whole,
    )


def gathered(driver: str, rows: list[Found]) -> Programs:
    """What the report reads."""
    ways = {
        OURS: "a warm interpreter in a machine of its own; its memory is put "
        "back after each run",
        NOTHING: "no Python: the least call of a native guest, and a restore",
    }
    ways |= {name: way.what for name, way in OTHERS.items()}
    return Programs(
        driver=driver_of(driver),
        python=platform.python_version(),
        ways=ways,
        runs=tuple(row for row in rows if isinstance(row, Ran)),
        memory=tuple(row for row in rows if isinstance(row, Saved)),
        limits=tuple(row for row in rows if isinstance(row, Limit)),
        absent=tuple(row for row in rows if isinstance(row, Absent)),
    )


def as_text(row: Found) -> str:
    """A line of the table."""
    if isinstance(row, Limit):
        return as_markdown(row)
    if isinstance(row, Ran):
        pages = "" if row.pages is None else f"{row.pages:,}"
        return f"| {row.script}, {row.way} | {row.took:,.1f} | {pages} | | | |"
    if isinstance(row, Saved):
        return f"| {row.what}, bytes each | {row.each:,.0f} | | | | |"
    return f"| {row.what} | not measured: {row.why} | | | | |"


@click.command(help=__doc__.partition("\n")[0] if __doc__ else "")
@click.option("--json", "path", help="Write the rows there, too.")
@click.option("--driver", default="auto", show_default=True)
@click.option("--fast", "effort", flag_value="fast", help="Rough answers.")
@click.option("--rigorous", "effort", flag_value="rigorous", help="Longer.")
def main(path: str | None, driver: str, effort: str | None) -> None:
    """Print the rows; end with 3 if one is missed."""
    print(
        "| what | µs (s, bytes) | pages, or against | ratio | limit | kept |"
    )
    print("| --- | ---: | ---: | ---: | --- | --- |", flush=True)
    rows = []
    for row in measure(driver, EFFORTS[effort or "usual"]):
        rows.append(row)
        print(as_text(row), flush=True)
    found = gathered(driver, rows)
    if path is not None:
        text = json.dumps(dataclasses.asdict(found), indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")
    sys.exit(3 if any(row.kept is False for row in found.limits) else 0)


if __name__ == "__main__":
    main()
