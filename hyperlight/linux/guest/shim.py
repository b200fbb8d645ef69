"""What the guest's interpreter runs: start, bake, then serve the host.

The first read of the device is the point of baking: whatever is to be warm,
and every extension module, comes before it. After it this serves one request
at a time, each with one read and one write if its script makes no system call.

Scripts run in this interpreter, and can do to it what they like. The host
therefore believes nothing that comes from here, and puts all memory back.
"""

from __future__ import annotations

import builtins
import gc
import io
import json
import sys
from collections.abc import Callable
from typing import Any

from .device import Device
from .fresh import reseed
from .host import HostError, provide
from .loading import (
    import_extensions,
    import_if_possible,
    import_usual,
    preload,
    seal,
)
from .packets import (
    ASK,
    CALL,
    ENTROPY,
    KNOWN,
    RAISED,
    RUN,
)
from .running import Runner, flush
from .values import decode, encode

__all__ = ["main"]

#: Scripts of usual kinds, to fill caches and make room.
_WARM_UP = (
    "pass",
    "sum(i * i for i in range(1000))",
    """
import json
d = {'a': [1, 2.5, None], 'b': {'c': 'd'}}
for i in range(20):
    d = json.loads(json.dumps(d))
d
""",
    r"""
import re
n = 0
for i in range(40):
    if re.match(r'(\w+)-(\d+)', f'item-{i}'):
        n += 1
n
""",
    """
from dataclasses import dataclass
@dataclass
class A:
    x: int
try:
    A(1).y
except AttributeError as error:
    print(f'{error!r:>100}')
A(2); {'a': (1, b'2', [3.5] * 9)}
""",
    """
def f(n):
    return 1 / n
f(x)
""",
    "1 +",
    "object()",
)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def main(arguments: list[str]) -> None:
    """Start, bake and serve.

    Args:
        arguments: The device, and settings as JSON: ``paths`` to import from
            besides the standard library, ``preload``, ``extensions`` (modules
            to import if they can be), ``host`` (names of functions),
            ``limit`` (bytes of a packet).
    """
    where, text = arguments
    settings = json.loads(text)
    gc.disable()
    _prepare_interpreter(settings["paths"])
    preload(settings["preload"])
    import_if_possible(settings["extensions"])
    openssl = "ssl" in sys.modules
    import_extensions()
    import_usual()
    device, limit = Device(where), settings["limit"]
    provide(settings["host"], *_questions(device, limit))
    runner = Runner(limit)
    _warm_up(runner)
    seal()
    gc.collect()
    # What is there now is never looked at again, nor written to.
    gc.freeze()
    gc.enable()
    _serve(device, runner, openssl)


def _prepare_interpreter(paths: list[str]) -> None:
    sys.path[:] = [p for p in sys.path if not p.endswith(".zip")] + paths
    sys.argv = [""]
    for file in (sys.stdout, sys.stderr):
        # Line by line: what a script said before it was stopped is not lost.
        file.reconfigure(  # type: ignore[union-attr]
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    # What `site` would have added, without what else it does.
    from _sitebuiltins import Quitter, _Helper

    for name in ("exit", "quit"):
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _Helper()


def _questions(
    device: Device, limit: int
) -> tuple[Callable[[str, Any, Any], Any], Callable[[str], bool]]:
    """How to call a function of the host, and whether there is one."""

    def exchange(packet: bytes) -> Any:
        flush()
        device.send(packet)
        reply = device.receive()
        answer = decode(reply[1:])
        if reply[:1] == RAISED:
            raise HostError(*answer)
        return answer

    def ask(name: str, args: Any, kwargs: Any) -> Any:
        inside = encode(args, "args", limit), encode(kwargs, "kwargs", limit)
        return exchange(ASK + encode((name, *inside)))

    def known(name: str) -> bool:
        return bool(exchange(KNOWN + encode(name)))

    return ask, known


def _warm_up(runner: Runner) -> None:
    """Run scripts of usual kinds, and forget them."""
    files = sys.stdout, sys.stderr
    for _ in range(2):
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Nowhere()), "utf-8", line_buffering=True
        )
        for code in _WARM_UP:
            reseed(bytes(ENTROPY), openssl=False)
            request = decode(encode((code, encode({"x": 0}))))
            decode(runner.run(*request)[2:] or b"N")
        runner.renew()
    sys.stdout, sys.stderr = files


def _serve(device: Device, runner: Runner, openssl: bool) -> None:
    while True:
        try:
            packet = device.receive()
        except EOFError:
            return
        kind = packet[:1]
        reseed(packet[1 : 1 + ENTROPY], openssl)
        openssl = True
        request = decode(packet[1 + ENTROPY :])
        if kind == RUN:
            answer = runner.run(*request)
        elif kind == CALL:
            answer = runner.call(*request)
        else:
            raise ValueError(f"a packet of kind {kind!r} at the wrong time")
        device.send(answer)
