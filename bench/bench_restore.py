"""Restore in a steady loop, beside a full copy and memcpy of the pages."""

from __future__ import annotations

from hyperlight.bench.host import Bed
from hyperlight.bench.parts import (
    bench_beside_copies,
    cases,
    runner,
    timed,
)


def main() -> None:
    made = runner("restore")
    seen = set()
    for case in cases(made):
        made.bench_time_func(
            f"restore/{case}",
            timed(case, Bed.write, lambda bed: bed.manager.restore()),
        )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, "restore")


if __name__ == "__main__":
    main()
