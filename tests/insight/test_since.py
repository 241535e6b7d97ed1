"""From when on a finding holds."""

from __future__ import annotations

from kvmtop.insight.finding import Finding, Limits, Since
from kvmtop.insight.findings import findings
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.reference.labels import Labels

from ..support.fake import SECOND, Host

IO = 0x7B


class Run:
    """Two VMs of one vCPU each, read every second."""

    def __init__(self) -> None:
        self.host, self.session = Host(), Session()
        self.host.add(100, "web")
        self.host.add(200, "db")
        self.start = self.host.now
        self.second()

    def second(self, scope: Scope = ALL, limits: Limits | None = None, **waits: float) -> list[Finding]:
        """One second, in which VMs' vCPUs wait for so much of it."""
        self.host.now += SECOND
        for tid, name in ((101, "web"), (201, "db")):
            share = waits.get(name, 0.0)
            self.host.exits(tid, IO, 1_000)
            self.host.vcpus[tid].states["wait"] += round(share * SECOND)
            self.host.vcpus[tid].states["guest"] += round((1 - share) * SECOND)
        interval = self.session.add(self.host.read())
        rows = vcpu_rows(self.session, interval)
        return findings(self.session, interval, rows, Labels(self.host.names), limits or Limits(), scope)


def test_it_is_when_the_first_of_the_intervals_without_a_gap_began() -> None:
    run = Run()
    run.second(web=0.5)
    run.second(web=0.1)
    began = run.host.now
    for _ in range(3):
        (found,) = run.second(web=0.5)
    assert found.since == Since(began)
    assert run.second(web=0.2) == []


def test_what_has_held_all_the_time_that_is_remembered_may_have_held_longer() -> None:
    run = Run()
    run.session.history.clear()
    began = run.host.now
    run.second(web=0.5)
    (found,) = run.second(web=0.5)
    assert found.since == Since(began, longer=True)


def test_it_is_about_the_vcpu_and_has_its_figures() -> None:
    (found,) = Run().second(web=0.5)
    assert found.scope.pid == 100 and found.scope.thread is not None
    assert found.state == "wait" and found.short == "web vCPU 0 waits" and "where" in found.figures


def test_it_is_the_same_one_while_its_numbers_change() -> None:
    run = Run()
    (first,), (second,) = run.second(web=0.5), run.second(web=0.6)
    assert first.text != second.text and first.key == second.key
    (other,) = run.second(db=0.5)
    assert other.key != second.key


def test_a_scope_has_its_own_and_none_of_others() -> None:
    run = Run()
    (found,) = run.second(web=0.5, db=0.3)
    assert "web" in found.text  # the worst of all
    (found,) = run.second(Scope(200), web=0.5, db=0.3)
    assert "db" in found.text
    assert run.second(Scope(200), web=0.5) == []


def test_the_bounds_may_be_others() -> None:
    run = Run()
    assert run.second(web=0.15) == []
    (found,) = run.second(limits=Limits(wait=0.1), web=0.15)
    assert found.rule == "wait > 10% of a vCPU's time"
    assert run.second(limits=Limits(wait=0.6), web=0.5) == []


def test_a_scope_covers_its_parts() -> None:
    vm, vcpu = Scope(1), Scope(1, 2)
    for one, other in ((ALL, vm), (ALL, vcpu), (vm, vcpu), (vm, vm), (vcpu, vcpu)):
        assert one.covers(other)
    for one, other in ((vm, ALL), (vcpu, ALL), (vcpu, vm), (vm, Scope(2)), (vm, Scope(2, 2)), (vcpu, Scope(1, 3))):
        assert not one.covers(other)
