"""A CPython of this host, and what of it a guest must see.

In the guest it lies below ``/python``, wherever the host has it: CPython finds
its library relative to its executable. Libraries of the system are found
there by ``LD_LIBRARY_PATH``, in one folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from hyperlight.linux.distributions import Preloaded, find_distributions
from hyperlight.linux.guest.loading import is_loaded
from hyperlight.linux.libraries import find_libraries, needs_of
from hyperlight.text import brief

__all__ = ["Interpreter", "find_interpreter"]

#: Where things are in the guest.
ROOT = "/python"
LIBRARIES = f"{ROOT}/shared"
PACKAGES = f"{ROOT}/packages"
PATHS = f"{ROOT}/paths"
GUEST = f"{ROOT}/hyperlight"
DEVICE = "/dev/hyperlight"

_VERSIONS = ((3, 10), (3, 14))

#: What an interpreter tells of itself. Without -S: a virtual environment is
#: one only by its site module.
_QUESTION = """
import json, sys, sysconfig, site
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": sys.version_info[:3],
    "executable": getattr(sys, "_base_executable", "") or sys.executable,
    "stdlib": sysconfig.get_path("stdlib"),
    "platstdlib": sysconfig.get_path(
        "platstdlib", vars={"platbase": sys.base_exec_prefix}),
    "standard": sorted(sys.stdlib_module_names),
    "installed": [p for p in sys.path if p.endswith("-packages")],
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""

#: Makes the guest's package importable by its name there, and starts it.
_BOOT = """
import sys, importlib.util as u
s = u.spec_from_file_location('_hyperlight', sys.argv[1] + '/__init__.py',
                              submodule_search_locations=[sys.argv[1]])
sys.modules['_hyperlight'] = u.module_from_spec(s)
from _hyperlight.shim import main
main(sys.argv[2:])
"""

#: Of the standard library's folder: others' packages, tests, and what is for
#: building or for a screen.
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "idlelib",
    "turtledemo",
    "tkinter",
    "ensurepip",
}

#: glibc's malloc keeps what it has: each call that it saves is an exit.
_TUNABLES = (
    "glibc.malloc.trim_threshold=1073741824:"
    "glibc.malloc.top_pad=1048576:"
    "glibc.malloc.mmap_threshold=33554432"
)


@dataclass(frozen=True)
class Interpreter:
    """How to start an interpreter in a guest, and what it must see there."""

    version: tuple[int, int, int]
    #: The host's executable.
    executable: str
    #: The program and its arguments, up to those of the shim.
    argv: tuple[str, ...]
    env: dict[str, str]
    #: Files and folders of the host, and where the guest sees them, read
    #: only. Times of files must be those of the host: bytecode is checked by
    #: them.
    shown: tuple[tuple[str, str], ...]
    #: Folders that the guest imports from, besides its standard library.
    paths: tuple[str, ...]
    #: Modules that it imports before the bake.
    preload: tuple[str, ...]
    #: Extension modules of the distributions that it preloads, which import
    #: some of them late by themselves.
    extensions: tuple[str, ...]
    #: Names of libraries that some file asks for and nothing has.
    missing: tuple[str, ...]

    def command(
        self, host: Sequence[str], limit: int, device: str = DEVICE
    ) -> tuple[str, ...]:
        """All arguments.

        Args:
            host: Names of host functions.
            limit: Bytes of a packet.
            device: Where packets come from.
        """
        settings = {
            "paths": self.paths,
            "preload": self.preload,
            "extensions": self.extensions,
            "host": host,
            "limit": limit,
        }
        return (*self.argv, device, json.dumps(settings))


