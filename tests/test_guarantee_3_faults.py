"""A fault that is not ours reaches whoever was there before us."""

from __future__ import annotations

import signal

import pytest
from conftest import run_python

CASES = [
    # case, ends by the signal (or with this status), what it printed
    ("default", "signal", "tracked"),
    ("default_read", "signal", "tracked"),
    ("ignored", "signal", "still here"),
    ("sent", "signal", "tracked"),
    ("three_arguments", 7, "old handler True True True True"),
    ("one_argument", 7, "old handler True"),
    ("old_mask", 7, "True False True"),
    ("nodefer", 7, "False"),
    ("resethand", "signal", "once"),
    ("mended", 0, "mended"),
    ("no_altstack_needed", 0, "tracked"),
    ("faulthandler_before", "signal", "tracked"),
    ("faulthandler_after", "signal", "tracked"),
    ("faulthandler_on_and_off", "signal", "tracked"),
    ("replaced", 7, "over"),
    ("gives_back", "signal", "over"),
    ("armed_during_handler", 0, "done"),
]


@pytest.mark.parametrize(("case", "ends", "printed"), CASES)
def test_chaining(trap: str, case: str, ends: object, printed: str) -> None:
    result = run_python("faults.py", case, trap)
    number = signal.SIGSEGV if trap == "sigsegv" else signal.SIGBUS
    expected = -number if ends == "signal" else ends
    assert result.returncode == expected, result
    assert result.stdout.split("\n")[:-1] == [printed], result
    if case.startswith("faulthandler"):
        crashed = "Fatal Python error" in result.stderr
        assert crashed == (case != "faulthandler_on_and_off"), result.stderr
        assert result.stderr.count("Fatal Python error") == crashed
    else:
        assert result.stderr == ""
