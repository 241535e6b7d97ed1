"""What the scheduler did with vCPUs, in logs and for programs."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from kvmtop.model.interval import diff
from kvmtop.model.keys import pack
from kvmtop.model.provenance import HERE
from kvmtop.model.scheduling import BEHIND, BLOCKED, TASK, TIMER, UNKNOWN, WOKEN, Placement, Process
from kvmtop.model.session import Session
from kvmtop.output import batch
from kvmtop.output.json_lines import interval_line
from kvmtop.reference.labels import Labels

from ..support.exported import lines
from ..support.fake import SECOND, Host
from ..support.scheduling import Scheduler

WEB, DB = pack(100, 101), pack(200, 201)
MS = 1_000_000


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web")
    host.add(200, "db")
    return host


def begun(host: Host) -> batch.Batch:
    """A log whose interval ends in two seconds."""
    writer = batch.Batch(io.StringIO(), Labels())
    writer.session.add(host.read())
    host.now += 2 * SECOND
    return writer


def written(writer: batch.Batch, host: Host) -> list[str]:
    assert isinstance(writer._out, io.StringIO)
    writer.write(host.read())
    return writer._out.getvalue().splitlines()


def section(lines: list[str], title: str) -> list[str]:
    """The rows under a title, up to the empty line."""
    at = next(n for n, line in enumerate(lines) if line.startswith(title))
    rest = lines[at + 1 :]
    return rest[: rest.index("")]


# ---- in a log


def test_what_the_scheduler_does(host: Host) -> None:
    writer = begun(host)
    scheduler = Scheduler(host.now - 2 * SECOND)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=600 * MS, count=3)
    scheduler.charge(DB, BEHIND, TASK, pack(9, 9), ns=200 * MS, comm=b"tar\x1b[2J")
    scheduler.charge(DB, WOKEN, TIMER, count=30)
    scheduler.charge(DB, WOKEN, TASK, WEB, count=10)
    scheduler.woke(DB, *[20_000] * 39, 5 * MS)
    scheduler.stacks = {1: ("do_swap_page",)}
    scheduler.charge(DB, BLOCKED, TASK, WEB, ns=300 * MS, call=(202, 0))
    scheduler.charge(DB, BLOCKED, UNKNOWN, ns=100 * MS, count=0, stack=1)
    scheduler.charge(WEB, BEHIND, TASK, DB, ns=20 * MS)
    host.vcpus[201].states["wait"], host.vcpus[201].states["blocked"] = 800 * MS, 400 * MS
    host.vcpus[101].states["wait"] = 20 * MS
    host.scheduling = scheduler.read()
    found = written(writer, host)
    assert all(line.isprintable() for line in found)
    first, second = section(found, "wait for a CPU")
    assert re.fullmatch(r"db vCPU 0 +40\.0%  30\.0% vCPU 0 of web; 10\.0% tar \[2J", first)
    assert re.fullmatch(r"web vCPU 0 +1\.0%  1\.0% vCPU 0 of db", second)
    (woken,) = section(found, "waking up")
    assert re.fullmatch(r"db vCPU 0 +20 +\d+\.\dµs +\S+ +5\.00ms  15 timer interrupt; 5\.0 vCPU 0 of web", woken), woken
    (blocked,) = section(found, "blocked ")
    assert re.fullmatch(
        r"db vCPU 0 +20\.0%  15\.0% a lock or event \(futex\), woken by vCPU 0 of web; 5\.0% swap-in, still",
        blocked,
    )
    assert not [line for line in found if "tells who" in line]


def test_many_culprits_and_many_vcpus_are_counted(host: Host) -> None:
    host.add(300, "many", batch.MOST_KEYS + 3)
    writer = begun(host)
    scheduler = Scheduler(host.now - 2 * SECOND)
    for tid, vcpu in host.vcpus.items():
        if vcpu.pid == 300:
            vcpu.states["wait"] = 70 * MS
            for pid in range(7):
                scheduler.charge(pack(300, tid), BEHIND, TASK, pack(10 + pid, 10 + pid), ns=10 * MS, comm=b"p%d" % pid)
    host.scheduling = scheduler.read()
    rows = section(written(writer, host), "wait for a CPU")
    assert len(rows) == batch.MOST_KEYS + 1 and rows[-1] == "3 more vCPUs"
    assert rows[0].endswith("0.5% p0; 0.5% p1; 0.5% p2; 0.5% p3; 0.5% p4; 2 more")


@pytest.mark.parametrize("recording", [None, "somebody's"])
def test_a_finding_says_where_more_is_told_if_it_can_be(host: Host, recording: str | None) -> None:
    host.now += SECOND
    text = io.StringIO()
    writer = batch.Batch(text, Labels(host.names), origin=replace(HERE, recording=recording))
    writer.session.add(host.read())
    host.now += SECOND
    host.vcpus[201].states["wait"] += 500 * MS
    writer.write(host.read())
    (found,) = (line for line in text.getvalue().splitlines() if line.startswith("! "))
    more = "" if recording else " (--event sched tells who)"
    assert found == (
        f"! vCPU 0 of db waits for a CPU 50.0% of its time: its host CPU runs something else or is waking up{more}"
        " [wait > 20% of a vCPU's time]"
    )


# ---- for programs


def test_scheduling_is_null_while_nobody_looks(host: Host) -> None:
    session = Session()
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    assert found["scheduling"] is None


def test_scheduling() -> None:
    host, session, ms = Host(), Session(), 1_000_000
    host.add(100, "web")
    host.add(200, "db")
    web, db = pack(100, 101), pack(200, 201)
    scheduler = Scheduler(host.now, 200)
    scheduler.processes = {9: Process("tar", "/system.slice/backup.service")}
    scheduler.placements = {201: Placement("0-3", all=False, siblings=(3,), node=1)}
    scheduler.stacks = {4: ("futex_wait", "do_futex")}
    session.add(host.read())
    host.now += SECOND
    scheduler.charge(db, BEHIND, TASK, web, ns=300 * ms, count=4)
    scheduler.charge(db, BEHIND, TASK, pack(9, 10), ns=100 * ms, count=2)
    scheduler.charge(db, BEHIND, TIMER, ns=1 * ms)
    scheduler.charge(db, WOKEN, TIMER, count=7)
    scheduler.woke(db, 2_000, 2_000, 9_000)
    scheduler.charge(db, BLOCKED, TASK, web, ns=50 * ms, count=5, stack=4, max=20 * ms)
    scheduler.charge(db, BLOCKED, UNKNOWN, ns=10 * ms, count=0, max=10 * ms)
    host.vcpus[201].states["wait"] = 401 * ms
    host.scheduling = scheduler.read()
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    actor = {"kind": "vcpu", "text": "vCPU 0 of web", "pid": 100, "tid": 101}
    timer = {"kind": "timer", "text": "timer interrupt", "pid": None, "tid": None}
    tar = {"kind": "process", "text": "tar (backup.service)", "pid": 9, "tid": None}
    (vcpu,) = found["scheduling"]  # web is not looked at
    assert vcpu.pop("latency") == {"count": 3, "p50_ns": 1920.0, "p99_ns": 9000.0, "max_ns": 9000}
    assert vcpu == {
        "pid": 200,
        "tid": 201,
        "vcpu": 0,
        "wait_ns": 401 * ms,
        "culprits": [
            {**actor, "cgroup": None, "ns": 300 * ms, "count": 4},
            {**tar, "cgroup": "/system.slice/backup.service", "ns": 100 * ms, "count": 2},
            {**timer, "cgroup": None, "ns": 1 * ms, "count": 1},
        ],
        "woken": [{**timer, "count": 7}],
        "blocked": [
            {
                "what": "a lock or event (futex)",
                "stack": ["futex_wait", "do_futex"],
                "by": actor,
                "count": 5,
                "ns": 50 * ms,
                "max_ns": 20 * ms,
            },
            {"what": "not known", "stack": [], "by": None, "count": 0, "ns": 10 * ms, "max_ns": 10 * ms},
        ],
        "placement": {"allowed": "0-3", "all": False, "cpu": 1, "siblings": [3], "node": 1},
    }


def test_what_is_not_known_of_scheduling_is_null() -> None:
    host, session = Host(), Session()
    host.add(100, "web")
    session.add(host.read())
    host.now += SECOND
    host.scheduling, host.told = Scheduler(host.now).read(), ("guest",)
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    (vcpu,) = found["scheduling"]
    assert vcpu["latency"] == {"count": 0, "p50_ns": None, "p99_ns": None, "max_ns": None}
    assert (vcpu["wait_ns"], vcpu["placement"], vcpu["culprits"]) == (None, None, [])


def test_a_stack_of_functions_without_names_is_null(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.now += SECOND
    scheduler = Scheduler(host.now - SECOND)
    scheduler.charge(int(host.read().threads["id"][0]), BLOCKED, UNKNOWN, ns=10_000_000, count=1, stack=4)
    for stacks, stack in ({}, None), ({4: ("do_nanosleep",)}, ["do_nanosleep"]):
        host.scheduling = replace(scheduler.read(), stacks=stacks, unnamed="functions have no names")
        (found,) = lines(interval_line(session, diff(None, host.read()), Labels()))
        assert [one["stack"] for one in found["scheduling"][0]["blocked"]] == [stack]


def test_a_vcpu_that_has_ended_is_told_once_more(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.now += SECOND
    host.scheduling = Scheduler(host.now - SECOND).read()
    host.end(100)
    told = []
    for _ in range(2):
        (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
        told.append([vcpu["pid"] for vcpu in found["scheduling"]])
        host.now += SECOND
    assert told == [[100, 200], [200]]


def test_findings_say_where_more_is_told(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.now += SECOND
    next(iter(host.vcpus.values())).states["wait"] += SECOND // 2
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    assert [one["more"] for one in found["findings"]] == ["scheduler"]
