"""Machine code for the fuzzer of guests, and the guest that runs it."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hyperlight

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

#: A byte of an XSAVE area, and components in it: whether one that is in its
#: first state counts as in use is the processor's to say (Intel SDM vol. 1,
#: 13.6), and may change when the host's kernel runs something else.
XSTATE_BV, VECTORS = 512 + 512 + 512, 0b1110_0110


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
