"""What programs are measured in.  Never their times."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for needed in ("click", "jinja2", "matplotlib", "numpy", "pyperf", "rich"):
    pytest.importorskip(needed, reason=f"benchmarks need {needed}")

from click.testing import CliRunner  # noqa: E402
from test_bench_report import LIMITS, PROGRAMS, words  # noqa: E402

from hyperlight.bench import programs, report  # noqa: E402
from hyperlight.bench.parts import Absent, Limit, Programs, Ran  # noqa: E402
from hyperlight.bench.programs_ways import (  # noqa: E402
    MODULES,
    OTHERS,
    OURS,
    SCRIPTS,
    WASM,
    Script,
    Unusable,
    Way,
)
from hyperlight.bench.results import ResultsError, read  # noqa: E402
from hyperlight.bench.rows import Effort, Side, Turns  # noqa: E402
from hyperlight.bench.typed import load  # noqa: E402

pytestmark = [
    pytest.mark.unsanitized,  # no C that others do not run
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork
]

SHORT = Effort(0, 1)
BARE = [script for script in SCRIPTS if script.modules == MODULES]


@pytest.fixture(params=OTHERS)
def run(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each way that works here."""
    with ExitStack() as stack:
        try:
            yield OTHERS[request.param].open(stack, MODULES)
        except (Unusable, OSError) as error:
            pytest.skip(f"{request.param}: {error}")


def test_every_way_gives_what_the_script_gives(run: Any) -> None:
    for script in BARE:
        assert run(script) == script.answer, script.name


def test_no_way_leaves_anything(run: Any) -> None:
    marked = Script("", "import json\njson.mark = 1", "json.mark", "")
    again = Script("", "import json", "hasattr(json, 'mark')", "")
    try:
        assert run(marked) == "1"
    except Exception as error:
        pytest.skip(f"a script cannot mark a module there: {error}")
    assert run(again) == "False"


def test_a_child_that_fails_is_no_end() -> None:
    with ExitStack() as stack:
        run = OTHERS["os.fork"].open(stack, MODULES)
        for code in ("1 / 0", "import sys; sys.exit(1)", "raise SystemExit"):
            assert run(Script("", code, "1", "")) == ""
        assert run(SCRIPTS[0]) == "None"


def test_a_process_that_fails_says_why() -> None:
    with ExitStack() as stack:
        run = OTHERS["python -I -c"].open(stack, MODULES)
        with pytest.raises(Unusable, match="division by zero"):
            run(Script("", "1 / 0", "", ""))


class Ours:
    """A sandbox in which nothing runs."""

    @staticmethod
    def run(text: str) -> None:
        pass


def rows_of(way: Way, name: str = "it") -> list[Any]:
    return list(programs._other(name, way, Ours(), BARE[:2], SHORT))


def test_a_way_that_does_not_work_says_why() -> None:
    def missing(stack: ExitStack, modules: Any) -> Any:
        raise Unusable("not installed: it")

    def strange(stack: ExitStack, modules: Any) -> Any:
        return {"pass": "None"}.get

    assert rows_of(Way("", missing)) == [Absent("it", "not installed: it")]

    def answers(script: Script) -> str:
        if script.name == "pass":
            raise RuntimeError("no pass here")
        return "332833501"

    assert rows_of(Way("", lambda *_: answers)) == [
        Absent("it: pass", "no pass here"),
        Absent("it: sum of 1000", "gave '332833501'"),
    ]


def test_wasm_is_to_be_ten_times_slower() -> None:
    way = Way("", lambda *_: lambda script: script.answer)
    rows = rows_of(way, WASM)
    assert [type(row) for row in rows] == [Ran, Limit] * 2
    assert [row.what for row in rows[1::2]] == [
        f"{script.name} in a PythonSandbox, beside {WASM}"
        for script in BARE[:2]
    ]
    turns = Turns({n: Side(lambda: None) for n in (OURS, WASM)}, SHORT)
    for theirs, kept in ((99.0, False), (101.0, True)):
        turns.samples = {OURS: [10.0] * 5, WASM: [theirs] * 5}
        row = programs._beside_wasm(SCRIPTS[0], turns)
        assert (row.kept, row.limit) == (kept, ">= 10")
        assert row.ratio == pytest.approx(theirs / 10)


@pytest.mark.parametrize(("took", "kept"), [(0.25, True), (60.0, False)])
def test_a_start_is_measured_beside_its_imports(
    monkeypatch: pytest.MonkeyPatch, took: float, kept: bool
) -> None:
    asked: list[list[str]] = []

    def said(arguments: list[str]) -> str:
        asked.append(arguments)
        return f"{took}\nsys json ssl\n"

    monkeypatch.setattr(programs, "_said", said)
    row = programs._start("a-vm", MODULES, SHORT)
    assert (row.value, row.kept) == (took, kept)
    assert asked[0][-3:] == ["a-vm", *MODULES]
    assert asked[1][-3:] == ["sys", "json", "ssl"]


