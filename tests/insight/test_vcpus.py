"""The list of VMs and vCPUs: order, rates, shares, what each does now, and what has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.vcpus import Outside, VcpuRow, shares, vcpu_rows
from kvmtop.model.scope import Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import OUTSIDE
from kvmtop.tables.vcpus import cpu

from ..support.fake import SECOND, Host

HLT, IO, MSR = 0x78, 0x7B, 0x7C


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(200, "web", vcpus=2)
    host.add(100, "db")
    return host


def listed(host: Host, session: Session, seconds: float = 1.0, hidden: frozenset[int] = frozenset()) -> list[VcpuRow]:
    host.now += int(seconds * SECOND)
    return vcpu_rows(session, session.add(host.read()), hidden)


def started(host: Host) -> Session:
    session = Session()
    session.add(host.read())
    return session


def test_by_name_with_rates_and_what_takes_most_of_the_time(host: Host) -> None:
    session = started(host)
    host.exits(201, MSR, *[1000] * 30)
    host.exits(202, IO, *[1000] * 10)
    host.exits(202, HLT, SECOND // 2)  # idle: not what a vCPU is busy with
    host.exits(101, MSR, 1000)
    found = listed(host, session, 2)
    assert [(one.vm, one.name, one.number, one.rate, one.top) for one in found] == [
        ("db", "db", 100, 0.5, "msr"),
        ("db", "vCPU 0", 101, 0.5, "msr"),
        ("web", "web", 200, 20.5, "msr"),
        ("web", "vCPU 0", 201, 15.0, "msr"),
        ("web", "vCPU 1", 202, 5.5, "io"),
    ]
    assert [(one.seen, one.alive, one.cpu) for one in found] == [
        (1, 1, None),
        (1, 1, 1),
        (2, 2, None),
        (1, 1, 1),
        (1, 1, 2),
    ]
    assert [cpu(one) for one in found] == ["", "1", "", "1", "2"]
    assert found[2].trend[-1] == 20.5


def test_a_vm_is_the_sum_of_its_vcpus(host: Host) -> None:
    session = started(host)
    for tid in (201, 202):
        host.enter(tid)
    host.now += SECOND // 2
    host.leave(202, IO)
    host.to_user(202)
    vm, one, other = listed(host, session, 0.5)[2:]
    assert one.shares and one.shares["guest"] == 1
    assert other.shares and (other.shares["guest"], other.shares["user"]) == (0.5, 0.5)
    assert vm.shares and (vm.shares["guest"], vm.shares["user"]) == (0.75, 0.25)
    assert session.interval
    assert shares(session.interval, Scope(200)) == vm.shares


def test_what_most_of_a_vms_vcpus_do(host: Host) -> None:
    session = started(host)
    host.leave(201, MSR, "throttled")
    host.leave(202, MSR, "wait")
    host.leave(101, HLT, "idle")
    assert [vm.doing for vm in listed(host, session, 0.004) if vm.scope.thread is None] == [None, None]
    assert [vm.doing for vm in listed(host, session, 0.1) if vm.scope.thread is None] == [None, (1, "wait")]
    host.turn(202, "throttled")
    assert [vm.doing for vm in listed(host, session, 0.1) if vm.scope.thread is None] == [None, (2, "throttled")]


def test_the_top_reason_is_by_time_of_its_own(host: Host) -> None:
    session = started(host)
    host.exits(201, MSR, SECOND // 2, wait=SECOND // 2)
    host.exits(201, IO, SECOND // 8)
    host.exits(202, HLT, SECOND)
    assert [(one.name, one.top) for one in listed(host, session)] == [
        ("db", ""), ("vCPU 0", ""), ("web", "io"), ("vCPU 0", "io"), ("vCPU 1", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("where", OUTSIDE)
def test_what_a_vcpu_does_now(host: Host, where: str) -> None:
    session = started(host)
    host.leave(101, MSR, where)
    for seconds, worth, stuck in ((0.004, False, False), (0.496, True, False), (2.499_999_999, True, False)):
        vm, vcpu = listed(host, session, seconds)[:2]
        lasted = host.now - session.history[0].time_ns
        assert vcpu.outside == (Outside(where, lasted) if worth else None)
        assert (vcpu.stuck, vm.stuck, vm.outside) == (stuck, stuck, None)
    vm, vcpu = listed(host, session, 1e-9)[:2]  # 3 s
    assert vcpu.stuck == vm.stuck == (where != "idle")


def test_the_age_is_that_of_the_state(host: Host) -> None:
    """Halted for an hour, kicked, and halted again: idle, and never stuck (defect 1 of issue 15)."""
    session = started(host)
    host.leave(101, HLT)
    listed(host, session, 3600)
    for state in ("user", "idle", "kernel", "user"):
        host.turn(101, state)
        vcpu = listed(host, session, 2)[1]
        assert (vcpu.outside, vcpu.stuck) == (Outside(state, 2 * SECOND), False)
    assert listed(host, session, 1)[1].stuck


@pytest.mark.parametrize(("state", "stuck"), [("idle", False), ("blocked", True), ("wait", True), ("throttled", True)])
def test_a_vcpu_without_an_exit(host: Host, state: str, stuck: bool) -> None:
    """As a secondary vCPU that nobody starts, or one that has waited since before kvmtop's start."""
    host.turn(101, state)
    session = started(host)
    vcpu = listed(host, session, 5)[1]
    assert (vcpu.outside, vcpu.stuck) == (Outside(state, 5 * SECOND), stuck)
    assert vcpu.shares and vcpu.shares[state] == 1


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_a_vm_that_stands_still_is_one_line(host: Host, how: str) -> None:
    session = started(host)
    host.leave(201, IO, "blocked")
    host.now += SECOND
    host.leave(202, HLT, "blocked")
    host.leave(101, IO, "blocked")
    host.vms[200] = replace(host.vms[200], stopped=how == "stopped", paused=how == "paused")
    db, its, vm, *vcpus = listed(host, session, 4)
    assert (vm.outside, vm.stuck) == (Outside(how, 4 * SECOND), 0)
    where = "stopped" if how == "stopped" else "blocked"
    assert [vcpu.outside for vcpu in vcpus] == [Outside(where, 5 * SECOND), Outside(where, 4 * SECOND)]
    assert not any(vcpu.stuck for vcpu in vcpus)
    assert (db.outside, db.stuck, its.stuck, its.outside) == (None, 1, True, Outside("blocked", 4 * SECOND))
    host.end(200)
    assert listed(host, session)[2].outside is None


