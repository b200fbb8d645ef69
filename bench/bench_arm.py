"""Restore with every page armed again, and with hot pages left unarmed.

The core has no call that only arms. `arm/always/...` less `arm/adaptive/...`
is what arming, and looking once more at what was armed, costs.
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
    made = runner("arm")
    seen = set()
    for case in cases(made):
        for rearm in ("always", "adaptive"):
            made.bench_time_func(
                f"arm/{rearm}/{case}",
                timed(
                    case, Bed.write, lambda bed: bed.manager.restore(), rearm
                ),
            )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, "arm")


if __name__ == "__main__":
    main()
