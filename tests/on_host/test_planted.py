"""`kvmtop diagnose` on problems that are planted: a few of those in tests/planted, each of which takes another way to be
found (the counters, what exits touch, the guest's code, the scheduler). `python -m tests.planted` runs all of them."""

from __future__ import annotations

import pytest

from ..planted.plants import MAIL, PLANTS, Plant
from ..planted.trial import planted

SECONDS = 10.0
QUICK = [next(p for p in PLANTS if p.rule == rule and not p.slow) for rule in ("quota", "rtc", "wbinvd", "neighbour")]


@pytest.mark.parametrize("plant", [pytest.param(plant, id=plant.rule) for plant in QUICK])
def test_the_right_cause_is_named_first_and_no_other(plant: Plant) -> None:
    trial = planted(plant, SECONDS)
    print(trial.row(), *(cause["text"] for cause in trial.causes), sep="\n")
    assert trial.right, trial.said


def test_without_a_problem_none_is_named() -> None:
    trial = planted(QUICK[0], SECONDS, nothing=True)
    print(trial.said)
    assert trial.said["causes"] == [] and trial.status == 0
    assert not trial.right  # so it would not have passed as one with a problem
    assert any(look["seconds"] > 0 for look in trial.said["looks"]) and MAIL in str(trial.said)
