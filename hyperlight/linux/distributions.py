"""Which installed files belong to what is to be preloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import PurePosixPath
from typing import NamedTuple

from hyperlight.text import brief, listed

__all__ = ["Preloaded", "find_distributions"]


class Preloaded(NamedTuple):
    """What of a folder of installed packages a guest sees."""

    #: Modules to import.
    modules: tuple[str, ...]
    #: Files and folders of the host, and their names below the folder of
    #: packages that the guest has.
    shown: tuple[tuple[str, str], ...]
    #: Extension modules and libraries among them.
    libraries: tuple[str, ...]
    #: Names of the extension modules, without those of tests.
    extensions: tuple[str, ...] = ()


def find_distributions(
    names: Iterable[str],
    folders: Sequence[str],
    standard: frozenset[str],
) -> Preloaded:
    """The modules that these names mean, and all files that they need.

    Args:
        names: Of modules, dotted or not, or of distributions.
        folders: Where packages are installed.
        standard: Names of the standard library's modules, which are there.

    Raises:
        ValueError: Nothing of such a name is installed, or its files are not
            known.
    """
    modules: list[str] = []
    wanted: dict[str, Distribution] = {}
    for name in names:
        if name.partition(".")[0] in standard:
            modules.append(name)
            continue
        imports, found = _meaning(name, folders)
        modules += imports
        for distribution in found:
            _add(distribution, folders, wanted)
    shown: dict[str, str] = {}
    libraries: list[str] = []
    extensions: list[str] = []
    for key, distribution in wanted.items():
        files = _files(key, distribution)
        base = str(distribution.locate_file(""))
        for entry in _tops(files):
            shown[os.path.join(base, entry)] = entry
        for file in files:
            if re.search(r"\.so(\.[0-9.]+)?$", file):
                libraries.append(os.path.join(base, file))
                extensions += _extension(file)
    return Preloaded(
        tuple(modules),
        tuple(shown.items()),
        tuple(libraries),
        tuple(sorted(extensions)),
    )


def _extension(file: str) -> list[str]:
    """The dotted name of an extension module to import, if it is one."""
    *parents, last = PurePosixPath(file).parts
    parts = [*parents, last.partition(".")[0]]
    is_module = all(part.isidentifier() for part in parts)
    is_test = any(re.match(r"_?x?x?tests?(_|$)", part) for part in parts)
    return [".".join(parts)] if is_module and not is_test else []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _find(name: str, folders: Sequence[str]) -> Distribution | None:
    """The distribution of that name: found by its folder's name."""
    return next(iter(distributions(name=name, path=list(folders))), None)


def _meaning(
    name: str, folders: Sequence[str]
) -> tuple[list[str], list[Distribution]]:
    """The modules and the distributions that a name is of."""
    top = name.partition(".")[0]
    distribution = _find(name, folders)
    if distribution is not None and top not in _top_modules(distribution):
        return _public_modules(name, distribution), [distribution]
    alike = _find(top, folders)
    if alike is not None and top in _top_modules(alike):
        return [name], [alike]
    # This reads what every distribution holds.
    every = list(distributions(path=list(folders)))
    havers = [one for one in every if top in _top_modules(one)]
    if not havers:
        raise ValueError(
            f"preload={brief(name)}: no module or distribution of that name "
            f"is installed for this interpreter; there are "
            f"{listed(filter(None, (d.metadata['Name'] for d in every)))}"
        )
    return [name], havers


def _public_modules(name: str, distribution: Distribution) -> list[str]:
    _files(name, distribution)  # it may be a link, which has no modules
    public = [m for m in _top_modules(distribution) if not m.startswith("_")]
    if not public:
        raise ValueError(
            f"preload={brief(name)}: that distribution has no module to "
            f"import; name one"
        )
    return sorted(public)


def _top_modules(distribution: Distribution) -> set[str]:
    """Names that one can import from a distribution, undotted."""
    text = distribution.read_text("top_level.txt")
    if text is not None:
        return set(text.split())
    found = set()
    for file in distribution.files or ():
        first, *rest = file.parts
        name = first if rest else first.partition(".")[0]
        is_module = rest or first.endswith((".py", ".so"))
        if is_module and name.isidentifier() and name != "__pycache__":
            found.add(name)
    return found


def _add(
    distribution: Distribution,
    folders: Sequence[str],
    wanted: dict[str, Distribution],
) -> None:
    """Add a distribution and those it requires, as far as there are."""
    left: list[Distribution | None] = [distribution]
    while left:
        one = left.pop()
        if one is None or _normal(one.metadata["Name"]) in wanted:
            continue
        wanted[_normal(one.metadata["Name"])] = one
        for requirement in one.requires or ():
            # What only an extra asks for is not required; any other marker
            # is taken as met if the distribution is installed.
            name, _, marker = requirement.partition(";")
            match = re.match(r"[A-Za-z0-9._-]+", name.strip())
            if match and not re.search(r"\bextra\s*==", marker):
                left.append(_find(match[0], folders))


def _files(name: str, distribution: Distribution) -> list[str]:
    """Its files below the folder that it is installed in."""
    files = [str(f) for f in distribution.files or () if ".." not in f.parts]
    if any(
        f.startswith("__editable__") or f.endswith((".egg-link", ".pth"))
        for f in files
    ):
        raise ValueError(
            f"preload: {name} is installed as a link to its sources: give "
            f"their folder in paths="
        )
    if not files:
        raise ValueError(
            f"preload: {name} does not say which files are its own; give a "
            f"folder with them in paths="
        )
    return files


def _tops(files: list[str]) -> list[str]:
    """The fewest files and folders that hold these and nothing of others.

    A folder is whole if it is a package or holds no packages: of a namespace
    package, other distributions have parts.
    """
    packages = {
        str(PurePosixPath(file).parent)
        for file in files
        if PurePosixPath(file).name.startswith("__init__.")
    }
    found: dict[str, None] = {}
    for file in files:
        parts = PurePosixPath(file).parts
        depth = 1
        while depth < len(parts) and _is_shared(parts[:depth], packages):
            depth += 1
        found["/".join(parts[:depth])] = None
    return list(found)


def _is_shared(parts: tuple[str, ...], packages: set[str]) -> bool:
    """Whether a folder may hold files of other distributions."""
    # Names with a dot, numpy.libs and *.dist-info, are no packages.
    return "/".join(parts) not in packages and "." not in parts[0]
