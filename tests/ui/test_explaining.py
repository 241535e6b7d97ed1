"""The key that explains: what is under the cursor, in the words of kvmtop explain."""

from __future__ import annotations

import pytest
from textual.widgets import Static

from kvmtop.model.scope import ALL, Scope
from kvmtop.reference import exit_reasons
from kvmtop.widgets.explanation import Explanation

from ..support.dashboard import IO, Driver, driving, work


def told(d: Driver) -> str:
    screen = d.app.screen
    assert isinstance(screen, Explanation)
    return str(screen.query_one(Static).render())


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_the_reason_under_the_cursor_or_of_the_page_to_the_end(size: tuple[int, int]) -> None:
    async with driving(size=size) as d:
        await d.press("home", "e")
        meaning = exit_reasons.meaning(*IO)  # which is first
        assert meaning
        await d.until(lambda: told(d).strip() == exit_reasons.text(meaning, min(size[0] - 5, 100)).strip())
        assert "What to try:" in told(d)
        await d.press("e")  # the same key closes it
        assert not isinstance(d.app.screen, Explanation) and d.app.viewpoint.scope == ALL
        d.app.go(ALL, IO)
        await d.press("e")
        await d.until(lambda: told(d).startswith("Port I/O"))
        await d.press("escape")
        assert d.app.viewpoint.reason == IO  # the page is still open


async def test_the_finding_that_is_walked() -> None:
    async with driving(size=(160, 48)) as d:
        for _ in range(2):
            for tid in (4001, 4002, 4101):
                work(d.host, tid)
            d.host.vcpus[4101].states["guest"] -= 300_000_000
            d.host.vcpus[4101].states["throttled"] += 300_000_000
            await d.tick()
        await d.press("f", "e")
        await d.until(lambda: told(d).startswith("quota: "))
        assert "raise cpu.max" in " ".join(told(d).split())


async def test_nothing_to_explain_is_said() -> None:
    async with driving(size=(160, 48)) as d:
        await d.press("2", "e")
        assert not isinstance(d.app.screen, Explanation)
        assert [one.message for one in d.app._notifications] == ["Move to a reason or, with f, to a finding first."]
        d.app.go(Scope(4000), (2, 0x3FF))  # a code that no kernel has
        await d.press("e")
        assert "Nobody has described" in [one.message for one in d.app._notifications][-1]
