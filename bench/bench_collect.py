"""Collect: asking what is dirty, without changing anything."""

from __future__ import annotations

from hyperlight.bench.host import Bed
from hyperlight.bench.parts import (
    bench_beside_copies,
    cases,
    runner,
    timed,
)


def main() -> None:
    made = runner("collect")
    seen = set()
    for case in cases(made):
        made.bench_time_func(
            f"collect/{case}",
            timed(case, Bed.write, lambda bed: bed.manager.dirty(), "always"),
        )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, "collect")


if __name__ == "__main__":
    main()
