"""Guests are built from C, and what is built is what a sandbox can take."""

from __future__ import annotations

import string
import struct
from pathlib import Path

import pytest
from built import MARKS, Build, built

from hyperlight import GuestAborted, Sandbox, SandboxConfig, guest

__all__ = ["built"]  # a fixture

pytestmark = [*MARKS, pytest.mark.any_python]

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
            FileNotFoundError, match="nor a shipped guest: simple"
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
    source = Path(__file__).parents[2] / "docs/howto/lz4_guest.c"
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


# What libraries built for Linux's C library call, beyond the headers.
INSIDE = r"""
#include <hyperlight.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

const unsigned short **__ctype_b_loc(void);
const int **__ctype_tolower_loc(void);
const int **__ctype_toupper_loc(void);
int _setjmp(unsigned long *buffer);
void __longjmp_chk(unsigned long *buffer, int value)
    __attribute__((noreturn));
void arc4random_buf(void *to, size_t size);
FILE *fopen64(const char *name, const char *mode);
int open(const char *name, int flags, ...);
long read(int fd, void *to, size_t size);
struct lconv *localeconv(void);
int raise(int signal);
long time(long *time);

HL_EXPORT(classes, "Classes() -> bytes")
{
    hl_return_bytes(hl_view((const char *)(*__ctype_b_loc() - 128), 384 * 2));
}

HL_EXPORT(lower, "Lower() -> bytes")
{
    hl_return_bytes(
        hl_view((const char *)(*__ctype_tolower_loc() - 128), 384 * 4));
}

HL_EXPORT(upper, "Upper() -> bytes")
{
    hl_return_bytes(
        hl_view((const char *)(*__ctype_toupper_loc() - 128), 384 * 4));
}

HL_EXPORT(jump, "Jump() -> int32")
{
    unsigned long buffer[25]; /* as large as glibc's */
    int came = _setjmp(buffer);
    if (came == 0)
        __longjmp_chk(buffer, 5);
    hl_return_i32(came);
}

HL_EXPORT(files, "Files() -> int32")
{
    char to[8] = "12345678";
    int ok = fopen("x", "r") == NULL && errno == ENOENT;
    ok = ok && fopen64("x", "r") == NULL && open("x", 0) == -1;
    ok = ok && fread(to, 1, 8, stdin) == 0 && memcmp(to, "12345678", 8) == 0;
    ok = ok && read(0, to, 8) == -1 && errno == EBADF;
    ok = ok && fseek(stdout, 0, SEEK_SET) == -1 && ftell(stdout) == -1;
    ok = ok && fclose(stdout) == 0 && time(NULL) == -1;
    ok = ok && **(char ***)localeconv() == '.';
    hl_return_i32(ok);
}

/* What becomes of a stream: the number of what is wrong, or 0. */
HL_EXPORT(streams, "Streams() -> int32")
{
    char to[8];

    hl_return_i32(0);
    if (feof(stdin) || ferror(stdin) || feof(stdout) || ferror(stdout))
        hl_return_i32(1); /* nothing was tried yet */
    else if (fread(to, 0, 8, stdin) != 0 || feof(stdin))
        hl_return_i32(2);
    else if (fread(to, 1, 8, stdin) != 0 || !feof(stdin) || ferror(stdin))
        hl_return_i32(3);
    clearerr(stdin);
    errno = 0;
    if (feof(stdin) || getc(stdin) != EOF || !feof(stdin) || errno != 0)
        hl_return_i32(4);
    else if (fwrite("x", 1, 1, stdin) != 0 || !ferror(stdin) || errno != EBADF)
        hl_return_i32(5);
    else if (fputs("x", stdin) != EOF || fputc('x', stdin) != EOF ||
             fprintf(stdin, "%d", 5) >= 0 || fprintf(stderr, "out\n") != 4)
        hl_return_i32(6);
    errno = 0;
    if (fgets(to, 8, stdout) != NULL || !ferror(stdout) || errno != EBADF)
        hl_return_i32(7);
    else if (feof(stdout) || ferror(stderr) || fwrite("\n", 1, 1, stdout) != 1)
        hl_return_i32(8);
    clearerr(stdout);
    if (*(const int *)stdin != 0x30 || *(const int *)stderr != 0)
        hl_return_i32(9); /* what feof_unlocked of glibc looks at */
    rewind(stdin);
    if (ferror(stdout) || ferror(stdin) || feof(stdin))
        hl_return_i32(10);
}

long __isoc23_strtol(const char *text, char **end, int base);
long long __isoc23_strtoll(const char *text, char **end, int base);
unsigned long __isoc23_strtoul(const char *text, char **end, int base);
unsigned long long __isoc23_strtoull(const char *text, char **end, int base);
int __isoc23_sscanf(const char *text, const char *format, ...);
int __isoc99_sscanf(const char *text, const char *format, ...);

HL_EXPORT(newer, "Newer() -> int32")
{
    int c23 = 0, c99 = 0;
    __isoc23_sscanf("0b101", "%i", &c23);
    __isoc99_sscanf("0b101", "%i", &c99);
    hl_return_i32(__isoc23_strtol("-12", NULL, 10) == -12 &&
                  __isoc23_strtoll("0b11", NULL, 0) == 3 &&
                  __isoc23_strtoul("0x10", NULL, 0) == 16 &&
                  __isoc23_strtoull("077", NULL, 0) == 63 && c23 == 5 &&
                  c99 == 0);
}

HL_EXPORT(random, "Random(uint64) -> bytes")
{
    char *room = hl_return_buffer(hl_arg_u64(0));
    arc4random_buf(room, hl_arg_u64(0));
}

HL_EXPORT(raises, "Raise() -> none") { raise(8); }
"""

