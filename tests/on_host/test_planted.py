"""`kvmtop diagnose` on some of the problems of tests/planted: found by what exits touch, by what the scheduler says, by the
counters alone. `python -m tests.planted` runs all of them. Each takes two to three minutes on a busy machine."""

from __future__ import annotations

import pytest

from ..planted.plants import MAIL, PLANTS, Plant
from ..planted.trial import planted

SECONDS = 8.0
SOME = [next(plant for plant in PLANTS if plant.rule == rule) for rule in ("rtc", "neighbour", "quota", "wbinvd")]
pytestmark = pytest.mark.long


@pytest.mark.parametrize("plant", [pytest.param(one, id=one.rule) for one in SOME])
def test_the_right_cause_is_named_first_and_no_other(plant: Plant) -> None:
    trial = planted(plant, SECONDS)
    print(trial.row(), *(cause["text"] for cause in trial.causes), sep="\n")
    assert trial.right, trial.said


def test_without_a_problem_none_is_named() -> None:
    trial = planted(SOME[0], SECONDS, nothing=True)
    print(trial.said)
    assert trial.said["causes"] == [] and trial.status == 0
    assert not trial.right  # so it would not have passed as one with a problem
    assert any(look["seconds"] > 0 for look in trial.said["looks"]) and MAIL in str(trial.said)
