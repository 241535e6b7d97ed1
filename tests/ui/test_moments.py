"""The player over a store: moments, gaps, and the whole span in its line."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from kvmtop.recording import open_segments
from kvmtop.recording.store import Store
from kvmtop.recording.thinning import thin
from kvmtop.widgets.moment_field import MomentField
from kvmtop.widgets.timeline import Timeline

from ..support import player
from ..support.player import Driver
from ..support.stores import BEGAN, Dated, berlin, broken_off, write  # noqa: F401


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 s, 70 s of nothing, 10 s of another run."""
    folder = tmp_path_factory.mktemp("store")
    broken_off(folder)
    return folder


def driving(folder: Path, start: int = 1, size: tuple[int, int] = (120, 36)) -> AbstractAsyncContextManager[Driver]:
    return player.driving(Store(folder), start, size)


async def test_it_begins_where_it_shall(folder: Path) -> None:
    async with driving(folder, 12) as d:
        await d.until(lambda: "07:00:13 CET" in d.text())
        assert d.shown() == 12 and d.feed.paused


async def test_how_long_an_interval_of_a_thinned_store_is(tmp_path: Path) -> None:
    write(tmp_path, Dated(), [40])
    async with driving(tmp_path, 5) as d:
        await d.until(lambda: "CET 0:00:06" in d.text())
        assert "interval" not in d.text().splitlines()[0]
    (path,) = tmp_path.glob("*.kvmtop")
    for _ in thin(path, 10, 10**7):
        pass
    async with driving(tmp_path, 2) as d:
        await d.until(lambda: "interval 10 s" in d.text().splitlines()[0])


async def test_a_moment_is_asked_for(folder: Path) -> None:
    async with driving(folder) as d:
        for text, n, shown in (
            ("07:00:25", 24, "07:00:25 CET 0:00:25"),
            ("-2s", 37, "07:01:48 CET 0:01:48"),
            ("2026-11-24T06:00:03Z", 2, "07:00:03 CET 0:00:03"),
        ):
            await d.go(text)
            await d.until(lambda n=n, shown=shown: d.shown() == n and shown in d.text())  # type: ignore[misc]
            assert not d.app.query_one(MomentField).has_class("-on")
        for text, words in (("12:00", "is not in"), ("noon", "is no moment")):
            await d.go(text)
            await d.until(lambda words=words: any(words in one.message for one in d.app._notifications))  # type: ignore[misc]
            assert d.app.query_one(MomentField).has_class("-on")  # to be corrected
            await d.pilot.press("escape")
            await d.until(lambda: not d.app.query_one(MomentField).has_class("-on"))
        assert d.shown() == 2


async def test_between_two_runs_it_says_that_nothing_was_recorded(folder: Path) -> None:
    async with driving(folder, size=(140, 36)) as d:
        words = "nothing was recorded from Tue 24 Nov 07:00:30 CET to Tue 24 Nov 07:01:40 CET"
        await d.go("07:01:00")  # in the gap: what came next
        await d.until(lambda: d.shown() == 30 and words in d.text())
        assert d.app.shown and len(d.app.shown.session.history) == 1 and d.app.shown.interval.seconds == 1
        await d.pilot.press("left")
        await d.until(lambda: d.shown() == 29 and words not in d.text())
        await d.pilot.press("right")
        await d.until(lambda: d.shown() == 30)
        assert d.app.shown.interval.before is None  # it counts anew
        await d.pilot.press("right")
        await d.until(lambda: d.shown() == 31)
        assert len(d.app.shown.session.history) == 2
        bars = d.app.query_one(Timeline)._bars
        gap = bars[int(len(bars) * 0.32) : int(len(bars) * 0.88)]
        assert not gap.strip() and max(bars[: len(bars) // 4]) >= "\u2840"


async def test_playing_leaves_the_gap_out(folder: Path) -> None:
    async with driving(folder, 28) as d:
        for _ in range(9):
            await d.pilot.press("right_square_bracket")
        await d.pilot.press("space")
        await d.until(lambda: d.shown() == 39 and d.feed.paused)


async def test_a_segment_that_is_dropped_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, Dated(), [10, 10, 10, 10])
    monkeypatch.setattr(open_segments, "MOST_OPEN", 1)
    async with driving(tmp_path, 35, size=(160, 48)) as d:
        for path in sorted(tmp_path.iterdir())[:2]:
            path.unlink()
        await d.pilot.press("0")
        await d.until(lambda: d.shown() == 21 and "has dropped it" in d.text())
