"""New randomness after a restore.

Every run starts from the same memory, so that whatever draws random numbers
from a state in memory would draw the same ones. What asks the system each
time (``os.urandom``, ``secrets``, ``uuid.uuid4``) needs nothing done. Not
renewed: the seed of hashes, which the interpreter cannot change, and
generators that a preloaded module made for itself.

OpenSSL draws from the system when it is first used, which is after the bake
unless something preloaded did. So it is fed only where it may have been used
before: that makes a system call.
"""

from __future__ import annotations

import random
import sys
from _random import Random
from typing import Any

__all__ = ["reseed"]


def reseed(entropy: bytes, openssl: bool) -> None:
    """Make what draws from memory draw something else.

    Only modules that are imported are looked at: others ask the system when
    they are.

    Args:
        entropy: 32 bytes.
        openssl: OpenSSL's generator may have been used before.
    """
    modules = sys.modules
    number = int.from_bytes(entropy, "little")
    shared: Any = random._inst
    Random.seed(shared, number)
    shared.gauss_next = None
    if "numpy.random" in modules:
        words = [number >> shift & 0xFFFFFFFF for shift in range(0, 256, 32)]
        modules["numpy.random"].seed(words)
    if openssl and "ssl" in modules:
        modules["ssl"].RAND_add(entropy, len(entropy))
    if "tempfile" in modules:
        modules["tempfile"].__dict__["_name_sequence"] = None
