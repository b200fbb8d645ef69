"""What this host has, and what to change where it lacks something."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyperlight._binding import core
from hyperlight.drivers import DriverInfo, drivers
from hyperlight.trackers import TrackerInfo, fault_handlers, trackers
from hyperlight.version import __version__

__all__ = ["examine"]

_SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
_DEFAULT_MAP_COUNT = 65530


def examine() -> dict[str, Any]:
    """Everything, as plain data: trackers, drivers, host facts, advice."""
    found, machines = trackers(), drivers()
    host = {**_host_facts(), "/dev/kvm": _device("/dev/kvm", machines)}
    return {
        "version": __version__,
        "trackers": [asdict(info) for info in found],
        "drivers": [asdict(info) for info in machines],
        "fault_handlers": [asdict(info) for info in fault_handlers()],
        "host": host,
        "advice": _advice(found, host) + _driver_advice(machines),
    }


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _host_facts() -> dict[str, Any]:
    status = _read("/proc/self/status") or ""
    fields = dict(
        line.split(":\t", 1) for line in status.splitlines() if ":\t" in line
    )
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "page size": core.PAGE_SIZE,
        "user": "root" if _is_root() else "unprivileged",
        "memory available": _meminfo("MemAvailable"),
        "swap": _meminfo("SwapTotal"),
        "transparent huge pages": _chosen(
            _read("/sys/kernel/mm/transparent_hugepage/enabled")
        ),
        "vm.max_map_count": _number("/proc/sys/vm/max_map_count"),
        "vm.overcommit_memory": _number("/proc/sys/vm/overcommit_memory"),
        "vm.unprivileged_userfaultfd": _number(
            "/proc/sys/vm/unprivileged_userfaultfd"
        ),
        "seccomp": _SECCOMP.get(fields.get("Seccomp", ""), "unknown"),
    }


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _number(path: str) -> int | None:
    text = _read(path) or ""
    return int(text) if text.isdecimal() else None


def _chosen(text: str | None) -> str | None:
    """The word in brackets of ``always [madvise] never``."""
    if text is None or "[" not in text:
        return text
    return text.partition("[")[2].partition("]")[0]


def _meminfo(key: str) -> str | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith(f"{key}:"):
            return line.split(":")[1].strip()
    return None


def _device(path: str, found: list[DriverInfo]) -> str:
    """As the driver found it, which used it; rights alone say little."""
    if any(info.name == "kvm" and info.available for info in found):
        return "usable"
    if not os.path.lexists(path):
        return "absent"
    return "not usable: see driver kvm"


def _driver_advice(found: list[DriverInfo]) -> list[str]:
    reasons = {info.name: info.reason for info in found if not info.available}
    lines = []
    if "kvm" in reasons:
        lines.append(f"Run sandboxes on hardware: {reasons['kvm']}.")
        if len(reasons) == len(found):
            lines.append(
                f"Run them in software meanwhile: {reasons['emulator']}."
                if "emulator" in reasons
                else "Sandboxes cannot run here."
            )
    return lines


def _uffd_advice(reason: str) -> str:
    """What to do about the reason that was found, and about no other."""
    if "too old" in reason:
        return "Upgrade to Linux 6.7 or later for tracker uffd."
    if "forbidden here" in reason or "seccomp" in reason:
        return (
            "Allow userfaultfd for tracker uffd: add the userfaultfd "
            "system call to the container's seccomp profile."
        )
    if "/proc" in reason and not os.path.exists("/proc/self"):
        return f"Mount /proc, which tracker uffd reads ({reason})."
    return f"Tracker uffd cannot be used: {reason}."


def _advice(found: list[TrackerInfo], host: dict[str, Any]) -> list[str]:
    """One line for each thing worth changing, most important first."""
    if sys.platform != "linux":
        return ["Run on Linux: every tracker is a Linux mechanism."]
    usable = {info.name: info for info in found if info.available}
    lines = []
    if "uffd" not in usable:
        reason = next((i.reason for i in found if i.name == "uffd"), "")
        lines.append(_uffd_advice(reason))
        if usable.keys() & {"uffd-sigbus", "sigsegv"}:
            lines.append(
                "Leave SIGSEGV and SIGBUS unblocked in threads that write to "
                "memory tracked by sigsegv or uffd-sigbus: the kernel ends a "
                "process whose fault it cannot deliver."
            )
    count = host["vm.max_map_count"]
    if "uffd" not in usable and count and count <= _DEFAULT_MAP_COUNT:
        lines.append(
            f"Tracker sigsegv splits mappings: with vm.max_map_count={count} "
            f"it marks wide ranges beyond about {count // 2} lone pages. "
            f"sysctl vm.max_map_count=1048576 raises that."
        )
    if host["transparent huge pages"] == "never":
        lines.append(
            "Looking for dirty pages is ten times cheaper on huge pages: "
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        )
    if host["vm.overcommit_memory"] == 2:
        lines.append(
            "vm.overcommit_memory=2 refuses large regions that are hardly "
            "touched: sysctl vm.overcommit_memory=0 allows them."
        )
    return lines
