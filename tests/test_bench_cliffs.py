"""What cliffs and memory saved are measured of.  Never their times."""

from __future__ import annotations

import dataclasses
import mmap
import statistics
from contextlib import ExitStack

import pytest

for needed in ("click", "jinja2", "matplotlib", "numpy", "pyperf", "rich"):
    pytest.importorskip(needed, reason=f"benchmarks need {needed}")

from hyperlight import drivers, trackers  # noqa: E402
from hyperlight.bench import (  # noqa: E402
    cliffs,
    cliffs_gil,
    cliffs_guest,
    cliffs_host,
    limits_host,
    memory,
)
from hyperlight.bench.host import Bed, Case  # noqa: E402
from hyperlight.bench.results import Limit, Saved  # noqa: E402
from hyperlight.bench.rows import (  # noqa: E402
    FIRST,
    POINTS,
    Check,
    Effort,
    Side,
    beside,
    grown,
    thinned,
)

pytestmark = pytest.mark.unsanitized  # thousands of loops

MIB = 1 << 20
SHORT = Effort(0, 1)
GUESTS = any(info.available for info in drivers())
NONE = cliffs.Scale((), (), 4096 * 16, (), (), (), (), (2, 4), (2, 4))


def check_rows(rows: list[Limit]) -> None:
    """Whether each says what a report has to know of it."""
    assert len({row.what for row in rows}) == len(rows)
    for row in rows:
        assert row.against is not None, row.what
        assert (row.limit == "") == (row.kept is None), row.what
        assert row.value >= 0, row.what
        if row.unit != "bytes":
            assert row.series, row.what
        for line in row.series:
            assert 0 < len(line.values) <= POINTS, row.what
            assert min(line.values) > 0, row.what


def test_every_cliff_of_memory_is_a_row() -> None:
    host, size = cliffs_host, 64 << 10
    rows = [
        *host.sparse_beside_best((MIB,), SHORT),
        *host.sparse_takes((MIB,), SHORT),
    ]
    checks = [
        *host.cooled(host.usable(), size),
        *host.split((size,)),
        *host.far(("auto", "full"), (size,), (0.3, 1)),
        *host.everything((size,)),
    ]
    rows += [beside(check, SHORT) for check in checks]
    rows += host.managers(2, 8)
    check_rows(rows)
    text = "\n".join(f"{row.group}: {row.what}" for row in rows)
    for told in (
        "sparse memory: one page of 1 MiB, against the best, ",
        "sparse memory: one page of 1 MiB written and restored",
        "sparse memory: first take of 1 MiB",
        "sparse memory: page tables of the first take",
        "pages that were hot: one page of 64 KiB after 3/4",
        "split huge pages: one page of 64 KiB after one epoch",
        "far snapshots: restore across a tree of 64 KiB, 30% differ",
        "far snapshots: restore across a tree of 64 KiB, 100% differ",
        "everything dirty: restore 64 KiB, half of it dirty",
        "everything dirty: restore 64 KiB, all of it dirty",
        "many managers: manager number 8 made, against number 2",
        "many managers: manager number 8 closed, against number 2",
    ):
        assert told in text, told


def test_every_cliff_of_sandboxes_is_a_row() -> None:
    if not GUESTS:
        pytest.skip("no driver works here")
    rows = [beside(check, SHORT) for check in cliffs_guest.creation("auto")]
    rows += cliffs_guest.many("auto", 2, 4)
    rows += cliffs_guest.ring((10,), SHORT)
    check_rows(rows)
    assert [row.limit for row in rows][:2] == ["<= 25", "<= 1.5"]
    built = cliffs_guest.writer() is not None
    has_both = built and len(cliffs_guest.kvm_trackers()) > 1
    assert ([row.limit for row in rows].count("<= 1.1") == 1) is has_both


def test_what_is_short_is_measured_beside_a_busy_thread() -> None:
    found = "auto" if GUESTS else None
    rows = list(cliffs_gil.beside_a_busy_thread(found, SHORT))
    check_rows(rows)
    limits = [row.limit for row in rows]
    assert limits[:5] == ["<= 3", "<= 3", "<= 3", "<= 2", ""]
    assert limits[5:] == (["<= 3", ""] if GUESTS else [])
    assert all(len(row.series) == 2 for row in rows)


def test_two_threads_are_measured_beside_one() -> None:
    rows = list(cliffs_gil.two_threads("auto" if GUESTS else None, SHORT))
    check_rows(rows)
    assert len(rows) == (4 if GUESTS else 2)
    assert all(row.limit == "" and len(row.series) == 2 for row in rows)


def test_together_is_the_sum_of_what_each_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took = {"fast": 10.0, "slow": 40.0}
    monkeypatch.setattr(cliffs_gil, "each", lambda act, _: took[act()])
    acts = [lambda: "fast", lambda: "slow"]
    assert cliffs_gil.together(acts[:1], 1) == pytest.approx(10)
    assert cliffs_gil.together(acts, 1) == pytest.approx(8)


