"""The descriptors that all managers of a process share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import require_tracker, run_python

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="there is no /proc/self/fd"
)

START = """
import errno, mmap, os, resource, sys
import hyperlight
from hyperlight import SharedMemory, SnapshotManager, TrackerUnavailable
PAGE = mmap.PAGESIZE
tracker = sys.argv[1]

def descriptors():
    return sorted(map(int, os.listdir("/proc/self/fd")))

def made(pages=1):
    memory = SharedMemory(pages * PAGE)
    return memory, SnapshotManager(memory, tracker=tracker, rearm="always")

def check(memory, manager, byte):
    memory.fill(0, memory.size, byte)
    base = manager.take()
    memory.write(memory.size - PAGE, b"x")
    assert memory.page_count - 1 in manager.dirty()
    manager.restore()
    assert memory.read(0, memory.size) == bytes([byte]) * memory.size
    return base
"""


@pytest.fixture(params=["uffd", "uffd-sigbus", "sigsegv", "auto"])
def column(request: pytest.FixtureRequest) -> str:
    """Each tracker that may need a descriptor."""
    if request.param != "auto":
        require_tracker(request.param)
    return str(request.param)


def run(script: str, column: str, timeout: float = 120) -> None:
    result = run_python(START + script, column, timeout=timeout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("done\n"), result.stdout + result.stderr


def test_four_thousand_managers(column: str) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
before = len(descriptors())
kept = []
for i in range(4000):
    kept.append(made())
    if i % 500 == 0:
        check(*kept[-1], 7)
assert len(descriptors()) <= before + 4, descriptors()
check(*kept[0], 9)
for memory, manager in kept:
    manager.close()
    memory.close()
print("done")
"""
    run(script, column)


def test_five_hundred_have_no_more_than_one(column: str) -> None:
    script = """
kept = [made()]
check(*kept[0], 7)
before = descriptors()
for i in range(500):
    kept.append(made())
    check(*kept[-1], 7)
assert descriptors() == before, descriptors()
for memory, manager in kept:
    manager.close()
    memory.close()
assert descriptors() == before, descriptors()
print("done")
"""
    run(script, column)


def test_closed_by_others(column: str) -> None:
    """Nothing is missed, and tracking goes on."""
    script = """
several = [made(4) for _ in range(3)]
for memory, manager in several:
    check(memory, manager, 3)
os.closerange(3, 256)
for page, (memory, manager) in enumerate(several):
    memory.write(page * PAGE, b"y")
for page, (memory, manager) in enumerate(several):
    assert page in manager.dirty()
    manager.restore()
    assert memory.read(0, memory.size) == b"\\3" * memory.size
    check(memory, manager, 4)
for memory, manager in several:  # each is tracked anew, not only the first
    assert manager.tracker == "full" or len(manager.dirty()) == 0
    memory.write(PAGE, b"z")
    assert list(manager.dirty()) == [1], manager.dirty()
    manager.restore()
    manager.verify()
check(*made(), 5)
print("done")
"""
    run(script, column)


def test_the_numbers_are_somebody_elses_by_now(column: str) -> None:
    """Their files are left alone, and ours are not looked for there."""
    script = """
memory, manager = made(4)
check(memory, manager, 3)
os.closerange(3, 64)
theirs = [os.open("/dev/null", os.O_RDONLY) for _ in range(16)]
memory.write(2 * PAGE, b"y")
assert 2 in manager.dirty()
manager.restore()
assert memory.read(0, memory.size) == b"\\3" * memory.size
check(memory, manager, 4)
manager.close()
for fd in theirs:
    os.fstat(fd)
pid = os.fork()
if pid == 0:
    for fd in theirs:
        os.fstat(fd)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("done")
"""
    run(script, column)


OURS = """
def ours():
    paths = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in descriptors()
             if os.path.lexists(f"/proc/self/fd/{fd}")}
    return [fd for fd, path in paths.items()
            if "userfaultfd" in path or path.endswith(("/pagemap", "/maps"))]
"""


def test_the_numbers_are_another_process_s_memory(column: str) -> None:
    """Its pages are not taken for ours, nor are they armed."""
    script = """
import subprocess
memory, manager = made(64)
memory.fill(0, memory.size, 3)
manager.take()
other = subprocess.Popen(["sleep", "100"])  # nothing is mapped there
for fd in ours():
    for name in ("pagemap", "maps"):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(f"/{name}"):
            theirs = os.open(f"/proc/{other.pid}/{name}", os.O_RDONLY)
            os.dup2(theirs, fd)
            os.close(theirs)
for byte in 4, 5, 6:
    memory.write(40 * PAGE, bytes([byte]) * (PAGE + 900))
    assert {40, 41} <= set(manager.dirty()), manager.dirty()
    manager.verify()
    manager.restore()
    assert memory.read(0, memory.size) == bytes([3]) * memory.size
other.kill()
other.wait()
print("done")
"""
    run(OURS + script, column)


