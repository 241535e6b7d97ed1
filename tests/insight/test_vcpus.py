"""The list of VMs and vCPUs: order, rates, shares, what each does now, and what has ended."""

from __future__ import annotations

import pytest

from kvmtop.insight.vcpus import Outside, VcpuRow, shares, vcpu_rows
from kvmtop.model.scope import Scope
from kvmtop.model.session import Session
from kvmtop.tables.vcpus import cpu, state

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
    assert [cpu(one) for one in found] == ["1", "@1", "2", "@1", "@2"]  # how many vCPUs; which CPU of the host
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


@pytest.mark.parametrize(
    ("reason", "user", "seconds", "words", "stuck"),
    [
        (MSR, False, 0.05, "", False),
        (MSR, False, 0.5, "kernel 500ms", False),
        (MSR, False, 4, "STUCK kernel 4.00s", True),
        (IO, True, 4, "STUCK user 4.00s", True),
        (HLT, False, 40, "idle 40.0s", False),
        (HLT, True, 4, "STUCK user 4.00s", True),  # a VMM that handles HLT itself and does not come back
    ],
)
def test_what_a_vcpu_does_now(host: Host, reason: int, user: bool, seconds: float, words: str, stuck: bool) -> None:
    session = started(host)
    host.leave(101, reason)
    if user:
        host.to_user(101)
    vm, vcpu = listed(host, session, seconds)[:2]
    assert (state(vcpu), vcpu.stuck) == (words, stuck)
    assert (state(vm), vm.stuck) == ("1 stuck" if stuck else "", stuck)
    where = "user" if user else "idle" if reason == HLT else "kernel"
    assert vcpu.outside == (Outside(where, int(seconds * SECOND)) if words else None)


def test_what_has_ended_comes_last_and_can_be_hidden(host: Host) -> None:
    session = started(host)
    host.exits(101, MSR, 1000)
    host.end(100)
    found = listed(host, session)
    assert [(one.name, state(one), one.ended, one.alive, cpu(one)) for one in found[-2:]] == [
        ("db", "ended", True, 0, "0"),
        ("vCPU 0", "ended", True, 0, ""),
    ]
    assert {one.scope.pid for one in listed(host, session, hidden=frozenset({100}))} == {200}


def test_a_vm_before_its_first_exit(host: Host) -> None:
    host.add(300, "new", vcpus=0)
    new = listed(host, started(host))[2]
    assert (new.name, state(new), new.shares, new.rate, new.top) == ("new", "no exits yet", None, 0.0, "")


def test_the_list_is_the_callers_own(host: Host) -> None:
    session = started(host)
    listed(host, session).clear()
    assert session.interval and vcpu_rows(session, session.interval)
    assert vcpu_rows(session, session.interval)[1].scope == Scope(100, 101)
