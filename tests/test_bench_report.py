"""The page that a benchmark run ends in, from results made up here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pyperf = pytest.importorskip("pyperf", reason="pyperf holds the results")
pytest.importorskip("matplotlib", reason="matplotlib draws the figures")
pytest.importorskip("jinja2", reason="jinja2 writes the page")

from click.testing import CliRunner  # noqa: E402

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

BEFORE = {
    "guest_functions/guest_call": 33e-6,
    "guest_functions/guest_restore": 900e-6,
    "large_parameters/guest_call_restore_1mib_params": 3e-3,
    "sandbox_heap_sizes/create_sandbox_default_heap": 400e-6,
    "host_memory/restore_64KiB_0_spread": 3e-6,
    "host_memory/restore_64KiB_16_spread": 3e-6,
    "host_memory/restore_64KiB_16_dense": 3e-6,
    "host_memory/restore_1MiB_0_spread": 30e-6,
    "host_memory/restore_1MiB_16_spread": 30e-6,
    "host_memory/restore_1GiB_16_spread": 90e-3,
}
GAINS = (1, 100, 2, 1.5, 2, 1.01, 1.02, 20, 4, 3000)
AFTER = {
    name: time / gain
    for (name, time), gain in zip(BEFORE.items(), GAINS, strict=True)
}
MEMORY = {name: t for name, t in AFTER.items() if name.startswith("host")}
LIMITS: list[dict[str, Any]] = [
    {
        "group": "restore",
        "what": "restore, 1 GiB, against full",
        "value": 30.0,
        "unit": "µs",
        "against": 90000.0,
        "ratio": 3000,
        "limit": ">= 300",
        "kept": True,
        "noise": 0.03,
        "why": "",
    },
    {
        "group": "snapshots",
        "what": "a snapshot's memory",
        "value": 69632,
        "unit": "bytes",
        "against": 65536,
        "ratio": 1.0625,
        "limit": "<= 1.1",
        "kept": True,
        "noise": None,
        "why": "",
    },
    {
        "group": "snapshots",
        "what": "what others take",
        "value": 2.5,
        "unit": "ms",
        "against": None,
        "ratio": 7.5,
        "limit": "",
        "kept": None,
        "noise": None,
        "why": "",
    },
]
MISSED = LIMITS[0] | {
    "what": "restore, 64 KiB, all dirty",
    "ratio": 0.9,
    "limit": ">= 1",
    "kept": False,
    "why": "both copy everything",
}
PHASES = {
    "tracker": "uffd",
    "size": 1 << 26,
    "phases": [{"name": "stays", "start": 0}, {"name": "moves", "start": 2}],
    "iterations": 4,
    "restore": [9, 8, 30, 31],
    "full": [5000, 5100, 5000, 4900],
    "dirty": [16, 16, 16, 16],
    "hot": [0, 16, 16, 0],
}
MODEL = {
    "formula": "call + copy * pages",
    "terms": {"call": 1, "copy": 0.5},
    "rows": [
        {"what": "16 pages", "measured": 9.0, "model": 9},
        {"what": "far off", "measured": 20, "model": 10},
    ],
}
MACHINE = {"CPU": "two of them", "kernel": "6.18"}


def dump(directory: Path, side: str, times: dict[str, float]) -> None:
    """A suite as pyperf writes it: values 1 % around each time."""
    suite = pyperf.BenchmarkSuite(
        [
            pyperf.Benchmark(
                [
                    pyperf.Run(
                        [time * 0.99, time, time * 1.01],
                        metadata={"name": name, "unit": "second"},
                        collect_metadata=False,
                    )
                ]
            )
            for name, time in times.items()
        ]
    )
    suite.dump(str(directory / f"{side}.json"), replace=True)


def fill(
    directory: Path,
    before: dict[str, float] = BEFORE,
    after: dict[str, float] = AFTER,
    **extras: Any,
) -> Path:
    directory.mkdir(exist_ok=True)
    dump(directory, "before", before)
    dump(directory, "after", after)
    for name, value in extras.items():
        (directory / f"{name}.json").write_text(json.dumps(value))
    return directory


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with everything in them, written up."""
    directory = fill(
        tmp_path_factory.mktemp("results"),
        limits=[*LIMITS, MISSED],
        phases=PHASES,
        model=MODEL,
        machine=MACHINE,
    )
    for side, factor in (
        ("memcpy", 0.8),
        ("sigsegv", 1.3),
        ("uffd-sigbus", 1.2),
        ("numpy.copyto", 30),
    ):
        dump(directory, side, {name: t * factor for name, t in MEMORY.items()})
    report.write(directory)
    return directory


@pytest.fixture(scope="module")
def page(full: Path) -> str:
    return (full / "report.html").read_text()


def words(html: str) -> str:
    """What a reader sees, more or less."""
    text = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    plain = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "http" not in plain
    assert not re.search(r"<(script|link|img|iframe)\b|@import|src=", plain)
    assert not re.search(r'href="(?!#)|url\((?!#)', plain)


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)
    assert {one or other for one, other in links} <= set(ids)


