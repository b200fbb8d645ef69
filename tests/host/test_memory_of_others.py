"""Memory that its owner, or somebody's library, does things to meanwhile."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import require_tracker, run_python

from hyperlight import SharedMemory, Snapshot, SnapshotManager

pytestmark = pytest.mark.any_python

PAGE = mmap.PAGESIZE

MEMORY = """
import ctypes, mmap, os, struct, sys, threading
from hyperlight import SharedMemory, SnapshotManager

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
    ctypes.c_int, ctypes.c_long,
]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SIZE = 64 * mmap.PAGESIZE
at = libc.mmap(None, SIZE, 3, 0x22, -1, 0)
memory = SharedMemory.from_buffer((ctypes.c_char * SIZE).from_address(at))
tracker = sys.argv[1]
"""


def run(script: str, *args: str) -> str:
    result = run_python(MEMORY + script, *args)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, (result.returncode, result.stderr)
    return result.stdout


@pytest.mark.parametrize("name", ["auto", "full", "sigsegv"])
@pytest.mark.parametrize("spare", ["spare", "none"])
def test_untouched_memory_that_somebody_fills(name: str, spare: str) -> None:
    """By a userfaultfd of theirs, as for lazy restores: it is not zero.

    That is found where no descriptor is to be had, too, once there was one.
    """
    if (name, spare) == ("auto", "none"):
        pytest.skip("some trackers of auto need another one")
    run(
        """
import errno, fcntl, resource
if sys.argv[2] == "none":
    with SharedMemory(65536) as other:
        SnapshotManager(other, tracker=tracker).close()
fd = libc.syscall(int(os.environ["USERFAULTFD"]), os.O_CLOEXEC)
if fd < 0:
    print("no userfaultfd that takes the kernel's own faults")
    sys.exit(77)
fcntl.ioctl(fd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))
fcntl.ioctl(fd, 0xC020AA00, struct.pack("QQQQ", at, SIZE, 1, 0))
page = ctypes.create_string_buffer(b"U" * mmap.PAGESIZE, mmap.PAGESIZE)

def serve():
    while True:
        addr = struct.unpack_from("Q", os.read(fd, 32), 16)[0]
        addr &= ~(mmap.PAGESIZE - 1)
        copy = struct.pack(
            "QQQQq", addr, ctypes.addressof(page), mmap.PAGESIZE, 0, 0
        )
        fcntl.ioctl(fd, 0xC028AA03, bytearray(copy))

threading.Thread(target=serve, daemon=True).start()
if sys.argv[2] == "none":
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 20, fd + 20))
    try:
        while True:
            os.dup(0)
    except OSError as error:
        assert error.errno == errno.EMFILE
try:
    manager = SnapshotManager(memory, tracker=tracker)
except OSError as error:
    if error.errno != errno.EMFILE or "/proc/self/maps" not in str(error):
        raise
    print("this kernel tells of mappings by a file alone")
    sys.exit(77)
snapshot = manager.take()
assert snapshot.read(8192, 2) == memory.read(8192, 2) == b"UU"
memory.write(12288, b"x")
manager.restore(snapshot)
assert memory.read(12288, 2) == b"UU"
os._exit(0)
""",
        name,
        spare,
    )


def test_another_mapping_before_the_first_take(tracker: str) -> None:
    out = run(
        """
import tempfile
manager = SnapshotManager(memory, tracker=tracker)
with tempfile.TemporaryFile() as file:
    file.write(b"x" * SIZE)
    file.flush()
    assert libc.mmap(at, SIZE, 3, 0x12, file.fileno(), 0) == at
snapshot = manager.take()
assert snapshot.read(0, 4) == memory.read(0, 4) == b"xxxx"
memory.write(4096, b"y")
manager.restore(snapshot)
assert memory.read(4096, 2) == b"xx"
print("right")
""",
        tracker,
    )
    assert "right" in out


@pytest.mark.parametrize("call", ["verify", "changed", "everything"])
def test_a_part_that_is_gone(tracker: str, call: str) -> None:
    run(
        """
