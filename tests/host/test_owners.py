"""Owners who change borrowed memory, and what a manager leaves there."""

from __future__ import annotations

import pytest
from conftest import require_tracker
from test_memory_of_others import MEMORY, TAKEN_AWAY, run

from hyperlight._binding import core

pytestmark = pytest.mark.any_python

HELPERS = """
import gc, resource, signal
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = mmap.PAGESIZE
half, quarter = SIZE // 2, SIZE // 4

def write(page, value=b"w"):
    ctypes.memmove(at + page * PAGE, value, 1)

def in_child(call):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        call()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code

def rights(page):
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, what = line.split()[:2]
            start, end = (int(text, 16) for text in span.split("-"))
            if start <= at + page * PAGE < end:
                return what[:3]

memory.fill(0, SIZE, 1)
"""
ENDS = """
manager = SnapshotManager(memory, tracker=tracker, rearm="always")
manager.take()
write(1)

def end():
    global manager
    if sys.argv[3] == "dropped":
        del manager
        gc.collect()
    else:
        manager.close()

def end_it():
    if sys.argv[3] == "in a child":
        in_child(lambda: (end(), after()))
    end()
    after()
"""


@pytest.fixture(params=["closed", "dropped", "in a child"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("what", ["hole", "file", "both"])
def test_all_is_open_when_a_manager_goes(
    tracker: str, how: str, what: str
) -> None:
    """Whatever its owner put between: the first that is odd ends nothing."""
    script = """
import tempfile
if sys.argv[2] != "file":
    libc.munmap(at + 8 * PAGE, PAGE)
if sys.argv[2] != "hole":
    file = tempfile.TemporaryFile()
    file.write(bytes(SIZE))
    file.flush()
    where = at + 16 * PAGE
    assert libc.mmap(where, PAGE, 3, 0x12, file.fileno(), 0) == where

def after():
    for page in range(64):
        if page != 8:
            write(page)

end_it()
os._exit(0)
"""
    run(MEMORY + HELPERS + ENDS + script, tracker, what, how)


def test_what_its_owner_closed_stays_closed(tracker: str, how: str) -> None:
    script = """
import tempfile
libc.mprotect(at + 8 * PAGE, PAGE, 0)
libc.mprotect(at + 16 * PAGE, PAGE, 5)
file = tempfile.TemporaryFile()
file.write(bytes(SIZE))
file.flush()
for page, prot in (24, 1), (32, 5):
    where = at + page * PAGE
    assert libc.mmap(where, PAGE, prot, 0x12, file.fileno(), 0) == where

def after():
    assert rights(24) == "r--", rights(24)
    assert rights(32) == "r-x", rights(32)
    assert rights(8) == "---", rights(8)
    assert rights(16) == "r-x", rights(16)
    for page in set(range(64)) - {8, 16, 24, 32}:
        assert rights(page) == "rw-", (page, rights(page))

end_it()
os._exit(0)
"""
    run(MEMORY + HELPERS + ENDS + script, tracker, "", how)


def test_their_own_protection_stays(tracker: str) -> None:
    """By a userfaultfd of theirs, of memory that they put there."""
    script = """
import fcntl
manager = SnapshotManager(memory, tracker=tracker, rearm="always")
manager.take()
where = at + 16 * PAGE
assert libc.mmap(where, PAGE, 3, 0x32, -1, 0) == where
write(16)
fd = libc.syscall(int(os.environ["USERFAULTFD"]), os.O_CLOEXEC | 1)
if fd < 0:
    print("no userfaultfd")
    sys.exit(77)
try:
    fcntl.ioctl(fd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 1 << 7, 0))
    fcntl.ioctl(fd, 0xC020AA00, struct.pack("QQQQ", where, PAGE, 2, 0))
except OSError:
    print("no userfaultfd that protects from writes")
    sys.exit(77)
fcntl.ioctl(fd, 0xC018AA06, struct.pack("QQQ", where, PAGE, 1))

other = libc.syscall(int(os.environ["USERFAULTFD"]), os.O_CLOEXEC | 1)
fcntl.ioctl(other, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))
try:
    fcntl.ioctl(other, 0x8010AA01, struct.pack("QQ", where, PAGE))
    print("on this kernel anybody's userfaultfd ends another's")
    sys.exit(77)
except OSError:
    os.close(other)

def is_protected():
    with open("/proc/self/pagemap", "rb", 0) as pagemap:
        pagemap.seek(where // PAGE * 8)
        return struct.unpack("Q", pagemap.read(8))[0] >> 57 & 1

assert is_protected()
manager.close()
assert is_protected()
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker)


@pytest.mark.parametrize("how", ["unmapped", "closed", "read-only"])
def test_taken_away_before_the_first_restore(tracker: str, how: str) -> None:
    """Of a snapshot that another manager took."""
    script = """
lender = SharedMemory(SIZE)
lender.fill(0, SIZE, 7)
snapshot = SnapshotManager(lender, tracker="full").take()
if sys.argv[4] == "unmapped":
    libc.munmap(at + half, quarter)
    refused(lambda: manager.restore(snapshot), UNMAPPED)
else:
    libc.mprotect(at + half, quarter, sys.argv[4] == "read-only")
    refused(lambda: manager.restore(snapshot), CLOSED)
    libc.mprotect(at + half, quarter, 3)
    manager.restore(snapshot)
    assert memory.read(0, SIZE) == b"\7" * SIZE
os._exit(0)
"""
    run(TAKEN_AWAY + script, tracker, "private", "of the kernel", how)


@pytest.mark.parametrize("when", ["first", "later"])
def test_no_descriptor_left_to_ask_by(tracker: str, when: str) -> None:
    """Said, instead of taken for an answer."""
    if tracker == "sigsegv" and when == "later":
        pytest.skip("a limit: it closes pages itself")
    script = """
manager = SnapshotManager(memory, tracker=tracker)
if sys.argv[2] == "later":
    manager.take()
os.closerange(3, 100)
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
libc.mprotect(at + half, PAGE, 0)
try:
    manager.take()
except OSError as error:
    assert "RLIMIT_NOFILE" in str(error), error
else:
    sys.exit("no error")
for fd in held:
    os.close(fd)
libc.mprotect(at + half, PAGE, 3)
snapshot = manager.take()
write(3)
manager.restore()
assert memory.read(0, SIZE) == snapshot.read(0, SIZE) == b"\1" * SIZE
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker, when)


@pytest.mark.parametrize("asked", ["by ioctl", "as text"])
def test_a_child_in_which_a_page_is_read_only(
    tracker: str, asked: str
) -> None:
    """It goes on, by copying all; no word of sizes."""
    if asked == "as text" and not core.CAN_FAIL:
        pytest.skip("built without HYPERLIGHT_FAULT_INJECTION=1")
    script = """
if sys.argv[2] == "as text":  # as before Linux 6.11
    from hyperlight._binding import core
    core.plan_failure("query", 0, 1 << 30)
manager = SnapshotManager(memory, tracker=tracker)
manager.take()

def child():
    libc.mprotect(at + half, PAGE, 1)
    for _ in range(3):
        write(3)
        assert len(manager.dirty()) == 64 or tracker == "sigsegv"
        assert set(manager.changed()) == {3}
        manager.restore()
        manager.verify()
    if tracker == "sigsegv":
        return  # a limit: it closes pages itself
    libc.mprotect(at + half, PAGE, 0)
    for call in (manager.restore, manager.take, manager.changed):
        try:
            call()
        except ValueError as error:
            assert "(mprotect)" in str(error), error
        else:
            sys.exit("no error")

in_child(child)
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker, asked)


def test_a_guess_writes_what_differs(tracker: str) -> None:
    """A page that equals the snapshot is not asked whether it can be."""
    if tracker in ("sigsegv", "full"):
        pytest.skip("nothing makes it guess")
    script = """
manager = SnapshotManager(memory, tracker=tracker)
manager.take()
libc.mprotect(at + half, PAGE, 0)
try:
    manager.restore()
except ValueError:
    pass
libc.mprotect(at + half, PAGE, 1)
os.closerange(3, 100)
for _ in range(3):
    write(3)
    assert manager.restore().pages_copied == 1
libc.mprotect(at + half, PAGE, 3)
write(32)
libc.mprotect(at + half, PAGE, 1)
os.closerange(3, 100)
write(3)
try:
    manager.restore()
except ValueError as error:
    assert "(mprotect)" in str(error), error
else:
    sys.exit("no error")
assert memory.read(3 * PAGE, 1) == b"w"
libc.mprotect(at + half, PAGE, 3)
manager.restore()
assert memory.read(0, SIZE) == b"\1" * SIZE
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker)


