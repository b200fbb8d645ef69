"""What the benchmarks are made of.  Their times are not a test's business."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import runpy
import subprocess
import sys
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for needed in ("click", "jinja2", "matplotlib", "numpy", "pyperf", "rich"):
    pytest.importorskip(needed, reason=f"benchmarks need {needed}")

import numpy as np  # noqa: E402
from click.testing import CliRunner  # noqa: E402
from fake import mshv  # noqa: E402

from hyperlight import drivers  # noqa: E402
from hyperlight.bench import grid, others, session  # noqa: E402
from hyperlight.bench.host import (  # noqa: E402
    PATTERNS,
    Bed,
    Case,
    choose_pages,
)
from hyperlight.bench.model import Shape, Terms  # noqa: E402
from hyperlight.bench.results import Counted, read  # noqa: E402
from hyperlight.bench.rows import (  # noqa: E402
    Check,
    Effort,
    Side,
    Turns,
    at_least,
    at_most,
)
from hyperlight.bench.typed import load  # noqa: E402
from hyperlight.cli import cli  # noqa: E402

pytestmark = pytest.mark.unsanitized  # no C that others do not run

ROOT = Path(__file__).parent.parent
MIB = 1 << 20

#: Those of PR #683, and what they were found to say of it.
NAMES = {
    "guest_functions": [
        "guest_call",
        "guest_restore",
        "guest_call_after_restore",
        "guest_call_with_restore",
        "guest_call_with_host_function",
    ],
    "large_parameters": [
        f"guest_call_restore_{size}_params"
        for size in [f"{n}mb" for n in (5, 20, 60)]
        + [f"{1 << n}mib" for n in range(7)]
    ],
    "sandbox_heap_sizes": [
        f"{what}_{size}_heap"
        for size in ("default", "50mb", "500mb", "995mb")
        for what in ("create_sandbox", "guest_call_restore", "snapshot")
    ],
}


def test_the_grid_has_the_names_of_the_pr() -> None:
    cells = {cell.name: cell for cell in grid.cells()}
    assert len(cells) == len(grid.cells())
    for group, names in NAMES.items():
        found = [name for name in cells if name.startswith(f"{group}/")]
        assert sorted(found) == sorted(f"{group}/{name}" for name in names)
        assert all(cells[name].sides == ("before", "after") for name in found)


def test_the_grid_goes_from_little_to_much() -> None:
    names = {cell.name for cell in grid.cells()}
    for first, last in (("64KiB_1_", "64KiB_16_"), ("4GiB_1_", "4GiB_104857")):
        for part in (first, last):
            assert any(f"/restore_{part}" in name for name in names), part
    for pattern in PATTERNS:
        assert f"host_memory/restore_64MiB_256_{pattern}" in names
    assert {"before", "after", "memcpy"} < set(grid.sides())
    # A worker finds its benchmark by name among all of them.
    assert {cell.name for cell in grid.cells(coarse=True)} < names


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pages_are_as_many_as_asked_for(pattern: str) -> None:
    for total in (1, 16, 100, 4096):
        for count in (0, 1, 5, 16, total // 2, total, total + 1):
            pages = choose_pages(total, count, pattern)
            assert len(pages) == min(count, total)
            assert len(set(pages.tolist())) == len(pages)
            assert all(0 <= page < total for page in pages)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork
@pytest.mark.parametrize("name", others.OTHERS)
def test_other_ways_put_memory_back_too(name: str) -> None:
    if not others.available(name):
        pytest.skip(f"{name} is not installed")
    way = others.OTHERS[name](Case("", MIB, 16, "spread"))
    for _ in range(3):
        way.step()
        if way.words is not None:
            assert (way.words.view(np.uint8) == others.BYTE).all()


def test_a_bed_writes_to_its_pages_only(real_tracker: str) -> None:
    bed = Bed(Case(real_tracker, MIB, 16, "spread"), "always")
    bed.write()
    assert set(bed.manager.changed()) == set(bed.pages.tolist())
    bed.manager.restore()
    assert not bed.manager.changed()
    bed.close()


def test_turns_are_fair() -> None:
    calls: list[str] = []
    turns = Turns(
        {
            name: Side(
                lambda name=name: calls.append(name),
                lambda name=name: calls.append(f"before {name}"),
                weight,
            )
            for name, weight in (("a", 1), ("b", 2))
        },
        Effort(0, 1),
    )
    assert calls.count("a") == calls.count("b") == 5
    for name in ("a", "b"):
        at = [i for i, call in enumerate(calls) if call == name]
        assert all(calls[i - 1] == f"before {name}" for i in at)
    turns.samples = {"a": [6, 3, 100], "b": [1, 1, 10]}
    assert turns.median("a") == 6
    assert turns.total(["a", "b"]) == 6 + 2 * 1
    assert turns.ratio("a", ["b"]) == 3  # of 6 / 2, 3 / 2, 100 / 20


def test_what_was_measured_is_not_kept() -> None:
    class Large:
        def act(self) -> None:
            pass

    large = Large()
    gone = weakref.ref(large)
    turns = Turns({"a": Side(large.act, large.act)}, Effort(0, 1))
    del large
    gc.collect()
    assert gone() is None
    assert turns.median("a") > 0


def test_limits_know_their_noise() -> None:
    assert at_most("g", "w", 104, 100, 1, noise=0.05).kept
    assert not at_most("g", "w", 106, 100, 1, noise=0.05).kept
    assert at_most("g", "w", 300, 100, None).kept is None
    assert at_least("g", "w", 1, 1, 300, times=300, noise=0).kept
    assert not at_least("g", "w", 1, 1, 300, times=299, noise=0).kept
    assert at_least("g", "w", 1, 1, 1, times=0.96, noise=0.05).kept


def _gate() -> dict[str, Any]:
    gate = ROOT / "bench/gate.py"
    if not gate.exists():
        pytest.skip("the scripts are not beside the tests")
    return runpy.run_path(str(gate))


def _opens_nothing(side: str, stack: ExitStack) -> Side:
    raise AssertionError(side, stack)


@pytest.mark.parametrize(
    ("pairs", "at_most", "kept"),
    [
        ([(1.1, 1.0), (1.1, 1.0), (1.1, 1.0)], 1, False),
        ([(1.1, 1.0), (1.1, 1.2), (1.1, 1.0)], 1, True),  # as noisy as slow
        ([(1.1, 1.0), (1.1, 0.8), (1.1, 1.0)], 1, True),
        ([(1.01, 1.0)] * 3, 1, True),
        ([(5.0, 1.0), (0.9, 1.0), (0.9, 1.0)], 1, True),  # one slip
        ([(0.5, 1.0)] * 3, 1 / 300, False),
        ([(0.003, 1.0)] * 3, 1 / 300, True),
    ],
)
def test_the_gate_fails_beyond_the_noise_only(
    pairs: list[tuple[float, float]], at_most: float, kept: bool
) -> None:
    assert _gate()["verdict"](pairs, at_most).kept is kept


def test_the_gate_says_which_limits_it_does_not_ask_for() -> None:
    named = _gate()["named"]
    kept = Check("a group", "a restore", _opens_nothing, 1.5)
    assert named(kept) == ("a restore", 1.5)
    what, most = named(dataclasses.replace(kept, bound=4))
    assert "limit of 1.5" in what
    assert most == 4


def test_the_model_counts_what_is_walked_and_copied() -> None:
    terms = Terms(1, 10, 1e-3, 0.1, 2, 3, 5, 7, 20, 30)
    clean = Shape(pages=1024, dirty=0, runs=0, huge=2)
    assert terms.of(clean) == pytest.approx(1 + 10 + 0.2)
    some = Shape(pages=1024, dirty=8, runs=2, huge=1)
    assert terms.of(some) == pytest.approx(11 + 0.512 + 0.1 + 16 + 6)
    every = Shape(pages=1024, dirty=1024, runs=1, huge=0)
    assert terms.of(every) == pytest.approx(1 + 2048 + 3)
    more = Shape(pages=4096, dirty=2048, runs=1, huge=0)
    assert terms.of(more) == pytest.approx(11 + 4.096 + 2048 * 5 + 7)
    many = Shape(pages=8192, dirty=4097, runs=1, huge=0)
    assert terms.of(many) == pytest.approx(11 + 8.192 + 4097 * 20 + 30)
    bed = Bed(Case("full", MIB, 4, "spread"))
    assert Shape.of(bed) == Shape(256, 4, 4, 0)
    bed.close()


def test_a_plan_is_what_was_asked_for(tmp_path: Path) -> None:
    def names(*patterns: str, coarse: bool = True) -> list[str]:
        plan = session.plan(tmp_path, patterns, coarse=coarse)
        return [task.name for task in plan]

    everything = names()
    assert tuple(everything[-len(session.PARTS) :]) == session.PARTS
    assert names("programs") == ["programs"]
    assert names("cliffs", "memory") == ["cliffs", "memory"]
    assert names("limits", "model") == ["limits", "model"]
    assert names("guest_functions/guest_call") == [
        "guest_functions/guest_call, before",
        "guest_functions/guest_call, after",
    ]
    assert len(names("guest_functions")) == 10
    assert len(names("*/*create*")) == 8
    assert set(names("host_memory")) < set(everything)
    assert len(names("host_memory", coarse=False)) > 500
    with pytest.raises(ValueError, match="no benchmark is called nonsense"):
        names("nonsense")


def test_sandboxes_are_measured_with_each_driver(tmp_path: Path) -> None:
    patterns = ("*/guest_call", "host_memory/restore_64KiB_1_spread")
    of_host = len(grid.chosen(patterns)[-1].sides)
    two = session.plan(tmp_path, patterns, driver=("kvm", "emulator"))
    assert [task.name for task in two if "guest" in task.name] == [
        f"guest_functions/guest_call@{driver}, {side}"
        for driver in ("kvm", "emulator")
        for side in ("before", "after")
    ]
    assert len(two) == 4 + of_host
    usable = [info.name for info in drivers() if info.available] or ["auto"]
    every = session.plan(tmp_path, patterns[:1], driver=("all",))
    assert [name_of(task.command) for task in every] == [
        driver for driver in usable for _ in ("before", "after")
    ]


def name_of(command: tuple[str, ...]) -> str:
    return command[command.index("--driver") + 1]


@pytest.mark.unsanitized
def test_a_benchmark_carries_its_driver(tmp_path: Path) -> None:
    usable = [info.name for info in drivers() if info.available]
    if not usable:
        pytest.skip("no driver")
    for wanted, name in (("auto", ""), (usable[-1], f"@{usable[-1]}")):
        args = ("bench", "--smoke", "--driver", wanted, "-o")
        directory = tmp_path / wanted
        cell = "guest_functions/guest_call"
        result = CliRunner().invoke(cli, [*args, str(directory), cell])
        assert result.exit_code == 0, result.output
        (found,) = read(directory).comparisons()
        assert found.name == "guest_call" + name
        assert found.driver == (usable[0] if wanted == "auto" else wanted)


@pytest.mark.skipif(not mshv.is_provided(), reason="the fake is off")
@pytest.mark.parametrize("interface", ["current", "older"])
def test_the_grid_is_counted_over_a_fake(
    tmp_path: Path, interface: str
) -> None:
    path = tmp_path / "elsewhere.json"
    command = [sys.executable, ROOT / "bench" / "elsewhere.py"]
    command += ["--fake", interface, "--cells", "*/guest_[cr]*_restore"]
    command += ["-o", path]
    environment = {**os.environ, mshv.LIBRARY: ""}
    for times in (1, 2):
        subprocess.run(command, check=True, env=environment, timeout=300)
        rows = load(tuple[Counted, ...], path)
        assert len(rows) == times
    assert rows[0] == rows[1]  # counts, not times
    assert rows[0].what == "guest_functions/guest_call_with_restore"
    assert f"mshv, {interface} interface" in rows[0].by
    values = rows[0].values
    # One query a restore, of the pages that are not hot, until it is armed.
    assert values["queries"] == 1
    assert values["pages reported"] <= values["pages asked about"]
    assert 0 < values["pages copied"] <= values["pages reported"]


def test_a_failure_does_not_end_a_run(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    tasks = [
        session.Task("good", ("-c", "")),
        session.Task("bad", ("-c", "raise SystemExit('no room')")),
        session.Task("missed", ("-c", "raise SystemExit(3)"), (0, 3)),
    ]
    directory = tmp_path / "new" / "results"
    failures = session.run(directory, tasks, lambda *step: seen.append(step))
    assert failures == [session.Failure("bad", "no room")]
    assert [name for name, _, _ in seen] == ["good", "bad", "missed", "report"]
    facts = json.loads((directory / "machine.json").read_text())
    assert {"processor", "system", "hypervisor", "trackers"} < set(facts)
    assert all(isinstance(fact, str) for fact in facts.values())
    with pytest.raises(FileExistsError, match="holds results already"):
        session.run(directory, tasks, lambda *_: None)


def test_the_command_lists_and_refuses(tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["bench", *args])
        return result.exit_code, result.output

    status, output = run("--list", "guest_functions")
    assert status == 0
    assert "guest_functions/guest_restore, after\n" in output
    status, output = run("nonsense")
    assert status == 2
    assert "no benchmark is called nonsense" in output
    status, output = run("--report", "-o", str(tmp_path), "limits")
    assert status == 2
    assert "before.json" in output


def test_the_command_measures_and_reports(tmp_path: Path) -> None:
    directory = tmp_path / "results"
    args = ["bench", "--smoke", "-o", str(directory)]
    args.append("host_memory/restore_64KiB_4_spread")
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    page = directory / "report.html"
    assert result.output.splitlines()[-1] == str(page)
    assert "restore_64KiB_4_spread" in page.read_text(encoding="utf-8")
    for side in grid.sides():
        assert (directory / f"{side}.json").exists(), side
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 2
    assert "holds results already" in result.output
    again = [*args, "--report"]
    assert CliRunner().invoke(cli, again).exit_code == 0
