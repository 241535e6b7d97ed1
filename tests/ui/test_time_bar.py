"""The line that says where time goes, at any width."""

from __future__ import annotations

import re

import pytest

from kvmtop.model.vocabulary import STATES
from kvmtop.tables.states import GLYPHS
from kvmtop.widgets.time_bar import time_line

EVERY = dict(zip(STATES, (0.42, 0.045, 0.051, 0.296, 0.022, 0.04, 0.126), strict=True))
QUIET = dict(zip(STATES, (0.52, 0.0004, 0.0, 0.4796, 0.0, 0.0, 0.0), strict=True))
ITEM = re.compile(r" ([█▓▒░▞╳╱–]) ?([a-z]+) (\d+(?:\.\d)?%|–)")


def split(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The bar, and the legend's states: character, name, share."""
    found = re.fullmatch(rf"(\S*)((?:{ITEM.pattern} *)*)", text)
    assert found, text
    return found[1], ITEM.findall(found[2])


@pytest.mark.parametrize("shares", [EVERY, QUIET, {"guest": 1.0}, {"guest": 0.25}, None])
def test_no_word_is_cut_and_the_bar_stays(shares: dict[str, float] | None) -> None:
    for width in range(1, 240):
        text = time_line(shares, width).plain
        assert len(text) == width
        bar, legend = split(text)
        assert len(bar) >= min(width, 8)
        for glyph, name, _ in legend:
            assert glyph == GLYPHS.get(name, "–") and name in (*STATES, "unknown")
        order = [name for _, name, _ in legend]
        assert order == [state for state in (*STATES, "unknown") if state in order]


def names(shares: dict[str, float] | None, width: int) -> str:
    return " ".join(name for _, name, _ in split(time_line(shares, width).plain)[1])


def test_what_is_zero_leaves_the_legend_first_and_the_smallest_then() -> None:
    assert names(QUIET, 158) == "guest kernel user idle blocked wait throttled"
    assert names(QUIET, 118) == "guest kernel user idle blocked wait"
    assert names(QUIET, 78) == "guest kernel user idle blocked"
    assert names(EVERY, 118) == "guest kernel user idle blocked wait throttled"
    assert names(EVERY, 78) == "guest kernel user idle wait throttled"  # 2.2 % of blocked
    assert names({**QUIET, "guest": 0.5, "throttled": 0.02}, 78) == "guest kernel user idle throttled"
    assert names(EVERY, 38) == "guest idle"


def test_only_what_is_told_is_shown_and_the_rest_is_unknown() -> None:
    bar, legend = split(time_line({"guest": 0.25}, 78).plain)
    assert legend == [("█", "guest", "25%"), ("–", "unknown", "75%")]
    assert bar.strip("█") == "–" * round(0.75 * len(bar))
    told = {state: share for state, share in EVERY.items() if state != "throttled"} | {"wait": 0.166}
    assert names(told, 158) == "guest kernel user idle blocked wait"
    bar, legend = split(time_line(None, 158).plain)
    assert set(bar) == {"–"} and [share for _, _, share in legend] == ["–"] * 7
