"""Take in a steady loop, beside a full copy and memcpy of the pages."""

from __future__ import annotations

from hyperlight.bench.host import Bed
from hyperlight.bench.parts import (
    bench_beside_copies,
    cases,
    runner,
    timed,
)


def main() -> None:
    made = runner("take")
    seen = set()
    for case in cases(made):
        made.bench_time_func(
            f"take/{case}",
            timed(case, Bed.write, lambda bed: bed.manager.take()),
        )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, "take")


if __name__ == "__main__":
    main()
