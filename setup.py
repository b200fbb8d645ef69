"""Builds hyperlight._core from the hand-written C in csrc and its glue, and
guests from csrc/guest, which are data of the package.

Environment, for development:

HYPERLIGHT_WERROR=1           many warnings, all of them errors (csrc only)
HYPERLIGHT_DEBUG=1            no optimization, fault injection
HYPERLIGHT_FAULT_INJECTION=1  tests can make allocations and calls fail
HYPERLIGHT_SANITIZE=a,b       -fsanitize=a,b
HYPERLIGHT_COVERAGE=1         gcov

To build on one system for another (tools/wheels.py, tests/wine/build.py):

HYPERLIGHT_SYSTEM=win32       as that system's sys.platform says
HYPERLIGHT_GUEST_CC=cc        the compiler of guests, where CC is for others
_PYTHON_HOST_PLATFORM         as Python itself has it: what is built for
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SDK = Path("csrc/guest")
GUESTS = Path("hyperlight/guest")  # the package that has both
X86 = sysconfig.get_platform().endswith(("x86_64", "amd64"))
SYSTEM = os.environ.get("HYPERLIGHT_SYSTEM", sys.platform)

#: Folders and files of csrc that not every system compiles.
FOLDERS = {
    "linux": SYSTEM == "linux",
    "windows": SYSTEM == "win32",
    # Their structures are the processor's; the emulator runs anywhere.
    **dict.fromkeys(("kvm", "mshv"), SYSTEM == "linux" and X86),
    "whp": SYSTEM == "win32" and X86,
    "start.c": X86,
    "signals.c": SYSTEM == "linux",
}
#: What it is compiled and linked with there.
SYSTEM_FLAGS = {
    "linux": (["-fvisibility=hidden"], ["-pthread", "-ldl"]),
    "win32": (
        ["-D_WIN32_WINNT=0x0A00"],
        [
            *("-static-libgcc", f"-lpython3{sys.version_info.minor}"),
            *("-lsynchronization", "-lbcrypt"),
        ],
    ),
}
CSRC = sorted(
    str(path)
    for path in Path("csrc").rglob("*.c")
    if SDK not in path.parents
    and FOLDERS.get(path.parent.name, True)
    and FOLDERS.get(path.name, True)
)
HEADERS = sorted(map(str, Path("csrc").rglob("*.h")))
GLUE = sorted(map(str, Path("hyperlight/glue").rglob("*.pxi")))

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wmissing-prototypes",
    "-Werror",
]


def switched_on(name: str) -> bool:
    return os.environ.get(f"HYPERLIGHT_{name}", "0") not in ("", "0")


def sdk_files() -> list[Path]:
    """What guests are built with, relative to SDK."""
    patterns = ("*.h", "*.c", "*.S", "*.ld", "include/*.h")
    return [
        path.relative_to(SDK)
        for pattern in patterns
        for path in sorted(SDK.glob(pattern))
    ]


def guest_sources() -> list[Path]:
    """Each is a guest that ships."""
    return sorted(SDK.glob("guests/*.c"))


def flags() -> tuple[list[str], list[str]]:
    """Compiler and linker arguments for all of it."""
    of_system, libraries = SYSTEM_FLAGS[SYSTEM]
    compile_args = ["-std=c11", "-D_GNU_SOURCE", "-g", *of_system]
    link_args = [*libraries]
    debug = switched_on("DEBUG")
    compile_args.append("-O0" if debug else "-O2")
    if debug or switched_on("FAULT_INJECTION"):
        compile_args.append("-DHL_FAULT_INJECTION")
    if sanitizers := os.environ.get("HYPERLIGHT_SANITIZE"):
        both = [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer"]
        compile_args += both
        link_args += both
    if switched_on("COVERAGE"):
        compile_args.append("--coverage")
        link_args.append("--coverage")
    return compile_args, link_args


def has_guests() -> bool:
    """Guests are built where they can run."""
    return sys.platform == "linux" and X86


def build_guest(source: Path, target: Path) -> None:
    """Build with the package's own code, which cannot be imported yet."""
    spec = importlib.util.spec_from_file_location(
        "_cc", "hyperlight/guest/cc.py"
    )
    cc = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cc)
    strict = ["-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    flags = strict if switched_on("WERROR") else []
    target.parent.mkdir(parents=True, exist_ok=True)
    # Without -g: who debugs a guest builds it himself.
    command = cc.command(
        SDK,
        [source],
        target,
        cc=os.environ.get("HYPERLIGHT_GUEST_CC"),
        flags=[*flags, "-g0"],
    )
    print(*command)
    subprocess.run(command, check=True)  # noqa: S603


class BuildExt(build_ext):
    """Compiles csrc by stricter rules than what Cython generates can meet, and
    guests by other rules altogether.
    """

    def run(self) -> None:
        super().run()
        if not has_guests():
            return
        package = Path("" if self.inplace else self.build_lib, GUESTS)
        if not self.inplace:
            # In place, csrc/guest itself is the SDK: no copy can be stale.
            for name in sdk_files():
                target = package / "sdk" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(SDK / name, target)
        for source in guest_sources():
            build_guest(source, package / "guests" / source.stem)

    def get_outputs(self) -> list[str]:
        outputs = super().get_outputs()
        if self.inplace or not has_guests():
            return outputs
        package = Path(self.build_lib, GUESTS)
        outputs += [str(package / "sdk" / name) for name in sdk_files()]
        outputs += [
            str(package / "guests" / source.stem) for source in guest_sources()
        ]
        return outputs

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = True  # file dates do not tell which switches were on

    def build_extension(self, ext: Extension) -> None:
        strict = WARNINGS if switched_on("WERROR") else ["-Wall"]
        ext.extra_objects = self.compiler.compile(
            CSRC,
            output_dir=self.build_temp,
            include_dirs=["csrc"],
            extra_postargs=ext.extra_compile_args + strict,
            depends=HEADERS,
        )
        super().build_extension(ext)


def extensions() -> list[Extension]:
    """The C core, on the systems it is written for."""
    if SYSTEM not in SYSTEM_FLAGS:
        return []
    compile_args, link_args = flags()
    return [
        Extension(
            "hyperlight._core",
            ["hyperlight/_core.pyx"],
            include_dirs=["csrc"],
            depends=[*CSRC, *HEADERS, *GLUE],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExt},
)