def test_a_start_that_fails_says_why() -> None:
    with pytest.raises(ValueError, match="no-such-driver"):
        programs._start("no-such-driver", MODULES, SHORT)


def test_without_a_driver_the_reason_is_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = types.SimpleNamespace(name="a-vm", available=False, reason="none")
    monkeypatch.setattr(programs, "drivers", lambda: [one])
    path = tmp_path / "programs.json"
    args = ["--fast", "--json", str(path)]
    assert CliRunner().invoke(programs.main, args).exit_code == 0
    found = load(Programs, path)
    assert found.absent == (Absent(OURS, "no driver works here: a-vm: none"),)
    assert not found.runs
    html = report.write(tmp_path).read_text(encoding="utf-8")
    assert "no driver works here: a-vm: none" in html
    assert not list(tmp_path.glob("*.svg"))


def test_a_driver_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "programs.json"
    args = ["--fast", "--json", str(path), "--driver", "no-such-driver"]
    assert CliRunner().invoke(programs.main, args).exit_code == 0
    found = load(Programs, path)
    assert not found.runs
    assert {row.what.partition(":")[0] for row in found.absent} == {OURS}
    told = " ".join(row.why for row in found.absent)
    assert "no-such-driver" in told or "no driver" in told


def test_all_of_it_is_a_row(
    monkeypatch: pytest.MonkeyPatch, python_driver: str, tmp_path: Path
) -> None:
    quick = {n: OTHERS[n] for n in ("python -I -c", "os.fork")}
    monkeypatch.setattr(programs, "OTHERS", quick)
    monkeypatch.setattr(programs, "SCRIPTS", BARE)
    monkeypatch.setitem(programs.EFFORTS, "fast", SHORT)
    path = tmp_path / "programs.json"
    args = ["--fast", "--json", str(path), "--driver", python_driver]
    done = CliRunner().invoke(programs.main, args)
    found = load(Programs, path)
    missed = any(row.kept is False for row in found.limits)
    assert done.exit_code == (3 if missed else 0), done.output
    assert not found.absent
    assert {(ran.script, ran.way) for ran in found.runs} == {
        (script.name, way)
        for script in BARE
        for way in (OURS, programs.NOTHING, *quick)
    }
    for ran in found.runs:
        assert (ran.pages is not None) == (ran.way == OURS)
        assert ran.pages is None or ran.pages > 0
    assert [row.limit for row in found.limits] == ["<= 3 x + 0.3 s", "<= 3"]
    (memory,) = found.memory
    assert 1 << 20 < memory.each < memory.full
    assert found.driver == python_driver


def test_a_sandbox_that_answers_wrongly_is_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = types.SimpleNamespace(value=1, error=None)
    for wrong in (result, types.SimpleNamespace(value=None, error="it broke")):
        ours: Any = types.SimpleNamespace(run=lambda text, r=wrong: r)
        (row,) = programs._own(ours, lambda: None, SCRIPTS[0], SHORT)
        assert row.what == f"{OURS}: pass"
        assert row.why == (wrong.error or "gave 1")


def test_programs_are_shown(tmp_path: Path) -> None:
    """Also without a grid, as `hyperlight bench programs` measures them."""
    missed = LIMITS[0] | {"what": "a start", "kept": False, "limit": "<= 3"}
    found = PROGRAMS | {"limits": [*PROGRAMS["limits"], missed]}  # type: ignore[misc]
    (tmp_path / "programs.json").write_text(json.dumps(found))
    html = report.write(tmp_path).read_text(encoding="utf-8")
    assert "<h1>1 of 2 limits kept</h1>" in html
    assert "compare_to" not in html
    text = words(html.split('id="programs"')[1])
    for told in (
        "pass ours 90 µs 1 % 1.00",
        "pass theirs 9.9 ms",
        "a new process",
        "live sandboxes of Python",
        "another way : not installed",
        "a-vm",
        "Python 3.99.1",
    ):
        assert told in text.replace("\N{NO-BREAK SPACE}", " "), told
    assert "a start" in words(html.split('id="overview"')[0])
    svg = (tmp_path / "programs.svg").read_text(encoding="utf-8")
    for told in ("pass", "ours", "theirs", "0.09 ms", "9.9 ms"):
        assert told in svg, told


def test_a_machine_alone_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"before\.json is missing"):
        read(tmp_path)
