"""Program and ProgramSandbox: how they are used and misused."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import run_python
from programs import why_no_programs

from hyperlight import (
    Completed,
    Files,
    GuestTimeout,
    HyperlightError,
    LimitExceeded,
    Program,
    ProgramExited,
    ProgramSandbox,
    SandboxConfig,
    SandboxPoisoned,
    Snapshot,
)

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(
        why_no_programs() is not None, reason=str(why_no_programs())
    ),
    # Any driver will do.
    pytest.mark.filterwarnings("ignore::hyperlight.EmulatorWarning"),
]

#: Answers requests: each byte is a command for the next one.
SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int count;

int main(int argc, char **argv)
{
    char buffer[65536];
    struct timespec now, little = {0, 20000000};
    int packets = argc > 1 && strcmp(argv[1], "packets") == 0;

    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 3;
    if (argc > 1 && strcmp(argv[1], "env") == 0) {
        printf("%s %s", getenv("A") ? getenv("A") : "-",
               getcwd(buffer, sizeof buffer));
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "cat") == 0) {
        ssize_t n;
        while ((n = read(0, buffer, sizeof buffer)) > 0)
            if (write(1, buffer, n) != n)
                return 1;
        return 0;
    }
    int fd = open("/dev/hyperlight", O_RDWR | (packets ? 040000 : 0));
    for (;;) {
        size_t size = 0;
        ssize_t n;
        while ((n = read(fd, buffer + size, sizeof buffer - size)) > 0) {
            size += n;
            if (packets)
                break;
        }
        count++;
        switch (size ? buffer[0] : 0) {
        case 'c':
            size = sprintf(buffer, "%d", count);
            break;
        case 'x':
            exit(buffer[1]);
        case 'a':
            abort();
        case 's':
            for (;;)
                nanosleep(&little, NULL);
        case 'w':
            for (;;)
                if (write(1, buffer, sizeof buffer) < 0)
                    _exit(9);
        case 'k':
            for (;;)
                getppid();
        case 't':
            clock_gettime(CLOCK_REALTIME, &now);
            nanosleep(&little, NULL);
            size = sprintf(buffer, "%lld.%09ld ", (long long)now.tv_sec,
                           now.tv_nsec);
            clock_gettime(CLOCK_REALTIME, &now);
            size += sprintf(buffer + size, "%lld.%09ld",
                            (long long)now.tv_sec, now.tv_nsec);
            break;
        case 'o':
            for (n = 0; dup(0) >= 0; n++)
                ;
            size = sprintf(buffer, "%d %d", (int)n, errno);
            break;
        }
        if (write(fd, buffer, size) < 0)
            return 2;
    }
}
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Linked statically, which every driver starts in milliseconds."""
    if not shutil.which("gcc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("program")
    (folder / "talk.c").write_text(SOURCE)
    done = subprocess.run(
        ["gcc", "-static", "-O1", "-o", "talk", "talk.c"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("no static C library")
    return folder / "talk"


@pytest.fixture
def baked(program: Path) -> Iterator[ProgramSandbox]:
    with Program([program]).bake() as sandbox:
        yield sandbox


def test_requests_change_its_state(baked: ProgramSandbox) -> None:
    assert baked.request(b"echo") == b"echo"
    assert baked.request(b"c") == b"2"
    taken = baked.snapshot()
    assert baked.request(b"c") == b"3"
    baked.restore()
    assert baked.request(b"c") == b"3"
    baked.restore(baked.base)
    assert baked.request(b"c") == b"1"
    baked.restore(taken)
    assert baked.request(bytearray(b"c")) == b"3"
    with baked.transaction():
        assert baked.request(b"c") == b"4"
    baked.restore(taken)
    assert isinstance(taken, Snapshot)
    assert not baked.changed(everything=True)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65535])
def test_requests_of_any_size(baked: ProgramSandbox, size: int) -> None:
    assert baked.request(b"\0" * size) == b"\0" * size


def test_packets(program: Path) -> None:
    with Program([program, "packets"]).bake() as sandbox:
        assert sandbox.request(b"echo") == b"echo"
        assert sandbox.request(b"c") == b"2"
        sandbox.restore()
        assert sandbox.request(b"c") == b"1"


@pytest.mark.parametrize(
    ("request_", "code", "signal"), [(b"x\5", 5, None), (b"a", None, 6)]
)
def test_an_end(
    baked: ProgramSandbox, request_: bytes, code: int | None, signal: int
) -> None:
    with pytest.raises(ProgramExited) as got:
        baked.request(request_)
    assert (got.value.exit_code, got.value.signal) == (code, signal)
    assert baked.poisoned
    with pytest.raises(SandboxPoisoned):
        baked.request(b"c")
    baked.restore()
    assert not baked.changed(everything=True)
    assert baked.request(b"c") == b"1"


def test_limits(program: Path) -> None:
    config = SandboxConfig(
        output_limit="128KiB", system_calls=1000, open_files=20
    )
    with Program([program], config=config).bake() as sandbox:
        with pytest.raises(LimitExceeded, match="output_limit"):
            sandbox.request(b"w")
        sandbox.restore()
        with pytest.raises(LimitExceeded, match="system_calls"):
            sandbox.request(b"k")
        sandbox.restore()
        assert sandbox.request(b"o") == b"16 24"  # EMFILE
        sandbox.restore()
        begun = time.monotonic()
        with pytest.raises(GuestTimeout):
            sandbox.request(b"s", timeout=0.2)
        assert 0.2 <= time.monotonic() - begun < 20
        sandbox.restore()
        assert sandbox.request(b"c") == b"1"


def test_time_can_stand_still(program: Path) -> None:
    config = SandboxConfig(frozen_time=1e9)
    with Program([program], config=config).bake() as sandbox:
        for _ in range(2):
            assert sandbox.request(b"t") == (
                b"1000000000.000000000 1000000000.020000000"
            )


def test_real_time_goes_on(baked: ProgramSandbox) -> None:
    first, second = map(float, baked.request(b"t").split())
    assert abs(first - time.time()) < 100
    assert second - first >= 0.02


def test_what_it_is_started_with(program: Path) -> None:
    files = Files().host(program, "/bin/talk").folder("/work")
    done = Program(
        ["/bin/talk", "env"], env={"A": "é"}, files=files, cwd="/work"
    ).run()
    assert done.stdout.decode() == "é /work"
    done = Program([program, "env"]).run()
    assert done.stdout == b"- /"
    done = Program([program, "cat"]).run(b"x" * 100_000)
    assert isinstance(done, Completed)
    assert (done.exit_code, done.stdout) == (0, b"x" * 100_000)


def test_output_as_it_comes(program: Path) -> None:
    pieces: list[tuple[bytes, bytes]] = []
    done = Program([program, "cat"]).run(
        b"y" * 70_000, on_output=lambda *both: pieces.append(both)
    )
    assert [len(out) for out, _ in pieces] == [65536, 70_000 - 65536]
    assert done.stdout == b""


def test_baking_what_ends_and_running_what_waits(program: Path) -> None:
    with pytest.raises(ProgramExited, match="exited with 3"):
        Program([program, "exit"]).bake()
    with pytest.raises(HyperlightError, match="waits for a request"):
        Program([program]).run()


def test_misuse(program: Path, baked: ProgramSandbox) -> None:
    with pytest.raises(TypeError, match="made by"):
        ProgramSandbox()
    with pytest.raises(TypeError):
        baked.request("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such function"):
        baked.call("f")
    with pytest.raises(TypeError, match="devolve"):
        baked.devolve()
    for argv in ([], "ls", b"ls"):
        with pytest.raises(TypeError, match="argv"):
            Program(argv)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="files=5"):
        Program(["/a"], files=5)  # type: ignore[arg-type]
    for wrong in ([program, b"x"], [b"/a"]):
        with pytest.raises(TypeError, match="is not text"):
            Program(wrong, files=Files())
    for env in ({"A": 5}, {5: "A"}, {"A": b"x"}):
        with pytest.raises(TypeError, match="is not text"):
            Program([program], env=env)  # type: ignore[arg-type]
    for stdin in ("text", 5, None):
        with pytest.raises(TypeError):
            Program([program, "cat"]).run(stdin)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_output=5 cannot be called"):
        Program([program]).run(on_output=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config"):
        Program([program], config=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such folder"):
        Program([program], cwd="/nowhere").run()
    linked = Files().host(program, "/p").folder("/a").link("/b", "/a")
    with pytest.raises(ValueError, match="cwd='/b': name the folder itself"):
        Program(["/p"], files=linked, cwd="/b").run()
    with pytest.raises(FileNotFoundError):
        Program(["/missing"], files=Files()).run()
    with pytest.raises(ValueError, match="NUL"):
        Program([program, "a\0b"]).run()
    with pytest.raises(ValueError, match="not a program"):
        Program(["/a"], files=Files().add("/a", "#!/bin/sh")).run()
    baked.close()
    for use in (baked.snapshot, baked.restore, baked.output):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(ValueError, match="closed"):
        baked.request(b"c")
    assert "closed" in repr(baked)


def test_why_it_has_its_tracker(program: Path, baked: ProgramSandbox) -> None:
    """The bake makes another machine, which changes no reason."""
    assert baked.stats["why"] != "asked for by name"
    asked = SandboxConfig(driver=baked.driver, tracker=baked.tracker)  # type: ignore[arg-type]
    with Program([program], config=asked).bake() as other:
        assert other.tracker == baked.tracker
        assert other.stats["why"] == "asked for by name"


def test_a_bake_that_fails_leaves_nothing(
    program: Path, baked: ProgramSandbox
) -> None:
    if baked.driver != "kvm":
        pytest.skip("needs a machine that takes descriptors")
    result = run_python(f"""
import resource
from hyperlight import Program
from hyperlight._binding import core
from hyperlight.linux.machine import ProgramMachine
token = object()
machine = ProgramMachine(Program([{str(program)!r}])._recipe, token)
machine.exchange(token, None, None, None)
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
try:
    machine.bake(token)
except OSError as error:
    assert "bake: /dev/kvm: Too many open files" in str(error), error
else:
    raise AssertionError("there is a machine without a descriptor")
assert machine.core.closed
assert core.counts()["sandboxes"] == core.counts()["mappings"] == 0
for use in (
    lambda: machine.exchange(token, b"", None),
    lambda: machine.core.output(token),
    lambda: machine.core.set_up(b"", 1, 1, 3, False),
    lambda: machine.take(token, None),
):
    try:
        use()
    except ValueError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("it is closed")
""")
    assert result.returncode == 0, result.stderr


def test_a_program_has_the_files_of_when_it_was_made(program: Path) -> None:
    files = Files().host(program, "/p")
    made = Program(["/p", "exit"], files=files)
    files.add("/p", b"something else")
    assert made.run().exit_code == 3


@pytest.mark.parametrize("name", ["open_files", "system_calls", "memory"])
@pytest.mark.parametrize("value", [-1, "x", 1.5, 1 << 60])
def test_limits_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        SandboxConfig(**{name: value})  # type: ignore[arg-type]
