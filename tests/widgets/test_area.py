"""The stacked area: what a column shows, and what surrounds it."""

from __future__ import annotations

import random

import pytest
from textual.app import ComposeResult

from kvmtop.model.vocabulary import STATES
from kvmtop.tables.states import GLYPHS
from kvmtop.widgets.area import STACK, WEIGHTS, Area, ColumnClicked, columns, ticks
from kvmtop.widgets.program import Program

from ..support.picture import lines

GUEST, KERNEL, USER, BLOCKED, IDLE, WAIT, THROTTLED, UNKNOWN = range(8)
QUIET = {"guest": 0.5, "idle": 0.5}


def test_the_stack_has_every_state_with_what_costs_nothing_below_what_is_taken_away() -> None:
    assert {*STACK} == {*STATES, ""}
    assert len(WEIGHTS) == len(STACK)
    assert STACK[0] == "guest" and STACK.index("idle") < STACK.index("wait") < STACK.index("throttled")


def test_two_states_share_a_cell_in_eighths() -> None:
    assert columns([{"guest": 0.25, "idle": 0.75}], 2) == [((4, GUEST, IDLE), (8, IDLE, IDLE))]
    assert columns([{"guest": 0.5, "wait": 0.5}], 2) == [((8, GUEST, GUEST), (8, WAIT, WAIT))]


def test_what_is_not_known_is_empty() -> None:
    assert columns([None, {"guest": 0.5}], 2) == [
        ((8, UNKNOWN, UNKNOWN),) * 2,
        ((8, GUEST, GUEST), (8, UNKNOWN, UNKNOWN)),
    ]


def test_of_three_states_those_two_are_drawn_that_have_most_eighths_by_weight() -> None:
    (one,) = columns([{"guest": 3 / 8, "kernel": 1 / 8, "idle": 0.5}], 1)
    assert one == ((3, GUEST, IDLE),)
    (one,) = columns([{"guest": 3 / 8, "idle": 3 / 8, "throttled": 2 / 8}], 1)
    assert one == ((3, GUEST, IDLE),)
    (one,) = columns([{"guest": 2 / 8, "idle": 3 / 8, "throttled": 3 / 8}], 1)
    assert one == ((5, IDLE, THROTTLED),)
    (one,) = columns([{"guest": 4 / 8, "idle": 2 / 8, "throttled": 2 / 8}], 1)
    assert one[0][1:] == (GUEST, THROTTLED)


def test_an_edge_keeps_the_pair_of_the_column_before_where_that_is_nearly_as_right() -> None:
    before = {"guest": 3 / 8, "kernel": 3 / 8, "idle": 2 / 8}
    now = {"guest": 3 / 8, "kernel": 2 / 8, "idle": 3 / 8}
    assert [cell[1:] for (cell,) in columns([now], 1)] == [(GUEST, IDLE)]
    assert [cell[1:] for (cell,) in columns([before, now], 1)] == [(GUEST, KERNEL)] * 2


@pytest.mark.parametrize("height", [1, 4, 7, 12])
def test_every_column_is_as_high_and_right_to_an_eighth_where_two_states_are_in_it(height: int) -> None:
    rnd = random.Random(height)
    for _ in range(200):
        guest = rnd.random()
        (one,) = columns([{"guest": guest, "throttled": 1 - guest}], height)
        drawn = sum(8 if cell[2] == GUEST else cell[0] if cell[1] == GUEST else 0 for cell in one)
        assert len(one) == height and abs(drawn - 8 * height * guest) <= 0.5
    parts = [rnd.random() for _ in STATES]
    (one,) = columns([dict(zip(STATES, (part / sum(parts) for part in parts), strict=True))], height)
    assert len(one) == height and all(0 < eighths <= 8 for eighths, _, _ in one)


def test_the_scale_of_time_has_round_steps_and_now() -> None:
    ages = [float(age) for age in range(135, -1, -1)]
    assert ticks(ages) == [(135, "now"), (105, "−0:30"), (75, "−1:00"), (45, "−1:30"), (15, "−2:00")]
    assert ticks([]) == []
    assert [words for _, words in ticks([float(age) for age in range(0, 9000, 60)][::-1])][-1] == "−2:00:00"


class Screen(Program):
    def __init__(self, area: Area) -> None:
        super().__init__()
        self.area, self.clicked = area, [0][:0]

    def compose(self) -> ComposeResult:
        yield self.area

    def on_column_clicked(self, event: ColumnClicked) -> None:
        self.clicked.append(event.index)


async def test_framed_it_says_how_far_back_it_goes_and_marks_where_findings_began() -> None:
    area = Area("Where the time goes")
    async with Screen(area).run_test(size=(80, 10)) as pilot:
        area.show([QUIET] * 100, [2.0] * 100)
        await pilot.pause()
        top, *_, foot = drawn = lines(pilot.app)
        assert top.startswith("╭─ Where the time goes ") and " last 1 min 54 s ─╮" in top
        area.show([QUIET] * 100, [2.0] * 100, [(99, "wait"), (0, "user")])
        await pilot.pause()
        top = lines(pilot.app)[0]
        assert [at for at, char in enumerate(top) if char == "▼"] == [77]  # that of 0 is not seen any more
        assert foot.endswith(" now ╯") and "−1:30" in foot
        assert "STATE" in drawn[1] and [state for state in GLYPHS if any(f" {state} " in line for line in drawn)]
        assert all(len(line) == 80 for line in drawn)
        assert drawn[8].split()[2:4] == ["guest", "50.0%"]


async def test_low_it_has_its_legend_in_two_columns_and_narrow_none() -> None:
    area = Area()
    async with Screen(area).run_test(size=(80, 5)) as pilot:
        area.show([QUIET] * 10, [1.0] * 10)
        await pilot.pause()
        assert "throttled" in lines(pilot.app)[0] and "user" in lines(pilot.app)[0]
        assert all(state in "".join(lines(pilot.app)) for state in GLYPHS)
        await pilot.resize_terminal(30, 5)
        await pilot.pause()
        assert "throttled" not in "".join(lines(pilot.app)) and "█" in "".join(lines(pilot.app))


async def test_a_click_says_which_interval_and_the_cursor_is_seen() -> None:
    area = Area()
    async with (app := Screen(area)).run_test(size=(80, 9)) as pilot:
        area.show([QUIET] * 10, [1.0] * 10, cursor=4)
        await pilot.pause()
        assert {line.index("┃") for line in lines(app)[:8]} == {74}
        for x in (60, 70, 74, 79):  # the first is left of what there is
            await pilot.click(Area, offset=(x, 3))
        await pilot.pause()
        assert app.clicked == [0, 4, 9]


async def test_without_colour_each_state_has_a_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    area = Area()
    async with Screen(area).run_test(size=(80, 15)) as pilot:
        area.show([dict.fromkeys(STATES, 1 / 7)] * 10, [1.0] * 10)
        await pilot.pause()
        assert [line[75] for line in lines(pilot.app)[:14]] == [*"╱╱╳╳░░··▒▒▓▓██"]
        assert not any(
            segment.style and (segment.style.color or segment.style.bgcolor)
            for strip in pilot.app.screen._compositor.render_strips()
            for segment in pilot.app.get_line_filters()[0].apply(list(strip), pilot.app.screen.background_colors[1])
        )
