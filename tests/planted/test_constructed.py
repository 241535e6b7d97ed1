"""What no emulated host can show: each rule by an interval that is made up."""

from __future__ import annotations

import pytest

from kvmtop.insight.rules import BY_NAME

from .constructed import CONSTRUCTED, Constructed, Made
from .plants import PLANTS
from .trial import constructed


@pytest.mark.parametrize("one", [pytest.param(one, id=one.rule) for one in CONSTRUCTED])
def test_the_right_cause_comes_first_and_nothing_else_is_claimed(one: Constructed) -> None:
    trial = constructed(one)
    assert (trial.rank, trial.others, trial.right) == (1, [], True)


def test_without_a_problem_nothing_is_claimed() -> None:
    assert Made().causes() == []


def test_each_rule_has_a_problem_to_find() -> None:
    assert {one.rule for one in PLANTS} | {one.rule for one in CONSTRUCTED} == BY_NAME.keys()
