"""Drivers of other systems are listed with a reason, and never chosen."""

from __future__ import annotations

import sys
import warnings

import pytest
from conftest import require_guest

import hyperlight
from hyperlight import (
    DriverUnavailable,
    Sandbox,
    SandboxConfig,
    doctor,
    registry,
)

ELSEWHERE = [d for d in registry.DRIVERS if d.is_elsewhere]
ALL = {"kvm", "mshv", "whp", "emulator"}


def test_every_driver_is_listed_everywhere() -> None:
    assert {d.name for d in registry.DRIVERS} >= ALL
    names = {d.name for d in ELSEWHERE}
    assert ("whp" in names) is (sys.platform != "win32")
    if sys.platform == "win32":
        assert names == {"kvm", "mshv"}


@pytest.mark.parametrize("driver", ELSEWHERE, ids=lambda d: d.name)
def test_one_of_another_system_says_so(driver: registry.Driver) -> None:
    found = next(d for d in hyperlight.drivers() if d.name == driver.name)
    assert not found.available
    assert found.reason.startswith("not compiled in: needs ")
    own = [t for t in hyperlight.trackers() if t.driver == driver.name]
    assert own
    assert {t.reason for t in own} == {found.reason}
    require_guest()
    with pytest.raises(DriverUnavailable, match="not compiled in") as caught:
        Sandbox("simple", config=SandboxConfig(driver=driver.name))
    assert driver.name not in caught.value.usable


def test_auto_does_not_mention_them() -> None:
    require_guest()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            Sandbox("simple").close()
        except DriverUnavailable as error:
            assert "not compiled in" not in str(error)
    assert not any("not compiled in" in str(w.message) for w in told)
    report = doctor.examine()
    assert not any("not compiled in" in line for line in report["advice"])
    facts = report["host"].keys()
    assert not any(d.device in facts for d in ELSEWHERE if d.device)


def test_doctor_says_what_was_seen_on_a_fake_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = registry.Driver("seen", None, True, False, False)
    unseen = seen._replace(name="unseen", is_unseen=True)
    monkeypatch.setattr(doctor, "DRIVERS", (seen, unseen))

    def advice(**reasons: str) -> list[str]:
        return doctor._driver_advice(
            [
                hyperlight.DriverInfo(name, not reason, reason)
                for name, reason in reasons.items()
            ]
        )

    assert advice(seen="", unseen="no") == []
    (line,) = advice(seen="no", unseen="")
    assert "unseen has been tested on a fake" in line
    assert "never on the hypervisor itself" in line
