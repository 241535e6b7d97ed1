"""What the probes add to an exit, where KVM is real."""

from __future__ import annotations

import pytest

from kvmtop.bpf.kvm_exit import RAW
from kvmtop.host import exit_cost
from kvmtop.host.exit_cost import Cost

SECONDS = 4.0


def measured() -> Cost:
    cost = exit_cost.measure(print, SECONDS)
    print(cost, cost.how)
    return cost


def test_something_is_added() -> None:
    """How much is lost in the noise of a host that is emulated beside another one."""
    cost = measured()
    low, high = cost.added_between_ns
    assert low <= cost.added_ns <= high and high > 0 and cost.exit_ns > 0
    assert cost.told_by.startswith(RAW) and cost.held_on_cpu is not None
    assert cost.run_time_ns is not None and cost.run_time_ns > 0  # by the clock, which runs while others have the CPU


@pytest.mark.long
def test_nothing_is_added_where_both_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or less than 5 %: an interval of 95 % leaves it out once in twenty times."""
    probed = exit_cost._Runs.once

    def same(self: exit_cost._Runs, probed_: bool) -> float:
        return probed(self)

    monkeypatch.setattr(exit_cost._Runs, "__call__", same)
    cost = measured()
    low, high = cost.added_between_ns
    assert low < 0.05 * cost.exit_ns and high > -0.05 * cost.exit_ns
