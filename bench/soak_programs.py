"""Many runs of mixed scripts, after which all memory has to be as it was.

Usage: soak_programs.py [--runs N] [--driver NAME] [--tracker NAME] [--every N]

After every run the memory is put back; all of it is compared with the snapshot
after every so many runs, and after each of the first rounds. Prints what was
done, and ends with status 1 at the first difference.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from hyperlight import (
    Files,
    GuestTimeout,
    LimitExceeded,
    ProgramExited,
    PythonSandbox,
    SandboxConfig,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/linux"))
from test_exact import SCRIPTS

#: Those that end a sandbox take longer: fewer of them.
_RARE = {"spins", "talks", "exits", "crashes", "large"}


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--driver", default="auto")
    parser.add_argument("--tracker", default="auto")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=0.3)
    options = parser.parse_args()
    config = SandboxConfig(
        driver=options.driver,
        tracker=options.tracker,
        output_limit="64KiB",
        start_timeout=None,
    )
    choose = random.Random(options.seed)
    names = list(SCRIPTS)
    weights = [1 if name in _RARE else 20 for name in names]
    done: Counter[str] = Counter()
    begun = time.monotonic()
    with PythonSandbox(
        memory="64MiB", config=config, files=Files().temporary()
    ) as sandbox:
        started = time.monotonic() - begun
        for number in range(options.runs):
            (name,) = (
                (names[number],)
                if number < len(names)
                else choose.choices(names, weights)
            )
            timeout = options.timeout if name == "spins" else None
            try:
                sandbox.run(SCRIPTS[name], timeout=timeout)
            except (GuestTimeout, LimitExceeded, ProgramExited) as error:
                if name not in _RARE:
                    raise
                done[type(error).__name__] += 1
            done[name] += 1
            if number < 2 * len(names) or number % options.every == 0:
                differing = len(sandbox.changed(everything=True))
                done["compared"] += 1
                if differing:
                    print(f"run {number}, {name}: {differing} pages differ")
                    return 1
    took = time.monotonic() - begun
    print(
        f"{options.runs} runs ({options.driver}, {options.tracker}), start "
        f"{started:.1f} s, all {took:.0f} s; compared {done['compared']} "
        f"times, 0 pages differ; {dict(done)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
