"""The key that diagnoses: what it looks at meanwhile, what it says, and that nothing stays attached behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.insight.diagnosis import Diagnosis
from kvmtop.insight.finding import USUAL, Began, Limits
from kvmtop.model.vocabulary import SVM
from kvmtop.widgets.diagnosis import DiagnosisScreen

from ..insight.test_diagnosis import healthy, pm_timer
from ..support.dashboard import Driver, driving
from ..support.fake import Host


def two() -> Host:
    host = Host(isa=SVM)
    host.add(100, "web")
    host.add(200, "mail")
    return host


async def seconds(driver: Driver, number: int) -> None:
    for _ in range(number):
        healthy(driver.host)
        pm_timer(driver.host)
        await driver.tick()


def told(driver: Driver) -> str:
    screen = driver.app.screen
    assert isinstance(screen, DiagnosisScreen)
    return " ".join(str(screen.query_one(id).render()) for id in ("#looks", "#causes"))


async def test_a_cause_is_found_and_nothing_stays_attached() -> None:
    async with driving(two()) as driver:
        await seconds(driver, 2)
        await driver.press("D")
        await seconds(driver, 3)
        assert "looking at the counters" in told(driver) and driver.host.wish is None
        await seconds(driver, 8)
        assert "looking at io" in told(driver)
        assert driver.host.wish and "io" in driver.host.wish.kinds
        await seconds(driver, 30)
        await driver.until(lambda: "1. web reads the ACPI PM timer" in told(driver))
        assert "mail" in told(driver) and "looking at" not in str(driver.app.screen.query_one("#causes").render())
        assert driver.host.wish is None
        await driver.press("escape")
        assert not isinstance(driver.app.screen, DiagnosisScreen)


async def test_since_when_by_the_recording_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one: else it says that it asked none, and where that cannot be read nothing is lost."""

    def since(found: Diagnosis, path: Path | None = None, limits: Limits = USUAL) -> Diagnosis:
        if limits.cause == 0.06:
            raise KvmtopError("damaged")
        causes = [replace(one, began=Began(1e9, None, 3)) for one in found.causes]
        return replace(found, causes=causes)

    monkeypatch.setattr("kvmtop.ui.diagnosing.since_when", since)
    async with driving(two()) as driver:
        for cause, words in ((0.05, "it held when the recording began"), (0.06, "Since when is not known: damaged.")):
            driver.app.viewpoint.limits = Limits(cause=cause)
            await seconds(driver, 2)
            await driver.press("D")
            await seconds(driver, 40)
            await driver.until(lambda words=words: words in told(driver))  # type: ignore[misc]
            assert "1. web reads the ACPI PM timer" in told(driver)
            await driver.press("escape")


async def test_closed_early_it_takes_its_probes_along() -> None:
    async with driving(two()) as driver:
        await seconds(driver, 2)
        await driver.press("D")
        await seconds(driver, 11)
        assert driver.host.wish
        await driver.press("escape")
        await seconds(driver, 1)
        assert driver.host.wish is None
        await driver.press("D", "D")  # the same key closes it
        assert not isinstance(driver.app.screen, DiagnosisScreen)


async def test_of_one_vm() -> None:
    async with driving(two()) as driver:
        await seconds(driver, 2)
        await driver.press("2", "home", "D")  # mail is first
        await seconds(driver, 40)
        await driver.until(lambda: "Nothing stands out." in told(driver))
