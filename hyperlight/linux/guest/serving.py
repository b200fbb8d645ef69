"""Serves the host: one request at a time, one read and one write each.

Scripts run in this interpreter, and can do to it what they like. The host
therefore believes nothing that comes from here, and puts all memory back.
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable
from typing import Any

from .device import Device
from .fresh import reseed
from .host import HostError, provide
from .loading import seal
from .packets import ASK, CALL, ENTROPY, KNOWN, RAISED, RUN
from .running import Runner, flush
from .values import decode, encode

__all__ = ["serve"]

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


def serve(where: str, names: list[str], limit: int, openssl: bool) -> None:
    """Warm up, bake and serve until the host is gone.

    Args:
        where: The device.
        names: Of host functions.
        limit: Bytes of a packet.
        openssl: OpenSSL's generator may have been used.
    """
    device = Device(where)
    provide(names, *_questions(device, limit))
    runner = Runner(limit)
    _warm_up(runner)
    seal()
    gc.collect()
    # What is there now is never looked at again, nor written to.
    gc.freeze()
    gc.enable()
    _warm_up(runner)
    _serve(device, runner, openssl)


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
    nowhere: Any = _Nowhere()
    for _ in range(2):
        sys.stdout = sys.stderr = io.TextIOWrapper(
            nowhere, "utf-8", line_buffering=True
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