def test_the_gate_takes_the_same() -> None:
    groups = {check.group for check in cliffs.checks()}
    assert {"sparse memory", "pages that were hot"} < groups
    assert {"split huge pages", "far snapshots"} < groups
    limits = [row.limit for row in cliffs.many(NONE)]
    assert limits == ["<= 1.5"] * (5 if GUESTS else 2)


def test_restores_cross_as_much_of_a_tree_as_they_say() -> None:
    for share in (0.3, 0.6, 1):
        bed = Bed(Case("auto", MIB, 1, "dense"))
        tree = cliffs_host.Tree(bed, share)
        differing = []
        for _ in range(40):
            here = tree.next
            tree.choose()
            assert tree.next is not here
            differing.append(len(tree.next.diff(here)))
            tree.restore()
            assert not bed.manager.changed(tree.next)
        mean = sum(differing) / len(differing)
        assert mean == pytest.approx(share * 256, rel=0.15)
        bed.close()


def test_sparse_memory_stays_sparse() -> None:
    bed = cliffs_host.Sparse("auto", 64 * MIB)
    for _ in range(2 * cliffs_host.TOUCHED):
        bed.write()
        assert bed.manager.changed().runs() == [(bed.at // 4096, 1)]
        bed.manager.restore()
    assert bed.manager.stats["hot_pages"] == 0
    bed.close()


def test_a_phase_counts_only_after_its_rounds() -> None:
    calls = {"before": 0, "after": 0}

    def opened(side: str, stack: ExitStack) -> Side:
        def step() -> None:
            calls[side] += 1

        stack.callback(calls.__setitem__, f"{side} closed", 1)
        return Side(step)

    turns = Check("g", "w", opened, 1, within=7).turns(SHORT)
    assert calls == {
        "before": 24,
        "after": 24,
        "before closed": 1,
        "after closed": 1,
    }
    assert len(turns.first["after"]) == 7
    assert len(turns.samples["after"]) == 5
    assert len(turns.line("after", "x").values) == 12
    turns.samples = {name: [1.0] * 5 for name in turns.samples}
    turns.samples["after"] = [3.0] * 5
    assert turns.ratio("after", ["before"]) == 3


def test_lines_are_as_short_as_a_figure_is_wide() -> None:
    assert thinned([]) == ()
    assert thinned([2.0, 1.0]) == (2, 1)
    stretches = FIRST + 3 * (POINTS - FIRST)
    found = thinned(list(range(stretches)))
    assert found[:FIRST] == tuple(range(FIRST))
    assert found[FIRST:] == tuple(range(FIRST + 1, stretches, 3))
    for count in (POINTS - 1, POINTS, POINTS + 1, POINTS * 7 + 3):
        assert len(thinned([1.0] * count)) <= POINTS


def test_late_ones_are_compared_with_early_ones() -> None:
    took = [9.0] * 10 + [1.0] * 240 + [3.0] * 90 + [13.0] * 10
    row = grown("g", "thing", "made", took, 10, 1.5)
    assert (row.against, row.value, row.ratio) == (1, 3, 3)
    assert row.kept is False
    assert row.what == "thing number 350 made, against number 10"
    row = grown("g", "thing", "made", took, 10, 4, statistics.fmean)
    assert (row.against, row.value, row.kept) == (1, 4, True)


def test_python_has_a_share() -> None:
    rows = list(limits_host.python_share(Effort(0.01, 1)))
    assert [row.limit for row in rows] == ["<= 0.5 µs", "<= 1.5"]


def filled() -> mmap.mmap:
    """New memory: an allocator could have some that is resident already."""
    new = mmap.mmap(-1, 8 * MIB)
    for at in range(0, len(new), 4096):
        new[at] = 1
    return new


def test_memory_is_counted() -> None:
    resident, _ = memory.added(filled)
    assert resident == pytest.approx(8 * MIB, rel=0.2)
    saved = Saved("w", "uffd", 4, 4 << 16, 4 << 12, 4 << 26)
    assert saved.each == (1 << 16) + (1 << 12)
    assert saved.times == pytest.approx((1 << 26) / saved.each)
    assert dataclasses.replace(saved, resident=0, tables=0).times == 1 << 16


def test_memory_saved_is_measured_of_every_tracker_and_driver() -> None:
    rows = list(memory.measure(memory.Scale(4 * MIB, (16,), 2)))
    by = {row.by for row in rows}
    usable = [t for t in trackers() if t.available]
    assert {t.name for t in usable if t.driver is None} <= by
    for info in drivers():
        of_driver = {name for name in by if name.startswith(f"{info.name}, ")}
        assert bool(of_driver) == info.available
        own = {
            f"{info.name}, {t.name}" for t in usable if t.driver == info.name
        }
        assert not info.available or own <= of_driver
    for row in rows:
        assert row.copies == 2
        assert row.full >= 2 * 4 * MIB
        if row.what.startswith("snapshots"):
            assert row.resident + row.tables < row.full / 2
