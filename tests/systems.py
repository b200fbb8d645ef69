"""What tests need that Windows has not, found by what their code names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

#: Names of what only POSIX has, and of modules of the tests that are about it.
POSIX = {
    *("fork", "forkpty", "waitpid", "register_at_fork", "setsid", "killpg"),
    *("memfd_create", "mkfifo", "sched_setaffinity", "posix_fallocate"),
    *("sysconf", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    *("pthread_getcpuclockid", "SIGUSR1", "SIGALRM", "SIGKILL", "SIGBUS"),
    *("MAP_PRIVATE", "MAP_SHARED", "MAP_ANONYMOUS", "MAP_FIXED"),
    *("PROT_READ", "PROT_WRITE", "PROT_NONE", "madvise", "mprotect", "munmap"),
    *(
        "getrlimit",
        "setrlimit",
        "getrusage",
        "pread",
        "pwrite",
        "preadv",
        "readv",
    ),
    *("uname", "closerange", "mremap", "mincore", "statvfs", "fcntl"),
    *("resource", "pty", "termios"),
}
#: The same in texts: of scripts, and of paths.
POSIX_TEXTS = (
    *("/proc/", "/dev/", "resource", "fcntl", "os.fork", "CDLL(None"),
    *("signal.SIG", "mmap(", "vm.max_map_count"),
    *("MAP_", "memfd", "faults.py", "kinds.py", "limits.py", "debugged.py"),
    *('tracker="uffd', 'tracker="sigsegv'),
)


def _codes(function: Any, seen: set[int]) -> Iterator[CodeType]:
    """Of a function, what is in it, and what it names of its module."""
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    todo = [function.__code__]
    while todo:
        code = todo.pop()
        yield code
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]
        for name in code.co_names:
            yield from _codes(function.__globals__.get(name), seen)


#: Trackers of one system: tests that ask for one by name are about it.
TRACKERS_OF = ("uffd", "uffd-sigbus", "sigsegv", "softdirty")


def _constants(code: CodeType) -> Iterator[Any]:
    for constant in code.co_consts:
        yield from constant if isinstance(constant, tuple) else (constant,)


def _names(function: Any) -> Iterator[str]:
    around = getattr(function, "__globals__", {})
    for code in _codes(function, set()):
        yield from (name for name in code.co_names if name in POSIX)
        texts = [*_constants(code), *(around.get(n) for n in code.co_names)]
        for text in texts:
            if isinstance(text, str):
                yield from (part for part in POSIX_TEXTS if part in text)


def _asked_for(function: Any, params: dict[str, Any]) -> Iterator[str]:
    """What its parameters are, and trackers that it names instead."""
    for value in params.values():
        if not isinstance(value, str):
            continue
        if value in TRACKERS_OF:
            yield f"tracker {value}"
        if value in POSIX:
            yield value
    if not params.keys() & {"tracker", "real_tracker", "trap"}:
        for code in _codes(function, set()):
            yield from (
                f"tracker {c}" for c in _constants(code) if c in TRACKERS_OF
            )


def lacking_here(function: Any, params: dict[str, Any]) -> str | None:
    """What a test with these parameters needs that this system has not."""
    if sys.platform != "win32":
        return None
    found = chain(_names(function), _asked_for(function, params))
    return next(found, None)