def test_somebody_has_a_copy(column: str) -> None:
    """Protection outlives our number: writes go on, during and after."""
    script = """
memory, manager = made(64)
memory.fill(0, memory.size, 3)
base = manager.take()
copies = [(fd, os.dup(fd)) for fd in ours()]
for fd, _ in copies:
    os.close(fd)
memory.write(40 * PAGE, b"before any call")
assert 40 in manager.dirty()
memory.write(41 * PAGE, b"after one")
manager.restore(base)
assert memory.read(0, memory.size) == bytes([3]) * memory.size
for byte in 4, 5:
    memory.write(byte * PAGE, bytes([byte]) * (PAGE + 900))
    manager.restore()
    assert memory.read(0, memory.size) == bytes([3]) * memory.size
manager.close()

memory, manager = made(64)
memory.fill(0, memory.size, 3)
manager.take()
copies = [(fd, os.dup(fd)) for fd in ours()]
for fd, _ in copies:
    os.close(fd)
manager.close()
memory.fill(0, memory.size, 9)
print("done")
"""
    run(OURS + script, column)


def test_protection_of_the_owners_stays() -> None:
    """What is not armed any more is left alone, whoever protects it now."""
    require_tracker("uffd-sigbus")
    script = """
import ctypes, fcntl, struct
libc = ctypes.CDLL(None, use_errno=True)
memory, manager = made(64)
memory.fill(0, memory.size, 3)
manager.take()
for fd in ours():
    os.close(fd)
theirs = libc.syscall(int(os.environ["USERFAULTFD"]), os.O_CLOEXEC | 1)
fcntl.ioctl(theirs, 0xC018AA3F, struct.pack("QQQ", 0xAA, 1, 0))
fcntl.ioctl(theirs, 0xC020AA00,
            struct.pack("QQQQ", memory.address, memory.size, 2, 0))
fcntl.ioctl(theirs, 0xC018AA06, bytearray(
    struct.pack("QQQ", memory.address + 40 * PAGE, PAGE, 1)))

def is_protected(page):
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek((memory.address // PAGE + page) * 8)
        return struct.unpack("Q", pagemap.read(8))[0] >> 57 & 1

assert is_protected(40)
assert len(manager.dirty()) == 64
manager.close()
assert is_protected(40)
assert not is_protected(41)
os._exit(print("done", flush=True) or 0)
"""
    run(OURS + script, "uffd-sigbus")


def test_a_child_has_its_own(column: str) -> None:
    script = """
memory, manager = made(4)
check(memory, manager, 3)
ours = descriptors()

def paths():
    found = []
    for fd in descriptors():
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return found

for _ in range(3):
    pid = os.fork()
    if pid == 0:
        # what was the parent's is closed, and nothing is open twice
        assert not [p for p in paths() if "userfaultfd" in p or "pagemap" in p]
        check(memory, manager, 5)
        assert len([p for p in paths() if "userfaultfd" in p]) <= 1
        manager.close()
        check(*made(), 6)
        os._exit(0)
    memory.write(PAGE, b"z")
    assert os.waitpid(pid, 0)[1] == 0
    assert descriptors() == ours
    assert list(manager.dirty()) == [1]
    manager.restore()
    manager.verify()
print("done")
"""
    run(script, column)


def test_the_limit_is_named(column: str) -> None:
    """At the limit of descriptors it is the limit that the error names."""
    script = """
import io
memory = SharedMemory(PAGE)
room = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
most = len(descriptors()) + 20
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
while True:
    try:
        room.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        break
failed = 0
for left in range(6):
    try:
        manager = SnapshotManager(memory, tracker=tracker)
    except OSError as error:
        assert error.errno == errno.EMFILE, error
        assert "RLIMIT_NOFILE" in str(error), error
        assert "usable" not in str(error), error
        failed += 1
    else:
        with manager:
            manager.take()
            memory.write(0, b"x")
            assert 0 in manager.dirty()
            manager.restore()
            assert memory.read(0, 1) == bytes(1)
        break
    os.close(room.pop())
assert failed
assert left < 5
print("done")
"""
    run(script, column)


def test_without_proc(column: str) -> None:
    """Refused in words that blame nobody else, or tracked rightly."""
    if os.geteuid() != 0:
        pytest.skip("only root can have a mount namespace without /proc")
    script = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x20000) or libc.mount(None, b"/", None, 1 << 14 | 1 << 18,
                                       None) or libc.umount2(b"/proc", 2):
    print("no namespace", os.strerror(ctypes.get_errno()))
    sys.exit(0)
assert not os.path.exists("/proc/self")
for info in hyperlight.trackers():
    assert info.available or info.reason
memory = SharedMemory(4 * PAGE)
try:
    manager = SnapshotManager(memory, tracker=tracker)
except TrackerUnavailable as error:
    assert "/proc" in error.reason, error
    assert tracker not in error.usable, error
    assert "uffd" not in error.usable, error
else:
    check(memory, manager, 3)
    manager.verify()
    manager.close()
theirs = mmap.mmap(-1, 4 * PAGE)
with SharedMemory.from_buffer(theirs) as memory:
    try:
        manager = SnapshotManager(memory, tracker=tracker)
    except TrackerUnavailable as error:
        assert "/proc" in error.reason, error
    else:
        check(memory, manager, 3)
        manager.close()
print("done")
"""
    result = run_python(START + script, column)
    if result.stdout.startswith("no namespace"):
        pytest.skip(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("done\n"), result.stdout + result.stderr