MINE = r"""
#include <hyperlight.h>
#include <stdio.h>
FILE *fopen(const char *name, const char *mode)
{
    return name[0] == mode[0] ? stdout : NULL;
}
long read(int fd, void *to, size_t size)
{
    return fd + (to != NULL) + (long)size;
}
int time(int a, int b) { return a + b; }
HL_EXPORT(own, "Own() -> int32")
{
    hl_return_i32(fopen("r", "r") == stdout && read(1, &own, 2) == 4 &&
                  time(1, 2) == 3);
}
"""


def test_names_that_libraries_have_inside(driver: str, built: Build) -> None:
    program = built(INSIDE)
    config = SandboxConfig(driver=driver, call_timeout=60)
    with Sandbox(program, config=config) as sandbox:
        assert sandbox.call("Jump") == 5
        assert sandbox.call("Streams") == 0
        assert sandbox.call("Newer") == 1
        assert sandbox.call("Files") == 1
        check_tables(sandbox)
        base = sandbox.snapshot()
        seen = set()
        for _ in range(8):
            seen.add(sandbox.call("Random", 32))
            sandbox.restore(base)
        assert len(seen) == 8, "hash seeds differ, also after a restore"
        assert all(len(set(data)) > 16 for data in seen)
        with pytest.raises(GuestAborted, match=r"raise\(8\) was called"):
            sandbox.call("Raise")


def check_tables(sandbox: Sandbox) -> None:
    """As Python has the characters of ASCII, and others alone."""
    classes = struct.unpack("<384H", sandbox.call("Classes"))
    lower = struct.unpack("<384i", sandbox.call("Lower"))
    upper = struct.unpack("<384i", sandbox.call("Upper"))
    for code in range(-128, 256):
        c = chr(code) if 0 <= code < 128 else ""
        space = c != "" and c in " \t\n\v\f\r"
        bits = [
            (c.isupper(), 0x100),
            (c.islower(), 0x200),
            (c.isalpha(), 0x400),
            (c.isdigit(), 0x800),
            (c != "" and c in string.hexdigits, 0x1000),
            (space, 0x2000),
            (c != "" and c.isprintable(), 0x4000),
            (c != "" and c.isprintable() and not space, 0x8000),
            (c != "" and c in " \t", 1),
            (c != "" and (code < 32 or code == 127), 2),
            (c != "" and c in string.punctuation, 4),
            (c.isalnum(), 8),
        ]
        assert classes[code + 128] == sum(b for is_, b in bits if is_), code
        same = code if code >= -1 else code + 256
        assert lower[code + 128] == (ord(c.lower()) if c else same)
        assert upper[code + 128] == (ord(c.upper()) if c else same)


def test_a_guest_may_bring_its_own(driver: str, built: Build) -> None:
    """Of what the SDK has for libraries only, whatever it looks like."""
    program = built(MINE)
    config = SandboxConfig(driver=driver, call_timeout=60)
    with Sandbox(program, config=config) as sandbox:
        assert sandbox.call("Own") == 1
