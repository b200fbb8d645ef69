"""Includes and imports go downward: the layout is the architecture."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "hyperlight"

#: Rooms of one system lie right above the headers that they fill in.
C_LAYERS: dict[str, float] = {
    "guest": 0,
    "mem": 1,
    "os": 2,
    "os/linux": 2.2,
    "os/windows": 2.2,
    "image": 2,
    "track": 3,
    "track/linux": 3.2,
    "track/windows": 3.2,
    "snapshot": 3,
    "vm": 4,
    "vm/kvm": 5,
    "vm/mshv": 5,
    "vm/whp": 5,
    "vm/emulator": 5,
    "abi": 5,
    "abi/native": 6,
    "abi/linux": 6,
    "manager": 6,
}
C_FILES = {
    "base.h": -1,
    "why": 0,
    "inject": 0,
    "turn": 3,
    "choose": 5,
    "machine": 6,
    "no_programs": 7,
    "sandbox.h": 7,
    "sandbox_parts": 7.2,
    "sandbox_make": 7.4,
    "sandbox.c": 7.6,
    "batch": 8,
}

#: Modules of the package, without its name, from below.
PYTHON_LAYERS = [
    {"version", "text", "_copying", "_moved", "stats", "cli.values"},
    {"_late"},
    {"errors", "units", "guest.cc"},
    {"_core", "_absent"},
    {"_binding"},
    {"registry", "emulator", "guest.builder", "_ahead"},
    {"guest"},
    {"pageset", "memory", "trackers"},
    {"snapshot"},
    {"manager"},
    {"sandbox.config", "sandbox.drivers", "sandbox.log"},
    {"sandbox.layout", "sandbox.functions"},
    {"sandbox.images"},
    {"sandbox.faults"},
    {"sandbox.calls"},
    {"sandbox.batch", "sandbox.state"},
    {"sandbox.machine"},
    {"sandbox.holder"},
    {"sandbox.sandbox"},
    {"sandbox"},
    {"linux.beneath", "linux.calls", "linux.layout"}
    | {"linux.elsewhere", "linux.turns"},
    {"linux.nodes"},
    {"linux.archives"},
    {"linux.files", "linux.giver"},
    {"linux.machine"},
    {"linux.sandbox"},
    {"linux.program"},
    {"linux", "linux.guest"},
    {f"linux.guest.{n}" for n in ("values", "packets", "compiling", "host")}
    | {f"linux.guest.{n}" for n in ("fresh", "loading", "packing")},
    {"linux.guest.device", "linux.guest.running"},
    {"linux.guest.serving"},
    {"linux.guest.shim"},
    {"linux.libraries", "linux.distributions", "linux.results"},
    {"linux.interpreter", "linux.answers"},
    {"linux.conversation"},
    {"linux.dialogue", "linux.opener"},
    {"linux.python"},
    {"__init__"},
    {"doctor", "cli.ledger", "cli.terminal", "cli.options"},
    {"cli.given", "cli.inside"},
    {"cli.doctor", "cli.demo", "cli.run", "cli.bench", "cli.guest"}
    | {"cli.exec", "cli.python", "cli.mcp"},
    {"cli"},
    {"__main__"},
]

pytestmark = [
    pytest.mark.skipif(
        not CSRC.exists(), reason="the sources are not beside the tests"
    ),
    pytest.mark.unsanitized,  # no C runs
]


def layer_of(path: str) -> float:
    folder, _, name = path.rpartition("/")
    if folder:
        return C_LAYERS[folder]
    return C_FILES[name] if name in C_FILES else C_FILES[name[:-2]]


def c_files() -> list[Path]:
    return sorted(CSRC.rglob("*.[ch]"))


def host_files() -> list[Path]:
    """All but the guest's, which are one folder and end up elsewhere."""
    return [path for path in c_files() if CSRC / "guest" not in path.parents]


