"""Cases for test_guarantee_3_faults.py, each in a process of its own.

Usage: faults.py CASE TRACKER.  Prints what the test looks for; the exit
status, or the signal that ends the process, is the other half.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import sys

from fault_tools import (
    HANDLER1,
    HANDLER3,
    LIBC,
    PAGE,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_SIGINFO,
    SIGNAL,
    TRACKER,
    SigAction,
    _mend,
    _original_enable,
    _original_signal,
    check,
    install,
    real_fault,
    tracked,
)

import hyperlight
from hyperlight import SharedMemory, SnapshotManager


def case_default() -> None:
    check(*tracked())
    print("tracked", flush=True)
    real_fault()


case_core = case_default


def case_default_read() -> None:
    """Reads are never ours, not even of an address in a tracked page."""
    memory, manager = tracked()
    check(memory, manager)
    print("tracked", flush=True)
    guard = memory.address + memory.size
    if SIGNAL == signal.SIGSEGV:
        ctypes.string_at(guard, 1)
    real_fault()


def case_ignored() -> None:
    install(1)  # SIG_IGN
    check(*tracked())
    os.kill(os.getpid(), SIGNAL)
    print("still here", flush=True)
    real_fault()


def case_sent() -> None:
    """A signal that somebody sends is not a fault: default action."""
    check(*tracked())
    print("tracked", flush=True)
    os.kill(os.getpid(), SIGNAL)
    print("survived", flush=True)


def case_three_arguments() -> None:
    @HANDLER3
    def old(sig, info, context):
        code = ctypes.cast(info, ctypes.POINTER(ctypes.c_int))[2]
        print(
            "old handler",
            sig == SIGNAL,
            info != 0,
            context != 0,
            code > 0,
            flush=True,
        )
        os._exit(7)

    install(old, SA_SIGINFO)
    check(*tracked())
    sys.stdout.flush()
    real_fault()


def case_one_argument() -> None:
    @HANDLER1
    def old(sig):
        print("old handler", sig == SIGNAL)
        sys.stdout.flush()
        os._exit(7)

    install(old)
    check(*tracked())
    real_fault()


def case_old_mask() -> None:
    """The old handler runs with its own mask, not with ours."""

    @HANDLER1
    def old(sig):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        print(
            signal.SIGUSR1 in blocked,
            signal.SIGUSR2 in blocked,
            SIGNAL in blocked,
        )
        sys.stdout.flush()
        os._exit(7)

    install(old, 0, [signal.SIGUSR1])
    check(*tracked())
    real_fault()


def case_nodefer() -> None:
    @HANDLER1
    def old(sig):
        print(SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        sys.stdout.flush()
        os._exit(7)

    install(old, SA_NODEFER)
    check(*tracked())
    real_fault()


def case_resethand() -> None:
    """SA_RESETHAND: once, and then the default action."""

    @HANDLER1
    def old(sig):
        print("once", flush=True)
        _mend[-1]()

    install(old, SA_RESETHAND)
    check(*tracked())
    real_fault()
    real_fault()


def case_mended() -> None:
    """A handler that deals with faults deals with all of them."""

    @HANDLER1
    def old(sig):
        _mend[-1]()

    install(old)
    memory, manager = tracked()
    for _ in range(3):
        real_fault()
        check(memory, manager)
    print("mended")


def case_no_altstack_needed() -> None:
    """On an alternate stack where the thread has one."""
    faulthandler.enable()  # sets one up for the main thread
    check(*tracked())
    print("tracked")


def case_faulthandler_before() -> None:
    faulthandler.enable()
    check(*tracked())
    print("tracked", flush=True)
    real_fault()


def case_faulthandler_after() -> None:
    memory, manager = tracked()
    faulthandler.enable()
    check(memory, manager)
    print("tracked", flush=True)
    real_fault()


def case_faulthandler_on_and_off() -> None:
    faulthandler.enable()
    memory, manager = tracked()
    faulthandler.disable()
    check(memory, manager)
    faulthandler.enable()
    check(memory, manager)
    faulthandler.disable()
    check(memory, manager)
    print("tracked", flush=True)
    real_fault()


def case_replaced() -> None:
    """Somebody's handler over ours: it can be asked, and put right."""
    reached = []

    @HANDLER3
    def over(sig, info, context):
        reached.append(sig)
        print("over", flush=True)
        os._exit(7)

    def state():
        return {
            info.signal: (info.installed, info.first)
            for info in hyperlight.fault_handlers()
        }[SIGNAL.name]

    assert state() == (False, False)
    memory, manager = tracked()
    assert state() == (True, True)
    install(over, SA_SIGINFO)
    assert state() == (True, False)
    hyperlight.reclaim_fault_handlers()
    assert state() == (True, True)
    check(memory, manager)
    install(over, SA_SIGINFO)
    manager.restore()  # reclaims by itself
    assert state() == (True, True)
    check(memory, manager)
    assert not reached
    real_fault()


