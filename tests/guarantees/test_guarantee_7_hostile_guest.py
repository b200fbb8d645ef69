"""The guest is the enemy: whatever it does ends in an error, and no worse."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import tiny

from hyperlight import (
    GuestAborted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    SandboxPoisoned,
)

New = Callable[..., Sandbox]
U64_MAX = 2**64 - 1


def code(text: str) -> bytes:
    return bytes.fromhex(text.replace("|", ""))


# Instructions at CPL 3, and the exception vectors that may come of them: more
# than one where processors and those who imitate them differ.
INSTRUCTIONS = {
    "divide by zero": ("31c9 31d2 b801000000 f7f1", {0}),
    "divide overflow": ("31c0 48c7c200000080 48c7c1ffffffff 48f7f9", {0}),
    "icebp": ("f1", {1, 6, 13}),
    "int3": ("cc", {3, 13}),
    "into": ("ce", {6}),
    "ud2": ("0f0b", {6}),
    "int 0": ("cd00", {13, 6, 0}),
    "int 0x80": ("cd80", {13, 6}),
    "int 0x48": ("cd48", {13, 6}),
    "int 0xff": ("cdff", {13, 6}),
    "hlt": ("f4", {13}),
    "cli": ("fa", {13}),
    "sti": ("fb", {13}),
    "mov cr0": ("0f20c0", {13}),
    "mov to cr3": ("0f22d8", {13}),
    "mov to cr8": ("440f22c0", {13}),
    "mov dr7": ("0f21f8", {13}),
    "mov to dr7": ("0f23f8", {13}),
    "lgdt": ("0f0113", {13, 6}),
    "lidt": ("0f011b", {13, 6}),
    "lldt": ("0f00d0", {13, 6}),
    "ltr": ("0f00d8", {13, 6}),
    "lmsw": ("0f01f0", {13, 6}),
    "clts": ("0f06", {13}),
    "invd": ("0f08", {13}),
    "wbinvd": ("0f09", {13}),
    "invlpg": ("0f013b", {13, 6}),
    "rdmsr": ("b9800000c0 0f32", {13}),
    "wrmsr": ("b9820000c0 0f30", {13}),
    "swapgs": ("0f01f8", {13, 6}),
    "sysret": ("480f07", {13, 6}),
    "sysenter": ("0f34", {13, 6}),
    "sysexit": ("480f35", {13, 6}),
    "syscall": ("0f05", {6, 14}),
    "xsetbv": ("31c9 31d2 b807000000 0f01d1", {13, 6}),
    "vmcall": ("0f01c1", {6, 13}),
    "vmmcall": ("0f01d9", {6, 13}),
    "vmrun": ("0f01d8", {6, 13}),
    "in eax, dx": ("ed", {13}),
    "out 0x80": ("e680", {13}),
    "out 0x49": ("e649", {13}),
    "wide out": ("e748", {13}),
    "string out": ("66ba4900 6e", {13}),
    "load kernel data segment": ("66b81000 8ed0", {13, 14}),
    "far jump to the kernel": (
        "6a08 48b80000400000000000 50 48cb",
        {13, 14, 6},
    ),
    "iret to the kernel": (
        "6a10 54 6a02 6a08 48b80000400000000000 50 48cf",
        {13, 14, 6},
    ),
    "read of nothing": ("31c0 8a00", {14}),
    "write to code": ("b800004000 8800", {14}),
    "execution of data": ("b800104000 ffe0", {14}),
    "write to the input": ("488b4320 8800", {14}),
    "read of the tables": ("b800000100 488b00", {14}),
    "write to the tables": ("b800900100 488900", {14}),
    "write to the page before": ("b8fffff300 8800", {14}),
    "not canonical": ("48b80000000000000080 8a00", {13}),
    "jump to nowhere": ("48b80000000070000000 ffe0", {14}),
    "jump to not canonical": ("48b80000000000000080 ffe0", {13}),
    "stack overflow": ("50 ebfd", {14}),
    "stack to nowhere": ("31e4 50", {14, 12}),
    "x87 error": ("dbe3 6a00 d92c24 d9ee d9e8 def1 9b", {16, 6, 12, 13}),
    "simd error": ("6a00 0fae1424 0f57c0 0f5ec0", {19, 6}),
    "too long": ("66" * 20 + "90", {13, 6}),
    "ring a wrong bell": ("b84d000000 e648", set()),
    "leave for a number beyond": ("48b8ffffffffffffffff e648", set()),
    "leave for nothing": ("31c0 e648", set()),
    "in from the open port": ("e448", set()),
    "string out to the open port": ("66ba4800 6e", set()),
}

EVERY = pytest.mark.parametrize("name", INSTRUCTIONS)


def abort_of(sandbox: Sandbox, *args: object) -> GuestAborted:
    with pytest.raises(GuestAborted) as caught:
        sandbox.call("Go", *args, timeout=20)
    assert sandbox.poisoned
    with pytest.raises(SandboxPoisoned):
        sandbox.call("Go")
    with pytest.raises(SandboxPoisoned):
        sandbox.snapshot()
    return caught.value


@EVERY
def test_instruction(new_sandbox: New, name: str) -> None:
    text, vectors = INSTRUCTIONS[name]
    body = code(text.replace(" ", ""))
    # Whatever goes on behind it does not come far.
    sandbox = new_sandbox(tiny.guest(body + b"\x0f\x0b"))
    error = abort_of(sandbox)
    print(error)
    if not vectors:
        assert error.vector is None
    else:
        assert error.vector in vectors
        assert error.rip is not None
        if name in ("ud2", "hlt", "read of nothing"):
            assert tiny.CODE < error.rip < tiny.CODE + 4096
        if error.vector == 14 and name == "read of nothing":
            assert error.cr2 == 0
            assert error.error_code == 4
    # And again from the start: nothing of it is left.
    sandbox.restore()
    again = abort_of(sandbox)
    assert (again.vector, again.cr2) == (error.vector, error.cr2)
    if not name.startswith("int"):  # emulations take turns in where it is
        assert again.rip == error.rip
    sandbox.restore()
    sandbox.verify()


@pytest.mark.parametrize("name", ["ud2", "hlt", "read of nothing"])
def test_a_guest_that_does_not_come_up(driver: str, name: str) -> None:
    body = code(INSTRUCTIONS[name][0].replace(" ", ""))
    with pytest.raises(GuestAborted):
        Sandbox(tiny.elf(body), config=SandboxConfig(driver=driver))


def test_errors_say_where_and_what(new_sandbox: New) -> None:
    texts = {}
    for name in ("write to code", "execution of data", "write to the input",
                 "stack overflow", "read of nothing"):  # fmt: skip
        body = code(INSTRUCTIONS[name][0].replace(" ", ""))
        texts[name] = str(abort_of(new_sandbox(tiny.guest(body))))
    assert "write to 0x400000 in code (r-x)" in texts["write to code"]
    assert "execution of 0x401000 in data (rw-)" in texts["execution of data"]
    assert "in input (r--)" in texts["write to the input"]
    assert "stack overflow" in texts["stack overflow"]
    assert "read of 0x0, where nothing is mapped" in texts["read of nothing"]


# Instructions that may do no harm, or fault; the host does not care which.
HARMLESS = {
    "cpuid": "31c0 0fa2",
    "rdtsc": "0f31",
    "rdtscp": "0f01f9",
    "pushf, popf with IOPL": "9c 810c2400300000 9d",
    "popf with TF": "9c 810c2400010000 9d 90 90",
    "popf with AC": "9c 810c2400000400 9d 8b442401",
    "popf with NT": "9c 810c2400400000 9d",
    "std": "fd",
    "sgdt": "0f0144 24e0",
    "smsw": "0f01e0",
    "str": "0f00c8",
    "wrfsbase": "f30faed0",
    "wrgsbase": "f30faed8",
    "wrpkru": "31c9 31d2 b8ffffffff 0f01ef",
    "xgetbv": "31c9 0f01d0",
    "null segments": "31c0 8ed8 8ec0 8ee0 8ee8",
    "monitor": "0f01c8",
    "mwait": "0f01c9",
    "pause": "f390",
    "verr": "0f00e0",
    "lar": "0f02c0",
    "lsl": "0f03c0",
    "rdpmc": "31c9 0f33",
    "rdrand": "480fc7f0",
    "xbegin": "c7f800000000",
    "clflush": "0fae3b",
    "ldmxcsr": "6a00 0fae1424 58",
    "fninit": "dbe3",
    "mov ss of user data": "66b81b00 8ed0",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_of_it_is_left(new_sandbox: New, name: str) -> None:
    """A restored sandbox does not know what ran before."""
    report = code(
        # Flags, FS base through the thread block, DS, FS.
        "9c 4158 64 4c8b0c2500000000 4531d2 418cda 4531db 418ce3"
        "488b7b30 4c894728 4c894f30 4c895738 4c895f40".replace(" ", "")
    )
    act = code(HARMLESS[name].replace(" ", ""))
    sandbox = new_sandbox(tiny.reporter(act, report, 32))
    clean = sandbox.call("Go", False)
    for _ in range(2):
        sandbox.restore()
        try:
            sandbox.call("Go", True, timeout=20)
        except (GuestAborted, GuestTimeout) as error:
            print(error)
        sandbox.restore()
        assert sandbox.call("Go", False) == clean
    sandbox.restore()
    sandbox.verify()


def keeper() -> bytes:
    """``Go(bool)`` denies itself all data behind its result, if told to.

    So does the next call behind that, which cannot read its arguments.
    """
    result = tiny.message(tiny.RESULT, tiny.value(tiny.NONE, 0))
    body = code("0fb64838 6bc903 4189c8 488b7b30".replace(" ", ""))
    for i in range(0, len(result), 8):
        body += b"\x48\xb8" + result[i : i + 8]  # mov $..., %rax
        body += code("488947") + bytes([i])  # mov %rax, i(%rdi)
    deny = code("4489c0 31c9 31d2 0f01ef".replace(" ", ""))  # wrpkru
    body += code("4585c074") + bytes([len(deny)]) + deny
    body += code("b801000000e648")  # mov $READY, %eax; out
    body += b"\xe9" + (-len(body) - 5).to_bytes(4, "little", signed=True)
    return tiny.guest(body, "Go(bool) -> none")


def test_one_that_denies_itself_all(new_sandbox: New) -> None:
    """Protection keys, on a hypervisor that cannot keep a guest from them."""
    sandbox = new_sandbox(keeper())
    for _ in range(3):
        with contextlib.suppress(GuestAborted):
            sandbox.call("Go", True)
        sandbox.restore()
        sandbox.call("Go", False)
        sandbox.restore()
    try:
        sandbox.call("Go", True)
    except GuestAborted:
        return  # there are none here
    denied = sandbox.snapshot()
    for _ in range(3):
        sandbox.restore(denied)
        with pytest.raises(GuestAborted, match="page fault"):
            sandbox.call("Go", False)
        sandbox.restore(sandbox.base)
        sandbox.call("Go", False)


def filler(*, interpreted: bool) -> bytes:
    """``Go(uint64, uint64)`` fills that much of the output, that many times.

    With a stack pointer that no processor takes a hypervisor may interpret it.
    It records every single write then, 1024 of one instruction before it looks
    whether there is room for them. For no times it does so once, and
    asks a port for as many bytes, which ends the call.
    """
    result = tiny.message(tiny.RESULT, tiny.value(tiny.NONE, 0))
    body = code("4c8b40384c8b48484989e2")
    if interpreted:
        body += code("48bc0000000000000080")  # mov $..., %rsp
    fill = code("488b7b304881c7001000004c89c1")
    ask = fill + code("66ba4800f36c")  # rep insb
    turn = fill + code("f3aa4d85c975") + bytes([len(ask)]) + ask
    turn += code("49ffc9")  # dec %r9; jnz
    body += (
        turn + b"\x75" + (-len(turn) - 2).to_bytes(1, "little", signed=True)
    )
    body += code("4c89d4488b7b30")
    for i in range(0, len(result), 8):
        body += b"\x48\xb8" + result[i : i + 8]  # mov $..., %rax
        body += code("488947") + bytes([i])  # mov %rax, i(%rdi)
    body += code("b801000000e648")  # mov $READY, %eax; out
    body += b"\xe9" + (-len(body) - 5).to_bytes(4, "little", signed=True)
    return tiny.guest(body, "Go(uint64, uint64) -> none")


@pytest.mark.parametrize("rearm", ["adaptive", "always"])
def test_more_writes_at_once_than_are_recorded(
    rearm: str, new_sandbox: New
) -> None:
    """As many as a ring has room for, about so many, and far more."""
    sandbox = new_sandbox(
        filler(interpreted=True), output_size=100 << 10, rearm=rearm
    )
    source = random.Random(1)
    many = [0, 447, 448, 1023, 1024, 1025, 2048, 5000, 50000]
    for n in [*many, *(source.randrange(1600) for _ in range(200))]:
        sandbox.call("Go", n, 1)
        if source.randrange(8) == 0:
            with pytest.raises(GuestAborted):
                sandbox.call("Go", source.choice((n, 5000, 7001)) + 1, 0)
            sandbox.restore()
            sandbox.verify()
        if source.randrange(3):
            sandbox.restore()
            sandbox.verify()
    for times in (3, 40):
        sandbox.call("Go", 4096, times)
        for _ in range(3):
            sandbox.restore()
            sandbox.verify()
            sandbox.call("Go", 1, 1)


def test_more_writes_than_are_recorded_for_ever(new_sandbox: New) -> None:
    sandbox = new_sandbox(filler(interpreted=True), output_size=100 << 10)
    for _ in range(3):
        with pytest.raises(GuestTimeout):
            sandbox.call("Go", 90000, U64_MAX, timeout=0.2)
        sandbox.restore()
        sandbox.verify()
        sandbox.call("Go", 1, 1)


SENDER = """
import os, signal, time
while os.getppid() == {parent}:
    os.kill({parent}, signal.SIGUSR1)
    time.sleep(0.00002)
"""


@pytest.mark.any_python
def test_signals_while_pages_are_protected(
    driver: str, new_sandbox: New
) -> None:
    """The kernel may end early what protects them."""
    size = 2000 * 4096
    sandbox = new_sandbox(
        filler(interpreted=False), output_size=size + 8192, rearm="always"
    )
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    program = SENDER.format(parent=os.getpid())
    sender = subprocess.Popen([sys.executable, "-c", program])
    try:
        end = time.monotonic() + 30
        while not came and time.monotonic() < end:
            time.sleep(0.01)
        first = len(came)
        for _ in range(2 if driver == "emulator" else 150):
            sandbox.call("Go", size, 1)
            sandbox.restore()
            sandbox.verify()
        assert 0 < first < len(came)
        assert sender.poll() is None
    finally:
        sender.kill()
        sender.wait()
        signal.signal(signal.SIGUSR1, before)
