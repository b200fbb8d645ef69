"""The mshv driver with each quirk of its hypervisor, and each call failing."""

from __future__ import annotations

import errno
import gc
import random
from collections.abc import Iterator

import pytest
from conftest import require_driver
from fake import mshv
from fake.mshv import Counter, FakeMshv, Kind, Switch

from hyperlight import HyperlightError, Sandbox, SandboxConfig, Snapshot

pytestmark = pytest.mark.skipif(
    not mshv.is_provided(), reason="the fake of /dev/mshv is off"
)

CONFIG = SandboxConfig(driver="mshv", heap_size="1MiB")
PAGE = 4096
PAGES = 200  # of the heap, that are written

#: What a switch is set to, and whether it is one of the older interface.
QUIRKS = {
    "none": (),
    "first all dirty": ((Switch.FIRST_ALL_DIRTY, 1),),
    "stray bits": ((Switch.STRAY_BITS, 1),),
    "interrupted": ((Switch.EINTR_ONCE, (1 << len(Kind)) - 1),),
    "memory is given": ((Switch.EAGAIN_ONCE, 1),),
    "runs end early": ((Switch.SPURIOUS_EVERY, 3),),
    "few answers": ((Switch.FEWER_PAGES, 7), (Switch.PADDED, 1)),
    "all": (
        (Switch.FIRST_ALL_DIRTY, 1),
        (Switch.STRAY_BITS, 1),
        (Switch.EINTR_ONCE, (1 << len(Kind)) - 1),
        (Switch.EAGAIN_ONCE, 1),
        (Switch.SPURIOUS_EVERY, 2),
        (Switch.FEWER_PAGES, 100),
    ),
}


