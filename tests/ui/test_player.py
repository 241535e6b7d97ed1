"""The dashboard over a recording, driven by keys and mouse."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import shutil
import sqlite3
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.binding import Binding

from kvmtop.commands.demo import FOLDER
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.reasons import HLT
from kvmtop.model.scope import ALL
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import SVM, DetailRequest
from kvmtop.recording.format import MOST_TIME, base
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.tables.states import GLYPHS
from kvmtop.ui import replay_feed
from kvmtop.ui.app import KvmtopApp, Tick
from kvmtop.ui.feed import POINTS
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed, handy
from kvmtop.widgets.help import Help
from kvmtop.widgets.scheduler_page import SchedulerPage
from kvmtop.widgets.slow_page import NOT_LOOKED
from kvmtop.widgets.table import Table
from kvmtop.widgets.timeline import Timeline

from ..support import player
from ..support.culprits import Culprits
from ..support.dashboard import IO
from ..support.fake import SECOND, Busy
from ..support.fleet import Fleet
from ..support.player import Driver
from ..support.watched import Watched

SAMPLES = 200
NPF = SVM, 0x400


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("player") / "run.kvmtop"
    host = Busy()
    recorder = Recorder(host, path, "a made-up host")
    for turn in range(SAMPLES):
        if turn == 100:
            host.end(4100)
        recorder.read()
    recorder.close()
    return path


class Clock:
    """The player's time, which passes when a test says so; a busy machine shows no sample too late."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(replay_feed, "time", clock)
    return clock


def driving(file: Path, size: tuple[int, int] = (120, 40)) -> AbstractAsyncContextManager[Driver]:
    return player.driving(Recording(file), size=size)


def at(d: Driver, n: int) -> bool:
    return d.shown() == n


def near(d: Driver, part: float) -> bool:
    return abs(d.shown() - part * SAMPLES) < 4


def full(d: Driver, n: int) -> bool:
    assert d.app.shown
    return len(d.app.shown.session.history) >= min(n + 1, POINTS)


async def test_it_says_that_it_is_a_recording_and_what_of(file: Path, clock: Clock) -> None:
    for size in ((80, 24), (120, 40), (160, 48)):
        async with driving(file, size) as d:
            assert d.lines()[0].startswith(" kvmtop  RECORDING of a made-up host ")
            assert d.lines()[-2].endswith("0:03:20") and re.search(r" 0:00:0\d ", d.lines()[-2])
            assert re.search("[\u2801-\u28ff]{20}", d.lines()[-2])  # how much when


class Stepped(Busy):
    """Somebody sets the host's clock six hours on after the third reading."""

    def read(self) -> Snapshot:
        snapshot = super().read()
        turn = (snapshot.time_ns - snapshot.start_ns) // SECOND
        return replace(snapshot, wall_ns=(1_800_000_000 + turn + (6 * 3600 if turn > 3 else 0)) * SECOND)


async def test_the_clock_is_the_hosts_as_it_was(tmp_path: Path, clock: Clock) -> None:
    recorder = Recorder(Stepped(), tmp_path / "run")
    for _ in range(6):
        recorder.read()
    recorder.close()
    async with driving(tmp_path / "run") as d:
        await d.press("0")
        for n in range(6):
            await d.until(functools.partial(at, d, n))
            assert d.app.shown
            wall = 1_800_000_001 + n + (6 * 3600 if n > 2 else 0)
            assert time.strftime(" %H:%M:%S ", time.localtime(wall)) in d.lines()[-2]
            await d.press("right")


async def test_an_old_recording_says_what_it_does_not_know(clock: Clock) -> None:
    old = Path(__file__).parents[1] / "data" / "recordings" / "format1.kvmtop"
    async with driving(old, (160, 48)) as d:
        await d.press("space", "right")
        await d.until(functools.partial(at, d, 1))
        states = dict(line.split()[2:4] for line in d.lines()[3:10])
        assert list(states) == [*reversed(GLYPHS)]
        assert re.fullmatch(r"\d\d\.\d%", states.pop("guest")) and set(states.values()) == {"–"}
        table = d.app.query_one("#reasons", Table)
        keys = [heading.key for heading in table.headings]
        cells = {str(row.cells[0]): dict(zip(keys, row.cells, strict=True)) for row in table.rows}
        assert {(one["user"], one["where"]) for one in cells.values()} == {("–", "–")}
        assert cells["hlt idle"]["time_share"] == "–"  # halts are known by their code


