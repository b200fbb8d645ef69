"""Maps, for any call in the middle of any: the model is a loop of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

from scene import Actions, Errors, Foreign, require, some_of, text_of
from scene_sandbox import SECRET, SandboxScene

from hyperlight import GuestTimeout, Sandbox

Outcomes = tuple[Any, ...]
#: Of a function, what it is called with; Foreign ones only look like numbers.
Many = Callable[["MapScene"], Iterable[tuple[Any, ...]]]


class ForeignTuple(tuple[Any, ...]):
    """Arguments that run foreign code where they are looked at."""

    scene: SandboxScene

    def __iter__(self) -> Iterator[Any]:
        self.scene.hook("__iter__")
        return tuple.__iter__(self)


def tuple_of(scene: SandboxScene, *values: object) -> ForeignTuple:
    made = ForeignTuple(values)
    made.scene = scene
    return made


def outcome(value: object) -> Outcomes:
    """A result or an error, to be compared."""
    if isinstance(value, Exception):
        # What else it has depends on when its own call was.
        return type(value), str(value.args)[:60]
    return type(value), value


class MapScene(SandboxScene):
    """As there; and maps, of which the arguments come from foreign code."""

    #: By driver and operation, what a loop gives that starts at "two".
    known: ClassVar[dict[tuple[str, str], list[Outcomes]]] = {}

    #: By operation: a function, its arguments, and a limit.
    calls: ClassVar[dict[str, tuple[str, Many, float | None]]] = {
        "map": ("Counter", lambda s: [()] * 4, None),
        "map-kept": ("Counter", lambda s: [()] * 4, None),
        "map-none": ("Counter", lambda s: [], None),
        "map-many": ("AddLocal", lambda s: ((i, 1) for i in range(1030)), 9),
        "map-foreign": (
            "AddLocal",
            lambda s: [(Foreign(s, i), Foreign(s, 3)) for i in range(3)],
            None,
        ),
        "map-tuples": (
            "AddLocal",
            lambda s: [tuple_of(s, i, 3) for i in range(3)],
            None,
        ),
        "map-text": (
            "Echo",
            lambda s: [(text_of(s, SECRET * n),) for n in (0, 1, 20)],
            None,
        ),
        "map-host": ("Add", lambda s: [(i, 3) for i in range(3)], None),
        "map-failing": ("HostLoop", lambda s: [()] * 2, None),
        "map-log": ("Log", lambda s: [(30, "a"), (30, "b")], None),
        "map-spin": ("Spin", lambda s: [()] * 2, 0.02),
        "map-errors": (
            "Fail",
            lambda s: [(1000, "no"), (Foreign(s, 1001), ""), (1,), (1002, "")],
            None,
        ),
        "map-faults": ("Fault", lambda s: [("divide",), ("?",), ()], None),
        "map-raising": (
            "AddLocal",
            lambda s: [(1, 2), (Foreign(s, 3), 4), ("", 5), (6, 7)],
            None,
        ),
    }
    #: Those whose errors are results.
    going_on: ClassVar[frozenset[str]] = frozenset(
        ["map-failing", "map-spin", "map-errors", "map-faults"]
    )

    def __init__(self, driver: str) -> None:
        super().__init__(driver)
        self.begun = False  # somebody asked for arguments

    def arguments(self, many: Many) -> Iterator[tuple[Any, ...]]:
        """Foreign code is asked for each, and when there are no more."""
        self.begun = True
        for args in many(self):
            self.hook("iterator")
            yield args
        self.hook("iterator")

    def map(self, name: str) -> object:
        function, many, timeout = self.calls[name]
        errors: Literal["return", "raise"]
        errors = "return" if name in self.going_on else "raise"
        return self.sandbox.map(
            text_of(self, function),
            self.arguments(many),
            restore=name != "map-kept",
            errors=errors,  # type: ignore[arg-type]
            timeout=timeout,
        )

    operations: ClassVar[Actions] = {
        name: lambda s, name=name: s.map(name) for name in calls
    }
    disturbances: ClassVar[Actions] = {
        **SandboxScene.disturbances,
        **some_of(operations, "map-kept", "map-none", "map-raising"),
    }
    expected: ClassVar[Errors] = {"map-raising": TypeError}
    #: Nothing of them is to be seen afterwards, wherever they come.
    invisible: ClassVar[frozenset[str]] = SandboxScene.harmless | {
        "raise",
        *(f"fail:{p}" for p in ("store-alloc", "node-alloc")),
        *(f"fail:{p}" for p in ("arm", "collect")),
    }

    # What must be true.

    def loop(self, box: Sandbox, name: str) -> list[Outcomes]:
        """What a program would do that has no map."""
        function, many, timeout = self.calls[name]
        found: list[Outcomes] = []
        for args in many(self):
            if name != "map-kept":
                box.restore()
            try:
                value = box.call(function, *args, timeout=timeout)
                found.append(outcome(value))
            except Exception as error:
                found.append(outcome(error))
                if name not in self.going_on:
                    break
        return found

    def model(self, name: str) -> list[Outcomes]:
        key = self.driver, name
        if key not in self.known:
            with self.new() as box:
                box.call("Counter")
                box.call("Counter")
                box.snapshot()
                box.call("Counter")
                self.known[key] = self.loop(box, name)
        return self.known[key]

    def check_after(self, name: str, result: object, disturbance: str) -> None:
        raised = isinstance(result, BaseException)
        found = getattr(result, "results", None) if raised else result
        if isinstance(found, list):
            self.check_results(name, found, raised, disturbance)
        if raised and found is not None:
            index = getattr(result, "index", None)
            require(index == len(found), f"{name}: index {index!r}")
        if (
            self.begun
            and disturbance in self.invisible
            and name != "map-kept"
            and not isinstance(result, MemoryError)
        ):
            box = self.sandbox
            require(not box.poisoned, f"{name}: poisoned")
            require(not box.changed(everything=True), f"{name}: not put back")

    def check_results(
        self, name: str, found: list[object], raised: bool, disturbance: str
    ) -> None:
        """They are the model's, or begin as it does."""
        model = self.model(name)
        want = [m for m in model if not issubclass(m[0], Exception)]
        whole = model if name in self.going_on else want
        require(
            len(found) <= len(whole) if raised else len(found) == len(whole),
            f"{name}: {len(found)} results of {len(whole)}",
        )
        for i, value in enumerate(found):
            if disturbance.startswith("fail:") and isinstance(
                value, (MemoryError, OSError)
            ):
                continue
            said, meant = outcome(value), whole[i]
            if name in ("map", "map-kept") and disturbance not in (
                self.invisible
            ):
                # Others may have changed where it began, and nothing since.
                first: Any = found[0]
                step = i if name == "map-kept" else 0
                require(first in (1, 3, 4, 5, 6, 7, 8), f"{name}: {first}")
                said, meant = outcome(value), (int, first + step)
            if said[0] is GuestTimeout and meant[0] is GuestTimeout:
                continue
            require(
                said == meant, f"{name}: [{i}] is {said!r:.99}, not {meant!r}"
            )

    def check_result(self, name: str, result: object) -> None:
        wanted = self.expected.get(name)
        require(
            isinstance(result, wanted or list), f"{name} gave {result!r:.99}"
        )

    def check_value(self, name: str, result: object) -> None:
        """check_after did."""