def test_pages_cool_down_beside_one_that_was_closed(tracker: str) -> None:
    """All were hot: what is not written any more is not looked at for ever."""
    if tracker not in ("uffd", "uffd-sigbus"):
        pytest.skip("it closes pages itself, or has no hot ones")
    script = """
manager = SnapshotManager(memory, tracker=tracker)
manager.take()
for _ in range(8):
    for page in range(64):
        write(page)
    manager.restore()
assert manager.stats["hot_pages"] == 64
libc.mprotect(at + half, PAGE, 1)
for _ in range(100):
    write(3)
    manager.restore()
assert manager.stats["hot_pages"] <= 1, manager.stats
libc.mprotect(at + half, PAGE, 3)
write(32)
assert set(manager.changed()) == {32}
manager.restore()
manager.verify()
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker)


def test_a_guess_makes_no_page_exist(tracker: str) -> None:
    """Neither where mappings are read as text."""
    script = """
from hyperlight._binding import core
if not core.CAN_FAIL:
    print("built without fault injection")
    sys.exit(77)
SIZE = 64 << 20
at = libc.mmap(None, SIZE, 3, 0x22, -1, 0)
memory = SharedMemory.from_buffer((ctypes.c_char * SIZE).from_address(at))
write(100)
manager = SnapshotManager(memory, tracker=tracker)
manager.take()

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])