def test_everything_measured_is_shown(page: str) -> None:
    text = words(page)
    for name in BEFORE:
        group, benchmark = name.split("/")
        assert group in text
        assert f" {benchmark} " in text
    for limit in (*LIMITS, MISSED):
        assert limit["what"].replace("'", "&#39;") in text
    for told in ("68 KiB", "30 µs", "90 ms", "2.5 ms", f"3,000 {TIMES}"):
        assert told in text
    for side in ("memcpy", "sigsegv", "uffd-sigbus", "numpy.copyto"):
        assert f"compare_to --table before.json {side}.json" in text
    for told in ("stays", "moves", "call + copy * pages", "far off"):
        assert told in text
    assert "two of them" in text


def test_the_headline_counts(page: str, tmp_path: Path) -> None:
    assert (
        "<h1>Tracking is never slower in 10 comparisons, and up to "
        f"3,000 {TIMES} faster; 2 of 3 limits kept</h1>"
    ) in page
    before = {"guest_functions/a": 1e-3, "guest_functions/b": 1e-3}
    slower = {"guest_functions/a": 2e-3, "guest_functions/b": 1e-3}
    html = report.write(fill(tmp_path, before, slower)).read_text()
    assert (
        "<h1>Tracking is slower in 1 of 2 comparisons, and faster in none</h1>"
    ) in html
    top = words(html.split('id="overview"')[0])
    assert "Slower with tracking a : 1 ms before, 2 ms after" in top


def test_missed_limits_come_first(page: str) -> None:
    top = words(page.split('id="overview"')[0])
    assert f"restore, 64 KiB, all dirty : 0.90 {TIMES}" in top
    assert "both copy everything" in top
    assert "restore, 1 GiB" not in top
    assert page.count("✗ missed") == 1
    assert page.count("✓ kept") == 2
    assert page.count("compared only") == 1


def test_figures_are_saved_twice(full: Path, page: str) -> None:
    names = {path.stem for path in full.glob("*.svg")}
    assert names == {path.stem for path in full.glob("*.png")}
    assert len(names) == page.count("<svg") == 10
    for svg in full.glob("*.svg"):
        assert not re.search(r"<dc:(date|creator)>", svg.read_text())


def test_the_same_results_make_the_same_page(full: Path, page: str) -> None:
    figures = {path: path.read_bytes() for path in full.glob("*.[sp][vn]g")}
    assert report.write(full).read_text() == page
    assert figures == {path: path.read_bytes() for path in figures}


def test_before_and_after_suffice(tmp_path: Path) -> None:
    html = report.write(fill(tmp_path)).read_text()
    for absent in ("beside", "limits", "phases", "model", "machine"):
        assert f'id="{absent}"' not in html
        assert f'href="#{absent}"' not in html
    assert "limits kept" not in html
    assert "Cost by size of memory" in html


def test_a_partial_grid_is_shown_as_it_is(tmp_path: Path) -> None:
    one = "host_memory/restore_1MiB_16_spread"
    other = "host_memory/odd"
    after = {one: 1e-6, other: 1e-6, "new/one": 1e-6}
    before = {one: 2e-6, other: 2e-6, "gone": 1e-6}
    html = report.write(fill(tmp_path, before, after)).read_text()
    assert "Gain by size and pages" in html
    assert "Cost by" not in html
    assert "so not compared: gone, new/one." in html


def test_many_cells_fold_up_by_size(tmp_path: Path) -> None:
    before = {
        f"host_memory/restore_{size}_{dirty}_dense": 1e-3
        for size in ("1MiB", "2MiB")
        for dirty in range(16)
    }
    html = report.write(fill(tmp_path, before, before)).read_text()
    assert html.count("<details>") == 2
    assert "<b>2 MiB</b>: 16 comparisons" in html


def test_empty_extras(tmp_path: Path) -> None:
    model = MODEL | {"terms": {}, "rows": []}
    phases = PHASES | {"phases": []}
    fill(tmp_path, limits=[], machine={}, model=model, phases=phases)
    assert 'id="model"' in report.write(tmp_path).read_text()


def test_text_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>$x_2$"
    times = {f"{evil}/{evil}": 1e-6, "plain": 1e-6}
    limits = [MISSED | {"what": evil, "group": evil, "why": evil}]
    phases = PHASES | {"phases": [{"name": evil, "start": 0}]}
    model = {"formula": evil, "terms": {evil: 1}, "rows": MODEL["rows"]}
    fill(
        tmp_path,
        times,
        times,
        limits=limits,
        phases=phases,
        model=model,
        machine={evil: evil},
    )
    dump(tmp_path, "<i>side", times)
    html = report.write(tmp_path).read_text()
    assert "<script" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;" in html
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


SUITE = '{"version": "1.0", "benchmarks": []}'


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
