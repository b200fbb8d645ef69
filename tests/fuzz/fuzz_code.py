"""Random machine code in a sandbox: after a restore nothing of it is left.

A round is one guest (guest.S, with 64 KiB of code that follows from the
round's number), two sandboxes of it, one snapshot of each of three states, and
some hundred runs of a place in that code with registers that follow from the
number too. After each the sandbox is restored, by one road or another, and
says everything that a guest can see: all of its memory, all registers,
selectors, vector state, both buffers, what is readable of the tables. That is
compared with what a fresh sandbox said before any of this. The second sandbox
runs nothing of it and must not change either.

Usage: fuzz_code.py [--seconds S] [--seed N]
       fuzz_code.py --replay ROUND
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import worker_process
from code_guest import (
    AREA,
    HOST_OWN,
    IGNORED,
    MARK,
    RUNS,
    SAVED,
    USABLE,
    VECTORS,
    XSTATE_BV,
    Broken,
    Maker,
    address_of,
    build_guest,
    differences,
)

import hyperlight
from hyperlight import (
    GuestAborted,
    GuestInterrupted,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
)
from hyperlight._binding import core

# ---- A round ----


class Round:
    """Everything from one number."""

    def __init__(self, number: int) -> None:
        self.source = random.Random(number)
        self.counts: Counter[str] = Counter()
        drivers = [d.name for d in hyperlight.drivers() if d.available]
        weights = [3 if name == "kvm" else 1 for name in drivers]
        self.driver = self.source.choices(drivers, weights)[0]
        self.tracker = self.source.choice(
            [t for t in core.candidates(self.driver, 1) if t in USABLE]
        )
        self.config = SandboxConfig(
            driver=self.driver,
            tracker=self.tracker,
            call_timeout=5,
            heap_size=16384,
            stack_size=8192,
            input_size=4096,
            output_size=98304,
            rearm=self.source.choice(("adaptive", "always")),
        )
        file = bytearray(build_guest())
        area = bytes(file).index(MARK)
        self.base = address_of(bytes(file), area)
        # What the guest has where follows from the file's size alone.
        with self.new(bytes(file)) as plain:
            self.layout = plain.layout
            self.optional = self.find_optional(plain)
            self.readable = self.find_readable(plain)
        spots = [
            address
            for region in self.layout
            for address in range(region.address, region.end, 4096)
            if region.name != "tables" or region.address == address
        ]
        spots += 4 * [
            address
            for name in ("data", "stack", "heap", "output")
            for address in range(
                self.layout[name].address, self.layout[name].end, 4096
            )
        ]
        self.maker = Maker(self.source, [*spots, self.layout["input"].end])
        self.snippets: list[tuple[int, int]] = []
        at = area
        while True:
            code = self.maker.snippet(self.base + at - area, self.base - 4096)
            if at + len(code) > area + AREA:
                break
            file[at : at + len(code)] = code
            self.snippets.append((self.base + at - area, len(code)))
            at += len(code)
        self.file = bytes(file)
        self.area = area

    def new(self, file: bytes) -> Sandbox:
        return Sandbox(
            file,
            host_functions={"H": lambda *values: None},
            config=self.config,
        )

    def find_optional(self, box: Sandbox) -> int:
        """Which of See()'s instructions there are here."""
        mask = 0
        for bit in range(9):
            try:
                box.call("See", 1 << bit, b"")
                mask |= 1 << bit
            except GuestAborted:
                box.restore()
        return mask

    def find_readable(self, box: Sandbox) -> list[tuple[int, int]]:
        """Stretches of memory that it can read; the output comes anyway."""
        found = []
        for region in self.layout:
            if region.name == "output":
                continue
            if region.kind != "tables":
                # Code is what it was: nobody can write to it, and it is long.
                if region.kind != "read-only":
                    found.append((region.address, region.size))
                continue
            for page in range(region.address, region.end, 4096):
                try:
                    box.call("See", 0, struct.pack("<QQ", page, 4096))
                    found.append((page, 4096))
                except GuestAborted:
                    box.restore()
        return found

    def see(self, box: Sandbox) -> bytes:
        spans = b"".join(struct.pack("<QQ", *span) for span in self.readable)
        seen = bytearray(box.call("See", self.optional, spans))
        for first, end in HOST_OWN:
            seen[first:end] = bytes(end - first)
        seen[XSTATE_BV] |= VECTORS
        return bytes(seen)

    def where(self, at: int) -> str:
        """What byte `at` of what See() said is."""
        names = SAVED.split()
        if at < 512:
            return names[at // 8] if at // 8 < len(names) else f"saved+{at}"
        at -= 512
        if at < 512:
            return f"fxsave+{at}"
        if at < 4096:
            return f"xsave+{at - 512}"
        at -= 4096
        for address, size in self.readable:
            if at < size:
                region = self.layout.find(address + at)
                assert region is not None
                return f"{region.name}+{address + at - region.address:#x}"
            at -= size
        return f"output+{at:#x} behind"

    def prepare(self) -> None:
        """Sandboxes, states, and what a fresh one says of each."""
        self.evil = self.new(self.file)
        self.quiet = self.new(self.file)
        heap, stack = self.layout["heap"], self.layout["stack"]
        data = self.layout["data"]
        spans = struct.pack(
            "<6Q",
            *(heap.address, heap.size, stack.address, stack.size - 512),
            *(data.address, 2048),
        )
        self.states = [self.quiet.snapshot("as it came up")]
        for number in (0x5A, 0xC3):
            self.quiet.call("Fill", number, spans)
            self.quiet.call("Vec", number * 0x01010101)
            self.states.append(self.quiet.snapshot(f"{number:#x}"))
        self.expected = []
        self.noise = []
        for state in self.states:
            said = []
            for _ in range(6):
                self.quiet.restore(state)
                said.append(self.see(self.quiet))
            one = said[-1]
            # What differs although nothing has happened, such as time.
            self.noise.append(
                {i for other in said[:-1] for i in differences(one, other)}
            )
            self.expected.append(one)
        self.masked = len(set().union(*self.noise))

    def compare(self, box: Sandbox, state: int, what: str) -> None:
        said = self.see(box)
        if said != self.expected[state]:
            self.differ(self.expected[state], said, self.noise[state], what)

    def differ(
        self, one: bytes, said: bytes, noise: set[int], what: str
    ) -> None:
        """Raise, unless what differs does so by itself."""
        places = [i for i in differences(one, said) if i not in noise]
        if IGNORED:
            places = [
                i for i in places if not self.where(i).startswith(IGNORED)
            ]
        if places:
            first = ", ".join(
                f"{self.where(i)}: {one[i]:#x} to {said[i]:#x}"
                for i in places[:4]
            )
            raise Broken(f"{what}: {len(places)} bytes differ: {first}")

    def run_one(self, place: int) -> str:
        """One run, a restore, and a look; how the run ended."""
        source, box = self.source, self.evil
        registers = self.maker.registers()
        junk = source.randbytes(source.choice((0, 0, 100, 3000)))
        timeout = source.choice((0.003, 0.01))
        if self.driver != "kvm":  # emulating takes longer
            timeout *= 8
        interrupts = source.randrange(40) == 0
        timer = threading.Timer(0.002, box.interrupt)
        if interrupts:
            timeout = 2
            timer.start()
        try:
            box.call("Go", place, registers + junk, timeout=timeout)
            how = "results"
        except GuestTimeout:
            how = "timeouts"
        except GuestInterrupted:
            how = "interrupts"
        except GuestAborted:
            how = "aborts"
        except HyperlightError:
            how = "errors"
        finally:
            if interrupts:
                box.interrupt()
                timer.join()
        if source.randrange(8) == 0:
            with contextlib.suppress(TypeError, hyperlight.SandboxPoisoned):
                box.call("Go", "not a number", b"S" * 3000)
            with contextlib.suppress(TypeError, hyperlight.SandboxPoisoned):
                box.call("See", place, 5)
        if how == "results" and source.randrange(3) == 0:
            self.move()
        return how

    def move(self) -> None:
        """What code made of a machine is in its snapshot, all of it."""
        self.counts["moves"] += 1
        snapshot = self.evil.snapshot("on the way")
        here = self.try_to_see(self.evil)
        for box in (self.evil, self.quiet):
            box.restore(snapshot)
            there = self.try_to_see(box)
            if (here is None) != (there is None):
                raise Broken("a snapshot restored cannot see, or can")
            if here is not None and there is not None and here != there:
                self.differ(here, there, set(), "a snapshot on the way")

    def try_to_see(self, box: Sandbox) -> bytes | None:
        """None: it cannot any more, for instance without its FS base.

        Or not in any time: it has its own memory to break.
        """
        try:
            return self.see(box)
        except (GuestAborted, GuestTimeout):
            return None

    def restore(self) -> int:
        """By some road; the state's number."""
        source, box = self.source, self.evil
        state = source.randrange(len(self.states))
        for _ in range(source.randrange(3)):
            box.restore(source.choice(self.states))
        box.restore(self.states[state])
        if source.randrange(2):
            box.restore()
        if len(box.changed()):
            raise Broken("pages differ behind a restore")
        box.verify()
        return state

    def run(self) -> str:
        self.prepare()
        try:
            for number in range(RUNS):
                place, size = self.source.choice(self.snippets)
                if self.source.randrange(10) == 0:  # into the middle of it
                    place += self.source.randrange(size)
                    size = 40
                at = self.area + place - self.base
                code = self.file[at : at + size].hex()
                try:
                    how = self.run_one(place)
                    self.counts[how] += 1
                    self.counts["runs"] += 1
                    state = self.restore()
                    self.compare(self.evil, state, "state left")
                    if number % 8 == 0:
                        self.quiet.restore(self.states[state])
                        self.compare(self.quiet, state, "another sandbox")
                    self.evil.call("Nop")
                except Exception as error:
                    text = f"{type(error).__name__}: {error}"
                    text = text.replace("\n", " ")[:300]
                    how = f"{self.driver}, {self.tracker}, run {number}"
                    return f"bad {text} [{how}, code {code[:120]}]"
        finally:
            self.evil.close()
            self.quiet.close()
        names = ("runs", "aborts", "timeouts", "interrupts", "results",
                 "moves")  # fmt: skip
        counts = " ".join(str(self.counts[name]) for name in names)
        return f"ok {counts} {self.masked}"


def numbers(seed: int) -> Iterator[int]:
    number = seed * 10_000_000
    while True:
        number += 1
        yield number


def answer(line: str) -> str:
    """Run the round with that number."""
    try:
        return Round(int(line)).run()
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        return f"bad {text[:300]} [round]"


def main() -> int:
    """Run rounds until the time is up, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="nothing is saved: see case")
    parser.add_argument("--replay", metavar="ROUND")
    parser.add_argument("--work", action="store_true")
    arguments = parser.parse_args()
    if arguments.work:
        worker_process.serve(answer)
        return 0
    if not any(info.available for info in hyperlight.drivers()):
        print("code: no driver here")
        return 0
    worker = worker_process.Worker(__file__, 120)
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    found: dict[str, int] = {}
    try:
        if arguments.replay:
            said = worker.ask(arguments.replay)
            print(f"{arguments.replay}: {said}")
            return 1 if said.startswith("bad") else 0
        for number in numbers(arguments.seed):
            if time.monotonic() - begun > arguments.seconds:
                break
            said = worker.ask(str(number))
            word, *rest = said.split()
            totals[word] += 1
            if word == "ok":
                names = ("runs", "aborts", "timeouts", "interrupts")
                names += ("results", "moves", "masked")
                for name, n in zip(names, rest, strict=True):
                    totals[name] += int(n)
                continue
            key = said.partition(":")[2][:60] + said.rpartition("[")[2][:6]
            found[key] = found.get(key, 0) + 1
            if found[key] == 1:
                print(f"FAILED round {number}\n  {said[4:]}")
                print(
                    f"  python {os.path.relpath(__file__)} --replay {number}",
                    flush=True,
                )
    finally:
        worker.close()
    print(
        f"code: seed {arguments.seed}, {totals['ok']} rounds ok, "
        f"{totals['bad']} bad; {totals['runs']} runs: {totals['aborts']} "
        f"aborts, {totals['timeouts']} timeouts, {totals['interrupts']} "
        f"interrupts, {totals['results']} results, {totals['moves']} "
        f"snapshots on the way"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
