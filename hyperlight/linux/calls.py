"""Names of system calls (x86-64)."""

from __future__ import annotations

__all__ = ["call_name"]


def call_name(number: int) -> str:
    """The name of a system call."""
    return f"system call {number}"