@pytest.fixture(params=["current", "older"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeMshv]:
    require_driver("mshv")
    fake = mshv.load()
    fake.reset()
    fake.switch(Switch.OLDER, request.param == "older")
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
        page = self.random.randrange(PAGES)
        value = self.random.randbytes(8)
        self.sandbox.call("Write", self.start + page * PAGE, value)
        self.now[page] = value

    def write_much(self) -> None:
        for _ in range(self.random.randrange(30)):
            self.write()

    def take(self) -> None:
        self.kept = self.kept[-5:]
        self.kept.append((self.sandbox.snapshot(), dict(self.now)))

    def restore(self) -> None:
        snapshot, was = self.random.choice(self.kept)
        self.sandbox.restore(snapshot)
        self.now = dict(was)

    def restore_last(self) -> None:
        self.sandbox.restore(self.kept[-1][0])
        self.now = dict(self.kept[-1][1])

    def step(self) -> None:
        self.random.choice(
            (
                *(self.write, self.write, self.write_much),
                *(self.take, self.restore, self.restore_last),
            )
        )()

    def check(self) -> None:
        for page in self.random.sample(range(PAGES), 12):
            found = self.sandbox.call("Read", self.start + page * PAGE, 8)
            assert found == self.now.get(page, bytes(8))


@pytest.mark.parametrize("quirk", QUIRKS)
def test_quirks_lose_nothing(quirk: str, fake: FakeMshv) -> None:
    for switch, value in QUIRKS[quirk]:
        fake.switch(switch, value)
    with Sandbox("simple", config=CONFIG) as sandbox:
        model = Model(sandbox, seed=len(quirk))
        for _ in range(40):
            model.step()
            model.check()
            if model.random.randrange(4) == 0:
                model.restore_last()
                sandbox.verify()


def test_the_first_answer_is_thrown_away(fake: FakeMshv) -> None:
    fake.switch(Switch.FIRST_ALL_DIRTY)
    with Sandbox("simple", config=CONFIG) as sandbox:
        sandbox.restore()
        sandbox.call("Nothing")
        assert sandbox.restore().pages_copied < 20


def test_nothing_is_asked_where_all_is_hot(fake: FakeMshv) -> None:
    """A query costs by the pages that it is about, and copying a few less."""
    config = SandboxConfig(
        driver="mshv", heap_size="64KiB", stack_size="64KiB", output_size=PAGE
    )
    with Sandbox("simple", config=config) as sandbox:
        before = fake.count(Counter.PAGES_ASKED)
        sandbox.restore()
        sandbox.call("Nothing")
        sandbox.restore()
        pages = fake.count(Counter.PAGES_ASKED) - before
        assert pages > 0
        for _ in range(12):
            sandbox.call("FillHeap", sandbox.call("HeapBase"), 60 << 10, 1)
            sandbox.restore()
        before = fake.count(Counter.PAGES_ASKED)
        for _ in range(12):
            sandbox.call("FillHeap", sandbox.call("HeapBase"), 60 << 10, 1)
            sandbox.restore()
        assert fake.count(Counter.PAGES_ASKED) - before < 12 * pages


@pytest.mark.parametrize("act", ["snapshot", "restore"])
def test_each_step_asks_once(fake: FakeMshv, act: str) -> None:
    """Of 17 MiB in all, in one piece."""
    config = SandboxConfig(driver="mshv", heap_size="16MiB")
    with Sandbox("simple", config=config) as sandbox:
        for _ in range(4):
            before = fake.count(Kind.QUERY)
            sandbox.call("Echo", "something for the output buffer")
            assert fake.count(Kind.QUERY) == before
            getattr(sandbox, act)()
            assert fake.count(Kind.QUERY) == before + 1


FAULTS = (errno.ENOMEM, errno.EINVAL, errno.EIO)
CREATION = [
    Kind.OPEN,
    Kind.CREATE_PARTITION,
    Kind.INITIALIZE,
    Kind.CREATE_VP,
    Kind.MAP,
    Kind.PROPERTY,
    Kind.QUERY,
    Kind.GET_REGISTERS,
    Kind.SET_REGISTERS,
    Kind.GET_STATE,
    Kind.RUN,
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", CREATION, ids=lambda kind: kind.name)
def test_creation_fails_at_any_call(
    kind: Kind, after: bool, fake: FakeMshv
) -> None:
    for fault in FAULTS:
        for nth in range(1, 40):
            fake.fail(kind, nth, fault, after=after)
            try:
                sandbox = Sandbox("simple", config=CONFIG)
            except (
                HyperlightError,
                OSError,
                MemoryError,
                ValueError,
            ) as error:
                assert str(error)
            else:
                left = fake.fail_left
                fake.fail(kind, 0, 0)
                sandbox.close()
                if left:
                    break  # there are no more such calls
        else:
            raise AssertionError("more calls than expected")
        fake.fail(kind, 0, 0)
    Sandbox("simple", config=CONFIG).close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.QUERY, Kind.RUN, Kind.GET_REGISTERS, Kind.SET_REGISTERS),
        *(Kind.GET_STATE, Kind.SET_STATE),
    ],
    ids=lambda kind: kind.name,
)
def test_a_call_that_fails_loses_nothing(
    kind: Kind, after: bool, fake: FakeMshv
) -> None:
    """Whatever fails, the next restore puts everything back."""
    errors = 0
    for seed in range(12):
        with Sandbox("simple", config=CONFIG) as sandbox:
            model = Model(sandbox, seed)
            for i in range(16):
                # A query that is interrupted is made again.
                again = kind is Kind.QUERY and seed % 2 == 0
                fault = errno.EINTR if again else errno.ENOMEM
                fake.fail(kind, 1 + (seed + i) % 3, fault, after=after)
                try:
                    model.step()
                except (HyperlightError, OSError, MemoryError) as error:
                    assert str(error)
                    errors += 1
                fake.fail(kind, 0, 0)
                try:
                    model.restore_last()
                except OSError:
                    break  # the machine is unusable, and says so
                sandbox.verify()
                model.check()
    assert fake.count(Counter.FAILED) > 10
    assert errors > 5 or kind is Kind.QUERY  # after which all is compared
