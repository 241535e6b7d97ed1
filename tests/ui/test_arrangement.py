"""The dashboard as a file has it, and the keys that change the file."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvmtop.commands.screen import _viewpoint
from kvmtop.config.file import Config
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed
from kvmtop.widgets.column_chooser import ColumnChooser
from kvmtop.widgets.table import Table

from ..support.dashboard import IO, Driver, small_host

FILE = """\
# mine
sort = "rate"
theme = "light"

[columns]
reasons = ["p99", "rate"]

[findings]
user = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


@contextlib.asynccontextmanager
async def started(config: Config, size: tuple[int, int] = (160, 48)) -> AsyncIterator[tuple[Driver, list[str]]]:
    host = small_host()
    feed = LiveFeed(host, interval=2)
    app = KvmtopApp(feed, _viewpoint(None, config), config=config)
    told: list[str] = []  # for ever, and not for some seconds
    app.notify = lambda message, **_: told.append(message)  # type: ignore[method-assign]
    feed.run = lambda deliver: False  # type: ignore[method-assign]
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, feed, pilot, host)
        await driver.tick()
        yield driver, told


def columns(driver: Driver, table: str = "reasons") -> list[str]:
    return [heading.key for heading in driver.table(table).headings]


async def test_it_begins_as_the_file_has_it(file: Path) -> None:
    async with started(Config.load(file)) as (driver, told):
        assert columns(driver) == ["reason", "p99", "rate"]
        assert driver.app.theme == "kvmtop-light" and driver.table().sorted == ("rate", True)
        assert driver.app.viewpoint.limits.user == 0.01
        assert not told


async def test_what_is_wrong_in_it_is_told_and_it_starts(file: Path) -> None:
    file.write_text("".join(f"wrong{n} = 1\n" for n in range(9)) + 'sort = "p99"\n')
    async with started(Config.load(file)) as (driver, told):
        assert driver.table().sorted[0] == "p99"
        assert len(told) == 4 and f"{file}: line 1: there is no setting 'wrong0'" in told[0]
        assert told[-1] == "kvmtop config tells all that is wrong there"


async def test_columns_are_shown_hidden_and_moved_at_once_and_kept_with_enter(file: Path) -> None:
    async with started(Config.load(file)) as (driver, told):
        await driver.press("o", "down", "space")  # p99 away
        assert columns(driver) == ["reason", "rate"]
        await driver.press("space", "greater_than_sign")  # and back, behind the rate
        assert columns(driver) == ["reason", "rate", "p99"]
        assert file.read_text() == FILE
        await driver.press("enter")
        await driver.until(lambda: file.read_text() != FILE)
        assert file.read_text() == FILE.replace('"p99", "rate"', '"reason", "rate", "p99"')
        await driver.until(lambda: bool(told))
        assert told == [f"kept in {file}: columns.reasons"]


async def test_escape_leaves_them_as_they_were(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        await driver.press("o", "down", "space", "d")
        assert "time" in columns(driver)
        await driver.press("escape")
        assert columns(driver) == ["reason", "p99", "rate"] and file.read_text() == FILE


async def test_order_interval_theme_and_idle_are_kept_too(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        await driver.press("N", "r", "i", "plus")
        driver.app.theme = "nord"
        await driver.press("o", "enter")
        await driver.until(lambda: file.read_text() != FILE)
    kept = tomllib.loads(file.read_text())
    before = tomllib.loads(FILE)
    assert kept == before | {"sort": "reason", "reverse": True, "idle": True, "interval": 5, "theme": "nord"}


async def test_nothing_changed_and_nothing_to_keep_it_in(file: Path) -> None:
    async with started(Config.load(file)) as (driver, told):
        await driver.press("o", "enter")
        await driver.until(lambda: told == ["nothing has been changed"])
    async with started(Config()) as (driver, told):
        await driver.press("o", "down", "space", "enter")
        await driver.until(lambda: bool(told))
        assert "until the end" in told[0] and "rate" not in columns(driver)


async def test_a_file_that_cannot_be_changed_is_told(file: Path) -> None:
    async with started(Config.load(file)) as (driver, told):
        file.write_text("sort = ")
        await driver.press("N", "o", "enter")
        await driver.until(lambda: bool(told))
        assert told[0].startswith(f"cannot change {file}: ") and file.read_text() == "sort = "


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)])
async def test_the_other_table_has_its_own(size: tuple[int, int], file: Path) -> None:
    async with started(Config.load(file), size) as (driver, _):
        await driver.press("o", "tab", "down", "down", "down", "space")
        chooser = driver.app.screen
        assert isinstance(chooser, ColumnChooser)
        assert str(chooser.query_one(Table).border_title) == "columns of the VMs"
        assert driver.app.viewpoint.columns["vms"] == ("name", "rate", "bar", "state", "trend")
        assert columns(driver, "vms")[:3] == ["name", "rate", "bar"]


