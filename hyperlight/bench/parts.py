"""What a directory of results holds beside the grid, file by file."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

__all__ = ["Counted", "Model", "ModelRow", "Phase", "Phases", "Saved"]


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