@pytest.mark.parametrize("path", host_files(), ids=lambda p: p.name)
def test_includes_go_down(path: Path) -> None:
    name = str(path.relative_to(CSRC))
    for included in re.findall(r'#include "([^"]+)"', path.read_text()):
        assert (CSRC / included).exists(), included
        same = "/" in name and Path(included).parent == Path(name).parent
        own = Path(included).with_suffix("") == Path(name).with_suffix("")
        assert same or own or layer_of(included) < layer_of(name), included


def test_track_and_snapshot_do_not_name_each_other() -> None:
    for folder, other in (("track", "snapshot"), ("snapshot", "track")):
        for path in (CSRC / folder).rglob("*.[ch]"):
            assert f'"{other}/' not in path.read_text(), path


def guest_floors() -> list[str]:
    """The SDK's files from below and from the left, as internal.h draws
    them.
    """
    drawn = re.findall(
        r"^ \*      [a-z, ]+((?:  +\w+\.[cS])+)$",
        (CSRC / "guest/internal.h").read_text(),
        re.MULTILINE,
    )
    return [name for floor in reversed(drawn) for name in floor.split()]


def guest_text(name: str) -> str:
    """A file of the SDK without comments, strings and includes."""
    return re.sub(
        r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|^#include.*?$',
        "",
        (CSRC / "guest" / name).read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )


def guest_definitions(text: str) -> set[str]:
    """What other files can refer to, in C or assembler."""
    labels = re.findall(r"^ *\.(?:globl|weak) (.*)$", text, re.MULTILINE)
    names = {name for line in labels for name in line.split(", ")}
    functions = r"^(\w[\w\s*(),]*?)\b(\w+)\([^;{}]*\)\s*{"
    variables = r"^(\w[\w *()]*[ *])(\w+)(?: = [^;]*)?;"
    for pattern in (functions, variables):
        for words, name in re.findall(pattern, text, re.MULTILINE):
            if not re.search(r"\b(?:static|extern|typedef)\b", words):
                names.add(name)
    return names


def guest_references(text: str) -> set[str]:
    """Calls, and what an address is taken of or a macro stands for."""
    calls = r"(?<![.>])\b\w+(?=\()|\bcall \w+|\bhl_\w+|\bstd(?:in|out|err)\b"
    names = {word.split()[-1] for word in re.findall(calls, text)}
    if re.search(r"\berrno\b", text):
        names.add("__errno_location")
    if "HL_RUNNING_NAME" in text:
        names.add("hl_running")
    return names


def test_the_sdk_is_drawn_as_it_is() -> None:
    files = [p.name for p in (CSRC / "guest").glob("*.[cS]")]
    assert sorted(guest_floors()) == sorted(files)


def test_the_sdk_calls_down() -> None:
    """So that no circle of files calls each other."""
    defined: dict[str, str] = {}
    for name in guest_floors():
        for symbol in guest_definitions(guest_text(name)):
            assert symbol not in defined, (symbol, name, defined[symbol])
            defined[symbol] = name
    # One of each way to be defined, that none is overlooked.
    for symbol in ("memcpy", "hl_leave", "_start", "hl_running", "stdin"):
        assert symbol in defined
    below: set[str] = set()
    for name in guest_floors():
        below.add(name)
        text = guest_text(name)
        for symbol in guest_references(text):
            assert defined.get(symbol, name) in below, (
                f"{name} needs {symbol} of {defined[symbol]}, "
                "which is not below it or left of it"
            )


def python_files() -> list[Path]:
    """All but what `hyperlight bench` runs, which is a user of the rest."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if PACKAGE / "bench" not in path.parents
    ]


def module_of(path: Path) -> str:
    """Its name below the package; a package's own is that of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


@pytest.mark.parametrize("path", python_files(), ids=module_of)
def test_imports_go_down(path: Path) -> None:
    layers = {
        name: i for i, names in enumerate(PYTHON_LAYERS) for name in names
    }
    mine = layers[module_of(path)]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level:  # only within one package
            package = path.relative_to(PACKAGE.parent).parent
            module = ".".join((*package.parts, module))
            assert node.level == 1
        if module.partition(".")[0] != "hyperlight":
            continue
        if module.startswith("hyperlight.bench"):
            assert module_of(path) == "cli.bench"
            continue
        rest = module.removeprefix("hyperlight").removeprefix(".")
        inside = [f"{rest}.{a.name}".lstrip(".") for a in node.names]
        for name in [n if n in layers else rest for n in inside]:
            # Not a module: a name from the package itself.
            assert layers[name or "__init__"] < mine, (path, name)


