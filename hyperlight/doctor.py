"""What this host offers, and what to change if something is missing."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyperlight._binding import core
from hyperlight.registry import ABIS, DRIVERS, TRACKERS, Driver
from hyperlight.sandbox.drivers import DriverInfo, drivers
from hyperlight.trackers import TrackerInfo, fault_handlers, trackers
from hyperlight.version import __version__

__all__ = ["examine"]

_SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
_DEFAULT_MAP_COUNT = 65530


def examine() -> dict[str, Any]:
    """Everything, as plain data: trackers, drivers, host facts, advice."""
    found, machines = trackers(), drivers()
    host = {**_host_facts(), **_devices(machines)}
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
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "page size": core.PAGE_SIZE,
        "guest ABIs": ", ".join(ABIS),
        **(_linux_facts() if sys.platform == "linux" else {}),
    }


def _linux_facts() -> dict[str, Any]:
    status = _read("/proc/self/status") or ""
    fields = dict(
        line.split(":\t", 1) for line in status.splitlines() if ":\t" in line
    )
    return {
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


def _devices(found: list[DriverInfo]) -> dict[str, str]:
    """By whether the drivers could use them; permissions alone say little."""
    usable = {info.name for info in found if info.available}
    return {
        driver.device: _device(driver, usable)
        for driver in DRIVERS
        if driver.device and not driver.is_elsewhere
    }


def _device(driver: Driver, usable: set[str]) -> str:
    if driver.name in usable:
        return "usable"
    if driver.device and os.path.lexists(driver.device):
        return f"not usable: see driver {driver.name}"
    return "absent"


def _driver_advice(found: list[DriverInfo]) -> list[str]:
    """What to do if no hardware, or no driver at all, can run guests."""
    reasons = {info.name: info.reason for info in found if not info.available}
    here = [
        driver
        for driver in DRIVERS
        if not driver.is_elsewhere
        and any(driver.name == info.name for info in found)
    ]
    hardware = [d.name for d in here if d.is_boundary]
    software = [d.name for d in here if not d.is_boundary]
    if not hardware or not reasons.keys() >= set(hardware):
        return [
            f"Driver {d.name} has been tested on a fake of its hypervisor, "
            f"never on the hypervisor itself: expect surprises."
            for d in here
            if d.is_unseen and d.name not in reasons
        ]
    lines = [f"Run sandboxes on hardware: {_any_of(hardware, reasons)}."]
    if not software:
        lines.append("Sandboxes cannot run here.")
    elif reasons.keys() >= set(software):
        lines.append(
            f"Run them in software meanwhile: {_any_of(software, reasons)}."
        )
    return lines


def _any_of(names: list[str], reasons: dict[str, str]) -> str:
    if len(names) == 1:
        return reasons[names[0]]
    return "; or ".join(f"{name}: {reasons[name]}" for name in names)


def _advice_on(name: str, reason: str) -> str:
    """What to do about exactly the reason that was found."""
    if "too old" in reason:
        return f"Upgrade the kernel for tracker {name}: {reason}."
    if "forbidden here" in reason or "seccomp" in reason:
        return (
            f"Allow tracker {name} in the container's seccomp profile: "
            f"{reason}."
        )
    if "/proc" in reason and not os.path.exists("/proc/self"):
        return f"Mount /proc, which tracker {name} reads ({reason})."
    return f"Tracker {name} cannot be used: {reason}."


def _advice_on_others(usable: set[str], count: int | None) -> list[str]:
    """What the trackers need that replace the best one."""
    told = [t.name for t in TRACKERS if t.uses_signal and t.name in usable]
    lines = []
    if told:
        lines.append(
            f"Leave SIGSEGV and SIGBUS unblocked in threads that write to "
            f"memory tracked by {' or '.join(told)}: the kernel ends a "
            f"process whose fault it cannot deliver."
        )
    if count and count <= _DEFAULT_MAP_COUNT:
        lines += [
            f"Tracker {tracker.name} splits mappings: with vm.max_map_count="
            f"{count} it marks wide ranges beyond about {count // 2} isolated "
            f"pages. sysctl vm.max_map_count=1048576 raises that limit."
            for tracker in TRACKERS
            if tracker.splits_mappings
        ]
    return lines


def _advice(found: list[TrackerInfo], host: dict[str, Any]) -> list[str]:
    """One line for each thing worth changing, most important first."""
    if sys.platform not in ("linux", "win32"):
        return ["Run on Linux or Windows: trackers are mechanisms of these."]
    lines = []
    best = next((info for info in found if info.driver is None), None)
    if best and not best.available:
        lines.append(_advice_on(best.name, best.reason))
    if sys.platform != "linux":
        return lines
    if best and not best.available:
        lines += _advice_on_others(
            {info.name for info in found if info.available},
            host["vm.max_map_count"],
        )
    if host["transparent huge pages"] == "never":
        lines.append(
            "Scanning for dirty pages is ten times cheaper on huge pages: "
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        )
    if host["vm.overcommit_memory"] == 2:
        lines.append(
            "vm.overcommit_memory=2 refuses large regions that are hardly "
            "touched: sysctl vm.overcommit_memory=0 allows them."
        )
    return lines
