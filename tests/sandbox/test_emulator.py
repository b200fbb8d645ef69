"""The emulator: what it lacks it says, nothing ends the process or hangs."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
import tiny
from conftest import HERE, interrupted, require_driver, run_python

from hyperlight import (
    GuestAborted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
)

New = Callable[..., Sandbox]


@pytest.fixture
def driver() -> str:
    """The driver that ``new_sandbox`` takes."""
    return require_driver("emulator")


# Instruction sets that Unicorn lacks.

LACKING = {
    "c5f058c2": "AVX",  # vaddps %xmm2, %xmm1, %xmm0
    "c5f458c2": "AVX",  # vaddps %ymm2, %ymm1, %ymm0
    "c5f877": "AVX",  # vzeroupper
    "c4e27d18c1": "AVX",  # vbroadcastss %xmm1, %ymm0
    "c5f5fec2": "AVX",  # vpaddd %ymm2, %ymm1, %ymm0
    "c5f441d1": "AVX",  # kandw %k1, %k1, %k2
    "c4e27198c2": "FMA",  # vfmadd132ps %xmm2, %xmm1, %xmm0
    "c4e27913c1": "F16C",  # vcvtph2ps %xmm1, %xmm0
    "62f1744858c2": "AVX-512",  # vaddps %zmm2, %zmm1, %zmm0
    "8fe870a2c230": "XOP",  # vpcmov %xmm3, %xmm2, %xmm1, %xmm0
    "660f79c1": "SSE4a",  # extrq %xmm1, %xmm0
    "f20f79c1": "SSE4a",  # insertq %xmm1, %xmm0
    "0f38c8c2": "SHA",  # sha1nexte %xmm2, %xmm0
    "660f38cfc1": "GFNI",  # gf2p8mulb %xmm1, %xmm0
    "660f38f6c2": "ADX",  # adcx %edx, %eax
    "0f0fc19e": "3DNow!",  # pfadd %mm1, %mm0
    "c7f800000000": "TSX",  # xbegin
}


@pytest.mark.parametrize(("code", "name"), LACKING.items(), ids=[*LACKING])
@pytest.mark.parametrize("before", ["", "4831c0 90"], ids=["first", "later"])
def test_what_it_lacks_it_says(
    new_sandbox: New, code: str, name: str, before: str
) -> None:
    body = bytes.fromhex(before)
    guest = tiny.guest(body + bytes.fromhex(code) + b"\xeb\xfe")
    where = tiny.CODE + guest[4096:8192].index(body + bytes.fromhex(code))
    sandbox = new_sandbox(guest)
    for _ in range(2):
        with pytest.raises(GuestAborted) as caught:
            sandbox.call("Go")
        assert (
            f"an instruction set that the emulator lacks: {name} "
            f"({bytes.fromhex(code).hex(' ')}) at "
        ) in str(caught.value)
        assert str(caught.value).endswith(" in code")
        assert caught.value.vector == 6
        assert caught.value.rip == where + len(body)
        sandbox.restore()


def test_what_comes_before_it_still_happens(new_sandbox: New) -> None:
    # In one block: leave, and then what it lacks.
    body = tiny._TO_OUTPUT
    reply = tiny.message(tiny.RESULT, tiny.value(tiny.NONE, 0))
    for at in range(0, len(reply), 8):
        body += b"\x48\xb8" + reply[at : at + 8]  # mov $..., %rax
        body += bytes.fromhex("488947") + bytes([at])  # mov %rax, at(%rdi)
    body += b"\xb8\x01\x00\x00\x00\xe6\x48" + bytes.fromhex("c5f058c2")
    sandbox = new_sandbox(tiny.guest(body))
    for _ in range(2):
        assert sandbox.call("Go") is None
        with pytest.raises(GuestAborted, match="AVX"):
            sandbox.call("Go")
        sandbox.restore()


def test_what_it_lacks_it_says_while_the_guest_comes_up(driver: str) -> None:
    guest = tiny.elf(bytes.fromhex("90 c5f057c0 ebfe"))
    with pytest.raises(GuestAborted, match=r"AVX \(c5 f0 57 c0\)"):
        Sandbox(guest, config=SandboxConfig(driver=driver, call_timeout=60))


def report_of(new_sandbox: New, act: str, report: str, size: int) -> bytes:
    """What a guest reports after it has done something."""
    guest = tiny.reporter(bytes.fromhex(act), bytes.fromhex(report), size)
    seen = new_sandbox(guest).call("Go", True)
    assert isinstance(seen, bytes)
    return seen


#: (leaf, register in the report of CPUID, bit): what must not be promised.
FEATURES = {
    "avx": (1, 2, 28),
    "fma": (1, 2, 12),
    "f16c": (1, 2, 29),
    "avx2": (7, 1, 5),
    "avx512f": (7, 1, 16),
    "sha": (7, 1, 29),
    "adx": (7, 1, 19),
    "rtm": (7, 1, 11),
    "sse4a": (0x80000001, 2, 6),
    "xop": (0x80000001, 2, 11),
    "fma4": (0x80000001, 2, 16),
}


@pytest.mark.parametrize("name", FEATURES)
def test_guests_that_ask_are_told(new_sandbox: New, name: str) -> None:
    leaf, register, bit = FEATURES[name]
    # RBX, which CPUID overwrites, is where the output is to be found.
    report = (
        "53 b8" + leaf.to_bytes(4, "little").hex() + "31c9 0fa2 4189d8"
        "5b 488b7b30 894728 4489472c 894f30 895734"
    )
    seen = report_of(new_sandbox, "", report, 16)
    assert not struct.unpack("<4I", seen)[register] >> bit & 1


def test_bmi_is_computed_rightly(new_sandbox: New) -> None:
    # andn, bextr, pdep, rorx of fixed numbers; tzcnt and lzcnt of 0.
    report = (
        "488b7b30 b8f0f0ff0f b90ff00f0f"
        "c4e278f2d1 895728"  # andn %ecx, %eax, %edx
        "ba04080000 c4e268f7d0 89572c"  # bextr %edx, %eax, %edx
        "ba0ff0ff00 c4e273f5d2 895730"  # pdep %edx, %ecx, %edx
        "c4e37bf0d00c 895734"  # rorx $12, %eax, %edx
        "31c9 f30fbcd1 895738 f30fbdd1 89573c"
    )
    got = struct.unpack("<6I", report_of(new_sandbox, "", report, 24))
    a, c = 0x0FFFF0F0, 0x0F0FF00F
    deposited, source = 0, c
    for bit in range(32):
        if 0x00FFF00F >> bit & 1:
            deposited |= (source & 1) << bit
            source >>= 1
    rotated = (a >> 12 | a << 20) & 0xFFFFFFFF
    assert got == (~a & c, a >> 4 & 0xFF, deposited, rotated, 32, 32)


@pytest.mark.parametrize(
    ("code", "vector", "error", "at"),
    [
        ("0f0b", 6, 0, 0),
        ("90 0f0b", 6, 0, 1),
        ("06", 6, 0, 0),
        ("f08bc1", 6, 0, 0),  # lock mov
        ("f0660fbae805", 6, 0, 0),  # lock bts of a register: Unicorn aborts
        ("4190 f2f00fa3f0", 6, 0, 2),
        ("66f20f58c1", 6, 0, 0),  # processors take F2, Unicorn 66
        ("cd80", 13, 0x402, 0),
        ("cd06", 13, 0x32, 0),
        ("cd0e", 13, 0x72, 0),
        ("f4", 13, 0, 0),
        ("fa", 13, 0, 0),
        ("ec", 13, 0, 0),
        ("ee", 13, 0, 0),
        ("0f20c0", 13, 0, 0),
        ("0f05", 6, 0, 0),
        ("0f34", 6, 0, 0),
        ("31c9 f7f1", 0, 0, 2),
    ],
)
def test_exceptions_are_reported_rightly(
    new_sandbox: New, code: str, vector: int, error: int, at: int
) -> None:
    body = bytes.fromhex(code)
    guest = tiny.guest(body + b"\xeb\xfe")
    where = tiny.CODE + guest[4096:8192].index(body) + at
    with pytest.raises(GuestAborted) as caught:
        new_sandbox(guest).call("Go")
    seen = caught.value
    assert (seen.vector, seen.error_code, seen.rip) == (vector, error, where)
    assert ("system call at" in str(seen)) == (
        code in ("0f05", "0f34", "cd80")
    )


# Guests that do not end by themselves.

LOOPS = {
    "jump": "ebfe",
    "pause": "f390 ebfc",
    "loop": "48c7c1ffffffff e2fe ebf5",
    "strings": "488b7b30 b900040000 f3aa ebf3",
    "memory": "50 58 ebfc",
    "x87": "d9ee" + "d9fe" * 60 + "eb84",
    "lock": "488b7b30 f048ff07 ebfa",
}


@pytest.mark.parametrize("code", LOOPS.values(), ids=[*LOOPS])
def test_every_loop_is_ended(new_sandbox: New, code: str) -> None:
    sandbox = new_sandbox(tiny.guest(bytes.fromhex(code)))
    with pytest.raises(GuestTimeout):
        sandbox.call("Go", timeout=0.05)
    sandbox.restore()
    with interrupted(sandbox):
        sandbox.call("Go")


def test_its_time_may_be_up_at_any_block(
    new_sandbox: New, fail: Callable[..., None]
) -> None:
    # It goes on where it was, the way into the guest included.
    sandbox = new_sandbox()
    for skip in range(40):
        sandbox.restore()
        fail("slice", skip, 3)
        assert sandbox.call("EchoInt32", skip) == skip
    fail("slice", 0, 0)


def test_a_loop_while_coming_up_is_ended(driver: str) -> None:
    config = SandboxConfig(driver=driver, call_timeout=0.1)
    with pytest.raises(GuestTimeout):
        Sandbox(tiny.elf(b"\xeb\xfe"), config=config)


# Whatever would end the process.


def test_blocks_that_overflow_its_tables(driver: str) -> None:
    # 1,000 x87 instructions, and as many of SSE, without a branch.
    for unit in ("d9fe", "660f3a21c205", "0fc6c205"):
        ended = run_python(
            f"""
