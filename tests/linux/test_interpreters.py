"""Every interpreter of this host as a guest of a machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperlight import PythonSandbox

pytestmark = pytest.mark.any_python

Make = Callable[..., PythonSandbox]

#: A late import of an extension module, a library of the system, and a loop
#: that waits by epoll and has a pair of sockets.
SCRIPT = """
import asyncio, ctypes, hashlib, math, sqlite3, sys

async def later(value):
    await asyncio.sleep(0.001)
    return value

base = sqlite3.connect(':memory:')
rows = base.execute('select 6 * 7').fetchall()
digest = hashlib.sha256(b'x').hexdigest()[:8]
(list(sys.version_info[:2]), rows, digest, await later(math.tau > 6))
"""


def test_an_interpreter_is_a_guest(
    needs_machine: Make, interpreter_path: str
) -> None:
    sandbox = needs_machine(interpreter_path)
    for _ in range(2):
        result = sandbox.run(SCRIPT)
        assert result.error is None, result.error
        version, rows, digest, later = result.value
        assert version[0] == 3
        assert rows == [(42,)]
        assert digest == "2d711642"
        assert later is True
        assert not sandbox.changed(everything=True)
