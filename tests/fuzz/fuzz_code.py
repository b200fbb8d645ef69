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
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import worker_process

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

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent.parent / "csrc"
MARK = b"RANDOM CODE HERE"
AREA = 1 << 16
RUNS = 300  # a round
#: Places that are left out, to see what there is besides.
IGNORED = tuple(os.environ.get("FUZZ_IGNORE", "").split())
USABLE = {info.name for info in hyperlight.trackers() if info.available}

#: What See() saves first, 8 bytes each.
SAVED = """
rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 ds es fs gs ss cs
flags fsbase gsbase gdt gdt+ idt idt+ ldt tr msw xcr0 pkru fs:0
"""

#: Where the host has its tables, as a guest can see: another on each CPU.
HOST_OWN = ((200, 232), (240, 248))


class Broken(Exception):
    """Something was left."""


# ---- Machine code ----

# One a line; "=" sets a register first: x is 32 random bits, p the open port,
# s a selector, f flags, a an address.
FORMS = """
in al, port: e448|in eax, port: e548|in al, dx: p ec|in eax, dx: p ed
insb: d p 6c|insl: d p 6d|rep insb: d p c f36c|insw: d p 666d|insl: p 6d
insb: p 6c|rep insb: p c f36c|rep insl: p c f36d|rep insl: d p c f36d
rep insw: p c f3666d|insb down: p fd 6c|insb elsewhere: d p 6c
rep insb elsewhere: d p c f36c|rep insl elsewhere: d p c f36d
outsb: p 6e|rep outsb: p c f36e|outsl: p 6f|rep outsl: p c f36f
outsb elsewhere: m p 6e|rep outsb elsewhere: m p c f36e
out port: e648|wide out: e748|out dx: p ee|other out: ba X ee
ds: s 8ed8|es: s 8ec0|fs: s 8ee0|gs: s 8ee8|ss: s 8ed0
all selectors: s 8ed8 8ec0 8ee8 8ee0|push and pop fs: 6a2b 0fa1
push and pop gs: 6a1b 0fa9|lfs: 0fb40424|lgs: 0fb50424
wrfsbase: f3480faed0|wrgsbase: f3480faed8|swapgs: 0f01f8
popfq: f 9d|std: fd|stc: f9|sahf: 9e|popfq and go on: f 9d 90 90 90
fninit: dbe3|fld1: d9e8|fldpi: d9eb|fldcw: 68 X d92c24|emms: 0f77
x87 stack: d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8|fincstp: d9f7
x87 error: 6a00 d92c24 d9ee d9e8 def1 9b|fnstenv: 488d642480 d93424
ldmxcsr: 68 X 0fae1424|movd: 660f6ec8|xorps: 0f57c0|pcmpeqd: 660f76c0
movups: 0f1000|movups to: 0f1100|vzeroupper: c5f877|vzeroall: c5fc77
vmovups ymm: c5fc1000|vpcmpeqd ymm: c5fd76c0|vmovups zmm: 62f17c481000
vpternlogd zmm: 62f37d4825c0ff|zmm16: 62a37d4825c0ff|kmovw: c5f892c0
kxnorw: c5fc46c9|fxrstor: a 480fae08|xrstor: a 31d2 b8e7000000 a 480fae28
xsetbv: 31c9 31d2 b807000000 0f01d1|wrpkru: 31c9 31d2 0f01ef
xbegin: c7f800000000|xgetbv: 31c9 0f01d0|cpuid: 0fa2|rdtsc: 0f31
rdpmc: 0f33|rdrand: 480fc7f0|rdpid: f30fc7f8|cpuid many: 89c8 0fa2
write: a 4889 18|write 8: a 8818|write wide: a 0f1100|add to: a 480118
lock add: a f0480118|xchg: a 488718|cmpxchg16b: a 48 0fc708
rep stosb: d c f3aa|rep stosq: d c f348ab|rep movsb: d c m f3a4
rep movsq down: fd d c m f348a5|push: 50|push all over: 50 ebfd
leave the stack: 4889dc|stack in the heap: a 4889c4 50 50 50
call: e800000000|ret: c3|jump: ff20|jump to: ffe0|enter: c8 0010 1f
apic: b80000e0fe 8900|apic read: b80000e0fe 8b00|ioapic: b80000c0fe 8900
hole: 48b80000000001000000 8900|low: 31c0 8900|high: 4831c0 48ffc8 8900
tables: b800000100 8900|not canonical: 48b80000000000000080 8900
syscall: 0f05|int3: cc|int: cd R|icebp: f1|hlt: f4|cli: fa|sti: fb
ud2: 0f0b|div: 31c9 f7f1|bound: 62 R R|rdmsr: b9 X 0f32|wrmsr: b9 X 0f30
mov cr: 0f20c0|mov to cr: 0f22d8|mov dr: 0f21f8|mov to dr: 0f23f8
lgdt: a 0f0110|lidt: a 0f0118|lldt: s 0f00d0|ltr: s 0f00d8|lmsw: 0f01f0
clts: 0f06|invd: 0f08|wbinvd: 0f09|invlpg: a 0f0138|vmcall: 0f01c1
vmmcall: 0f01d9|sysret: 480f07|sysexit: 0f35|iretq: 48cf|retfq: 48cb
iret back: 4889e1 6a1b 51 f 6a23 488d050400 0000 50 48cf 90 90
sgdt: a 0f0100|sidt: a 0f0108|sldt: 0f00c0|str: 0f00c8|smsw: 0f01e0
monitor: 0f01c8|mwait: 0f01c9|pause: f390|tpause: 660faef1|clflush: a 0fae38
serialize: 0f01e8|enclu: 0f01d7|lar: s 0f02c0|lsl: s 0f03c0|verr: s 0f00e0
random: R R R R|random more: R R R R R R R R|prefix: 66 67 f2 f3 f0 R R
rex: 48 R R R|two: 0f R R R|vex: c5 R R R R|vex3: c4 R R R R R
evex: 62 R R R R R R|three: 0f38 R R R|three a: 0f3a R R R R
"""
KINDS = [
    form.partition(":")[2].split()
    for line in FORMS.strip().splitlines()
    for form in line.split("|")
]
SELECTORS = (0, 3, 0x1B, 0x23, 0x2B, 0x33, 0x28, 0x10, 0x08, 0x18, 0x20, 0x53)