def child():
    core.plan_failure("query", 0, 2**31)
    write(100, b"v")
    before = resident()
    manager.restore()
    assert resident() - before < 4000, resident() - before
    assert memory.read(100 * PAGE, 1) == b"w"

in_child(child)
os._exit(0)
"""
    run(MEMORY + HELPERS + script, tracker)


def test_memory_that_comes_back_is_tracked_again() -> None:
    """After a time in which it could not be."""
    require_tracker("uffd")
    script = """
import tempfile
manager = SnapshotManager(memory, tracker=tracker, rearm="always")
manager.take()
file = tempfile.TemporaryFile()
file.write(b"x" * SIZE)
file.flush()
where = at + 16 * PAGE
assert libc.mmap(where, PAGE, 3, 0x12, file.fileno(), 0) == where
for _ in range(3):
    write(3)
    manager.restore()
    assert memory.read(0, SIZE) == b"\1" * SIZE
    assert len(manager.dirty()) == 64
assert libc.mmap(where, PAGE, 3, 0x32, -1, 0) == where
for _ in range(3):
    write(3)
    manager.restore()
    assert memory.read(0, SIZE) == b"\1" * SIZE
assert len(manager.dirty()) == 0, manager.dirty()
os._exit(0)
"""
    run(MEMORY + HELPERS + script, "uffd")


@pytest.mark.parametrize("which", ["all of it", "its first pages"])
def test_replaced_memory_is_tracked_again(which: str) -> None:
    """Also where nothing of it was armed, or nothing that was is gone."""
    require_tracker("uffd")
    script = """
size = SIZE if sys.argv[2] == "all of it" else 4 * PAGE
manager = SnapshotManager(memory, tracker=tracker, rearm="always")
assert libc.mmap(at, size, 3, 0x32, -1, 0) == at
memory.fill(0, SIZE, 1)
manager.take()
for _ in range(3):
    write(20)
    manager.restore()
assert set(manager.dirty()) == set(), manager.dirty()
assert memory.read(0, SIZE) == b"\1" * SIZE
os._exit(0)
"""
    run(MEMORY + HELPERS + script, "uffd", which)


def test_a_number_that_was_asked_for_long_ago() -> None:
    """Hot for many calls, and then armed: by the process's own pagemap.

    The number has become the one of a child, whose marks are its own.
    """
    require_tracker("uffd")
    script = """
COUNT = 2048
memory = SharedMemory(COUNT * PAGE)
memory.fill(0, memory.size, 1)
manager = SnapshotManager(memory, tracker="uffd")
(ready, say_ready), (go, say_go) = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    manager.take()
    memory_of = (ctypes.c_char * memory.size).from_buffer(memory)
    ctypes.memset(memory_of, 9, memory.size)
    os.write(say_ready, b"x")
    os.read(go, 1)
    os._exit(0 if len(manager.dirty()) == COUNT else 1)
manager.take()
own = (ctypes.c_char * memory.size).from_buffer(memory)
ctypes.memset(own, 2, memory.size)
manager.restore()
assert manager.stats["hot_pages"] == COUNT
os.read(ready, 1)
theirs = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
for name in os.listdir("/proc/self/fd"):
    path = f"/proc/self/fd/{name}"
    if int(name) != theirs and os.path.lexists(path):
        if os.readlink(path).endswith("/pagemap"):
            os.dup2(theirs, int(name))
for _ in range(300):
    manager.restore()
    if manager.stats["hot_pages"] < COUNT:
        break
else:
    sys.exit("they stay hot")
os.write(say_go, b"x")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == 0, code
os._exit(0)
"""
    run(MEMORY + HELPERS + script, "uffd")