async def test_rows_of_another_moment_are_in_their_order_at_once(clock: Clock) -> None:
    async with driving(FOLDER / "amd.kvmtop") as d:
        await d.press("space")
        for key in ("right_curly_bracket", "right_curly_bracket", "right", "left_curly_bracket", "dollar_sign"):
            await d.press(key)  # again and again: rows stay where they are while keys are pressed
            await asyncio.sleep(0.05)
            await d.until(lambda: d.shown() == d.feed.at and d.feed._goto is None)
            assert d.app.shown
            lines = d.app.shown.session.lines(d.app.shown.interval)
            by_time = {line.reason.key: line.reason.own for line in lines}
            times = [by_time[row.key] for row in d.app.query_one("#reasons", Table).rows if row.key not in HLT]  # type: ignore[index]
            assert times == sorted(times, reverse=True) and len(times) > 5


async def test_it_plays_in_its_own_time(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        assert d.shown() == 0 and not d.feed.paused
        for seconds, shown in ((1.99, 1), (0.02, 2), (1.98, 3), (0.02, 4)):
            clock.now += seconds  # it looks at its clock by itself
            await d.until(functools.partial(at, d, shown))


async def test_it_is_never_ahead_of_its_time(file: Path) -> None:
    start = time.monotonic()
    async with driving(file) as d:
        await d.until(lambda: d.shown() >= 2)
        assert time.monotonic() - start > 1.99


async def test_speed(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space", *["right_square_bracket"] * 9, "0")
        assert d.feed.speed == 60 and "60× · PAUSED" in d.lines()[0]
        await d.until(lambda: d.shown() == 0)
        await d.press("space")
        first = await under_way(d, clock)
        clock.now += 2
        await d.until(lambda: d.shown() == first + 120)
        await d.press(*["left_square_bracket"] * 9)
        assert d.feed.speed == 1


async def under_way(d: Driver, clock: Clock) -> int:
    """Let time pass until it plays, which it does once its thread has seen the key; the first sample that it shows."""
    end = time.monotonic() + 30
    while not d.shown():
        assert time.monotonic() < end
        clock.now += 0.01
        await asyncio.sleep(0.02)
    await d.until(lambda: d.shown() == d.feed.at)
    return d.shown()


async def test_step_and_pause(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space")
        assert d.feed.paused and "PAUSED" in d.lines()[0]
        clock.now += 5
        await d.press("right", "right", "right", "left")
        await d.until(lambda: d.shown() == 2)
        await asyncio.sleep(0.1)
        assert d.shown() == 2
        await d.press("left", "left", "left")
        await d.until(lambda: d.shown() == 0)
        await d.press("space")
        assert await under_way(d, clock) == 1  # a second later, not at once what the pause lasted


async def test_a_pause_does_not_count_as_time_played(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space")
        clock.now += 5
        await d.press("space")
        assert await under_way(d, clock) == 1


async def test_seek(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space", "right_curly_bracket", "shift+right")
        await d.until(lambda: d.shown() == 20)
        await d.press("shift+left")
        await d.until(lambda: d.shown() == 10)
        await d.press("dollar_sign")
        await d.until(lambda: d.shown() == SAMPLES - 1)
        await d.press("0")
        await d.until(lambda: d.shown() == 0)


def test_a_long_way_ends_where_little_must_be_unpacked() -> None:
    assert [handy(n, 200) for n in (0, 77, 199)] == [0, 77, 199]
    assert [handy(n, 4000) for n in (0, 77, 95, 96, 3998, 3999)] == [0, 65, 65, 65, 3969, 3999]
    assert all(base(handy(n, 4000)) == handy(n, 4000) - 1 for n in range(1, 3999))


async def test_a_click_on_the_timeline(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space")
        d.app.marking.stop()  # what is said of marks moves the bars
        d.app.marking._thread.join()
        await d.pilot.pause()
        line = d.app.query_one(Timeline)
        for part in (0.5, 0.9, 0.1):
            start, width = 1 + len(line._left) + 1, len(line._bars)
            assert width > 60
            await d.pilot.click(Timeline, offset=(start + int(part * width), 0))
            await d.until(functools.partial(near, d, part))


async def test_wherever_one_goes_the_figures_and_their_history_are_those_of_a_live_run(
    file: Path, clock: Clock
) -> None:
    recording, live = Recording(file), Session()
    expected = []
    for snapshot in recording:
        interval = live.add(snapshot)
        expected.append([(r.key, r.count, r.time, r.hist) for r in by_reason(interval)])
    history = {sample.time_ns: sample for sample in live.history}
    async with driving(file) as d:
        await d.press("space")
        for key in ("dollar_sign", "left", "left", "shift+left", "right", "0", "shift+right", "shift+right", "left"):
            await d.press(key)
            await asyncio.sleep(0.05)
            await d.until(lambda: d.shown() == d.feed.at and d.feed._goto is None)
            n = d.shown()
            assert d.app.shown
            assert [(r.key, r.count, r.time, r.hist) for r in by_reason(d.app.shown.interval)] == expected[n]
            await d.until(functools.partial(full, d, n))
            samples = list(d.app.shown.session.history)
            assert [s.time_ns for s in samples] == sorted(history)[n + 1 - len(samples) : n + 1]
            for sample in samples:
                assert (sample.counts == history[sample.time_ns].counts).all()
                assert (sample.times == history[sample.time_ns].times).all()


async def test_at_the_end_it_stops_and_space_begins_anew(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("dollar_sign")
        await d.until(lambda: d.feed.paused)
        assert d.shown() == SAMPLES - 1
        await d.press("space")
        await d.until(lambda: d.shown() == 0)
        assert not d.feed.paused


async def test_all_views_and_filters_work_in_it(file: Path, clock: Clock) -> None:
    async with driving(file) as d:
        await d.press("space", "dollar_sign")
        await d.until(lambda: d.shown() == SAMPLES - 1)
        assert any("ended" in line for line in d.lines())  # db01
        await d.press("slash", "m", "s", "r", "left", "x")  # in the filter's field an arrow moves
        assert d.app.viewpoint.filters["reasons"] == "msxr" and d.shown() == SAMPLES - 1
        await d.press("escape", "2", "enter")
        assert d.app.viewpoint.scope.pid is not None
        await d.press("left")
        await d.until(lambda: d.shown() == SAMPLES - 2)
        await d.press("1", "enter")
        assert d.app.viewpoint.reason is not None
        text = "\n".join(d.lines())
        assert "nobody looked at this moment" in text and "How long they last" in text and "attached" not in text
        await d.press("left")
        await d.until(lambda: d.shown() == SAMPLES - 3)
        await d.press("z", "t")
        await d.pilot.pause()


async def test_the_scheduler_page_of_a_recording(tmp_path: Path, clock: Clock) -> None:
    """What was seen while somebody looked, and what needs no probe while nobody did."""
    host, file = Culprits(), tmp_path / "run.kvmtop"
    recorder = Recorder(host, file, "a made-up host")
    for turn in range(3):
        host.look(DetailRequest(sched=0) if turn == 2 else None)
        host.now += SECOND
        recorder.read()
    recorder.close()
    for size in ((80, 24), (120, 40)):
        async with driving(file, size) as d:
            await d.press("space", "dollar_sign")
            await d.until(lambda: d.shown() == 2)
            await d.press("S", "m")
            await d.until(lambda: "waited" in "\n".join(d.lines()))
            page = d.app.query_one(SchedulerPage)
            text = " ".join(" ".join(d.lines()).split())
            assert "all vCPUs together waited 760ms/s for a CPU" in text and "attached" not in text
            assert "Nobody looked at the scheduler" not in text and "S tells who" not in text
            assert page.table("culprits").rows
            assert [row.cells[0] for row in page.table("vcpus").rows][:1] == [" vCPU 1 of db02"]
            assert "IO iothread1" in [cell for row in page.table("others").rows for cell in row.cells]
            await d.press("left")
            await d.until(lambda: d.shown() == 1)
            assert "Nobody looked at the scheduler at this moment" in " ".join(" ".join(d.lines()).split())
            assert not page.table("culprits").rows and page.table("vcpus").rows
            await d.press("escape")
            assert not d.app.viewpoint.on_page


async def test_its_keys_are_in_the_help_and_clash_with_none(file: Path) -> None:
    async with driving(file) as d:
        await d.press("space", "question_mark")
        assert isinstance(d.app.screen, Help)
        at = d.feed.at
        await d.press("right")
        assert d.feed.at == at
        text = " ".join(key for keys in d.app.screen._keys.values() for key, _ in keys)
        assert "[" in text and "←" in text and "+" not in text.split()
    own: set[str] = set()
    for binding in Player.BINDINGS:
        assert isinstance(binding, Binding)
        keys = set(binding.key.split(","))
        assert keys & own <= {"N"}  # by name; on a reason's page the one before
        own |= keys
    live = {key for b in KvmtopApp.BINDINGS if isinstance(b, Binding) for key in b.key.split(",")}
    assert live - own == {"plus", "equals_sign", "minus", "D"}
    assert {b.action for b in Player.BINDINGS if isinstance(b, Binding) and "m" in b.key.split(",")} == {"mark"}


async def test_where_nobody_looked_it_says_so(tmp_path: Path) -> None:
    host = Culprits()
    recorder = Recorder(host, tmp_path / "run")
    for _ in range(3):
        host.now += SECOND
        host.exits(4001, IO[1], 40_000)
        recorder.read()
    recorder.close()
    async with driving(tmp_path / "run", (80, 24)) as d:
        await d.press("space", "dollar_sign")
        await d.until(functools.partial(at, d, 2))
        await d.press("x")
        assert "nobody looked at this moment" in "\n".join(d.lines())
        await d.press("4")
        assert not d.app.viewpoint.on_page
        await d.pilot.resize_terminal(160, 48)
        await d.press("1")
        text = "\n".join(d.lines())
        assert "What it means" in text and "tells, in half a second" not in text
        await d.press("2", "home", "down", "down")
        text = "\n".join(d.lines())
        assert "nobody looked for slow exits" in text and "x tells" not in text
        assert "Waited 76.0%" in text and "S tells" not in text


async def test_pages_show_what_was_looked_at_at_each_moment(tmp_path: Path) -> None:
    """At one reason alone, at all, and at none."""
    host = Watched()
    recorder = Recorder(host, tmp_path / "run")
    for turn in range(4):
        if turn == 0:
            host.look_at(NPF)
        if turn == 2:
            host.look_at()
        if turn == 3:
            host.look_away()
        recorder.read()
    recorder.close()
    async with driving(tmp_path / "run", (160, 48)) as d:
        await d.press("space", "0")
        await d.until(functools.partial(at, d, 0))
        d.app.go(ALL, NPF)
        for shown, words, absent in (
            (1, ("userfaultfd", "page 0x"), "of all exits"),
            (2, ("userfaultfd", "of all exits", "port 0x70"), NOT_LOOKED),
            (3, (NOT_LOOKED,), "userfaultfd"),
        ):
            await d.press("right")
            await d.until(functools.partial(at, d, shown))
            await d.pilot.pause()
            text = "\n".join(d.lines())
            assert all(word in text for word in words) and absent not in text, text
        await d.press("x")
        assert NOT_LOOKED in "\n".join(d.lines())
        await d.press("left")
        await d.until(functools.partial(at, d, 2))
        await d.pilot.pause()
        assert len(d.app.query_one("#slow-interval", Table).rows) == 8


async def test_the_interval_keys_of_a_live_run_do_nothing(file: Path) -> None:
    async with driving(file) as d:
        await d.press("plus", "minus", "equals_sign")
        assert d.feed.pace == "1×"


async def test_a_damaged_sample_ends_it_with_a_sentence(file: Path, tmp_path: Path, clock: Clock) -> None:
    bad = tmp_path / "bad"
    shutil.copy(file, bad)
    with contextlib.closing(sqlite3.connect(bad)) as database:
        database.execute("DELETE FROM frames WHERE sample = 150")
        database.commit()
    app = Player(ReplayFeed(Recording(bad)))
    async with app.run_test() as pilot:
        await pilot.pause()
        for _ in range(15):
            await pilot.press("shift+right")
        for _ in range(1000):
            if app.failure:
                break
            await asyncio.sleep(0.02)
    assert app.failure and "frame 150 is missing" in str(app.failure)


async def test_where_samples_take_longer_than_they_last_some_are_shown_as_one(tmp_path: Path) -> None:
    fleet, path = Fleet(100), tmp_path / "large"
    recorder = Recorder(fleet, path)
    last = [recorder.read() for _ in range(130)][-1]
    recorder.close()
    async with driving(path) as d:
        await d.press(*["right_square_bracket"] * 9)
        await d.until(lambda: d.shown() == 129)
        assert d.feed.paused
        assert d.app.shown
        total = sum(int(sample.counts.sum()) for sample in d.app.shown.session.history)
        assert total == int(last.cells["count"].sum())  # no exit is left out


async def test_a_reading_that_comes_while_it_ends(file: Path) -> None:
    async with driving(file) as d:
        assert d.app.shown
        tick = Tick(d.app.shown)
    d.app.on_tick(tick)  # its widgets are gone


async def test_times_as_far_apart_as_a_recording_may_have_them(file: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    shutil.copy(file, far)
    with contextlib.closing(sqlite3.connect(far)) as database:
        database.execute("UPDATE samples SET time_ns = ? WHERE sample >= ?", (MOST_TIME - 1, SAMPLES - 1))
        database.commit()
    async with driving(far) as d:
        await d.press("dollar_sign")
        await d.until(lambda: d.feed.paused and d.shown() == SAMPLES - 1)
        bars = d.app.query_one(Timeline)._bars
        assert bars[0] == "⣇" and set(bars[1:]) == {"⣀"}  # all but the last of its intervals
        await d.press("left", "t", "1", "enter", "escape", "2", "enter", "3", "0")
        await d.until(lambda: d.shown() == 0)


async def test_a_reset_holds_wherever_one_goes_from_there_and_not_before_it(file: Path, clock: Clock) -> None:
    def totals() -> int:
        assert d.app.shown
        session = d.app.shown.session
        return sum(line.total for line in session.lines(d.app.shown.interval))

    recording = Recording(file)
    exits = [int(recording.at(n).cells["count"].sum()) for n in range(31)]
    async with driving(file) as d:
        await d.press("space", "right_curly_bracket", "right_curly_bracket")
        await d.until(functools.partial(at, d, 20))
        await d.press("z")
        assert totals() == 0
        await d.press("right_curly_bracket")
        await d.until(functools.partial(at, d, 30))
        assert totals() == exits[30] - exits[20]
        await d.press("left_curly_bracket", "left")
        await d.until(functools.partial(at, d, 19))
        assert totals() == exits[19]
        await d.press("right", "right")
        await d.until(functools.partial(at, d, 21))
        assert totals() == exits[21]


async def test_a_step_that_comes_while_another_is_taken_counts_too(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driving(file) as d:
        await d.press("space")
        seek = d.feed._seek

        def meanwhile(n: int) -> None:
            monkeypatch.setattr(d.feed, "_seek", seek)
            d.feed.step(1)
            seek(n)

        monkeypatch.setattr(d.feed, "_seek", meanwhile)
        await d.press("right")
        await d.until(functools.partial(at, d, 2))
