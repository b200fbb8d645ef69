"""Guests are built from C, and what is built is what a sandbox can take."""

from __future__ import annotations

import platform
import struct
import sys
from pathlib import Path

import pytest

from hyperlight import guest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="guests are built on x86-64 Linux",
)

HELLO = """
#include <hyperlight.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local int calls = 7;

HL_EXPORT(hello, "Hello(str) -> str")
{
    struct hl_view name = hl_arg_str(0);
    calls++;
    hl_return_format("Hello %.*s, %d", (int)name.size, name.data, calls);
}
"""

PT_LOAD, PT_TLS, PT_GNU_STACK = 1, 7, 0x6474E551
EXECUTE, WRITE = 1, 2


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    source = tmp_path / "hello.c"
    source.write_text(HELLO)
    return source


def segments(path: Path) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Entry, and type, flags, address and size of each segment."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    kind, machine = struct.unpack_from("<HH", data, 16)
    assert (kind, machine) == (2, 62), "a program for x86-64, at one address"
    entry, table = struct.unpack_from("<QQ", data, 24)
    (count,) = struct.unpack_from("<H", data, 56)
    found = []
    for i in range(count):
        row = struct.unpack_from("<IIQQQQQQ", data, table + 56 * i)
        found.append((row[0], row[1], row[3], row[6]))
    return entry, found


def check_program(path: Path) -> None:
    entry, found = segments(path)
    loads = [row for row in found if row[0] == PT_LOAD]
    assert [flags for _, flags, _, _ in loads] == [5, 4, 6]
    pages: set[int] = set()
    for _, flags, address, size in loads:
        mine = set(range(address // 4096, (address + size + 4095) // 4096))
        assert not mine & pages, "segments share no page"
        pages |= mine
        assert not (flags & WRITE and flags & EXECUTE)
        if flags & EXECUTE:
            assert address <= entry < address + size
    assert loads[0][2] == 0x400000
    (stack,) = (row for row in found if row[0] == PT_GNU_STACK)
    assert not stack[1] & EXECUTE


def test_a_guest_is_built(hello: Path, tmp_path: Path) -> None:
    target = tmp_path / "hello"
    flags = ("-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    assert guest.build([hello], target, flags=flags) == target
    check_program(target)
    (storage,) = (row for row in segments(target)[1] if row[0] == PT_TLS)
    assert storage[3] == 4


def test_one_source_needs_no_list(hello: Path, tmp_path: Path) -> None:
    check_program(guest.build(hello, tmp_path / "one"))
    check_program(guest.build(str(hello), str(tmp_path / "two")))


def test_the_guest_that_ships() -> None:
    check_program(guest.shipped())
    data = guest.shipped("simple").read_bytes()
    assert b"Add(int32, int32) -> int32\0" in data
    for name in ("nope", "..", "../version.py", ""):
        with pytest.raises(
            FileNotFoundError, match="no guest that ships: simple"
        ):
            guest.shipped(name)


def test_what_the_compiler_says_is_in_the_error(tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("#include <unistd.h>\n")
    with pytest.raises(guest.GuestBuildError, match=r"unistd\.h") as caught:
        guest.build(source, tmp_path / "broken")
    assert "while running: " in str(caught.value)
    assert str(source) in caught.value.command


def test_what_the_linker_says_is_in_the_error(
    hello: Path, tmp_path: Path
) -> None:
    with pytest.raises(guest.GuestBuildError, match="no-such-library"):
        guest.build(hello, tmp_path / "x", libraries=["no-such-library"])


def test_a_compiler_that_is_not_there(hello: Path, tmp_path: Path) -> None:
    with pytest.raises(guest.GuestBuildError, match="no-such-compiler"):
        guest.build(hello, tmp_path / "x", cc="no-such-compiler")


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one source"):
        guest.build([], tmp_path / "x")


def test_a_static_library(hello: Path, tmp_path: Path) -> None:
    """The documentation's guest, where LZ4 is installed for it."""
    source = Path(__file__).parent.parent / "docs/howto/lz4_guest.c"
    header = Path("/usr/include/lz4.h")
    if not (source.exists() and header.exists()):
        pytest.skip("no LZ4 to build with")
    (tmp_path / "lz4.h").write_bytes(header.read_bytes())
    flags = ("-I", str(tmp_path))
    target = tmp_path / "lz4"
    check_program(guest.build(source, target, libraries=["lz4"], flags=flags))


def test_the_command_line(hello: Path, tmp_path: Path) -> None:
    testing = pytest.importorskip("click.testing")
    pytest.importorskip("rich")
    from hyperlight.cli import cli

    target = tmp_path / "hello"
    run = testing.CliRunner().invoke
    arguments = ["guest", "build", str(hello), "-o", str(target)]
    result = run(cli, arguments)
    assert (result.exit_code, result.output) == (0, f"{target}\n")
    check_program(target)
    result = run(cli, [*arguments, "--cc", "no-such-compiler"])
    assert result.exit_code == 2
    assert "no-such-compiler" in result.output
