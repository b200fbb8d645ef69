"""Builds hyperlight._core from the hand-written C in csrc and its glue.

Environment, for development:

HYPERLIGHT_WERROR=1           many warnings, all of them errors (csrc only)
HYPERLIGHT_DEBUG=1            no optimization, fault injection
HYPERLIGHT_FAULT_INJECTION=1  tests can make allocations and calls fail
HYPERLIGHT_SANITIZE=a,b       -fsanitize=a,b
HYPERLIGHT_COVERAGE=1         gcov
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = sorted(map(str, Path("csrc").rglob("*.c")))
HEADERS = sorted(map(str, Path("csrc").rglob("*.h")))
GLUE = sorted(map(str, Path("hyperlight/glue").glob("*.pxi")))

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


def flags() -> tuple[list[str], list[str]]:
    """Compiler and linker arguments for all of it."""
    compile_args = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-g"]
    link_args = ["-pthread"]
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


class BuildExt(build_ext):
    """Compiles csrc by stricter rules than what Cython generates can meet."""

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
    """The C core, on the system it is written for."""
    if sys.platform != "linux":
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


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
