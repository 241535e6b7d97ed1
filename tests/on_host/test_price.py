"""What kvmtop's own programs take, where KVM is real: by the kernel's count of their runs, against ours of exits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from kvmtop.bpf.run_time import SYSCTL
from kvmtop.host import prices
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import PATIENCE, Apart, Step
from kvmtop.insight.own_cost import own_share
from kvmtop.model.exit_stats import counts
from kvmtop.model.interval import diff
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import DetailRequest

CPUIDS = 3000
WHOLE = DetailRequest(frozenset({"io", "cpuid"}))


def always_on() -> bool:
    with open(SYSCTL) as file:
        return file.read().strip() == "1"


def still_measured(live: Live) -> bool:
    """Whether a guest's exits make the programs' run counts grow."""
    return live._prices._statistics._fd is not None


def read_on(live: Live, run: Callable[[], object], wanted: Callable[[Snapshot], bool]) -> Snapshot:
    for _ in range(50):
        run()
        if wanted(snapshot := live.read()):
            return snapshot
    raise AssertionError("never so")


@pytest.fixture
def long_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is as long as an interval: what runs in that is measured whole."""
    monkeypatch.setattr(prices, "MOMENT", 600.0)


def settled(live: Live, guest: Apart) -> None:
    """The collector's programs stay the same from here on."""
    read_on(live, lambda: guest.run(PATIENCE), lambda one: (one.counted_by or "").startswith("raw kvm_exit"))


def test_each_exit_is_a_run(long_moments: None) -> None:
    steps = [Step("cpuid", CPUIDS), Step("out", 10)]
    with contextlib.closing(Apart(steps)) as guest, contextlib.closing(Live()) as live:
        settled(live, guest)
        assert live.read().price is None
        live.look(WHOLE)
        live.read()  # attaches, and begins to measure
        before = live.read()  # of what ran since
        guest.run(PATIENCE)
        after = live.read()
        grown = sum(counts(after).values()) - sum(counts(before).values())
        assert grown >= CPUIDS
        assert before.price is not None and after.price is not None
        assert after.price.exits - before.price.exits == grown
        assert not after.price.missed and not after.price.why
        assert after.price.looking["details"].exit_ns > after.price.counting.exit_ns > 0
        share = own_share(diff(before, after))
        assert share is not None and 0 < share < 1
        live.look(None)
        live.read()
        assert live.read().price is None and not still_measured(live)


def test_nothing_is_measured_while_nobody_looks() -> None:
    """Nor for longer than a moment."""
    if always_on():
        pytest.skip("somebody has switched statistics on")
    with contextlib.closing(Apart([Step("cpuid", CPUIDS)])) as guest, contextlib.closing(Live()) as live:
        settled(live, guest)
        before = live._collector.runs()
        guest.run(PATIENCE)
        assert live._collector.runs() == before
        live.look(WHOLE)
        live.read()
        assert still_measured(live)
        end = time.monotonic() + PATIENCE
        while still_measured(live) and time.monotonic() < end:
            time.sleep(0.05)
        ran = live._collector.runs()
        guest.run(PATIENCE)
        assert live._collector.runs() == ran


def test_what_is_known_well_is_measured_again_later(long_moments: None) -> None:
    with contextlib.closing(Apart([Step("cpuid", CPUIDS)])) as guest, contextlib.closing(Live()) as live:
        settled(live, guest)
        live.look(WHOLE)
        live.read()
        known = read_on(
            live, lambda: guest.run(PATIENCE), lambda one: bool(one.price and one.price.exits >= prices.ENOUGH)
        )
        assert not still_measured(live)
        guest.run(PATIENCE)
        assert live.read().price == known.price
