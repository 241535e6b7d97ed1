"""The timeline page: every single exit around a slow one or now, walked with the keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmtop.model.keys import pack
from kvmtop.model.timeline import Stretch
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed
from kvmtop.widgets.bands import Bands
from kvmtop.widgets.timeline_page import TimelinePage

from ..support.dashboard import Driver, driving
from ..support.fake import SECOND
from ..support.stretches import DB, MS, NPF, US, Followed, db02

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)], ids=["80x24", "120x36", "160x48"])


def host(*seconds: int) -> Followed:
    """With slow exits in these seconds from now on."""
    one = Followed()
    one.around = [db02(one.now + second * SECOND, seed=second) for second in seconds]
    return one


async def opened(d: Driver, vcpu: int = 2, ticks: int = 1) -> TimelinePage:
    """The timeline of db02, from its row in the table."""
    await d.press("2", "home", *["down"] * (1 + vcpu), "l")
    await d.tick(ticks)
    await d.press()
    return d.app.query_one(TimelinePage)


def bands(d: Driver) -> list[str]:
    return [line for line in d.text().splitlines() if re.match(r"│ .vCPU \d ", line)]


def scale(d: Driver) -> str:
    return d.text().splitlines()[2].strip("│ ")


@SIZES
async def test_a_slow_exit_and_what_all_vcpus_did_around_it(size: tuple[int, int]) -> None:
    async with driving(host(2), size) as d:
        page = await opened(d, 0)
        assert "the last moments" in d.text() and "1,894 instructions" in d.text()
        await d.press("N")
        text = d.text()
        assert page.pinned and "around one slow exit" in text and "npf · vCPU 2 of db02 · 38.1ms" in text
        assert [line[3:9] for line in bands(d)][::1] == [f"vCPU {number}" for number in range(4)]
        assert re.search(r"▎vCPU 2 ", text) and re.search(r"−\d+ ms .* 0 .*\+\d+", scale(d))
        assert "Who ran" in text and re.search(
            r"blocked +200µs +9\.00ms.* until qemu-system-x86 \(4100\) woke it", text
        )
        assert "restic (9921) had CPU 6" in text and re.search("In short +58.0% throttled, 23.6% blocked", text)
        assert ("throttled    3" in text) == (size[0] > 80)  # of what is in view


async def test_without_colour_each_state_has_its_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with driving(host(2), (160, 48)) as d:
        await opened(d)
        await d.press("N")
        rows = bands(d)
        assert re.search(r"█+·{9}╳{6,7}╱{21,23}", rows[2]) and re.search("╱{35,37}", rows[0]) and "░░" in rows[1]
        assert re.search("vCPU 1 █+.*▒", d.text()) is None and re.search(" web01 · 0 ▓", d.text())
        assert d.text().count("▎vCPU") == 1


async def test_probes_are_asked_for_while_it_is_open_and_for_slow_exits() -> None:
    async with driving(host(), (120, 36)) as d:
        assert d.host.wish is None
        await opened(d)
        assert d.host.wish and d.host.wish.timeline and d.host.wish.timeline[0] == DB and not d.host.wish.of_exits
        await d.press("escape")
        assert d.host.wish is None
        await d.press("escape", "1", "x")
        assert d.host.wish and d.host.wish.timeline and d.host.wish.timeline[0] == 0 and d.host.wish.of_exits
        assert "every exit is traced for that" in d.text()
        await d.press("x")
        assert d.host.wish is None


async def test_it_is_of_one_vm() -> None:
    async with driving(host(), (120, 36)) as d:
        await d.press("1", "l")
        assert not d.app.viewpoint.timeline and d.host.wish is None
        await d.press("2", "home", "l")
        assert d.app.viewpoint.timeline and d.app.viewpoint.scope.pid is not None


async def test_zoom_goes_to_a_microsecond_and_to_a_second_and_keeps_the_exit() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N")
        assert "1 cell = 1.00ms" in d.text()
        seen = [page._step]
        begin, cells = d.host.around[0].slow[1], d.app.query_one(Bands).cells  # type: ignore[attr-defined]
        await d.press("plus")
        for _ in range(11):
            seen.append(page._step)
            page.action_zoom(-1)
            assert page._start <= begin < page._start + 2 * cells * page._step
        seen.append(page._step)
        await d.press()
        assert "npf 38.1ms" in d.text()
        assert seen[:5] == [500 * US, 200 * US, 100 * US, 50 * US, 20 * US] and seen[-1] == 1000
        assert "1 cell = 2.00µs" in d.text() and re.match(r"−20 µs +0 +\+20", scale(d))
        for _ in range(25):
            page.action_zoom(1)
        await d.press("minus")
        assert page._step == SECOND and "1 cell = 2.00s" in d.text()
        await d.press("home")
        assert page._step == 500 * US and "+70" in scale(d)


async def test_arrows_move_a_quarter_of_the_view_and_not_out_of_all_that_is_known() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N", "plus", "plus")
        cells, before = d.app.query_one(Bands).cells, page._start
        await d.press("right")
        assert page._start - before == 2 * cells // 4 * page._step
        await d.press("left")
        assert page._start == before
        for by in (-1, 1):
            for _ in range(30):
                page.action_pan(by)
            await d.press()
            assert any("█" in line for line in bands(d)), by


async def test_the_middle_stays_where_it_is_when_the_screen_is_resized() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N")
        whole = page._step

        async def resize(*size: int) -> tuple[int, int]:
            await d.pilot.resize_terminal(*size)
            await d.press()
            return page._step, page._start + page._step * d.app.query_one(Bands).cells

        assert (await resize(80, 24))[0] == whole * 2
        assert (await resize(160, 48))[0] == whole  # all of it is in view
        await d.press("plus", "right")
        before = await resize(160, 48)
        assert await resize(80, 24) == before and await resize(120, 36) == before


async def test_single_exits_one_by_one_and_the_same_moment_of_another_vcpu() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N")
        slow = page.happened
        await d.press("right_square_bracket")
        assert page.happened and page.happened != slow and "of db02" in page.happened.rest
        await d.press("left_square_bracket")
        assert page.happened == slow and slow and slow.key == (2, NPF)
        await d.press("up")
        assert "vCPU 1 of db02" in d.text() and "▎vCPU 1" in d.text()
        await d.press(*["down"] * 9)
        assert "vCPU 3 of db02" in d.text()
        assert "Guest code  0xffffffff81000010" in d.text() and "Level       of this VM's own (L1)" in d.text()


async def test_slow_exits_one_after_the_other() -> None:
    async with driving(host(2, 3, 4), (160, 48)) as d:
        page = await opened(d)
        begun = [one.slow[1] for one in d.host.around if one.slow]  # type: ignore[attr-defined]

        def at() -> int:
            assert page._pinned and page._pinned.slow
            return begun.index(page._pinned.slow[1])

        assert "(3 kept)" in d.text()
        await d.press("N")
        assert at() == 2
        await d.press("N", "N")
        assert at() == 0
        await d.press("N")
        assert at() == 0
        await d.press("n")
        assert at() == 1


async def test_it_stays_where_somebody_has_moved_to_and_space_follows_again() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        live = page._start
        await d.tick()
        assert page._start != live and not page.pinned
        await d.press("left")
        held, drawn = page._start, bands(d)
        await d.tick(2)
        assert page.pinned and page._start == held and bands(d) == drawn
        await d.press("space")
        assert not page.pinned and not d.feed.paused
        await d.press("space")
        assert d.feed.paused
        drawn = bands(d)
        await d.tick()
        assert bands(d) == drawn and "PAUSED" in d.text()


async def linger(d: Driver, one: Stretch) -> None:
    """The probes of slow exits tell of that, too."""
    assert one.slow
    thread, begin, end = one.slow
    d.host.now = end + SECOND
    d.host.linger(thread & 0xFFFFFFFF, NPF, end - begin, blocked=9 * MS)
    d.host.slows[-1]["time_ns"] = end + 300
    d.app.on_tick(__import__("kvmtop.ui.app", fromlist=["Tick"]).Tick(d.feed.read()))
    await d.press()


@pytest.mark.parametrize("known", [True, False], ids=["kept", "before"])
async def test_enter_on_a_slow_exit_opens_what_was_around_it(known: bool) -> None:
    async with driving(host(2), (160, 48)) as d:
        one = d.host.around[0]  # type: ignore[attr-defined]
        if not known:
            d.host.around = []  # type: ignore[attr-defined]
        await d.press("x")
        await linger(d, one)
        assert d.app.screen.focused is not None
        d.app.screen.set_focus(d.table("slow-interval"))
        await d.press("enter")
        await d.tick()
        await d.press()
        page = d.app.query_one(TimelinePage)
        if known:
            assert page.pinned and "npf · vCPU 2 of db02 · 38.1ms" in d.text()
        else:
            assert not page.pinned and "What was around that exit is not known" in d.text()
            later = db02(d.host.now + SECOND)
            d.host.around = [later]  # type: ignore[attr-defined]
            await d.tick()
            await d.press()
            assert page.pinned and "npf · vCPU 2 of db02" in d.text() and "not known" not in d.text()
        await d.press("escape")
        assert d.app.viewpoint.slowest


async def test_enter_goes_to_the_reason_and_escape_comes_back_to_where_it_was() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N", "plus", "up")
        before = page._start, page._step, page.happened
        await d.press("down", "enter")
        assert d.app.viewpoint.reason == (2, NPF)
        await d.press("escape")
        assert d.app.viewpoint.timeline and (page._start, page._step) == before[:2] and page.pinned
        assert d.app.focused is d.app.query_one(Bands)


async def test_what_the_rings_lost_is_said() -> None:
    one = Followed()
    whole = db02(one.now + 2 * SECOND)
    one.around = [Stretch(whole.pid, whole.start_ns, whole.stop_ns, whole.exits[:40], whole.spans, whole.slow, 1234)]
    async with driving(one, (160, 48)) as d:
        await opened(d)
        await d.press("N")
        assert "1,234 records were overwritten before they could be read" in d.text()


async def test_what_was_before_the_probes_is_not_known() -> None:
    one = Followed()
    async with driving(one, (160, 48)) as d:
        await opened(d)
        await d.press("N")
        assert "no earlier slow exit" not in bands(d)[0]
        one.around = [db02(one._since)]
        await d.tick()
        await d.press("N")
        assert "What was before the probes were attached is not known" in d.text()


async def test_a_click_chooses_the_exit_under_it() -> None:
    async with driving(host(2), (160, 48)) as d:
        page = await opened(d)
        await d.press("N")
        await d.pilot.click(Bands, offset=(70, 3))
        await d.press()
        assert "▎vCPU 0" in d.text() and page.happened and page.happened.name == "npf"


async def test_copying_it_takes_the_exit_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driving(host(2), (160, 48)) as d:
        copied = list[str]()
        monkeypatch.setattr(d.app, "copy_to_clipboard", copied.append)
        await opened(d)
        await d.press("y")
        assert not copied
        await d.press("N", "y")
        assert copied[0].startswith("npf · vCPU 2 of db02 · 38.1ms") and "restic (9921) had CPU 6" in copied[0]


async def test_what_cannot_be_had_says_why() -> None:
    one = host()
    async with driving(one, (120, 36)) as d:
        one.trouble = "single exits cannot be told on this kernel"
        await d.press("2", "home", "down", "l")
        assert "single exits cannot be told on this kernel" in d.text()


async def test_where_not_all_vcpus_fit_they_scroll_with_the_cursor() -> None:
    one = Followed()
    for tid in range(DB + 5, DB + 41):  # of which nothing is known
        one.add(DB, "db02")
        one.vcpus[tid] = one.vcpus.pop(DB + 1)
        one.vcpus[tid].tid, one.vcpus[tid].number = tid, tid - DB - 1
    one.add(DB, "db02", 4)
    one.around = [db02(one.now + 2 * SECOND)]
    async with driving(one, (120, 30)) as d:
        page = await opened(d)
        await d.press("N")
        assert re.search(r"vCPUs ↓ \d+ more", d.text()) and "▎vCPU 2" in d.text() and "Who ran" in d.text()
        for _ in range(40):
            page.action_row(1)
        await d.press()
        assert re.search(r"vCPUs ↑ \d+", d.text()) and "▎vCPU 39" in d.text() and not re.search(r"↓ \d", d.text())


async def test_a_recording_has_none(tmp_path: Path) -> None:
    one = host(2)
    recorder = Recorder(one, tmp_path / "run")
    for _ in range(3):
        one.now += SECOND
        one.exits(DB + 1, NPF, 10 * MS)
        recorder.read()
    recorder.close()
    app = Player(ReplayFeed(Recording(tmp_path / "run")))
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await pilot.pause()
        await pilot.press("2", "end", "l")
        await pilot.pause()
        assert not app.viewpoint.timeline
        assert next(iter(app._notifications)).message.startswith("Recordings do not hold the timeline yet")


def test_the_made_up_exit_is_the_vcpus() -> None:
    one = db02(10**12)
    assert one.slow and one.slow[0] == pack(DB, DB + 3)
