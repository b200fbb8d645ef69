"""Directories of benchmark results: what is read, refused and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pyperf = pytest.importorskip("pyperf", reason="pyperf holds the results")
pytest.importorskip("matplotlib", reason="matplotlib draws the figures")
pytest.importorskip("jinja2", reason="jinja2 writes the page")

from click.testing import CliRunner  # noqa: E402
from test_bench_report import (  # noqa: E402
    BEFORE,
    CLIFFS,
    ELSEWHERE,
    LIMITS,
    MEMORY,
    MODEL,
    PHASES,
    PROGRAMS,
    SAVED,
    SUITE,
    dump,
    fill,
)

from hyperlight.bench import report  # noqa: E402
from hyperlight.bench.plots import (  # noqa: E402
    TIMES,
    format_ratio,
    format_time,
)
from hyperlight.bench.results import (  # noqa: E402
    Comparison,
    ResultsError,
    Timing,
    read,
)

pytestmark = pytest.mark.unsanitized  # no C runs, and figures take long


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("after", '{"benchmarks": [{"runs": [', "pyperf suite"),
        ("after", "[1, 2]", "pyperf suite"),
        ("after", SUITE, "pyperf suite"),
        ("uffd", '{"version": "x"}', "pyperf suite"),
        ("limits", '[{"group": "a"', "cannot be read"),
        ("limits", "{}", "a list, not {}"),
        ("limits", '[{"what": "x"}]', r"\[0\].*'group'"),
        ("limits", json.dumps([LIMITS[0] | {"kept": 1}]), r"kept: .* not 1"),
        ("limits", json.dumps([LIMITS[0] | {"ratio": True}]), "a number"),
        ("phases", json.dumps(PHASES | {"hot": [1]}), "hot is not 4 long"),
        ("phases", json.dumps(PHASES | {"iterations": 4.5}), "whole number"),
        (
            "phases",
            json.dumps(PHASES | {"phases": [{"name": "a", "start": 9}]}),
            "one after another",
        ),
        ("model", json.dumps(MODEL | {"terms": [1]}), "terms: .* an object"),
        (
            "model",
            json.dumps(MODEL).replace("9.0", "0"),
            "above 0",
        ),
        ("model", '{"formula": "", "terms": {"a": NaN}}', "NaN"),
        ("cliffs", json.dumps([CLIFFS[0] | {"series": [1]}]), "an object"),
        ("memory", json.dumps([SAVED[0] | {"copies": 1.5}]), "whole number"),
        (
            "programs",
            json.dumps(PROGRAMS | {"ways": {"ours": "x"}}),
            "way that is not said",
        ),
        (
            "programs",
            json.dumps(PROGRAMS | {"runs": PROGRAMS["runs"] * 2}),
            "twice",
        ),
        ("programs", json.dumps(PROGRAMS).replace("90.0", "0"), "above 0"),
        (
            "elsewhere",
            json.dumps([ELSEWHERE[0] | {"values": {"queries": "3"}}]),
            "values: queries: should be a number",
        ),
        ("machine", '{"CPU": 2}', "CPU: should be text, not 2"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    fill(tmp_path)
    (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(ResultsError, match=rf"{name}\.json.*{told}"):
        report.write(tmp_path)
    assert not list(tmp_path.glob("*.html"))
    assert not list(tmp_path.glob("*.svg"))


def test_both_sides_are_needed(tmp_path: Path) -> None:
    fill(tmp_path, {"a/b": 1.0}, {"a/c": 1.0})
    with pytest.raises(ResultsError, match="share no benchmark"):
        read(tmp_path)
    (tmp_path / "after.json").unlink()
    with pytest.raises(ResultsError, match=r"after\.json is missing"):
        read(tmp_path)


def test_values_have_to_be_seconds(tmp_path: Path) -> None:
    fill(tmp_path)
    text = (tmp_path / "after.json").read_text()
    (tmp_path / "after.json").write_text(text.replace('"second"', '"byte"'))
    with pytest.raises(ResultsError, match=r"after\.json.*seconds"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (Timing(1.0, 0), Timing(1.04, 0), "equal"),
        (Timing(1.0, 0), Timing(1.06, 0), "slower"),
        (Timing(1.06, 0), Timing(1.0, 0), "faster"),
        (Timing(1.0, 0.03), Timing(1.06, 0.04), "equal"),
        (Timing(1.0, 0.02), Timing(1.06, 0.03), "slower"),
        (Timing(1.0, 0.02), Timing(100.0, 5), "slower"),
    ],
)
def test_slower_is_what_noise_does_not_explain(
    before: Timing, after: Timing, verdict: str
) -> None:
    assert Comparison("group", "name", before, after).verdict == verdict


def test_lines_are_cut_where_most_was_measured(tmp_path: Path) -> None:
    fill(tmp_path)
    some = {name: t for name, t in MEMORY.items() if "_1MiB_" in name}
    dump(tmp_path, "uffd", some)
    results = read(tmp_path)
    by_size, by_dirty = results.cost_by_size(), results.cost_by_dirty()
    assert by_size
    assert by_dirty
    assert (by_size.held, by_size.pattern) == (16, "spread")
    assert [at for at, _ in by_size.lines["after"]] == [
        1 << 16,
        1 << 20,
        1 << 30,
    ]
    assert (by_dirty.held, by_dirty.pattern) == (1 << 20, "spread")
    assert [at for at, _ in by_dirty.lines["uffd"]] == [0, 16]
    assert list(results.beside_after()) == ["uffd"]


def test_order_is_that_of_sizes(tmp_path: Path) -> None:
    comparisons = read(fill(tmp_path, dict(reversed(BEFORE.items()))))
    assert [
        c.name for c in comparisons.comparisons() if c.group == "host_memory"
    ] == [
        "restore_64KiB_0_spread",
        "restore_64KiB_16_spread",
        "restore_64KiB_16_dense",
        "restore_1MiB_0_spread",
        "restore_1MiB_16_spread",
        "restore_1GiB_16_spread",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ns"),
        (2.5e-10, "0.25 ns"),
        (9.994e-7, "999 ns"),
        (9.996e-7, "1 µs"),
        (1.5e-6, "1.5 µs"),
        (0.1234, "123 ms"),
        (0.9999, "1 s"),
        (75, "75 s"),
    ],
)
def test_times_as_text(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.986, "0.99"), (9.996, "10.0"), (99.96, "100"), (5e3, "5,000")],
)
def test_ratios_as_text(ratio: float, text: str) -> None:
    assert format_ratio(ratio) == f"{text} {TIMES}"


def test_the_command(tmp_path: Path) -> None:
    fill(tmp_path)
    done = CliRunner().invoke(report.main, [str(tmp_path)])
    assert done.output.strip() == str(tmp_path / "report.html")
    (tmp_path / "before.json").unlink()
    failed = CliRunner().invoke(report.main, [str(tmp_path)])
    assert failed.exit_code == 1
    assert "before.json is missing" in failed.output
