"""What the interleaving fuzzer plays with: objects, what is done to them, and
what must be true of them afterwards."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable

from scene import Broken, Scene
from scene_manager import ManagerScene
from scene_map import MapScene
from scene_sandbox import SandboxScene

import hyperlight
from hyperlight._binding import core


def _scenes() -> dict[str, Callable[[], Scene]]:
    """Those that this host has, by name."""
    usable = {info.name for info in hyperlight.trackers() if info.available}
    drivers = {info.name for info in hyperlight.drivers() if info.available}
    wanted: dict[str, Callable[[], Scene]] = {}
    for tracker in ("uffd", "uffd-sigbus", "sigsegv", "full"):
        if tracker in usable:
            for borrowed in (False, True):
                name = f"{tracker}-borrowed" if borrowed else tracker
                wanted[name] = lambda t=tracker, b=borrowed: ManagerScene(t, b)
    for driver in ("kvm", "emulator"):
        if driver in drivers:
            wanted[driver] = lambda d=driver: SandboxScene(d)
            wanted[f"{driver}-map"] = lambda d=driver: MapScene(d)
    return wanted


SCENES = _scenes()


def holders() -> str:
    """What keeps snapshots alive, as far as the collector knows."""
    kinds = (core.SnapshotCore, core.ManagerCore, core.MemoryCore)
    return ", ".join(
        f"{type(one).__name__} {str(one)[:60]}"
        for one in gc.get_objects()
        if any(isinstance(held, kinds) for held in gc.get_referents(one))
    )


#: What earlier cases of this process have left, and may let go of any time.
_kept: Counter[str] = Counter()


def settle_process(raised: bool) -> None:
    """Nothing of a case is left."""
    global _kept
    end = time.monotonic() + 10
    while True:
        gc.collect()
        counts = Counter(core.counts())
        _kept &= counts
        left = counts - _kept
        if raised:
            # CPython keeps an exception, and so what its frames know, where a
            # trace function raises another while it is handled.
            for name in ("snapshots", "stores"):
                _kept[name] += left.pop(name, 0)
        if not left:
            return
        if time.monotonic() > end:
            raise Broken(f"left behind: {dict(left)}, held by {holders()}")
        time.sleep(0.01)