def find_interpreter(
    python: str | PathLike[str] | None = None,
    *,
    preload: Sequence[str] = (),
    paths: Sequence[str | PathLike[str]] = (),
) -> Interpreter:
    """Look at an interpreter and at what it is to import.

    Args:
        python: Path of its executable, or of a virtual environment's; None
            for the one that runs this.
        preload: Modules and distributions that it is to have.
        paths: Folders of the host that it is to import from.

    Raises:
        ValueError: It is no CPython that can be used, or something is not
            installed for it.
    """
    if isinstance(preload, str) or isinstance(paths, (str, bytes)):
        raise TypeError("preload and paths are lists, not text")
    asked = os.fspath(python) if python is not None else sys.executable
    told = _ask(asked, _stamp(asked))
    executable = os.path.realpath(told["executable"])
    found = Preloaded((), (), ())
    if preload:
        found = find_distributions(
            preload, told["installed"], frozenset(told["standard"])
        )
    name = f"python{told['version'][0]}.{told['version'][1]}"
    shown = [
        (executable, f"{ROOT}/bin/{name}"),
        (str(Path(__file__).parent / "guest"), GUEST),
        *_standard_library(told, f"{ROOT}/lib/{name}"),
        *((host, f"{PACKAGES}/{below}") for host, below in found.shown),
    ]
    seen = [PACKAGES] if found.shown else []
    for number, path in enumerate(paths):
        folder = os.path.abspath(os.fspath(path))
        if not os.path.isdir(folder):
            raise ValueError(f"paths: {brief(folder)} is not a folder")
        seen.append(f"{PATHS}/{number}")
        shown.append((folder, seen[-1]))
    own = _extensions(told)
    of_system, missing = _libraries(executable, own, found)
    return Interpreter(
        tuple(told["version"]),
        executable,
        (f"{ROOT}/bin/{name}", *_SWITCHES, "-c", _BOOT, GUEST),
        {"LD_LIBRARY_PATH": LIBRARIES, "GLIBC_TUNABLES": _TUNABLES},
        tuple(shown + of_system),
        tuple(seen),
        found.modules,
        found.extensions,
        tuple(missing),
    )


#: No environment, no site, no bytecode written, UTF-8 everywhere.
_SWITCHES = ("-I", "-S", "-B", "-X", "utf8")


def _stamp(path: str) -> tuple[int, int]:
    """Changes if the file is another: an answer is kept for each."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ValueError(f"python={brief(path)}: {error.strerror}") from None
    return stat.st_mtime_ns, stat.st_ino


@lru_cache(maxsize=32)
def _ask(path: str, _: tuple[int, int]) -> dict[str, Any]:
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        told: dict[str, Any] = json.loads(answer.stdout)
    except subprocess.CalledProcessError as error:
        last = (
            error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        )
        raise ValueError(
            f"python={brief(path)} is no CPython of version 3.10 or later: "
            f"{brief(last, 200)}"
        ) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"python={brief(path)}: {error}") from None
    version = tuple(told["version"][:2])
    if told["implementation"] != "cpython" or version < _VERSIONS[0]:
        raise ValueError(
            f"python={brief(path)} is {told['implementation']} "
            f"{told['version'][0]}.{told['version'][1]}; CPython 3.10 or "
            f"later is needed"
        )
    return told


def _folders(told: dict[str, Any]) -> list[str]:
    """The one or two folders of the standard library."""
    return list(dict.fromkeys((told["stdlib"], told["platstdlib"])))


def _standard_library(
    told: dict[str, Any], at: str
) -> Iterator[tuple[str, str]]:
    for folder in _folders(told):
        for entry in sorted(os.listdir(folder)):
            if entry not in _LEFT_OUT and not entry.startswith("config-"):
                yield os.path.join(folder, entry), f"{at}/{entry}"


def _extensions(told: dict[str, Any]) -> list[str]:
    found = []
    for folder in _folders(told):
        dynload = os.path.join(folder, "lib-dynload")
        if os.path.isdir(dynload):
            found += [
                os.path.join(dynload, file)
                for file in os.listdir(dynload)
                if is_loaded(file)
            ]
    return sorted(found)


def _libraries(
    executable: str, extensions: list[str], found: Preloaded
) -> tuple[list[tuple[str, str]], list[str]]:
    """ld.so and libraries of the system, and what is missing."""
    libraries, missing = find_libraries(
        [executable, *extensions, *found.libraries]
    )
    shown = []
    loader = needs_of(executable).interpreter
    if loader is not None:
        shown.append((os.path.realpath(loader), loader))
    inside = tuple(f"{host}{os.sep}" for host, _ in found.shown)
    for name, path in sorted(libraries.items()):
        # What a distribution brings along is found relative to its files.
        if not os.path.normpath(path).startswith(inside):
            shown.append((os.path.realpath(path), f"{LIBRARIES}/{name}"))
    return shown, missing
