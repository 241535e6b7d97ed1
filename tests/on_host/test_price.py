"""What kvmtop's own programs take, where KVM is real: by the kernel's count of their runs, against ours of exits."""

from __future__ import annotations

import contextlib

import pytest

from kvmtop import bounded
from kvmtop.bpf.run_time import SYSCTL
from kvmtop.host import prices
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import PATIENCE, Apart, Step
from kvmtop.insight.own_cost import own_share
from kvmtop.model.exit_stats import counts
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import DetailRequest

CPUIDS = 1500
WHOLE = DetailRequest(frozenset({"io", "cpuid"}))


@pytest.fixture
def long_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is as long as an interval: what runs in that is measured whole."""
    monkeypatch.setattr(prices, "MOMENT", 600.0)


def test_each_exit_is_a_run_while_somebody_looks(long_moments: None) -> None:
    if bounded.head(SYSCTL).strip() != b"0":
        pytest.skip("somebody has switched statistics on")
    with (
        contextlib.closing(Apart([Step("cpuid", CPUIDS), Step("out", 10)])) as guest,
        contextlib.closing(Live()) as live,
    ):
        guest.run(PATIENCE)
        assert live.read().price is None
        assert (live.read().counted_by or "").startswith("raw kvm_exit")  # the collector's programs stay what they are
        unmeasured = live._collector.runs()
        guest.run(PATIENCE)
        assert live._collector.runs() == unmeasured
        live.look(WHOLE)
        live.read()  # attaches, and begins to measure
        before = live.read()  # of what ran since
        guest.run(PATIENCE)
        after = live.read()
        grown = sum(counts(after).values()) - sum(counts(before).values())
        assert before.price is not None and after.price is not None
        assert after.price.exits - before.price.exits == grown >= CPUIDS
        assert not after.price.missed and not after.price.why
        assert after.price.looking["details"].exit_ns > 0 and after.price.counting.exit_ns > 0
        share = own_share(diff(before, after))
        assert share is not None and 0 < share < 1
        live.look(None)
        live.read()
        measured = live._collector.runs()
        guest.run(PATIENCE)
        assert live.read().price is None and live._collector.runs() == measured
