"""`kvmtop diagnose` on problems that are planted: of those in tests/planted the two that are found by what exits touch and
by what the scheduler says, which takes most of its machinery. `python -m tests.planted` runs all of them."""

from __future__ import annotations

import pytest

from ..planted.plants import MAIL, PLANTS, Plant
from ..planted.trial import planted

SECONDS = 8.0
LONG = ("quota", "wbinvd")  # by the counters alone
SOME = [next(plant for plant in PLANTS if plant.rule == rule) for rule in ("rtc", "neighbour", *LONG)]


@pytest.mark.parametrize(
    "plant",
    [pytest.param(one, id=one.rule, marks=[pytest.mark.long] if one.rule in LONG else []) for one in SOME],
)
def test_the_right_cause_is_named_first_and_no_other(plant: Plant) -> None:
    trial = planted(plant, SECONDS)
    print(trial.row(), *(cause["text"] for cause in trial.causes), sep="\n")
    assert trial.right, trial.said


@pytest.mark.long
def test_without_a_problem_none_is_named() -> None:
    trial = planted(SOME[0], SECONDS, nothing=True)
    print(trial.said)
    assert trial.said["causes"] == [] and trial.status == 0
    assert not trial.right  # so it would not have passed as one with a problem
    assert any(look["seconds"] > 0 for look in trial.said["looks"]) and MAIL in str(trial.said)