memory.fill(0, SIZE, 1)
manager = SnapshotManager(memory, tracker=tracker)
first = manager.take()
libc.munmap(at + SIZE // 2, SIZE // 4)
try:
    if sys.argv[2] == "verify":
        manager.verify()
    else:
        manager.changed(first, everything=sys.argv[2] == "everything")
except ValueError as error:
    assert "no longer mapped" in str(error), error
else:
    sys.exit("no error")
os._exit(0)
""",
        tracker,
        call,
    )


TAKEN_AWAY = """
from hyperlight._binding import core
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
kind, asked = sys.argv[2:4]
if kind == "shared":
    at = libc.mmap(None, SIZE, 3, 0x21, -1, 0)
    memory = SharedMemory.from_buffer((ctypes.c_char * SIZE).from_address(at))
release = tuple(map(int, os.uname().release.split(".")[:2]))
kernel_can_be_asked = release >= (6, 11)
if asked == "by text":  # as before 6.11
    if not core.CAN_FAIL:
        print("built without fault injection")
        sys.exit(77)
    core.plan_failure("query", 0, 2**31)
    kernel_can_be_asked = False
half, quarter = SIZE // 2, SIZE // 4

def refused(call, words):
    try:
        call()
    except ValueError as error:
        assert words in str(error), (call, error)
    else:
        sys.exit(f"no error: {call}")

UNMAPPED, CLOSED = "no longer mapped", "(mprotect)"
memory.fill(0, SIZE, 1)
manager = SnapshotManager(memory, tracker=tracker, rearm="always")
"""

TWO_SNAPSHOTS = """
first = manager.take()
memory.fill(0, SIZE, 2)
second = manager.take()
memory.write(0, b"x")
"""

RIGHT_AGAIN = """
manager.restore()
assert memory.read(0, SIZE) == b"\\2" * SIZE
manager.restore(first)
manager.verify()
assert memory.read(0, SIZE) == b"\\1" * SIZE
os._exit(0)
"""


def look(tracker: str, kind: str, asked: str, script: str) -> None:
    if tracker == "sigsegv":
        pytest.skip("a limit: it closes pages itself")
    run(TAKEN_AWAY + script, tracker, kind, asked)


@pytest.fixture(params=["private", "shared"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["of the kernel", "by text"])
def asked(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_hole_is_not_stepped_into(
    tracker: str, kind: str, asked: str
) -> None:
    """Refused in words with nothing lost; right again when it is back."""
    script = """
libc.munmap(at + half, quarter)
assert len(manager.dirty()) == 64 or not kernel_can_be_asked
refused(lambda: manager.restore(first), UNMAPPED)
refused(manager.verify, UNMAPPED)
assert manager.current is second
assert memory.read(0, 2) == b"x\2"
if kernel_can_be_asked:
    refused(manager.take, UNMAPPED)
    refused(manager.restore, UNMAPPED)
elif tracker == "uffd-sigbus":
    os._exit(0)  # a limit: what is mapped there next is not reported
flags = 0x31 if kind == "shared" else 0x32
assert libc.mmap(at + half, quarter, 3, flags, -1, 0) == at + half
"""
    look(tracker, kind, asked, TWO_SNAPSHOTS + script + RIGHT_AGAIN)


def test_a_hole_behind_a_closed_page(tracker: str, kind: str) -> None:
    script = """
if not kernel_can_be_asked:
    print("the kernel cannot be asked")
    sys.exit(77)
libc.mprotect(at + 3 * mmap.PAGESIZE, mmap.PAGESIZE, 1)
libc.munmap(at + half, quarter)
assert len(manager.dirty()) == 64
refused(manager.take, UNMAPPED)
refused(manager.restore, UNMAPPED)
os._exit(0)
"""
    look(tracker, kind, "of the kernel", TWO_SNAPSHOTS + script)


def test_closed_pages_are_not_read(
    tracker: str, kind: str, asked: str
) -> None:
    if (tracker, kind, asked) == ("uffd", "shared", "by text"):
        pytest.skip("a limit: it looks for dropped pages by reading")
    script = """
libc.mprotect(at + half, quarter, 0)
refused(lambda: manager.restore(first), CLOSED)
refused(manager.verify, CLOSED)
refused(manager.changed, CLOSED)
if kernel_can_be_asked:
    assert len(manager.dirty()) == 64
    refused(manager.take, CLOSED)
    refused(manager.restore, CLOSED)
assert manager.current is second
libc.mprotect(at + half, quarter, 3)
"""
    look(tracker, kind, asked, TWO_SNAPSHOTS + script + RIGHT_AGAIN)


def test_read_only_pages_are_not_written(
    tracker: str, kind: str, asked: str
) -> None:
    script = """
libc.mprotect(at + half, quarter, 1)
refused(lambda: manager.restore(first), CLOSED)
assert manager.current is second
assert memory.read(0, 2) == b"x\2"
manager.verify()
manager.restore()  # of what differs no page is closed
assert memory.read(0, 2) == b"\2\2"
libc.mprotect(at + half, quarter, 3)
"""
    look(tracker, kind, asked, TWO_SNAPSHOTS + script + RIGHT_AGAIN)


@pytest.mark.parametrize("how", ["unmapped", "closed"])
def test_taken_away_before_the_first_take(
    tracker: str, kind: str, asked: str, how: str
) -> None:
    """No tracker has closed anything yet, so that none is excepted."""
    script = """
if sys.argv[4] == "unmapped":
    libc.munmap(at + half, quarter)
    refused(manager.take, UNMAPPED)
else:
    libc.mprotect(at + half, quarter, 0)
    refused(manager.take, CLOSED)
    libc.mprotect(at + half, quarter, 3)
    manager.take()
    memory.write(0, b"x")
    manager.restore()
    assert memory.read(0, SIZE) == b"\1" * SIZE
os._exit(0)
"""
    run(TAKEN_AWAY + script, tracker, kind, asked, how)


def test_guard_pages_are_refused() -> None:
    with mmap.mmap(
        -1, 64 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ) as owner:
        try:
            owner.madvise(102, 5 * PAGE, PAGE)  # MADV_GUARD_INSTALL
        except OSError as error:
            pytest.skip(f"MADV_GUARD_INSTALL: {error.strerror}")
        with SharedMemory.from_buffer(owner) as memory:
            with pytest.raises(ValueError, match="guard pages"):
                SnapshotManager(memory)
            owner.madvise(103, 5 * PAGE, PAGE)  # MADV_GUARD_REMOVE
            SnapshotManager(memory).close()


def test_a_file_that_is_cut_within_a_page() -> None:
    require_tracker("uffd")
    fd = os.memfd_create("cut")
    os.ftruncate(fd, 16 * PAGE)
    with mmap.mmap(fd, 16 * PAGE) as owner:
        memory = SharedMemory.from_buffer(owner)
        memory.fill(0, memory.size, 65)
        with memory, SnapshotManager(memory, tracker="uffd") as manager:
            snapshot = manager.take()
            os.ftruncate(fd, 8 * PAGE + 100)
            os.ftruncate(fd, 16 * PAGE)
            manager.restore(snapshot)
            assert memory.read(0, memory.size) == b"A" * memory.size
    os.close(fd)


def test_descriptors_closed_before_the_first_take() -> None:
    """What was to be armed is, by new ones, from the next take on."""
    require_tracker("uffd")
    result = run_python(
        """
import os
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory("1MiB")
manager = SnapshotManager(memory, tracker="uffd", rearm="always")
os.closerange(3, 100)
for _ in range(4):
    manager.take()
assert len(manager.dirty()) == 0, len(manager.dirty())
"""
    )
    assert result.returncode == 0, result.stderr


JUMP = """
#include <setjmp.h>
#include <signal.h>
static sigjmp_buf out;
static void handler(int signal) { (void)signal; siglongjmp(out, 1); }
void install(void)
{
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGSEGV, &action, 0);
}
int probe(volatile char *address)
{
    if (sigsetjmp(out, 1))
        return 0;
    *address = 1;
    return 1;
}
"""


@pytest.mark.unsanitized
@pytest.mark.parametrize("when", ["before", "after"])
def test_handlers_that_jump_out(tmp_path: Path, when: str) -> None:
    """Each fault reaches them, not only the first."""
    if shutil.which("cc") is None:
        pytest.skip("no compiler")
    source, library = tmp_path / "jump.c", tmp_path / "jump.so"
    source.write_text(JUMP)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    result = run_python(
        """