def case_gives_back() -> None:
    """A handler over ours that restores us and raises again: no loop."""

    @HANDLER1
    def over(sig):
        print("over", flush=True)
        install(ours.handler, ours.flags, range(1, 65))
        LIBC.raise_(sig) if hasattr(LIBC, "raise_") else os.kill(
            os.getpid(), sig
        )

    memory, manager = tracked()
    ours = SigAction()
    LIBC.sigaction(int(SIGNAL), None, ctypes.byref(ours))
    install(over)
    manager.restore()
    check(memory, manager)
    real_fault()


def case_armed_during_handler() -> None:
    """A Python signal handler that writes to armed pages."""
    memory, manager = tracked()
    view = memoryview(memory)

    fired = []

    def on_alarm(sig, frame):
        for page in range(16):
            view[page * PAGE] = 1
        fired.append(sig)

    signal.signal(signal.SIGALRM, on_alarm)
    for i in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        while len(fired) == i:
            manager.restore()
            view[0] = 2
        on_alarm(0, None)
        fired.pop()
        assert set(manager.changed()) == set(range(16))
        manager.restore()
    manager.verify()
    print("done")


def first() -> bool:
    return {info.signal: info.first for info in hyperlight.fault_handlers()}[
        SIGNAL.name
    ]


def case_every_look_reclaims() -> None:
    """A runtime that brings its handlers after the take: Go, a JVM."""

    @HANDLER3
    def over(sig, info, context):
        print("over", flush=True)
        os._exit(7)

    memory, manager = tracked()
    for look in (manager.dirty, manager.changed, manager.verify):
        install(over, SA_SIGINFO | SA_ONSTACK)
        assert not first()
        look()
        assert first(), look
        check(memory, manager)
    real_fault()


def case_put_back() -> None:
    """Plain C that puts back what it found before there was tracking."""
    saved = SigAction()
    LIBC.sigaction(int(SIGNAL), None, ctypes.byref(saved))
    memory, manager = tracked()
    for _ in range(3):
        LIBC.sigaction(int(SIGNAL), ctypes.byref(saved), None)
        assert not first()
        manager.dirty()
        check(memory, manager)
    print("tracked", flush=True)
    real_fault()


def case_enable_kept_from_before() -> None:
    """`from faulthandler import enable`, before it could be wrapped."""
    memory, manager = tracked()
    _original_enable()
    assert not first()
    manager.dirty()
    check(memory, manager)
    print("tracked", flush=True)
    real_fault()


def case_python_handler() -> None:
    """signal.signal sets a flag and returns: a real fault ends it."""
    memory, manager = tracked()
    _original_signal(SIGNAL, lambda number, frame: print("never"))
    manager.dirty()
    check(memory, manager)
    print("tracked", flush=True)
    real_fault()


def case_blocked() -> None:
    """What no tracker with a handler can help, and the docs say so."""
    memory, _manager = tracked()
    print("writing", flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
    memory.write(0, b"x")
    print("never here", flush=True)


def case_truncated() -> None:
    """Behind the end of a file there is nothing to open."""
    fd = os.memfd_create("truncated")
    os.ftruncate(fd, 8 * PAGE)
    with mmap.mmap(fd, 8 * PAGE) as mapped:
        mapped[0] = 1
        memory = SharedMemory.from_buffer(mapped)
        manager = SnapshotManager(memory, tracker=TRACKER)
        manager.take()
        os.ftruncate(fd, PAGE)
        assert 1 not in manager.dirty() or TRACKER == "full"
        mapped[0] = 2
        print("writing", flush=True)
        mapped[5 * PAGE] = 1
    print("never here", flush=True)


def case_mapped_over() -> None:
    """The owner puts a file that can only be read where an armed page was."""
    memory, _manager = tracked()
    LIBC.mmap.restype = ctypes.c_void_p
    at, size = memory.address + 4 * PAGE, ctypes.c_size_t(PAGE)
    flags = mmap.MAP_SHARED | 0x10  # MAP_FIXED
    with open(sys.executable, "rb") as file:
        there = LIBC.mmap(
            ctypes.c_void_p(at), size, mmap.PROT_READ, flags, file.fileno(), 0
        )
    assert there == at
    print("writing", flush=True)
    memory.write(4 * PAGE, b"x")
    print("never here", flush=True)


def case_guarded() -> None:
    """The owner makes a guard page of an armed one."""
    memory, _manager = tracked()
    memory.write(5 * PAGE, b"touched")
    _manager.restore()
    for page in (4, 5):
        at = ctypes.c_void_p(memory.address + page * PAGE)
        assert LIBC.mprotect(at, ctypes.c_size_t(PAGE), 0) == 0
    print("writing", flush=True)
    memory.write(PAGES_GUARDED[sys.argv[1]] * PAGE, b"x")
    print("never here", flush=True)


case_guarded_touched = case_guarded
PAGES_GUARDED = {"guarded": 4, "guarded_touched": 5}


def case_unmapped() -> None:
    memory, _manager = tracked()
    at = ctypes.c_void_p(memory.address + 4 * PAGE)
    assert LIBC.munmap(at, ctypes.c_size_t(PAGE)) == 0
    print("writing", flush=True)
    memory.write(4 * PAGE, b"x")
    print("never here", flush=True)


globals()[f"case_{sys.argv[1]}"]()
