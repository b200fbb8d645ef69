"""Ways to run a script that leave nothing behind, each beside the others.

Other libraries are only used where they are installed.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperlight import PythonSandbox, SandboxConfig

__all__ = [
    "MODULES",
    "OTHERS",
    "OURS",
    "SCRIPTS",
    "WASM",
    "Script",
    "Unusable",
    "Way",
    "command",
    "sandbox",
]

#: What every warm interpreter has imported.
MODULES = ("json", "re")
OURS = "PythonSandbox"
WASM = "componentize-py + wasmtime"
SECONDS = 60  # that one run of another way may take


class Unusable(Exception):
    """A way does not work here; the text says why."""


@dataclass(frozen=True)
class Script:
    """Statements, an expression after them, and the text of its value."""

    name: str
    code: str
    value: str
    answer: str
    modules: tuple[str, ...] = MODULES

    @property
    def text(self) -> str:
        """All of it, as one writes it in a notebook."""
        return f"{self.code}\n{self.value}"


SCRIPTS = (
    Script("pass", "pass", "", "None"),
    Script(
        "sum of 1000",
        "numbers = range(1000)",
        "sum([i * i for i in numbers])",
        "332833500",
    ),
    Script(
        "JSON",
        "import json\n"
        "data = {'name': 'x', 'items': list(range(100)), 'of': [{'a': None}]}",
        "json.loads(json.dumps(data)) == data",
        "True",
    ),
    Script(
        "regex",
        "import re\npattern = re.compile(r'([a-z]+)-([0-9]+)')",
        "sum([len(pattern.match(f'item-{i}').group(2)) for i in range(40)])",
        "70",
    ),
    Script(
        "numpy inv",
        "import numpy\nmatrix = 2.0 * numpy.eye(32)",
        "float(numpy.linalg.inv(matrix)[3, 3])",
        "0.5",
        (*MODULES, "numpy"),
    ),
)

#: Runs a script, and gives the text of its value.
Run = Callable[[Script], str]


@dataclass(frozen=True)
class Way:
    """How a script is run."""

    what: str
    #: Sets it up for these modules, and leaves there what undoes it.
    open: Callable[[ExitStack, tuple[str, ...]], Run]
    #: It has no modules but the standard library's.
    is_bare: bool = False


def sandbox(driver: str, modules: tuple[str, ...]) -> PythonSandbox:
    """A warm one."""
    config = SandboxConfig(driver=driver)
    return PythonSandbox(preload=modules, config=config)


def command(*arguments: str) -> list[str]:
    """A new interpreter that sees nothing of its surroundings."""
    return [sys.executable, "-I", *arguments]


def process(_stack: ExitStack, _modules: tuple[str, ...]) -> Run:
    """A new interpreter each time."""

    def run(script: Script) -> str:
        value = f"print(repr({script.value}))" if script.value else ""
        done = subprocess.run(
            command("-c", f"{script.code}\n{value}"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise Unusable(_last_line(done.stderr))
        return done.stdout.strip() or "None"

    return run


#: Reads scripts, a line each, and answers with what a child says of each.
#: Whatever happens to the child, it ends there.
FORKING = """
import gc, importlib, json, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
gc.collect()
gc.freeze()
for line in sys.stdin.buffer:
    code, value = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            space = {}
            exec(code, space)
            text = repr(eval(value, space)) if value else "None"
            os.write(1, text.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"\\n")
"""


def fork(stack: ExitStack, modules: tuple[str, ...]) -> Run:
    """A child of a warm process, which has imported the same."""
    server = subprocess.Popen(
        command("-c", FORKING, *modules),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(server.wait)
    stack.callback(server.kill)
    told, said = server.stdin, server.stdout
    assert told is not None
    assert said is not None
    stack.callback(told.close)
    stack.callback(said.close)

    def run(script: Script) -> str:
        line = json.dumps([script.code, script.value]).encode()
        told.write(line + b"\n")
        told.flush()
        return said.readline().decode().strip()

    return run


def monty(stack: ExitStack, _modules: tuple[str, ...]) -> Run:
    """An interpreter of its own for a part of Python; a new session each."""
    m = _library("pydantic_monty")
    pool = stack.enter_context(m.Monty())

    def run(script: Script) -> str:
        with pool.checkout() as session:
            return repr(session.feed_run(script.text))

    return run


WORLD = """package bench:programs;
world program { export run: func(code: string, value: string) -> string; }
"""
APPLICATION = """import json, re
class WitWorld:
    def run(self, code, value):
        space = {}
        exec(code, space)
        return repr(eval(value, space)) if value else "None"
"""
#: By a process of its own: building leaves much behind in one.
BUILD = (
    "import sys; from componentize_py import script; "
    "sys.argv[0] = 'componentize-py'; script()"
)


def component(stack: ExitStack, _modules: tuple[str, ...]) -> Run:
    """CPython as WebAssembly; a new instance each time."""
    _library("componentize_py")
    w, c = _library("wasmtime"), _library("wasmtime.component")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "app.wit").write_text(WORLD, encoding="utf-8")
    (folder / "app.py").write_text(APPLICATION, encoding="utf-8")
    options = ("-d", "app.wit", "-w", "program", "componentize", "app")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, *options, "-o", "app.wasm"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise Unusable(_last_line(built.stderr))
    engine = w.Engine()
    made = c.Component.from_file(engine, str(folder / "app.wasm"))
    linker = c.Linker(engine)
    linker.add_wasip2()

    def run(script: Script) -> str:
        store = w.Store(engine)
        store.set_wasi(w.WasiConfig())
        function = linker.instantiate(store, made).get_func(store, "run")
        return str(function(store, script.code, script.value))

    return run


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unusable(f"not installed: {error}") from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]


#: All but our own.
OTHERS: Mapping[str, Way] = {
    "python -I -c": Way("a new process each time", process),
    "os.fork": Way(
        "a child of a warm process each time, which isolates nothing", fork
    ),
    "pydantic-monty": Way(
        "a new session each time of an interpreter for a part of Python",
        monty,
        is_bare=True,
    ),
    WASM: Way(
        "a new instance each time of CPython as WebAssembly",
        component,
        is_bare=True,
    ),
}
