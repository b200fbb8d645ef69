"""Managers beside a model that copies everything.

A history is some memories of some kind, a manager of each, and steps chosen
from its number: take, restore any, push, pop, dirty, changed, verify, drop,
close and open anew; writes by this program, by system calls, by threads while
others run; advice about pages; planned failures; a fork whose child goes on
by itself. After each step everything that was promised is compared.

Usage: fuzz_managers.py [--seconds S] [--seed N] [--only TRACKER]
       fuzz_managers.py --replay HISTORY
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import worker_process

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from bed import KINDS, STEP_WEIGHTS, STEPS, TRACKERS, Bed, require

from hyperlight import (
    TrackerUnavailable,
)
from hyperlight._binding import core


class History:
    """All of it from one number."""

    def __init__(self, number: int) -> None:
        self.source = random.Random(number)
        self.log: list[str] = []
        self.counts: Counter[str] = Counter()
        self.in_child = False

    def run(self) -> str:
        kind = self.source.choice(KINDS)
        tracker = self.source.choice(TRACKERS)
        self.log.append(f"{kind}, {tracker}")
        beds: list[Bed] = []
        try:
            for _ in range(self.source.choice((1, 1, 2))):
                try:
                    beds.append(Bed(self.source, kind, tracker))
                except TrackerUnavailable:
                    return "refused"
            self.steps(beds, STEPS)
        finally:
            for bed in beds:
                bed.end()
        return "ok"

    def steps(self, beds: list[Bed], count: int) -> None:
        for _ in range(count):
            bed = self.source.choice(beds)
            if not self.in_child and self.source.randrange(80) == 0:
                self.fork(beds)
                continue
            step = self.source.choices(
                list(STEP_WEIGHTS), list(STEP_WEIGHTS.values())
            )[0]
            self.log.append(f"{beds.index(bed)}.{step.__name__}")
            self.counts[step.__name__] += 1
            step(bed)
        for bed in beds:
            bed.look()
            bed.verify()
            for snapshot in bed.snapshots:
                bed.manager.restore(snapshot)
                bed.restored(snapshot)

    def fork(self, beds: list[Bed]) -> None:
        """Both go on; the child's writes are its own where memory is."""
        self.log.append("fork")
        self.counts["fork"] += 1
        if any(bed.kind in ("shared", "memfd", "file") for bed in beds):
            steps = 0  # what one writes, the other would find
        else:
            steps = 15
        words, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.close(words)
                signal.alarm(30)
                self.in_child = True
                if steps:
                    self.steps(beds, steps)
                for bed in beds:
                    bed.view.release()
                    bed.manager.close()
                    bed.memory.close()
                code = 0
            except BaseException as error:
                text = f"{type(error).__name__}: {error}; {self.log[-12:]}"
                os.write(said, text.encode()[:400])
            finally:
                os._exit(code)
        os.close(said)
        with open(words, "rb") as reader:
            text = reader.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        require(code == 0, f"child ended with {code}: {text}")


def answer(line: str) -> str:
    """Run the history with that number."""
    number = int(line)
    history = History(number)
    try:
        said = history.run()
    except BaseException as error:
        steps = " ".join(history.log[:1] + history.log[-12:])
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        return f"bad {text} [{steps}]"
    total = sum(history.counts.values())
    if any(core.counts().values()):
        gc.collect()
    left = {name: n for name, n in core.counts().items() if n}
    if left:
        return f"bad left behind: {left} [{' '.join(history.log[:1])}]"
    counts = history.counts
    restores = counts["restore"] + counts["pop"]
    return f"{said} {total} {restores} {counts['fork']} {counts['fail']}"


def main() -> int:
    """Run histories until the time is up, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="nothing is saved: see case")
    parser.add_argument("--replay", metavar="HISTORY")
    parser.add_argument("--work", action="store_true")
    arguments = parser.parse_args()
    if arguments.work:
        worker_process.serve(answer)
        return 0
    worker = worker_process.Worker(__file__, 60)
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    found: dict[str, int] = {}
    try:
        if arguments.replay:
            said = worker.ask(arguments.replay)
            print(f"{arguments.replay}: {said}")
            return 1 if said.startswith("bad") else 0
        number = arguments.seed * 10_000_000
        while time.monotonic() - begun < arguments.seconds:
            number += 1
            said = worker.ask(str(number))
            word, *rest = said.split()
            totals[word] += 1
            if word == "bad":
                what = said.partition("[")[0][:80]
                where = said.rpartition("[")[2].split(" ")[:2]
                key = f"{what} {where}"
                found[key] = found.get(key, 0) + 1
                if found[key] == 1:
                    print(f"FAILED history {number}\n  {said[4:]}")
                    print(
                        f"  python {os.path.relpath(__file__)} --replay "
                        f"{number}",
                        flush=True,
                    )
            else:
                names = ("steps", "restores", "forks", "failures")
                for name, n in zip(names, rest, strict=True):
                    totals[name] += int(n)
    finally:
        worker.close()
    print(
        f"managers: seed {arguments.seed}, {totals['ok']} histories ok, "
        f"{totals['refused']} refused, {totals['bad']} bad; "
        f"{totals['steps']} steps, {totals['restores']} restores, "
        f"{totals['failures']} planned failures, {totals['forks']} forks"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
