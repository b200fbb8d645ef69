"""Interleavings: at a point inside of one operation, another.

A case is SCENE/OPERATION/MODE/POINT/DISTURBANCE, for instance
``kvm/call-foreign/hook/1/same:close``: close the sandbox in the second piece
of foreign code that a call runs. Cases run in a process of their own, so that
a death or a hang is a finding like another.

Usage: fuzz_interleave.py [--seconds S] [--seed N] [--all] [--only TEXT]
       fuzz_interleave.py --replay CASE

With --all every case there is, in order, whatever time that takes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import worker_process

HANG = 25  # seconds: more than all waits of a case together


# ---- The process in which cases run ----


def run_case(case: str) -> str:
    """One line: what became of it."""
    import points
    import scenes
    from scene import judge

    where, operation, mode, number, disturbance = case.split("/")
    scene = scenes.SCENES[where]()
    at = None if disturbance == "count" else int(number)
    watch = points.Points(mode, at, lambda: scene.disturb(disturbance))
    scene.hook = watch.hook
    result: object = None
    try:
        try:
            with watch.watching():
                result = scene.operations[operation](scene)
        except BaseException as error:
            scene.end_child(operation, error)
            expected = scene.expected.get(operation, ())
            if not isinstance(error, expected):
                judge(error, operation)
            result = error.with_traceback(None)
            error.__context__ = error.__cause__ = None
        scene.end_child(operation, result)
        if at is None:
            said = f"ok {watch.count}"
        elif not watch.done:
            said = "skip"
        else:
            scene.check(operation, result, disturbance)
            said = f"ok {watch.count}"
    except BaseException as error:
        said = f"bad {type(error).__name__}: {error} [{watch.where}]"
        said = said.replace("\n", " ")[:500]
    result = None
    if said.startswith("bad"):
        return said
    try:
        watch.act = print
        scene.hook = lambda name: None
        scene.end()
        spoiled = scene.spoiled
        scene = watch = None  # type: ignore[assignment]
        scenes.settle_process(disturbance == "raise")
    except BaseException as error:
        return f"bad at the end: {type(error).__name__}: {error}"
    return "spoiled " + said if spoiled else said


def names_of(scene: str) -> str:
    """What there is to combine."""
    import points
    import scenes

    made = scenes.SCENES[scene]()
    try:
        modes = " ".join(
            f"{mode}={','.join(made.names(mode))}" for mode in points.MODES
        )
        return f"{','.join(made.operations)} {modes}"
    finally:
        made.end()


def answer(line: str) -> str:
    """To what the other process asks."""
    word, _, rest = line.partition(" ")
    if word == "scenes":
        import scenes

        return " ".join(scenes.SCENES)
    return names_of(rest) if word == "names" else run_case(rest)


# ---- Which cases ----


class Plan:
    """All cases there are, counted where they are asked for."""

    def __init__(self, worker: worker_process.Worker, only: str) -> None:
        self.worker = worker
        self.groups: list[tuple[str, str, str]] = []
        self.names: dict[tuple[str, str], list[str]] = {}
        self.counts: dict[tuple[str, str, str], int] = {}
        self.undisturbed: dict[str, str] = {}  # what is wrong by itself
        self.only = only
        for scene in self.told("scenes").split():
            operations, *modes = self.told(f"names {scene}").split()
            for text in modes:
                mode, _, names = text.partition("=")
                self.names[scene, mode] = names.split(",")
                for operation in operations.split(","):
                    self.groups.append((scene, operation, mode))

    def told(self, line: str) -> str:
        said = self.worker.ask(line)
        if said.startswith("bad"):
            raise SystemExit(f"{line}: {said}")
        return said

    def count(self, group: tuple[str, str, str]) -> int:
        """How many points it has."""
        if group not in self.counts:
            case = "/".join((*group, "0", "count"))
            said = self.worker.ask(f"case {case}")
            word, *rest = said.split()
            self.counts[group] = int(rest[0]) if word == "ok" else 0
            if word != "ok":
                self.undisturbed[case] = said
        return self.counts[group]

    def random(self, seed: int) -> Iterator[str]:
        """For ever; each group as often as another."""
        source = random.Random(seed)
        groups = [g for g in self.groups if self.wanted(g)]
        while groups:
            group = source.choice(groups)
            count = self.count(group)
            if not count:
                groups.remove(group)
                continue
            name = source.choice(self.names[group[0], group[2]])
            yield "/".join((*group, str(source.randrange(count)), name))

    def wanted(self, group: tuple[str, str, str]) -> bool:
        return self.only in "/".join(group) + "/"

    def all(self) -> Iterator[str]:
        for group in self.groups:
            if self.wanted(group):
                for number in range(self.count(group)):
                    for name in self.names[group[0], group[2]]:
                        yield "/".join((*group, str(number), name))


def signature(case: str, said: str) -> str:
    """One for each finding: the point and numbers do not matter."""
    scene, operation, _, _, name = case.split("/")
    driver = scene.partition("-")[0]
    kind = "sandbox" if driver in ("kvm", "emulator") else "manager"
    what = re.sub(r"[0-9]+", "N", said.rpartition("[")[0] or said)[:90]
    if "hang" in said or "death" in said:
        what += f" ({operation}, {name})"
    return f"{kind}: {what}"


def report(case: str, said: str) -> None:
    print(f"FAILED {case}\n  {said.removeprefix('bad ')}")
    print(
        f"  python {os.path.relpath(__file__)} --replay '{case}'", flush=True
    )


def arguments_given() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="nothing is saved: see case")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="", help="cases with this text")
    parser.add_argument("--replay", metavar="CASE")
    parser.add_argument("--work", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Run cases until the time is up, count."""
    arguments = arguments_given()
    if arguments.work:
        worker_process.serve(answer)
        return 0
    worker = worker_process.Worker(__file__, HANG)
    begun = time.monotonic()
    tried: set[str] = set()
    found: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    try:
        if arguments.replay:
            said = worker.ask(f"case {arguments.replay}")
            print(f"{arguments.replay}: {said}")
            return 1 if said.startswith("bad") else 0
        plan = Plan(worker, arguments.only)
        cases = plan.all() if arguments.all else plan.random(arguments.seed)
        for case in cases:
            if not arguments.all:
                if time.monotonic() - begun > arguments.seconds:
                    break
                if case in tried:
                    continue
            tried.add(case)
            # What hung or died once does so again: that would take all time.
            similar = case.split("/")
            known = f"{similar[0]}/{similar[1]}/{similar[4]}"
            if kinds[f"bad {known}"] >= 2 or kinds[f"hang {similar[4]}"] >= 3:
                kinds["passed over"] += 1
                continue
            said = worker.ask(f"case {case}")
            word = said.removeprefix("spoiled ").split()[0]
            kinds[word] += 1
            if word == "bad":
                kinds[f"bad {known}"] += 1
                kinds[f"hang {similar[4]}"] += "hang: no answer" in said
                if signature(case, said) not in found:
                    report(case, said)
                found[signature(case, said)] += 1
        for case, said in plan.undisturbed.items():
            kinds["bad"] += 1
            if signature(case, said) not in found:
                report(case, said)
            found[signature(case, said)] += 1
    finally:
        worker.close()
    print(
        f"interleave: seed {arguments.seed}, {len(tried)} cases in "
        f"{len(plan.counts)} groups, {kinds['ok']} ok, {kinds['skip']} not "
        f"reached, {kinds['passed over']} passed over, {kinds['bad']} bad: "
        f"{len(found)} findings"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
