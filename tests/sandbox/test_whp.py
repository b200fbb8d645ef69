"""The whp driver with each quirk of its library, and each call failing."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator

import pytest
from conftest import require_driver, run_python
from fake import whp
from fake.whp import Counter, FakeWhp, Kind, Switch

from hyperlight import (
    DriverUnavailable,
    HyperlightError,
    Sandbox,
    SandboxConfig,
    Snapshot,
)

pytestmark = pytest.mark.skipif(
    not whp.is_provided(), reason="there is no fake of WinHvPlatform.dll"
)

CONFIG = SandboxConfig(driver="whp", heap_size="1MiB")
PAGE = 4096
PAGES = 200  # of the heap, that are written
E_FAIL, E_OUTOFMEMORY = -0x7FFFBFFB, -0x7FF8FFF2
MOST = 60  # calls of a kind, to make a sandbox

QUIRKS: dict[str, dict[Switch, int]] = {
    "none": {},
    "first all dirty": {Switch.FIRST_ALL_DIRTY: 1},
    "stray bits": {Switch.STRAY_BITS: 1},
    "runs end early": {Switch.SPURIOUS_EVERY: 3},
    "no AVX": {Switch.NO_AVX: 1},
    "cancels are lost": {Switch.CANCEL_LOST: 1},
    "all": {
        Switch.FIRST_ALL_DIRTY: 1,
        Switch.STRAY_BITS: 1,
        Switch.SPURIOUS_EVERY: 2,
        Switch.NO_AVX: 1,
        Switch.CANCEL_LOST: 1,
    },
}


@pytest.fixture
def fake() -> Iterator[FakeWhp]:
    require_driver("whp")
    fake = whp.load()
    fake.reset()
    before = fake.alive()
    yield fake
    violations = fake.count(Counter.VIOLATIONS)
    fake.reset()
    gc.collect()
    assert violations == 0
    assert fake.alive() == before


class Model:
    """A sandbox, and what its heap holds by rights."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox = sandbox
        self.random = random.Random(seed)
        self.start = -(-sandbox.call("HeapBase") // PAGE) * PAGE + 20 * PAGE
        self.now: dict[int, bytes] = {}
        self.kept: list[tuple[Snapshot, dict[int, bytes]]] = []
        self.take()

    def write(self) -> None:
        for _ in range(self.random.randrange(1, 8)):
            page = self.random.randrange(PAGES)
            value = self.random.randbytes(8)
            self.sandbox.call("Write", self.start + page * PAGE, value)
            self.now[page] = value

    def take(self) -> None:
        self.kept = self.kept[-3:]
        self.kept.append((self.sandbox.snapshot(), dict(self.now)))

    def restore(self, which: int = -1) -> None:
        snapshot, was = self.kept[which]
        self.sandbox.restore(snapshot)
        self.now = dict(was)

    def step(self) -> None:
        how = self.random.randrange(5)
        if how < 3:
            self.write()
        elif how == 3:
            self.take()
        else:
            self.restore(self.random.randrange(len(self.kept)))

    def check(self) -> None:
        for page in self.random.sample(range(PAGES), 5):
            found = self.sandbox.call("Read", self.start + page * PAGE, 8)
            assert found == self.now.get(page, bytes(8))


@pytest.mark.parametrize("quirk", QUIRKS)
def test_quirks_lose_nothing(quirk: str, fake: FakeWhp) -> None:
    for switch, value in QUIRKS[quirk].items():
        fake.switch(switch, value)
    with Sandbox("simple", config=CONFIG) as sandbox:
        assert sandbox.tracker == "whp"
        model = Model(sandbox, seed=len(quirk))
        for i in range(30):
            model.step()
            model.check()
            if i % 4 == 0:
                model.restore()
                sandbox.verify()


def test_only_what_was_written_is_copied(fake: FakeWhp) -> None:
    with Sandbox("simple", config=CONFIG) as sandbox:
        sandbox.restore()
        sandbox.call("Nothing")
        assert sandbox.restore().pages_copied < 20


CREATION = [
    *(Kind.CAPABILITY, Kind.CREATE, Kind.PROPERTY, Kind.SETUP, Kind.MAP),
    *(Kind.CREATE_CPU, Kind.RUN, Kind.GET, Kind.SET, Kind.GET_XSAVE),
    Kind.QUERY,
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", CREATION, ids=lambda kind: kind.name)
def test_creation_fails_at_any_call(
    kind: Kind, after: bool, fake: FakeWhp
) -> None:
    for result in (E_FAIL, E_OUTOFMEMORY):
        for nth in range(1, MOST):
            fake.fail(kind, nth, result, after=after)
            try:
                Sandbox("simple", config=CONFIG).close()
            except (HyperlightError, OSError, MemoryError) as error:
                assert str(error)
            if fake.fail_left:
                break  # there are no more such calls
        else:
            raise AssertionError("more calls than expected")
        fake.fail(kind, 0, 0)
    Sandbox("simple", config=CONFIG).close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.QUERY, Kind.RUN, Kind.GET, Kind.SET),
        *(Kind.GET_XSAVE, Kind.SET_XSAVE),
    ],
    ids=lambda kind: kind.name,
)
def test_a_call_that_fails_loses_nothing(
    kind: Kind, after: bool, fake: FakeWhp
) -> None:
    """Whatever fails, the next restore puts everything back."""
    errors = 0
    for seed in range(6):
        with Sandbox("simple", config=CONFIG) as sandbox:
            model = Model(sandbox, seed)
            for i in range(10):
                fake.fail(kind, 1 + (seed + i) % 3, E_OUTOFMEMORY, after=after)
                try:
                    model.step()
                except (HyperlightError, OSError, MemoryError) as error:
                    assert str(error)
                    errors += 1
                fake.fail(kind, 0, 0)
                try:
                    model.restore()
                except OSError:
                    break  # the machine is unusable, and says so
                sandbox.verify()
                model.check()
    assert fake.count(Counter.FAILED) > 1
    assert errors > 1 or kind in (Kind.QUERY, Kind.GET_XSAVE, Kind.SET_XSAVE)