async def test_closed_before_its_next_frame(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        await driver.press("o")
        chooser = driver.app.screen
        assert isinstance(chooser, ColumnChooser)
        await driver.press("escape")
        await driver.until(lambda: not chooser.is_attached)
        chooser._draw()  # as asked for by a resize or Tab before that
        assert driver.app.is_running


async def test_what_there_is_no_room_for_is_marked(file: Path) -> None:
    async with started(Config(), (60, 30)) as (driver, _):
        await driver.press("o")
        rows = {str(row.key): row for row in driver.app.screen.query_one(Table).rows}
        shown = {key for key, row in rows.items() if row.cells[0] == "■"}
        assert shown == set(columns(driver)) and rows["trend"].cells[0] == "□" and rows["share"].cells[0] == " "


async def test_a_click_turns_a_column_and_the_name_stays(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        await driver.press("o", "space")
        assert columns(driver)[0] == "reason"
        await driver.pilot.click("#columns", offset=(6, 3))
        await driver.pilot.pause()
        assert columns(driver) == ["reason", "rate"]
        await driver.press("o")
        assert not isinstance(driver.app.screen, ColumnChooser)


async def test_panes_are_hidden_and_shown_and_kept(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        assert driver.app.query_one("#lower").display and driver.app.query_one("#area").display
        await driver.press("o", "tab", "tab", "end", "space", "enter")
        assert not driver.app.query_one("#lower").display and driver.app.query_one("#area").display
        await driver.until(lambda: file.read_text() != FILE)
        assert Config.load(file).preferences.words("panes") == ("reasons", "vms", "time", "findings")
    async with started(Config.load(file)) as (driver, _):
        assert not driver.app.query_one("#lower").display
        await driver.press("o", "tab", "tab", "d")
        assert driver.app.query_one("#lower").display


async def test_the_vms_can_be_hidden_and_are_seen_in_place_of_the_reasons_then() -> None:
    async with started(Config()) as (driver, _):
        await driver.press("o", "tab", "tab", "down", "space", "enter")
        assert driver.table("reasons").size.width > 140 and not driver.table("vms").size.width
        await driver.press("2")
        assert driver.app.focused is driver.table("vms") and driver.table("vms").size.width > 140
        await driver.press("tab")
        assert driver.app.focused is driver.table("reasons") and not driver.table("vms").size.width


async def test_from_where_on_something_is_said_is_changed_on_the_screen_and_kept(file: Path) -> None:
    async with started(Config.load(file)) as (driver, _):
        driver.host.exits(4001, IO[1], 30_000_000, user=25_000_000)
        await driver.tick()
        assert "user space" in driver.text()  # from 1 % on, by the file
        await driver.press("o", "shift+tab", "full_stop", "full_stop")
        rows = {str(row.key): row for row in driver.app.screen.query_one(Table).rows}
        assert rows["user"].cells[0] == "3%" and rows["cause"].cells[0] == "5%" and rows["user"].mark
        assert driver.app.viewpoint.limits.user == pytest.approx(0.03)
        assert "user space" not in driver.text()  # at once
        await driver.press("escape")
        assert driver.app.viewpoint.limits.user == pytest.approx(0.01) and file.read_text() == FILE
        await driver.press("o", "shift+tab", "down", "comma", "space", "enter")
        await driver.until(lambda: file.read_text() != FILE)
        kept = tomllib.loads(file.read_text())["findings"]
        assert kept == {"user": 1, "blocked": 15}
    async with started(Config.load(file)) as (driver, _):
        await driver.press("o", "shift+tab", "d", "enter")
        await driver.until(lambda: Config.load(file).preferences.number("findings.blocked") == 20)


@pytest.mark.parametrize(("by", "end"), [(-1, "0%"), (1, "100%")])
async def test_a_bound_ends_where_the_file_would_refuse_it(by: int, end: str) -> None:
    async with started(Config()) as (driver, _):
        await driver.press("o", "shift+tab", *["comma" if by < 0 else "full_stop"] * 25)
        assert driver.app.screen.query_one(Table).rows[0].cells[0] == end
        await driver.press("end", *["comma" if by < 0 else "full_stop"] * 25)
        assert driver.app.screen.query_one(Table).rows[-1].cells[0] == end
