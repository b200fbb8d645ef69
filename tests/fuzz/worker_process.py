"""A process in which things may go wrong, and the one that watches it.

The watched one answers lines by lines; where it dies or does not answer, that
is the answer.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def serve(answer: Callable[[str], str]) -> None:
    """Answer each line of stdin; end after one that says "bad"."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is no answer
    for line in sys.stdin:
        said = answer(line.strip())
        print(said, file=answers, flush=True)
        if said.startswith(("bad", "spoiled")):
            os._exit(0)


class Worker:
    """Runs ``script --work``; anew after an end."""

    def __init__(self, script: str, patience: float) -> None:
        self.script = script
        self.patience = patience
        self.process: subprocess.Popen[str] | None = None
        folder = Path(tempfile.gettempdir())
        self.errors = folder / f"{Path(script).stem}-{os.getpid()}.err"

    def ask(self, line: str) -> str:
        """Its answer, or "bad" and what became of it."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(self.patience)
        if not ready:
            process.kill()
            process.wait()
            self.process = None
            return f"bad hang: no answer in {self.patience:g} s"
        said = process.stdout.readline().strip()
        if not said:
            code = process.wait()
            self.process = None
            name = signal.Signals(-code).name if code < 0 else f"status {code}"
            return f"bad death by {name}: {self.last_words()}"
        if said.startswith(("bad", "spoiled")):
            process.wait()
            self.process = None
        return said

    def last_words(self) -> str:
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-300:]

    def start(self) -> None:
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, self.script, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.errors.unlink(missing_ok=True)
