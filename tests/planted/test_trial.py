"""What is thought of an answer: the right cause first, of the right VM, and no false one."""

from __future__ import annotations

from typing import Any

import pytest

from .plants import BATCH, MAIL, SHOP
from .trial import Trial

QUOTA = ("quota", SHOP, 0.8)


def trial(*causes: tuple[str, str | None, float | None], rule: str = "quota", status: int = 3) -> Trial:
    said: dict[str, Any] = {"causes": [{"rule": name, "vm": vm, "cost": cost} for name, vm, cost in causes]}
    return Trial(rule, "what", {"kvm"}, said, status, 20.0)


@pytest.mark.parametrize(
    ("one", "rank", "right"),
    [
        (trial(QUOTA), 1, True),
        (trial(QUOTA, ("kvm", SHOP, 0.1)), 1, True),  # it is true as well
        (trial(("kvm", SHOP, 0.9), QUOTA), 2, False),
        (trial(QUOTA, ("spins", SHOP, None)), 1, False),
        (trial(QUOTA, ("quota", MAIL, 0.1)), 1, False),
        (trial(QUOTA, ("lost", None, 0.0)), 1, False),
        (trial(("quota", MAIL, 0.8)), None, False),
        (trial(status=0), None, False),
        (trial(QUOTA, status=0), 1, False),  # the exit status must say so, too
        (trial(("quota", BATCH, 0.9), QUOTA), 1, True),  # those two do it to each other
        (trial(rule="", status=0), None, True),
        (trial(("ticks", SHOP, None), rule=""), None, False),
    ],
)
def test_only_the_right_cause_first_and_no_false_one_is_right(one: Trial, rank: int | None, right: bool) -> None:
    assert (one.rank, one.right) == (rank, right)


def test_what_is_of_two_vms_and_told_of_the_other_one_is_right_as_well() -> None:
    one = trial(("same-cpu", BATCH, 0.5), rule="same-cpu")
    assert not one.right
    one.said["causes"][0]["other"] = {"vm": SHOP, "pid": 7}
    assert one.right and one.row().split()[2:5] == ["yes", "1", "50.0%"]


def test_a_row_of_the_table() -> None:
    row = trial(QUOTA, ("kvm", SHOP, 0.1), ("vmm", MAIL, None)).row()
    assert row.split()[:6] == ["quota", "what", "yes", "1", "80.0%", "20"]
    assert row.endswith("  kvm of shop01, FALSE vmm of mail01")
    row = trial(status=-6).row()
    assert row.split() == ["quota", "what", "NO", "-", "-", "20", "(status", "-6)"]
