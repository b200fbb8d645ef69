"""The first write to each of D armed pages, beside a write to open ones.

`fault/...` is the whole batch of writes: divide by D, and subtract the same
batch with tracker `full`, which writes to pages that nobody armed.
"""

from __future__ import annotations

from hyperlight.bench.host import Bed
from hyperlight.bench.parts import (
    bench_beside_copies,
    cases,
    runner,
    timed,
)


def main() -> None:
    made = runner("fault")
    seen = set()
    for case in cases(made):
        made.bench_time_func(
            f"fault/{case}",
            timed(
                case, lambda bed: bed.manager.restore(), Bed.write, "always"
            ),
        )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, "fault")


if __name__ == "__main__":
    main()
