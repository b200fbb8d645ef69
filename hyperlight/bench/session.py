"""Runs a chosen part of the grid, and writes the report of it.

Every benchmark is a pyperf process of its own, and its sides come one right
after the other: what the machine does meanwhile, it does to all of them.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperlight import __version__
from hyperlight.bench import grid, report
from hyperlight.doctor import examine
from hyperlight.sandbox.drivers import drivers
from hyperlight.trackers import trackers

__all__ = ["PARTS", "Failure", "Task", "plan", "run"]

#: Beside the groups of the grid: each makes a file of its name.
PARTS = ("limits", "cliffs", "programs", "memory", "phases", "model")
#: Called before each task with its name, its number, and how many there are.
Step = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Task:
    """One process, and what it writes."""

    name: str
    command: tuple[str, ...]
    statuses: tuple[int, ...] = (0,)  # those that mean that it was measured


@dataclass(frozen=True)
class Failure:
    """A task that came to nothing, and its last words."""

    task: str
    reason: str


def plan(
    directory: Path,
    patterns: tuple[str, ...],
    *,
    effort: str = "usual",
    coarse: bool = True,
    driver: tuple[str, ...] = ("auto",),
) -> list[Task]:
    """What these patterns stand for; none of them stands for everything.

    Sandboxes are measured with each driver, "all" being those that are
    available; parts of the report with the first.

    Raises:
        ValueError: Nothing has such a name.
    """
    if "all" in driver:
        driver = tuple(info.name for info in drivers() if info.available)
        driver = driver or ("auto",)
    options = {"usual": (), "smoke": ("--debug-single-value",)}.get(
        effort, (f"--{effort}",)
    )
    tasks = list(
        _grid_tasks(directory, patterns, options, coarse=coarse, driver=driver)
    )
    tasks += [
        _part_task(directory, part, effort, driver[0])
        for part in PARTS
        if not patterns or part in patterns
    ]
    if not tasks:
        raise ValueError(f"no benchmark is called {' or '.join(patterns)}")
    return tasks


def _grid_tasks(
    directory: Path,
    patterns: tuple[str, ...],
    options: tuple[str, ...],
    *,
    coarse: bool,
    driver: tuple[str, ...],
) -> Iterator[Task]:
    names = tuple(name for name in patterns if name not in PARTS)
    if patterns and not names:
        return
    for cell in grid.chosen(names, coarse):
        of_each = driver if cell.guest else driver[:1]
        for one, side in itertools.product(of_each, cell.sides):
            yield Task(
                f"{cell.named(one) if cell.guest else cell.name}, {side}",
                (
                    _script("grid"),
                    *("--side", side, "--match", cell.name),
                    *("--driver", one, "--quiet", "--copy-env"),
                    *("--append", str(directory / f"{side}.json")),
                    *options,
                ),
            )


def _script(name: str) -> str:
    """By its path: `-m` would look into the current directory first."""
    return str(Path(__file__).with_name(f"{name}.py"))


def _part_task(directory: Path, part: str, effort: str, driver: str) -> Task:
    path = str(directory / f"{part}.json")
    commands = {
        "limits": (_script("limits"), "--part", "host,guest,others"),
        "cliffs": (_script("limits"), "--part", "cliffs"),
        "programs": (_script("programs"),),
    }
    if part not in commands:
        return Task(part, (_script(part), path))
    options = {"usual": (), "smoke": ("--fast",)}.get(effort, (f"--{effort}",))
    return Task(
        part,
        (*commands[part], "--json", path, "--driver", driver, *options),
        statuses=(0, 3),
    )


def run(directory: Path, tasks: list[Task], step: Step) -> list[Failure]:
    """Do them one by one; a failure does not end it.

    Raises:
        FileExistsError: The directory holds results already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.glob("*.json")):
        raise FileExistsError(
            f"{directory} holds results already: choose another directory"
        )
    _write(directory / "machine.json", machine())
    failures = []
    for number, task in enumerate(tasks):
        step(task.name, number, len(tasks))
        done = subprocess.run(
            [sys.executable, *task.command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in task.statuses:
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = lines[-1] if lines else f"status {done.returncode}"
            failures.append(Failure(task.name, reason))
    step("report", len(tasks), len(tasks))
    return failures


def write_report(directory: Path) -> Path:
    """The page of what was measured.

    Raises:
        ResultsError: That is not enough for one.
    """
    return report.write(directory)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _processor() -> tuple[str, bool]:
    """Its name, and whether a hypervisor runs it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor(), False
    facts = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    name = facts.get("model name", platform.processor())
    return name, "hypervisor" in facts.get("flags", "").split()


def machine() -> dict[str, str]:
    """What a reader of numbers wants to know of where they come from."""
    host = examine()["host"]
    name, virtual = _processor()
    usable = [info.name for info in trackers() if info.available]
    return {
        "processor": f"{name}, {os.cpu_count()} cores",
        "hypervisor": "under one" if virtual else "none",
        "system": host["system"],
        "Python": host["python"],
        "hyperlight": __version__,
        "memory available": str(host["memory available"]),
        "transparent huge pages": str(host["transparent huge pages"]),
        "trackers": ", ".join(usable),
        "drivers": ", ".join(i.name for i in drivers() if i.available)
        or "none",
        "load when it began": f"{os.getloadavg()[0]:.2f}",
        "date": time.strftime("%Y-%m-%d"),
    }
