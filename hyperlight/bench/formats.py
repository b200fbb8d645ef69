"""Times and ratios, as a report has them."""

from __future__ import annotations

__all__ = ["TIMES", "format_ratio", "format_time"]

TIMES = "\N{MULTIPLICATION SIGN}"


def format_time(seconds: float) -> str:
    """Three digits and the unit that suits.

    >>> format_time(1.5e-6), format_time(0.1234), format_time(0)
    ('1.5 µs', '123 ms', '0 ns')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * scale:
            return f"{seconds / scale:.3g} {unit}".replace("e+03", "000")
    return f"{seconds / 1e-9:.3g} ns"


def format_ratio(ratio: float) -> str:
    """Two digits after the point, fewer in large ones: 1,061 times."""
    digits = 0 if ratio >= 99.95 else 1 if ratio >= 9.995 else 2
    return f"{ratio:,.{digits}f} {TIMES}"
