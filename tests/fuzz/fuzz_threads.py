"""Four threads use one sandbox at once, each at random, while some fork.

What happens when is up to the machine: a seed does not show a finding again,
but a build with AddressSanitizer tells more of it. Each result is compared,
each error must be a documented one, each child of fork must end well.

Usage: fuzz_threads.py [--seconds S] [--seed N]
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import hyperlight
from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
    SandboxPoisoned,
)

THREADS = 4
STEPS = (
    *("add", "add", "host", "host", "echo", "spin", "spin", "restore"),
    *("restore", "snapshot", "changed", "verify", "interrupt", "poisoned"),
    *("stats", "transaction", "seldom"),
)
PATIENCE = 60


class Game:
    """One sandbox at a time, which threads share and replace."""

    def __init__(self, driver: str, seed: int, seconds: float) -> None:
        self.driver = driver
        self.seed = seed
        self.end = time.monotonic() + seconds
        self.box = self.new()
        self.base = self.box.base
        self.bad: list[str] = []
        self.counts: Counter[str] = Counter()

    def new(self) -> Sandbox:
        return Sandbox(
            "simple",
            host_functions={
                "HostAdd": lambda a, b: a + b,
                "HostEcho": lambda data: data,
                "HostTick": lambda: None,
            },
            config=SandboxConfig(driver=self.driver, call_timeout=10),
        )

    def run(self, number: int) -> None:
        source = random.Random(self.seed * 100 + number)
        while time.monotonic() < self.end and not self.bad:
            name = source.choice(STEPS)
            if name == "seldom" and source.randrange(5) == 0:
                name = source.choice(("replace", "fork", "devolve"))
            self.counts["steps"] += 1
            try:
                self.step(name, self.box, source)
            except (GuestTimeout, GuestInterrupted, SandboxPoisoned):
                self.counts["ended"] += 1
                if source.randrange(2):
                    self.put_back()
            except ValueError as error:
                self.counts["closed"] += 1
                if "closed" not in str(error):
                    self.bad.append(f"{name}: {error!r}")
                elif self.box.closed:  # not evolved again: interrupted
                    self.box = self.new()
            except BaseException as error:
                self.bad.append(f"{name}: {error!r}")

    def put_back(self) -> None:
        try:
            self.box.restore()
        except ValueError:
            self.counts["closed"] += 1

    def step(self, name: str, box: Sandbox, source: random.Random) -> None:
        if name in ("add", "host"):
            a, b = source.randrange(1000), source.randrange(1000)
            got = box.call("AddLocal" if name == "add" else "Add", a, b)
            assert got == a + b, (got, a, b)
        elif name == "echo":
            data = source.randbytes(source.randrange(8000))
            assert box.call("HostEcho", data) == data
        elif name == "spin":
            box.call(
                source.choice(("Spin", "HostLoop")),
                timeout=source.choice((0.0005, 0.002, 0.01)),
            )
        elif name == "restore":
            box.restore(source.choice((None, self.base)))
        elif name in ("snapshot", "changed", "verify", "interrupt"):
            getattr(box, name)()
        elif name in ("stats", "poisoned"):
            getattr(box, name)
        elif name == "transaction":
            with box.transaction():
                box.call("Counter")
        elif name == "replace":
            self.box = self.new()
            box.close()
        elif name == "devolve":
            self.box = box.devolve().evolve()
        elif name == "fork":
            self.fork(box)

    def fork(self, box: Sandbox) -> None:
        self.counts["forks"] += 1
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code == 0, f"child ended with {code}"
            return
        code = 70
        try:
            signal.alarm(30)
            try:
                box.call("AddLocal", 1, 2)
            except (ValueError, RuntimeError, HyperlightError):
                code = 71
            box.close()
            with self.new() as mine:
                if code == 71 and mine.call("Add", 1, 2) == 3:
                    code = 0
        finally:
            os._exit(code)


def main() -> int:
    """One game with each driver."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="nothing is saved")
    parser.add_argument("--replay", metavar="SEED", type=int)
    arguments = parser.parse_args()
    seed = arguments.replay or arguments.seed
    sys.setswitchinterval(1e-4)
    drivers = [d.name for d in hyperlight.drivers() if d.available]
    bad = []
    for driver in drivers:
        seconds = arguments.seconds / len(drivers)
        faulthandler.dump_traceback_later(seconds + PATIENCE, exit=True)
        game = Game(driver, seed, seconds)
        threads = [
            threading.Thread(target=game.run, args=(number,), daemon=True)
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE + seconds)
        game.bad += ["a thread hangs" for t in threads if t.is_alive()]
        for text in game.bad:
            print(f"FAILED {driver}: {text}", flush=True)
        bad += game.bad
        counts = ", ".join(f"{n} {name}" for name, n in game.counts.items())
        print(f"threads: seed {seed}, {driver}: {counts}", flush=True)
    os._exit(1 if bad else 0)  # not joined where one hangs


if __name__ == "__main__":
    main()
