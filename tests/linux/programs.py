"""Programs of this host that run as guests, and what is expected of them."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hyperlight import (
    DriverUnavailable,
    EmulatorWarning,
    Files,
    Program,
    SandboxConfig,
)
from hyperlight.linux.libraries import find_libraries, needs_of

ROOT = Path(__file__).parents[2]
SHIMS = ROOT / "docs/howto/shims"

_LIBRARIES = "/lib/x86_64-linux-gnu"
_BASE = 4 << 20

#: exit_group(0), and nothing else.
_CODE = bytes.fromhex("b8e7000000 31ff 0f05")
_SMALLEST = (
    b"\x7fELF\2\1\1"
    + bytes(9)
    + struct.pack("<HHIQQQ", 2, 62, 1, _BASE + 120, 64, 0)
    + struct.pack("<IHHHHHH", 0, 64, 56, 1, 64, 0, 0)
    + struct.pack("<IIQQ", 1, 5, 0, _BASE)
    + struct.pack("<QQQQ", _BASE, 120 + len(_CODE), 120 + len(_CODE), 4096)
    + _CODE
)


@cache
def why_no_programs(driver: str = "auto") -> str | None:
    """Why none can run on this driver, or None: one just did."""
    if platform.machine() != "x86_64":
        return "programs of this host are for another processor"
    files = Files().add("/smallest", _SMALLEST)
    config = SandboxConfig(driver=driver)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmulatorWarning)
            Program(["/smallest"], files=files, config=config).run()
    except (DriverUnavailable, OSError, ValueError) as error:
        return f"no program runs on driver {driver}: {error}"
    return None


def files_for(path: str, *extensions: str) -> Files:
    """A program of this host as it is, and all the libraries that it needs."""
    files = Files().host(os.path.realpath(path), path)
    found, missing = find_libraries([os.path.realpath(path), *extensions])
    assert not missing
    for name, library in found.items():
        files.host(library, f"{_LIBRARIES}/{name}")
    loader = needs_of(os.path.realpath(path)).interpreter
    return files if loader is None else files.host(loader)


@dataclass(frozen=True)
class Tried:
    """A program, and what it is to do."""

    #: Finds or builds it: its path, or None with the reason.
    find: Callable[[Path], tuple[str | None, str]]
    arguments: tuple[str, ...]
    stdout: bytes
    stdin: bytes = b""
    #: Numbers of system calls that it may make and be refused.
    refused: tuple[int, ...] = ()
    #: Arguments with which it answers requests; ``{}`` is the shim's path.
    shim: tuple[str, ...] | None = None
    shim_file: Path | None = None
    request: bytes = b""
    answer: bytes = b""
    more: Callable[[Files], object] = lambda files: files


def _installed(path: str) -> Callable[[Path], tuple[str | None, str]]:
    def find(_: Path) -> tuple[str | None, str]:
        return (path if os.path.exists(path) else None), f"no {path}"

    return find


def _compiled(
    source: Path | str, *switches: str
) -> Callable[[Path], tuple[str | None, str]]:
    def find(folder: Path) -> tuple[str | None, str]:
        if not shutil.which("gcc"):
            return None, "no gcc"
        made, file = folder / "made", folder / "source.c"
        file.write_text(
            source if isinstance(source, str) else source.read_text()
        )
        command = ["gcc", "-O2", *switches, "-o", str(made), str(file)]
        done = subprocess.run(command, capture_output=True, check=False)
        return (str(made) if done.returncode == 0 else None), (
            f"gcc {' '.join(switches)}: {done.stderr.decode()[-200:]}"
        )

    return find


_SUM = """
#include <stdio.h>

int main(int count, char **words)
{
    int number, sum = 0;

    while (scanf("%d", &number) == 1)
        sum += number;
    printf("%s %d\\n", words[count - 1], sum);
    return 0;
}
"""

_RSEQ, _SOCKET, _CHOWN, _CLONE3 = 334, 41, 93, 435

_PERL_SHIM = """
open(my $host, '+<', '/dev/hyperlight') or die;
for (;;) {
    my $code = '';
    1 while sysread $host, $code, 65536, length $code;
    my $result = eval $code;
    syswrite $host, $result // "error: $@";
}
"""
_SQL = """
create table t (a);
insert into t values (2), (3);
select sum(a) from t;
select count(*) from t where a > 2;
"""
_SCRIPT = """
import json, re, sys
print(json.dumps(re.findall('[a-z]+', sys.stdin.read())))
"""
_PYTHON_SHIM = """
import os
host = os.open('/dev/hyperlight', os.O_RDWR | os.O_DIRECT)
while True:
    os.write(host, str(eval(os.read(host, 65536))).encode())