class Maker:
    """Code and registers from a random source."""

    def __init__(self, source: random.Random, spots: list[int]) -> None:
        self.source = source
        self.spots = spots  # addresses that there are

    def number(self) -> int:
        s = self.source
        return s.choice(
            (
                *(0, 1, 2, 0x48, 0x49, 8, 64, 4096, 2**32 - 1, 2**64 - 1),
                *(0xFEE00000, 0x10000, 1 << 63, s.getrandbits(64)),
                *(self.spot(), self.spot(), self.spot(), self.spot()),
                *(self.spot(), self.spot(), self.spot(), self.spot()),
            )
        )

    def spot(self) -> int:
        return self.source.choice(self.spots) + self.source.choice(
            (0, 0, 0, 8, 64, 0xFF8, 0xFFF, 0x800)
        )

    def registers(self) -> bytes:
        return struct.pack("<15Q", *(self.number() for _ in range(15)))

    def part(self, word: str) -> bytes:
        s = self.source
        if word == "R":
            return s.randbytes(1)
        if word == "X":
            return s.choice((s.getrandbits(32), 0x80, 0xC0000101)).to_bytes(
                4, "little"
            )
        if word == "p":
            return bytes.fromhex("66ba4800")
        if word == "c":
            return b"\xb9" + s.choice((1, 2, 8, 100, 5000)).to_bytes(
                4, "little"
            )
        if word == "s":
            return b"\xb8" + s.choice(SELECTORS).to_bytes(4, "little")
        if word == "f":
            bit = 1 << s.randrange(22)
            flags = s.choice((bit, s.getrandbits(22), 0x400, 0x40000, 0x4000))
            return b"\x68" + flags.to_bytes(4, "little")
        if word in "adm" and len(word) == 1:
            code = {"a": b"\x48\xb8", "d": b"\x48\xbf", "m": b"\x48\xbe"}
            return code[word] + self.spot().to_bytes(8, "little")
        return bytes.fromhex(word)

    def snippet(self, address: int, done: int) -> bytes:
        """Code for that address, whose end may be to jump to `done`."""
        s = self.source
        made = b""
        for _ in range(s.choice((1, 1, 2, 3, 6))):
            made += b"".join(self.part(word) for word in s.choice(KINDS))
        end = s.randrange(40)
        if end == 0:
            made += b"\xeb\xfe"  # for ever
        elif end < 20:
            away = done - address - len(made) - 5
            made += b"\xe9" + away.to_bytes(4, "little", signed=True)
        elif end < 25:  # leave, for a reason
            reason = s.choice((1, 1, 1, 2, 3, 4, 0, 77))
            made += b"\xb8" + reason.to_bytes(4, "little") + b"\xe6\x48"
        elif end < 28:
            made += s.randbytes(s.randrange(30))
        return made + b"\x0f\x0b"


def build_guest() -> bytes:
    """guest.S as a program."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "guest")
        subprocess.run(
            [
                *os.environ.get("CC", "cc").split(),
                *("-nostdlib", "-static", "-no-pie", f"-I{CSRC}"),
                *("-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack"),
                *("-Wl,--build-id=none", "-Wl,-Ttext-segment=0x400000"),
                *(str(HERE / "guest.S"), "-o", str(program)),
            ],
            check=True,
        )
        return program.read_bytes()


def address_of(file: bytes, offset: int) -> int:
    """Where the guest has what is there in the file."""
    at = struct.unpack_from("<Q", file, 32)[0]
    for i in range(struct.unpack_from("<H", file, 56)[0]):
        kind, _, start, address, _, size = struct.unpack_from(
            "<IIQQQQ", file, at + 56 * i
        )
        if kind == 1 and start <= offset < start + size:
            return int(address) + offset - int(start)
    raise ValueError("not loaded")


def differences(one: bytes, other: bytes) -> Iterator[int]:
    """Where two of a length differ."""
    for at in range(0, len(one), 512):
        if one[at : at + 512] != other[at : at + 512]:
            for i in range(at, min(at + 512, len(one))):
                if one[i] != other[i]:
                    yield i


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
