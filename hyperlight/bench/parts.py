"""What a directory of results holds beside the grid, file by file."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

__all__ = [
    "Absent",
    "Counted",
    "Limit",
    "Line",
    "Model",
    "ModelRow",
    "Phase",
    "Phases",
    "Programs",
    "Ran",
    "Saved",
]


@dataclass(frozen=True)
class Line:
    """What one side of a row took, iteration by iteration."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Limit:
    """A ratio that the project holds itself to.

    A row of limits.json, or of programs.json, or of cliffs.json: there,
    `against` is what it takes where no cliff can be.
    """

    group: str
    what: str
    value: float
    unit: str
    ratio: float
    limit: str
    against: float | None = None
    kept: bool | None = None
    """None: measured for comparison, nothing is asked."""
    noise: float | None = None
    why: str = ""
    series: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Saved:
    """Resident bytes of some copies of a state: a row of memory.json."""

    what: str
    by: str
    """A tracker, and the driver that it belongs to."""
    copies: int
    resident: int
    """Bytes of this process that they added, all of them together."""
    tables: int
    """Bytes of page tables that they added."""
    full: int
    """Bytes that as many full copies added, page tables included."""

    @property
    def each(self) -> float:
        """Bytes of one."""
        return (self.resident + self.tables) / self.copies

    @property
    def times(self) -> float:
        """How much less that is; a page is the least that can be told."""
        return self.full / max(self.resident + self.tables, 4096)


@dataclass(frozen=True)
class Counted:
    """Counts or ratios of another system, as far as this one shows it.

    A row of elsewhere.json.
    """

    what: str
    by: str
    values: dict[str, float]


@dataclass(frozen=True)
class Phase:
    """Where the workload changes."""

    name: str
    start: int


@dataclass(frozen=True)
class Phases:
    """phases.json: a loop whose dirty set stays, moves, grows and shrinks."""

    tracker: str
    size: int
    phases: tuple[Phase, ...]
    iterations: int
    restore: tuple[float, ...]
    full: tuple[float, ...]
    dirty: tuple[float, ...]
    hot: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("restore", "full", "dirty", "hot"):
            if len(getattr(self, name)) != self.iterations:
                raise ValueError(f"{name} is not {self.iterations} long")
        starts = [phase.start for phase in self.phases]
        if starts != sorted({*starts} & {*range(self.iterations)}):
            raise ValueError("phases do not start one after another")

    def medians(self) -> list[tuple[str, float, float]]:
        """(phase, restore, full) in µs."""
        edges = [phase.start for phase in self.phases] + [self.iterations]
        return [
            (
                phase.name,
                statistics.median(self.restore[phase.start : end]),
                statistics.median(self.full[phase.start : end]),
            )
            for phase, end in zip(self.phases, edges[1:], strict=True)
        ]


@dataclass(frozen=True)
class ModelRow:
    """A measurement in µs and what the cost model says of it."""

    what: str
    measured: float
    model: float

    def __post_init__(self) -> None:
        if min(self.measured, self.model) <= 0:
            raise ValueError("measured and model have to be above 0")

    @property
    def ratio(self) -> float:
        """Above 1 if it costs more than the model says."""
        return self.measured / self.model


@dataclass(frozen=True)
class Model:
    """model.json: the cost as a sum of terms, and how well that holds."""

    formula: str
    terms: dict[str, float]
    rows: tuple[ModelRow, ...]


@dataclass(frozen=True)
class Ran:
    """A script, run in one way from a clean state."""

    script: str
    way: str
    took: float
    """µs: median of a run, and of what makes its state clean again."""
    spread: float
    """Median absolute deviation, µs."""
    pages: int | None = None
    """Put back after it, where pages are."""

    def __post_init__(self) -> None:
        if self.took <= 0:
            raise ValueError("took has to be above 0")


@dataclass(frozen=True)
class Absent:
    """What could not be measured, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Programs:
    """programs.json: untrusted Python, in a sandbox and otherwise."""

    driver: str
    python: str
    ways: dict[str, str] = field(default_factory=dict)
    """By name, the sandbox first: what each does for a clean state."""
    runs: tuple[Ran, ...] = ()
    memory: tuple[Saved, ...] = ()
    """Of live sandboxes; a full copy is one of all of their memory."""
    limits: tuple[Limit, ...] = ()
    absent: tuple[Absent, ...] = ()

    def __post_init__(self) -> None:
        seen = [(ran.script, ran.way) for ran in self.runs]
        if len(set(seen)) < len(seen):
            raise ValueError("a script ran twice in one way")
        if any(ran.way not in self.ways for ran in self.runs):
            raise ValueError("a script ran in a way that is not said")

    @property
    def scripts(self) -> dict[str, list[Ran]]:
        """Rows by script, in the order of ways."""
        order = list(self.ways)
        found: dict[str, list[Ran]] = {}
        for ran in sorted(self.runs, key=lambda ran: order.index(ran.way)):
            found.setdefault(ran.script, []).append(ran)
        return {ran.script: found[ran.script] for ran in self.runs}