"""


def _python_library(files: Files) -> Files:
    asked = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    told = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", asked],
        capture_output=True,
        check=True,
        text=True,
    )
    return files.host(told.stdout.strip())


_UPPER = {"shim": (), "request": b"abc", "answer": b"ABC"}

#: By the name that docs/reference/programs.md has for each.
PROGRAMS = {
    "C, static": Tried(
        _compiled(_SUM, "-static"), ("is",), b"is 5\n", b"2 3", (_RSEQ,)
    ),
    "C, static, at any address": Tried(
        _compiled(_SUM, "-static-pie"), ("is",), b"is 5\n", b"2 3", (_RSEQ,)
    ),
    "C, dynamic": Tried(_compiled(_SUM), ("is",), b"is 5\n", b"2 3", (_RSEQ,)),
    "C, static, baked": Tried(
        _compiled(SHIMS / "shim.c", "-static"),
        (),
        b"",
        **_UPPER,
    ),
    "C, dynamic, baked": Tried(
        _compiled(SHIMS / "shim.c"),
        (),
        b"",
        **_UPPER,
    ),
    "busybox": Tried(
        _installed("/usr/bin/busybox"),
        ("sh", "-c", "for i in 1 2 3; do echo $((i * i)); done"),
        b"1\n4\n9\n",
        refused=(_RSEQ,),
    ),
    "lua5.4": Tried(
        _installed("/usr/bin/lua5.4"),
        ("-e", "print(_VERSION, 2 ^ 10, #io.read('a'))"),
        b"Lua 5.4\t1024.0\t3\n",
        b"abc",
        (_RSEQ,),
        shim=("{}",),
        shim_file=SHIMS / "shim.lua",
        request=b"n = (n or 0) + 1 return n",
        answer=b"1",
    ),
    "qjs": Tried(
        _installed(shutil.which("qjs") or "/usr/bin/qjs"),
        ("-e", "print([1, 2, 3].map(x => x ** 2).join())"),
        b"1,4,9\n",
        refused=(_RSEQ,),
        shim=("{}",),
        shim_file=SHIMS / "shim.js",
        request=b"globalThis.n = (globalThis.n ?? 0) + 1",
        answer=b"1",
    ),
    "perl": Tried(
        _installed("/usr/bin/perl"),
        ("-e", "print join(',', map { $_ ** 2 } 1 .. 3), ' ', <STDIN>"),
        b"1,4,9 line\n",
        b"line\n",
        (_RSEQ,),
        shim=("-e", _PERL_SHIM),
        request=b"++$main::n",
        answer=b"1",
    ),
    "sqlite3": Tried(
        _installed("/usr/bin/sqlite3"),
        (
            "/tmp/a.db",
            _SQL,
        ),
        b"5\n1\n",
        refused=(_RSEQ, _SOCKET, _CHOWN),
        more=Files.temporary,
    ),
    "awk": Tried(
        _installed("/usr/bin/awk"),
        ("{ sum += $1 } END { print sum, NR }",),
        b"5 2\n",
        b"2\n3\n",
        (_RSEQ,),
    ),
    "python3": Tried(
        _installed("/usr/bin/python3"),
        (
            "-I",
            "-S",
            "-c",
            _SCRIPT,
        ),
        b'["ab", "c"]\n',
        b"ab 1 c",
        (_RSEQ, _CLONE3),
        shim=("-I", "-S", "-c", _PYTHON_SHIM),
        request=b"globals().__setitem__('n', globals().get('n', 0) + 1) or n",
        answer=b"1",
        more=_python_library,
    ),
}


@dataclass(frozen=True)
class Found:
    """A program that is there, and its files."""

    tried: Tried
    path: str
    files: Files

    def program(self, arguments: tuple[str, ...], driver: str) -> Program:
        return Program(
            [self.path, *arguments],
            files=self.files,
            env={"HOME": "/", "LC_ALL": "C"},
            config=SandboxConfig(driver=driver),
        )


def require(name: str, folder: Path) -> Found:
    """The program of that name, or skip with the reason."""
    tried = PROGRAMS[name]
    path, why = tried.find(folder)
    if path is None:
        pytest.skip(why)
    files = files_for(path)
    tried.more(files)
    if tried.shim_file is not None:
        files.add(f"/{tried.shim_file.name}", tried.shim_file.read_bytes())
    return Found(tried, path, files)