import sys; sys.path.insert(0, {str(HERE)!r})
import tiny
from hyperlight import GuestAborted, Sandbox, SandboxConfig
code = bytes.fromhex({unit!r}) * 600
try:
    sandbox = Sandbox(tiny.guest(code[:3900]),
                      config=SandboxConfig(driver="emulator"))
    sandbox.call("Go", timeout=5)
except GuestAborted as error:
    print(error)
"""
        )
        assert ended.returncode == 0, (unit, ended)
        assert "without a branch for the emulator" in ended.stdout


def test_blocks_that_do_not_overflow_them_run(new_sandbox: New) -> None:
    act = bytes.fromhex("0fc6c205") * 400
    report = bytes.fromhex("488b7b30 c7472801020304")
    sandbox = new_sandbox(tiny.reporter(act, report, 4))
    assert sandbox.call("Go", True) == b"\x01\x02\x03\x04"


_MDWE = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
    sys.exit(77)
import hyperlight
from hyperlight import doctor
for info in hyperlight.drivers():
    print(info.name, info.available, info.reason)
doctor.examine()
"""


def test_where_no_memory_may_be_made_executable(driver: str) -> None:
    ended = run_python(_MDWE)
    if ended.returncode == 77:
        pytest.skip("PR_SET_MDWE: not in this kernel")
    assert ended.returncode == 0, ended
    assert (
        f"{driver} False this process may not make memory executable "
        f"(PR_SET_MDWE, as systemd's MemoryDenyWriteExecute, or SELinux)"
    ) in ended.stdout


_LIMITED = """
import ctypes, resource, sys
import hyperlight
from hyperlight import *  # importing takes memory, too
from hyperlight.emulator import find_emulator
ctypes.CDLL(find_emulator())
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
limit = used + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for info in hyperlight.drivers():
    print(info.name, info.available, info.reason)
"""


@pytest.mark.unsanitized
@pytest.mark.parametrize("room", [1, 4, 8, 12, 15])
def test_where_there_is_too_little_memory(driver: str, room: int) -> None:
    ended = run_python(_LIMITED, str(room))
    assert ended.returncode == 0, ended
    assert f"{driver} False no 16 MiB of memory for it" in ended.stdout


def test_small_stacks(driver: str) -> None:
    ended = run_python(
        """
import threading
from hyperlight import Sandbox, SandboxConfig
def go():
    config = SandboxConfig(driver="emulator", call_timeout=60)
    with Sandbox("simple", config=config) as sandbox:
        print(sandbox.call("EchoInt32", 7))
threading.stack_size(64 << 10)
thread = threading.Thread(target=go)
thread.start()
thread.join()
"""
    )
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended
