"""Prints the seconds that the first PythonSandbox of a process takes.

Usage: programs_start.py DRIVER [MODULE]...

And, on a line after it, the modules that it has imported then.
"""

from __future__ import annotations

import sys
import time

from hyperlight.bench.programs_ways import sandbox

__all__ = ["main"]


def main() -> None:
    """Make one, and ask it."""
    driver, *modules = sys.argv[1:]
    start = time.perf_counter()
    with sandbox(driver, tuple(modules)) as made:
        print(time.perf_counter() - start)
        names = made.run("import sys\n[*sys.modules]").value
        print(*(n for n in names if not n.startswith("_hyperlight")))


if __name__ == "__main__":
    main()
