from __future__ import annotations

import pytest

from kvmtop.model.vocabulary import STATES
from kvmtop.reference.word_texts import IN_SHORT
from kvmtop.tables.states import GLYPHS, UNKNOWN, bar, shares_of


def test_each_state_has_a_character_of_its_own_and_a_meaning() -> None:
    assert {*GLYPHS} == {*IN_SHORT} == {*STATES}
    assert len(set(GLYPHS.values())) == len(STATES)


@pytest.mark.parametrize("width", [1, 7, 8, 80])
def test_a_bar_is_as_wide_as_it_shall_be(width: int) -> None:
    for shares in (None, {}, {"guest": 1.0}, dict.fromkeys(STATES, 1 / 7), {"guest": 0.3, "wait": 0.699999}):
        assert len("".join(run for run, _ in bar(shares, width))) == width
    assert bar({"guest": 1.0}, 0) == []


def test_a_bar_has_the_states_in_order_and_what_is_not_known() -> None:
    every = {state: 1 / 7 for state in STATES}
    assert "".join(run for run, _ in bar(every, 14)) == "██▓▓▒▒··░░╳╳╱╱"
    assert [state for _, state in bar(every, 14)] == list(GLYPHS)
    assert bar({"guest": 0.25, "throttled": 0.25}, 4) == [("█", "guest"), ("╱", "throttled"), ("––", UNKNOWN)]
    assert bar(None, 3) == [("–––", UNKNOWN)]


def drawn(shares: dict[str, float], width: int, length: float = 1.0) -> str:
    return "".join(run for run, _ in bar(shares, width, length))


def test_what_has_three_percent_has_a_cell_as_long_as_there_are_cells() -> None:
    assert drawn({"guest": 0.94, "wait": 0.03, "throttled": 0.03}, 10) == "████████╳╱"
    assert drawn({"guest": 0.98, "wait": 0.02}, 10) == "██████████"
    assert drawn({"guest": 0.3, "kernel": 0.3, "user": 0.25, "wait": 0.1, "throttled": 0.05}, 3) == "█▓▒"


def test_the_largest_remainders_have_what_is_left() -> None:
    assert drawn({"guest": 0.46, "idle": 0.54}, 10) == "█████░░░░░"
    assert drawn({"guest": 0.44, "idle": 0.56}, 10) == "████░░░░░░"


def test_a_bar_may_be_shorter_but_what_is_there_at_all_is_seen() -> None:
    assert drawn({"kernel": 1.0}, 8, 0.5) == "▓▓▓▓"
    assert drawn({"kernel": 1.0}, 8, 0.001) == "▓"
    assert drawn({"kernel": 1.0}, 8, 0.0) == ""


def test_shares() -> None:
    assert shares_of({"kernel": 30, "wait": 10}, 40) == {"kernel": 0.75, "wait": 0.25}
    assert shares_of({"kernel": 0}, 0) is None