def test_what_is_not_told_is_not_said(host: Host) -> None:
    host.told = ("guest",)
    session = started(host)
    host.leave(101, MSR)
    host.enter(201)
    found = listed(host, session, 5)
    assert [(one.outside, one.stuck) for one in found] == [(None, 0)] * 5
    assert [one.shares for one in found[3:]] == [{"guest": 1.0}] * 2
    host.told = ()
    assert [one.shares for one in listed(host, session)] == [None] * 5


def test_what_has_ended_comes_last_and_can_be_hidden(host: Host) -> None:
    session = started(host)
    host.leave(101, MSR, "blocked")
    host.now += 5 * SECOND
    host.end(100)
    found = listed(host, session)
    assert [(one.outside, one.stuck) for one in found[-2:]] == [(None, 0)] * 2
    assert [(one.name, one.ended, one.alive) for one in found[-2:]] == [("db", True, 0), ("vCPU 0", True, 0)]
    assert [cpu(one) for one in found[-2:]] == ["", ""]
    assert {one.scope.pid for one in listed(host, session, hidden=frozenset({100}))} == {200}


def test_a_vm_before_its_first_exit(host: Host) -> None:
    host.add(300, "new", vcpus=0)
    new = listed(host, started(host))[2]
    assert (new.name, new.seen, new.shares, new.rate, new.top) == ("new", 0, None, 0.0, "")


def test_the_list_is_the_callers_own(host: Host) -> None:
    session = started(host)
    listed(host, session).clear()
    assert session.interval and vcpu_rows(session, session.interval)
    assert vcpu_rows(session, session.interval)[1].scope == Scope(100, 101)