def test_no_module_of_python_is_longer_than_a_room() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.read_text().count("\n") <= 450, path


@pytest.mark.parametrize("path", c_files(), ids=lambda p: p.name)
def test_files_are_rooms(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 450
    if path.suffix == ".h":
        guard = "HL_" + re.sub(r"[/.]", "_", str(path.relative_to(CSRC)))
        assert f"#ifndef {guard.upper()}\n#define {guard.upper()}\n" in text


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "glue").rglob("*.pxi")),
    ids=lambda p: str(p.relative_to(PACKAGE / "glue")),
)
def test_glue_is_thin(path: Path) -> None:
    """Conversion only; loops and decisions have rooms of their own."""
    assert path.read_text().count("\n") < 150


def test_no_header_hides_one_of_the_system() -> None:
    """csrc is where headers are looked for first."""
    for path in CSRC.rglob("*.h"):
        if CSRC / "guest" in path.parents:
            continue
        name = path.relative_to(CSRC)
        assert not Path("/usr/include", name).exists(), name
        assert str(name).partition("/")[0] != "sys", name


def test_exported_names_have_a_prefix() -> None:
    for path in CSRC.rglob("*.h"):
        if path.parent.name == "include":
            continue  # the C library's names
        for name in re.findall(
            r"^(?:\w+ )+\*?(\w+)\(", path.read_text(), re.MULTILINE
        ):
            assert name.startswith("hl_"), (path.name, name)


def test_one_folder_asks_the_system() -> None:
    """Memory, forks, clock and chance; but for trackers and hypervisors."""
    asks = re.compile(
        r"\b(mmap|munmap|madvise|mprotect|mremap|pthread_atfork|getrandom"
        r"|clock_gettime|sysconf|Virtual\w+)\("
    )
    for path in host_files():
        folder = str(path.relative_to(CSRC).parent).partition("/")[0]
        if folder not in ("os", "track", "vm"):
            assert not asks.search(path.read_text()), path


def test_handlers_call_nothing_unsafe() -> None:
    """What runs in a signal handler allocates, locks and prints nothing."""
    unsafe = re.compile(
        r"\b(malloc|calloc|free|realloc|printf|pthread_\w+|hl_why)\("
    )
    handler_parts = {
        "track/linux/chain.c": None,
        "track/linux/handler.c": (
            *("can_be_read", "is_write_fault", "on_fault"),
        ),
        "track/windows/handler.c": ("on_fault",),
        "track/regions.c": ("find", "hl_regions_serve"),
        "track/trap.c": (
            *("change", "note_and_open", "open_page", "makes_progress"),
        ),
        "mem/pages.c": (
            *("words_of", "hl_pages_atomic_add", "hl_pages_atomic_has"),
        ),
        "track/linux/sigsegv.c": ("protect",),
        "track/linux/uffd_sigbus.c": ("protect",),
        "track/windows/vectored.c": ("protect",),
        "track/linux/uffd_fd.c": ("hl_uffd_protect",),
        "os/linux/page.c": (
            *("hl_is_writable", "hl_is_readable", "hl_is_behind_end"),
        ),
        "os/windows/page.c": ("rights",),
    }
    for name, functions in handler_parts.items():
        text = (CSRC / name).read_text()
        if functions is None:
            assert not unsafe.search(text), name
            continue
        for function in functions:
            body = re.search(
                rf"^[\w *]*\b{function}\([^;]*?\)\n{{\n.*?^}}",
                text,
                re.DOTALL | re.MULTILINE,
            )
            assert body, (name, function)
            assert not unsafe.search(body[0]), (name, function)