@pytest.mark.parametrize(
    ("quirk", "why"),
    [
        ("refuses", "refuses to track dirty pages: error 0x80070057"),
        ("misses", "does not report every write here"),
    ],
)
def test_what_tracks_badly_is_not_used(quirk: str, why: str) -> None:
    """Then everything is copied; who asks is told why."""
    script = """
import hyperlight
from hyperlight import Sandbox, SandboxConfig, TrackerUnavailable, doctor
why = __import__("sys").argv[1]
info, = (t for t in hyperlight.trackers() if t.name == "whp")
assert not info.available and why in info.reason, info
with Sandbox("simple", config=SandboxConfig(driver="whp")) as sandbox:
    assert sandbox.tracker == "full"
    assert why in sandbox.stats["passed_over"]["whp"], sandbox.stats
    base = sandbox.snapshot()
    for _ in range(4):
        assert [sandbox.call("Counter") for _ in range(2)] == [1, 2]
        sandbox.restore(base)
        sandbox.verify()
try:
    Sandbox("simple", config=SandboxConfig(driver="whp", tracker="whp"))
except TrackerUnavailable as error:
    assert why in str(error) and error.usable == ("full",), error
else:
    raise AssertionError("it was used")
row, = (r for r in doctor.examine()["trackers"] if r["name"] == "whp")
assert why in row["reason"]
print("done")
"""
    result = run_python(script, why, env={whp.QUIRK: quirk})
    assert result.stdout == "done\n", result


def test_a_second_sandbox_may_be_refused(fake: FakeWhp) -> None:
    fake.switch(Switch.ONE_PARTITION)
    with Sandbox("simple", config=CONFIG) as sandbox:
        with pytest.raises(DriverUnavailable, match="refuse a second"):
            Sandbox("simple", config=CONFIG)
        sandbox.call("Counter")
        sandbox.restore()
    Sandbox("simple", config=CONFIG).close()
