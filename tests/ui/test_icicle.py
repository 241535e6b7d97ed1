"""A reason's page: where in the kernel its exits spend their time, and the keys that walk there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed
from kvmtop.widgets.icicle import Icicle

from ..support.dashboard import Driver, driving, small_host
from ..support.fake import SECOND, Host
from ..support.stacks import COMPACTION, FAULT, MMU_LOCK, RUN, USERFAULT, Seen

NPF = (2, 0x400)
MS = 1_000_000
ZEROING = ("clear_page_rep", "clear_huge_page", "do_huge_pmd_anonymous_page", *FAULT)


def faulting() -> Host:
    host = small_host()
    host.exits(4001, NPF[1], *[10 * MS] * 10)
    return host


async def opened(driver: Driver) -> Seen:
    """The page of npf, with stacks of a second."""
    host = driver.host
    driver.app.go(driver.app.viewpoint.scope, NPF)
    await driver.press()
    seen = Seen(host, NPF)
    host.exits(4001, NPF[1], *[10 * MS] * 10, blocked=6 * MS)
    seen.slept(4001, NPF[1], USERFAULT, *[6 * MS] * 10)
    for frames, samples in ((COMPACTION, 4), (ZEROING, 3), (MMU_LOCK, 2), (("svm_handle_exit [kvm_amd]", *RUN), 1)):
        seen.ran(4001, NPF[1], frames, samples)
    await driver.tick()
    driver.app.screen.set_focus(icicle(driver))
    await driver.until(lambda: bool(re.search(r"Where in the kernel.*╰", driver.text(), re.S)))  # it scrolls there
    await driver.press()
    return seen


def icicle(driver: Driver) -> Icicle:
    return driver.app.query_one(Icicle)


def names(driver: Driver) -> tuple[str, ...]:
    cursor = icicle(driver).cursor
    assert cursor
    return cursor.names


def pane(driver: Driver) -> list[str]:
    """Its lines, without the border."""
    lines = driver.text().splitlines()
    start = next(at for at, line in enumerate(lines) if "Where in the kernel" in line)
    left = lines[start].rindex("╭")
    end = next(at for at in range(start + 1, len(lines)) if lines[at][left : left + 1] == "╰")
    return [line[left + 1 :].rstrip("│ ").strip() for line in lines[start + 1 : end]]


async def test_the_page_asks_for_stacks_of_its_reason_and_others_do_not() -> None:
    async with driving(faulting()) as driver:
        assert driver.host.wish is None
        await opened(driver)
        assert driver.host.wish and driver.host.wish.stacks and driver.host.wish.only == NPF
        await driver.press("escape")
        assert driver.host.wish is None
        await driver.press("x")
        assert driver.host.wish and not driver.host.wish.stacks


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)])
async def test_it_says_what_the_time_went_to_and_draws_blocks_as_wide_as_their_shares(size: tuple[int, int]) -> None:
    async with driving(faulting(), size) as driver:
        await opened(driver)
        lines = pane(driver)
    assert lines[0].startswith("60.0% blocked in userfaultfd, 16.0% in compaction")
    assert re.match(r"▎kvm_mmu_page_fault +96\.0%", lines[1])
    assert re.match(r"hva_to_pfn › handle_mm_fault +88\.0% +", lines[2])
    assert re.match(r"handle_userfault +60\.0% +do_hug\S+ 28\.0%", lines[3])
    assert re.match(r"compac\S+ .*clea\S+", lines[4])
    assert lines[-1].startswith("kvm_mmu_page_fault [kvm] · 96.0ms · 9 samples · 10")
    # The share of the width: 60 % of it, to a cell.
    width = max(map(len, lines))
    assert lines[3].index("do_hug") == pytest.approx(0.6 * width, abs=3)


async def test_keys_walk_in_the_tree_and_enter_makes_a_block_the_widest() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        await opened(driver)
        assert names(driver)[0] == "kvm_mmu_page_fault [kvm]"
        await driver.press("up")
        assert names(driver)[0] == "kvm_mmu_page_fault [kvm]"
        await driver.press("down")
        assert names(driver) == ("hva_to_pfn [kvm]", "handle_mm_fault")
        await driver.press("right")
        assert names(driver) == ("kvm_tdp_mmu_map [kvm]", "queued_write_lock_slowpath")
        assert "mmu_lock: another vCPU" in pane(driver)[-1]
        await driver.press("right", "right", "left", "down")
        assert names(driver) == ("handle_userfault", "(blocked)")
        await driver.press("right", "enter")
        assert names(driver)[0] == "do_huge_pmd_anonymous_page"
        lines = pane(driver)
        assert re.match(r"▎do_huge_pmd_anonymous_page +28\.0%", lines[1])
        assert re.match(r"compact_zone +16\.0% +… › clear_page_rep +12\.0%", lines[2])
        await driver.press("down", "up", "up")
        assert names(driver)[0] == "do_huge_pmd_anonymous_page"  # not out of what is zoomed into


async def test_escape_takes_the_zoom_back_first_and_closes_the_page_then() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        await opened(driver)
        await driver.press("down", "enter")
        assert "zoom out" in driver.text()
        await driver.press("escape")
        assert driver.app.viewpoint.reason == NPF and names(driver)[0] == "hva_to_pfn [kvm]"
        assert re.match(r" *▎?kvm_mmu_page_fault +96\.0%", pane(driver)[1]) and "zoom out" in driver.text()
        await driver.press("backspace")
        assert driver.app.viewpoint.reason == NPF and "zoom out" not in driver.text()
        await driver.press("escape")
        assert driver.app.viewpoint.reason is None


async def test_new_figures_leave_cursor_and_zoom_and_another_reason_does_not() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        seen = await opened(driver)
        await driver.press("down", "enter", "down", "right")
        before = names(driver)
        assert before[0] == "do_huge_pmd_anonymous_page"
        seen.ran(4001, NPF[1], ZEROING, 9)
        await driver.tick()
        assert names(driver)[0] == before[0] and "zoom out" in driver.text()
        await driver.press("n")
        assert icicle(driver).cursor is None and "zoom out" not in driver.text()


async def test_tab_leads_to_it_and_a_click_chooses_and_zooms() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        await opened(driver)
        driver.app.screen.set_focus(None)
        for _ in range(9):
            await driver.press("tab")
            if isinstance(driver.app.focused, Icicle):
                break
        assert isinstance(driver.app.focused, Icicle)
        await driver.pilot.click(Icicle, offset=(5, 3))
        assert names(driver)[0] == "handle_userfault"
        await driver.pilot.click(Icicle, offset=(5, 3))
        await driver.press()
        assert re.match(r"▎handle_userfault +60\.0%", pane(driver)[1])


async def test_a_deep_tree_scrolls_with_the_cursor() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        seen = await opened(driver)
        for depth in range(30):  # each calls the next, and has some time of its own
            seen.ran(4001, NPF[1], (*(f"level{n}" for n in range(depth, -1, -1)), *RUN), 1 if depth < 29 else 400)
        await driver.tick()
        assert re.search(r"↓ \d+ more$", pane(driver)[-1])
        await driver.press(*["up"] * 3, "right", *["down"] * 29)
        assert names(driver) == ("level29",)
        assert any(line.startswith("▎level29") for line in pane(driver)) and "more" not in pane(driver)[-1]
        assert not any("level0 " in line for line in pane(driver))


async def test_without_colour_the_blocks_have_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with driving(faulting(), (160, 48)) as driver:
        await opened(driver)
        lines = pane(driver)
        assert re.match(r"▏kvm_mmu_page_fault", lines[1]) and re.match(r"▏handle_userfault .*▏do_huge", lines[3])


async def test_what_cannot_be_had_says_why() -> None:
    async with driving(faulting(), (160, 48)) as driver:
        driver.host.trouble = "stacks cannot be told on this kernel"
        driver.app.go(driver.app.viewpoint.scope, NPF)
        await driver.tick(2)
        assert pane(driver)[0].startswith("stacks cannot be told on this kernel")


async def test_a_recording_has_none(tmp_path: Path) -> None:
    host = faulting()
    recorder = Recorder(host, tmp_path / "run")
    for _ in range(3):
        host.now += SECOND
        host.exits(4001, NPF[1], 10 * MS)
        recorder.read()
    recorder.close()
    app = Player(ReplayFeed(Recording(tmp_path / "run")))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        app.go(app.viewpoint.scope, NPF)
        await pilot.pause()
        assert not app.query_one("#last").display
