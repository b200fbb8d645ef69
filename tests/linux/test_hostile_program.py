"""A static program that does what it should not, baked, and put back."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import why_no_programs

import hyperlight
from hyperlight import Files, HyperlightError, Program, SandboxConfig

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # compilers and linkers
]

SOURCE = Path(__file__).parents[1] / "c" / "programs" / "hostile.c"
GUEST, EXCEPTION, CALL = 0x48, 0x49, 0x4A  # ports: image/x86.h
ENTRY_PAGE, STUB = 7, 0xF00  # of the tables: image/x86.c
WILD = (0, 1, 0x7FFF_FFFF_FFFF, 1 << 47, 1 << 63, -4096 & (1 << 64) - 1)


def _drivers() -> list[str]:
    """Those that run programs here."""
    return [d.name for d in hyperlight.drivers() if d.available]


@pytest.fixture(scope="module", params=["", "-pie"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The program, linked statically."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    target = tmp_path_factory.mktemp("hostile") / "hostile"
    done = subprocess.run(
        ["cc", "-O1", f"-static{request.param}", SOURCE, "-o", target],
        check=False,
    )
    if done.returncode:
        pytest.skip("no static C library here")
    return target.read_bytes()


@pytest.fixture(scope="module", params=_drivers())
def sandbox(
    request: pytest.FixtureRequest, program: bytes
) -> Iterator[hyperlight.Sandbox]:
    """It, baked."""
    why = why_no_programs(request.param)
    if why is not None:
        pytest.skip(why)
    config = SandboxConfig(driver=request.param, memory="16MiB")
    files = Files().add("/hostile", program, mode=0o755).temporary()
    try:
        made = Program(["/hostile"], files=files, config=config).bake()
    except hyperlight.DriverUnavailable as error:
        pytest.skip(str(error))
    with made:
        yield made


def _obey(sandbox: hyperlight.Sandbox, what: str) -> int | None:
    """What it answers, or None: that was its end; and nothing is left."""
    result = None
    try:
        result = int(sandbox.request(what.encode(), timeout=2), 16)
    except ValueError:  # it answered in the middle of what it did
        pass
    except HyperlightError:
        pass
    sandbox.restore()
    left = sandbox.changed(everything=True)
    assert not left, f"{what}: {left.runs()[:5]}"
    assert sandbox.request(b"?") == b"2a", what
    sandbox.restore()
    return result


def test_every_number_with_arguments_at_edges(
    sandbox: hyperlight.Sandbox,
) -> None:
    for seed in range(10):
        _obey(sandbox, f"n {seed:x}")


def test_no_data_is_executed(sandbox: hyperlight.Sandbox) -> None:
    for which in range(6):
        assert _obey(sandbox, f"x {which:x}") is None, which
    assert _obey(sandbox, "x 6") == 0  # its code: that stays as it is


def test_into_what_a_system_call_enters(sandbox: hyperlight.Sandbox) -> None:
    tables = next(r for r in sandbox.layout if r.name == "tables")
    stub = tables.address + ENTRY_PAGE * 4096 + STUB
    for to in (stub, stub + 2, stub - 0xF00, stub + 1):
        for rcx in WILD:
            for number in (39, 1 << 63):
                _obey(
                    sandbox, f"j {to:x} {rcx:x} {(1 << 64) - 1:x} {number:x}"
                )
    # With a true address behind it, that is a system call where processors
    # enter it, and nothing where there is none.
    assert _obey(sandbox, f"j {stub:x} 0 202 27") in (0, None)


def test_system_calls_in_other_instructions_and_over_pages(
    sandbox: hyperlight.Sandbox,
) -> None:
    whole = _obey(sandbox, "i")
    assert whole == 0x90C3050F << 8 | 0x05
    for _ in range(3):
        assert _obey(sandbox, "h") == 2  # its number
        assert _obey(sandbox, "i") == whole


def test_what_made_calls_cheaper_is_no_part_of_a_state(
    sandbox: hyperlight.Sandbox,
) -> None:
    """A state that is kept has the code as the program has it."""
    whole = _obey(sandbox, "i")
    base = sandbox.current
    assert sandbox.request(b"h") == b"2"
    kept = sandbox.snapshot("kept")
    assert not sandbox.changed(kept, everything=True)
    sandbox.verify(kept)
    sandbox.restore(base)
    assert not sandbox.changed(base, everything=True)
    sandbox.restore(kept)
    assert not sandbox.changed(kept, everything=True)
    assert int(sandbox.request(b"i"), 16) == whole
    sandbox.restore(base)


def test_ports(sandbox: hyperlight.Sandbox) -> None:
    for kind in range(6):
        for port in (0, GUEST, EXCEPTION, CALL, 0x3F8, 0xCF8, 0xFFFF):
            _obey(sandbox, f"o {kind:x} {port:x}")


def test_instructions(sandbox: hyperlight.Sandbox) -> None:
    for which in range(21):
        _obey(sandbox, f"p {which:x}")


def test_registers_out_of_signals(sandbox: hyperlight.Sandbox) -> None:
    for how in range(3):
        for to in WILD:
            _obey(sandbox, f"s {to:x} {(1 << 64) - 1:x} {how:x}")


def test_memory_that_is_not_its_own(sandbox: hyperlight.Sandbox) -> None:
    for region in sandbox.layout:
        for address in (region.address, region.address + region.size - 1):
            readable = "r" in region.permissions
            read = _obey(sandbox, f"r {address:x}")
            if region.name == "kernel":
                assert read is None
            assert read is not None or not readable
            written = _obey(sandbox, f"w {address:x}")
            if "w" not in region.permissions:
                assert written is None, region


def test_everything_full(sandbox: hyperlight.Sandbox) -> None:
    _obey(sandbox, "f")


def test_requests_at_random(sandbox: hyperlight.Sandbox) -> None:
    chance = random.Random(5)
    for _ in range(60):
        kind = chance.choice("nxjhiopsrwfc?")
        numbers = " ".join(
            f"{chance.getrandbits(64) >> chance.choice((0, 8, 32, 56, 60)):x}"
            for _ in range(4)
        )
        _obey(sandbox, f"{kind} {numbers}")
