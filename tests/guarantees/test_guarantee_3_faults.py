"""A fault that is not ours reaches whoever was there before us."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from conftest import HERE, run_python

if sys.platform != "win32":
    import resource

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
    ("every_look_reclaims", 7, "over"),
    ("put_back", "signal", "tracked"),
    ("enable_kept_from_before", "signal", "tracked"),
    ("python_handler", "signal", "tracked"),
    ("blocked", "signal", "writing"),
]


@pytest.mark.parametrize(("case", "ends", "printed"), CASES)
def test_chaining(trap: str, case: str, ends: object, printed: str) -> None:
    result = run_python("faults.py", case, trap)
    number = signal.SIGSEGV if trap == "sigsegv" else signal.SIGBUS
    expected = -number if ends == "signal" else ends
    assert result.returncode == expected, result
    assert result.stdout.split("\n")[:-1] == [printed], result
    if case.startswith(("faulthandler", "enable")):
        crashed = "Fatal Python error" in result.stderr
        assert crashed == (case != "faulthandler_on_and_off"), result.stderr
        assert result.stderr.count("Fatal Python error") == crashed
    else:
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("case", "number"),
    [
        ("truncated", signal.SIGBUS),
        ("mapped_over", signal.SIGSEGV),
        ("unmapped", signal.SIGSEGV),
        ("guarded", signal.SIGSEGV),
        ("guarded_touched", signal.SIGSEGV),
    ],
)
def test_what_cannot_be_opened_ends_as_without_us(
    tracker: str, case: str, number: signal.Signals
) -> None:
    """Neither answered for ever nor answered by anything else."""
    result = run_python("faults.py", case, tracker, timeout=30)
    assert result.returncode == -number, result
    assert result.stdout == "writing\n", result


@pytest.mark.unsanitized
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork
def test_core_dump(trap: str, tmp_path: Path) -> None:
    """The default action comes with its core dump, as without us."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|"):
        pytest.skip(f"cores go to a program here: {pattern}")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == 0:
        pytest.skip("core dumps are forbidden here (RLIMIT_CORE)")

    def status_of(*arguments: str) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (most, most))
                os.chdir(tmp_path)
                os.execv(sys.executable, [sys.executable, *arguments])
            finally:
                os._exit(99)
        return os.waitpid(pid, 0)[1]

    if not os.WCOREDUMP(status_of("-c", "import os; os.abort()")):
        pytest.skip("this machine writes no core dumps")
    status = status_of(str(HERE / "subprocess/faults.py"), "core", trap)
    number = signal.SIGSEGV if trap == "sigsegv" else signal.SIGBUS
    assert os.WTERMSIG(status) == number
    assert os.WCOREDUMP(status)
