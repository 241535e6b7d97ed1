"""The line that says where time goes, at any width."""

from __future__ import annotations

import re

import pytest

from kvmtop.model.vocabulary import STATES
from kvmtop.tables.states import GLYPHS
from kvmtop.widgets.theme import _COLOURLESS, _DARK, Palette
from kvmtop.widgets.time_bar import bar, legend

EVERY = dict(zip(STATES, (0.42, 0.045, 0.051, 0.296, 0.022, 0.04, 0.126), strict=True))
QUIET = dict(zip(STATES, (0.52, 0.0004, 0.0, 0.4796, 0.0, 0.0, 0.0), strict=True))


def names(shares: dict[str, float] | None, width: int) -> list[str]:
    return re.findall(r"[a-z]+", legend(shares, width, _DARK).plain)


@pytest.mark.parametrize("colours", [_DARK, _COLOURLESS])
@pytest.mark.parametrize("shares", [EVERY, QUIET, {"guest": 1.0}, {"guest": 0.25}, {}, None])
def test_the_bar_is_as_wide_as_it_shall_be_and_no_word_is_cut(
    shares: dict[str, float] | None, colours: Palette
) -> None:
    for width in range(120):
        assert bar(shares, width, colours).cell_len == width
        assert legend(shares, width, colours).cell_len <= width
        found = names(shares, width)
        assert found == [state for state in GLYPHS if state in found]


def test_the_bar_is_right_to_an_eighth() -> None:
    text = bar({"guest": 0.55, "idle": 0.45}, 10, _DARK)
    assert text.plain == "█████▌████" + ""
    assert [str(span.style) for span in text.spans][5] == f"{_DARK.fill['guest']} on {_DARK.fill['idle']}"


def test_what_is_smallest_leaves_the_legend_first() -> None:
    assert names(EVERY, 158) == [*GLYPHS]
    assert names(EVERY, 78) == ["guest", "kernel", "user", "blocked", "idle", "wait", "throttled"]
    assert names(EVERY, 40) == ["guest", "idle", "throttled"]


def test_only_what_is_told_is_shown() -> None:
    assert names({"guest": 0.25}, 78) == ["guest"]
    assert bar({"guest": 0.25}, 8, _COLOURLESS).plain == "██––––––"
    assert legend(None, 158, _DARK).plain.count("–") == 7


def test_each_state_has_a_texture_without_colour() -> None:
    assert bar(dict.fromkeys(STATES, 1 / 7), 7, _COLOURLESS).plain == "".join(GLYPHS.values())
