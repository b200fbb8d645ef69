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


from hyperlight.bench import others, report  # noqa: E402
from hyperlight.bench.plots import (  # noqa: E402
    TIMES,
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
CLIFFS = [
    {
        "group": "split huge pages",
        "what": "one page after an epoch of many, against fresh",
        "value": 5.0,
        "unit": "µs",
        "against": 4.0,
        "ratio": 1.25,
        "limit": "<= 1.3",
        "kept": True,
        "series": [
            {"name": "against", "values": [4, 4.1, 3.9]},
            {"name": "measured", "values": [40, 20, 5.0]},
        ],
    },
    {
        "group": "page tables",
        "what": "a cliff without iterations",
        "value": 4096,
        "unit": "bytes",
        "against": 1048576,
        "ratio": 0.004,
        "limit": "<= 1",
        "kept": True,
    },
]
SAVED = [
    {
        "what": "snapshots of a region",
        "by": "uffd",
        "copies": 8,
        "resident": 8 * 65536,
        "tables": 8 * 4096,
        "full": 8 << 26,
    }
]
ELSEWHERE = [
    {"what": "a call", "by": "a fake", "values": {"queries": 3, "pages": 59}},
    {"what": "a restore", "by": "Wine", "values": {"of a memmove": 0.25}},
]
PROGRAMS = {
    "driver": "a-vm",
    "python": "3.99.1",
    "ways": {"ours": "pages put back", "theirs": "a new process"},
    "runs": [
        {"script": "pass", "way": "theirs", "took": 9900.0, "spread": 1.0},
        {
            "script": "pass",
            "way": "ours",
            "took": 90.0,
            "spread": 1.0,
            "pages": 73,
        },
    ],
    "memory": [SAVED[0] | {"what": "live sandboxes of Python"}],
    "limits": [LIMITS[0] | {"what": "pass beside nothing", "limit": "<= 3"}],
    "absent": [{"what": "another way", "why": "not installed"}],
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
                        metadata={"name": name, "unit": "second"}
                        | ({} if name in MEMORY else {"driver": "a-vm"}),
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
        cliffs=CLIFFS,
        programs=PROGRAMS,
        memory=SAVED,
        elsewhere=ELSEWHERE,
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
    for limit in (*LIMITS, MISSED, *CLIFFS):
        assert limit["what"].replace("'", "&#39;") in text
    for told in ("68 KiB", "30 µs", "90 ms", "2.5 ms", f"3,000 {TIMES}"):
        assert told in text
    for side in ("memcpy", "sigsegv", "uffd-sigbus", "numpy.copyto"):
        assert f"compare_to --table before.json {side}.json" in text
    for told in ("stays", "moves", "call + copy * pages", "far off"):
        assert told in text
    assert "two of them" in text
    saved = words(page.split('id="memory"')[1].split('id="elsewhere"')[0])
    for told in ("8 snapshots of a region", "68 KiB", "4 KiB", "64 MiB"):
        assert told in saved
    assert f"964 {TIMES}" in saved


def test_sandboxes_carry_their_driver(page: str) -> None:
    groups = page.split('<section id="group-')[1:]
    for group in groups:
        is_guests = "<code>host_memory</code>" not in group
        assert ("<th>driver</th>" in group) is is_guests
        assert ("<td>a-vm</td>" in group) is is_guests
    assert any("<th>driver</th>" not in group for group in groups)


def test_other_systems_are_counted(page: str) -> None:
    tables = page.split('id="elsewhere"')[1].split("</section>")[0]
    first, second = map(words, tables.split("<table>")[1:])
    assert "what by queries pages a call a fake 3 59" in first
    assert "what by of a memmove a restore Wine 0.25" in second


def test_the_headline_counts(page: str, tmp_path: Path) -> None:
    assert (
        "<h1>Tracking is never measurably slower in 10 comparisons, and up to "
        f"3,000 {TIMES} faster; 5 of 6 limits kept</h1>"
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
    assert page.count("✓ kept") == 5
    assert page.count("compared only") == 1


def test_quoted_figures_say_that_they_are(page: str) -> None:
    quoted = words(page.split("quoted figures")[1].split("</section>")[0])
    assert others.QUOTED_FROM in quoted
    assert "TinyKVM creation 630 to 3000" in quoted


def test_figures_are_saved_twice(full: Path, page: str) -> None:
    names = {path.stem for path in full.glob("*.svg")}
    assert names == {path.stem for path in full.glob("*.png")}
    assert len(names) == page.count("<svg") == 12
    for svg in full.glob("*.svg"):
        assert not re.search(r"<dc:(date|creator)>", svg.read_text())


def test_the_same_results_make_the_same_page(full: Path, page: str) -> None:
    figures = {path: path.read_bytes() for path in full.glob("*.[sp][vn]g")}
    assert report.write(full).read_text() == page
    assert figures == {path: path.read_bytes() for path in figures}


def test_before_and_after_suffice(tmp_path: Path) -> None:
    html = report.write(fill(tmp_path)).read_text()
    for absent in (
        *("beside", "limits", "cliffs", "programs", "memory"),
        *("elsewhere", "phases", "model"),
    ):
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


def test_a_missed_cliff_is_a_missed_limit(tmp_path: Path) -> None:
    fill(tmp_path, cliffs=[CLIFFS[0] | {"kept": False, "ratio": 8}])
    html = report.write(tmp_path).read_text()
    assert "0 of 1 limit kept" in html
    top = words(html.split('id="overview"')[0])
    assert "one page after an epoch of many, against fresh : 8.00" in top


def test_a_cliff_has_a_line_for_each_side(full: Path) -> None:
    svg = (full / "cliff-split-huge-pages.svg").read_text()
    for told in ("against", "measured", "one page after an epoch of many"):
        assert told in svg
    assert not (full / "cliff-page-tables.svg").exists()


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
