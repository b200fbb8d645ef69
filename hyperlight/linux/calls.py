"""Names of system calls (x86-64)."""

from __future__ import annotations

from hyperlight._binding import core

__all__ = ["call_name"]


def call_name(number: int) -> str:
    """The name of a system call, or its number."""
    return core.call_name(number) or f"system call {number}"
