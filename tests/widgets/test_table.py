"""How rows are drawn: the cursor, units, bars, trends, the foot."""

from __future__ import annotations

import pytest
from rich.style import Style
from textual.app import ComposeResult

from kvmtop.tables.rows import Heading, Row
from kvmtop.tables.states import bar
from kvmtop.tables.text import shortened
from kvmtop.widgets.program import Program
from kvmtop.widgets.table import Table
from kvmtop.widgets.theme import dress, palette

HEADINGS = [
    Heading("name", "NAME", 8, True),
    Heading("time", "TIME/S", 8),
    Heading("where", "WHERE", 8, True),
    Heading("trend", "TREND", 4, trend=True),
]
FOOT = [Row("foot", ["in all", "1.29s", "", ""])]


def rows(number: int) -> list[Row]:
    where = bar({"kernel": 0.5, "wait": 0.5}, 8)
    return [Row(at, [f"row {at}", "572ms", where, "⢀⣿"], dim=at == 1) for at in range(number)]


class Screen(Program):
    def compose(self) -> ComposeResult:
        yield Table(id="one")
        yield Table(id="two")

    def on_mount(self) -> None:
        super().on_mount()
        dress(self)
        self.query_one("#one").focus()

    @property
    def one(self) -> Table:
        return self.query_one("#one", Table)

    def look(self, y: int, text: str, table: str = "one") -> Style:
        """How a text in a line is drawn."""
        strip = self.query_one(f"#{table}", Table).render_line(y)
        at = strip.text.index(text)
        (segment, *_) = strip.crop(at, at + 1)
        assert segment.style
        return segment.style

    def colour(self, y: int, text: str) -> str:
        found = self.look(y, text).color
        assert found
        return found.name


@pytest.fixture
def truecolor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.mark.usefixtures("truecolor")
async def test_colours_say_what_is_what() -> None:
    async with (app := Screen()).run_test(size=(40, 20)) as pilot:
        app.one.show(HEADINGS, rows(4), ("time", True))
        await pilot.pause()
        colours = palette(app)
        assert app.colour(0, "TIME/S▼") == colours.accent and app.colour(0, "WHERE") == colours.label
        assert app.colour(1, "▎") == colours.accent and app.colour(1, "row 0") == colours.strong
        assert (app.colour(3, "row 2"), app.colour(3, "572"), app.colour(3, "ms")) == (
            colours.text,
            colours.text,
            colours.label,
        )
        assert app.colour(2, "row 1") == app.colour(2, "ms") == app.colour(2, "⢀⣿") == colours.faint
        assert app.colour(3, "▆▆▆▆") == colours.fill["kernel"]
        assert app.colour(3, "⢀") == colours.trend_low and app.colour(3, "⣿") == colours.trend_high


@pytest.mark.parametrize("plain", [False, True])
async def test_the_cursor_is_seen_with_and_without_colour_and_keys(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    async with (app := Screen()).run_test(size=(40, 20)) as pilot:
        for table in app.query(Table):
            table.show(HEADINGS, rows(4))
        await pilot.press("down")
        for name, at in (("one", 2), ("two", 1)):
            assert [y for y in range(1, 5) if "▎" in app.query_one(f"#{name}", Table).render_line(y).text] == [at]
        if plain:
            assert app.look(2, "row 1").reverse and app.look(2, "572").reverse
            assert not app.look(2, "▓▓▓▓").reverse and not app.look(2, "▎").reverse


async def test_the_foot_stays_and_takes_no_row_where_there_is_no_room() -> None:
    async with (app := Screen()).run_test(size=(40, 20)) as pilot:
        app.one.show(HEADINGS, rows(30), foot=FOOT)
        await pilot.pause()
        assert "in all" in app.one.render_line(9).text
        await pilot.press("end")
        assert "row 29" in app.one.render_line(8).text and "in all" in app.one.render_line(9).text
        await pilot.resize_terminal(40, 8)
        await pilot.pause()
        assert "in all" not in "".join(app.one.render_line(y).text for y in range(4))


async def test_words_about_a_state_have_its_tone_and_are_cut_to_their_column() -> None:
    async with (app := Screen()).run_test(size=(40, 20)) as pilot:
        words = Row("one", ["web01", [("31.2ms", "wait")], [("throttled", "throttled"), (" 41ms", "")], ""])
        app.one.show(HEADINGS, [rows(1)[0], words])
        await pilot.pause()
        assert app.colour(2, "31.2ms") == palette(app).tone["wait"]
        assert app.colour(2, "throttl…") == palette(app).tone["throttled"]
        assert {app.one.render_line(y).cell_length for y in range(10)} == {40}
        assert app.one.room == 38


async def test_a_click_on_a_head_beside_the_mark_sorts() -> None:
    async with (app := Screen()).run_test(size=(40, 20)) as pilot:
        app.one.show(HEADINGS, rows(3))
        await pilot.pause()
        assert [app.one._heading_at(x) for x in (1, 8, 11, 30)] == ["name", "name", "time", "trend"]


@pytest.mark.parametrize(
    ("width", "cut"),
    [(21, "share of all the…"), (22, "share of all the exits"), (16, "share of all…"), (3, "sh…")],
)
def test_text_is_cut_between_words(width: int, cut: str) -> None:
    assert shortened("share of all the exits", width) == cut
