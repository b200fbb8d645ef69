"""Runs every benchmark once on the smallest grid: that they live."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SMALL = ["--sizes", "64KiB", "--dirty", "1,4", "--patterns", "spread,dense"]


def main() -> int:
    failed = 0
    for script in sorted(HERE.glob("bench_*.py")):
        print(f"== {script.name}", flush=True)
        failed += subprocess.call(
            [sys.executable, script, "--debug-single-value", *SMALL],
            cwd=HERE,
        )
    print("== limits", flush=True)
    # A limit that is missed on a busy machine is not what is looked for here.
    for script, *options in (
        ("limits.py", "--sizes", "64KiB"),
        ("sandbox_limits.py",),
    ):
        status = subprocess.call(
            [sys.executable, HERE / script, *options], cwd=HERE
        )
        failed += status not in (0, 3)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