import ctypes, sys, threading
import hyperlight
jump = ctypes.CDLL(sys.argv[1])
jump.probe.argtypes = [ctypes.c_void_p]
if sys.argv[2] == "before":
    jump.install()
memory = hyperlight.SharedMemory("64KiB")
manager = hyperlight.SnapshotManager(memory, tracker="sigsegv")
manager.take()
if sys.argv[2] == "after":
    jump.install()
    hyperlight.reclaim_fault_handlers()
for _ in range(3):
    assert jump.probe(16) == 0
    memory.write(0, b"x")
    assert 0 in manager.dirty()
    manager.restore()
thread = threading.Thread(target=lambda: [jump.probe(16) for _ in range(3)])
thread.start()
thread.join()
print("ended")
""",
        str(library),
        when,
    )
    assert "ended" in result.stdout, (result.returncode, result.stderr)


@pytest.mark.parametrize("how", ["faulthandler", "signal"])
def test_handlers_in_a_child_that_has_to_do_with_a_trap(how: str) -> None:
    require_tracker("uffd")
    result = run_python(
        """
import ctypes, faulthandler, os, resource, signal, sys
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory("1MiB")
manager = SnapshotManager(memory, tracker="uffd")
memory.fill(0, memory.size, 1)
manager.take()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        os.close(held.pop())
    manager.restore()
    for fd in held:
        os.close(fd)
    if sys.argv[1] == "signal":
        signal.signal(signal.SIGSEGV, lambda *args: None)
    else:
        faulthandler.enable()
    ctypes.c_char.from_buffer(memory).value = b"x"
    os._exit(0 not in manager.dirty())
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
        how,
    )
    assert result.returncode == 0, result.stderr


def test_a_snapshot_is_set_up_once() -> None:
    snapshot = Snapshot("name")
    with pytest.raises(ValueError, match="already"):
        snapshot.__init__("other")  # type: ignore[misc]
    assert snapshot.name == "name"
