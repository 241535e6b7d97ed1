"""Findings in the player's line, and the keys from one to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.insight.standouts import Standouts
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.store import Store
from kvmtop.ui.marking import PARTS, ROUNDS, order
from kvmtop.widgets.timeline import Timeline

from ..support.fake import SECOND
from ..support.stores import BEGAN, Dated, write
from .test_moments import driving

LATE = {*range(12, 17), 30, 47}  # the seconds in which a vCPU waits for a CPU


class Crowded(Dated):
    """In some of its seconds a vCPU waits for a CPU half of the time."""

    late = LATE

    def read(self) -> Snapshot:
        vcpu = self.vcpus[4001]
        if (self.now - self.start) // SECOND in self.late:
            vcpu.states["wait"] += SECOND // 2
            vcpu.states["guest"] -= SECOND // 2
        return super().read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write(folder, Crowded(), [25, 25])
    host = Crowded(BEGAN + 100, started=50, seed=2)
    host.late = set()
    write(folder, host, [10])
    return folder


def test_what_stands_out(folder: Path) -> None:
    store = Store(folder)
    found = Standouts(store)
    assert {n for n in range(len(store)) if found.keys(n)} == LATE
    assert [found.next(n, 1, lambda at: True) for n in (0, 11, 12, 16, 29, 30, 47)] == [12, 12, 30, 30, 30, 47, None]
    assert [found.next(n, -1, lambda at: True) for n in (59, 47, 30, 14, 12, 3)] == [47, 30, 12, 12, None, None]
    asked: list[int] = []
    assert found.next(31, 1, lambda at: asked.append(at) or at < 40) is None and asked == [*range(31, 41)]  # type: ignore[func-returns-value]


def test_a_few_of_each_part_are_looked_at() -> None:
    for count in (1, 2, 99, PARTS * ROUNDS):
        assert sorted(order(count)) == [*range(count)]
    found = order(604_800)
    assert len(set(found)) == PARTS * ROUNDS and min(found) >= 0 and max(found) < 604_800
    assert sorted(n * PARTS // 604_800 for n in found[:PARTS]) == [*range(PARTS)]


async def test_from_one_to_the_next(folder: Path) -> None:
    async with driving(folder, 1) as d:
        for key, n in (("f", 12), ("f", 30), ("f", 47), ("F", 30), ("F", 12)):
            await d.pilot.press(key)
            await d.until(lambda n=n: d.shown() == n and "waits" in d.text())  # type: ignore[misc]
        await d.pilot.press("0", "F")
        await d.until(lambda: any("No finding begins before" in one.message for one in d.app._notifications))
        assert d.shown() == 0


async def test_marks(folder: Path) -> None:
    async with driving(folder, 1) as d:
        await d.until(lambda: d.app.marking.share == 1)
        assert d.app.marking.marks == LATE
        await d.until(lambda: len(d.app.query_one(Timeline)._marks) == len(LATE))
        strips = [list(strip) for strip in d.app.screen._compositor.render_strips()]
        (line,) = (strip for strip in strips if "0:01:50" in "".join(segment.text for segment in strip))
        marked = "".join(segment.text for segment in line if segment.style and segment.style.underline)
        assert 3 <= len(marked) <= len(LATE) and "marks" not in "".join(segment.text for segment in line)
