"""Durations over time, two buckets a cell."""

from __future__ import annotations

import pytest

from kvmtop.tables.rows import Ticks
from kvmtop.widgets import theme
from kvmtop.widgets.canvas import Runs
from kvmtop.widgets.heatmap import heatmap, legend
from kvmtop.widgets.theme import _COLOURLESS, _DARK, _LIGHT, Palette

SCALE = Ticks([0, 4], ["10µs", "1ms"])


def text(line: Runs) -> str:
    return "".join(run for run, _ in line)


def test_the_newest_is_at_the_right_and_the_longest_on_top() -> None:
    drawn = heatmap([[1, 0, 0, 0], [0, 0, 0, 8]], SCALE, 20, 3, _DARK, "user", 5)
    assert [text(line)[-2:] for line in drawn] == [" ▀", "▄ ", "ow"]
    assert text(drawn[2]).split() == ["−10", "s", "now"]
    assert text(heatmap([[1]] * 50 + [[0]], SCALE, 20, 2, _DARK)[0])[-2:] == "▄ "


def test_both_buckets_of_a_cell_have_a_colour_and_more_is_brighter() -> None:
    drawn = heatmap([[1, 1000]], SCALE, 20, 2, _DARK, "user")
    (cell,) = (look for run, look in drawn[0] if "▄" in run)
    ramp = theme.ramp(_DARK, "user", 7)
    assert str(cell.color and cell.color.name) in ramp[:1] and str(cell.bgcolor and cell.bgcolor.name) == ramp[-1]


def test_buckets_are_merged_where_there_is_no_room() -> None:
    drawn = heatmap([[1] * 40], Ticks([0, 13, 26], ["10µs", "100µs", "1ms"]), 30, 6, _DARK)
    assert len(drawn) == 6 and [text(line).split()[0] for line in drawn if "s " in text(line)[:6]] == [
        "1ms",
        "100µs",
        "10µs",
    ]


@pytest.mark.parametrize("width", [4, 12, 80])
@pytest.mark.parametrize("height", [1, 2, 9])
def test_no_line_is_too_long(width: int, height: int) -> None:
    for colours in (_DARK, _COLOURLESS):
        drawn = heatmap([[n, 0, 1, 7] for n in range(100)], SCALE, width, height, colours)
        assert all(len(text(line)) <= width for line in drawn) and len(drawn) <= height
    assert not heatmap([], SCALE, width, height, _DARK)


def test_without_colour_denser_is_more() -> None:
    drawn = heatmap([[0, 1, 10, 100]], SCALE, 20, 5, _COLOURLESS)
    assert [text(line)[-1] for line in drawn[:4]] == ["█", "▓", "░", " "]
    assert text(legend(_COLOURLESS)) == "fewer  ░▒▓█ more".replace("  ", " ")


@pytest.mark.parametrize("colours", [_DARK, _LIGHT])
@pytest.mark.parametrize("state", ["kernel", "idle"])
def test_the_ramp_goes_from_the_ground_to_what_stands_out(colours: Palette, state: str) -> None:
    def far(colour: str) -> int:
        return sum(abs(int(colour[at : at + 2], 16) - int(colours.ground[at : at + 2], 16)) for at in (1, 3, 5))

    steps = [far(colour) for colour in theme.ramp(colours, state, 7)]
    assert steps[0] > 30 and steps[0] < steps[-1] and len({*steps}) == 7
