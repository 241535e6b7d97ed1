"""A VM's other threads between two readings, and what stands out of them."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from kvmtop.insight.finding import Finding
from kvmtop.insight.findings import findings
from kvmtop.insight.other_threads import OtherThread, other_threads
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.interval import Interval
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.selection import only
from kvmtop.model.session import Session
from kvmtop.reference.labels import Labels

from ..support.fake import SECOND, Host
from ..support.others import Others

MS = 1_000_000


class Run:
    """web (100) and db (200), with a main thread each, and what a test adds."""

    def __init__(self) -> None:
        self.host, self.session, self.others = Host(), Session(), Others()
        self.host.add(100, "web", 1)
        self.host.add(200, "db", 1)
        self.others.add(100, 100, "main", "qemu")
        self.others.add(200, 200, "main", "qemu")

    def read(self, ns: int = SECOND) -> Interval:
        self.host.now += ns
        self.host.others = self.others.rows(self.host.now)
        return self.session.add(self.host.read())

    def texts(self) -> list[Finding]:
        interval = self.read()
        return findings(self.session, interval, vcpu_rows(self.session, interval), Labels())


@pytest.fixture
def run() -> Run:
    return Run()


def of(interval: Interval, tid: int) -> OtherThread:
    (found,) = (one for one in other_threads(interval) if one.tid == tid)
    return found


def test_shares_of_the_time_between_its_readings(run: Run) -> None:
    run.others.add(200, 203, "io", "IO io1", cpu=5)
    assert astuple(of(run.read(), 203)) == (200, 203, "io", "IO io1", 5, None, None, None)
    run.others.grow(203, cpu_ns=500 * MS, wait_ns=250 * MS, throttled_ns=50 * MS)
    assert astuple(of(run.read(), 203))[5:] == (0.5, 0.2, 0.05)
    run.others.grow(203, cpu_ns=500 * MS, wait_ns=250 * MS)
    assert astuple(of(run.read(2 * SECOND), 203))[5:] == (0.25, 0.125, 0)


def test_one_that_was_not_read(run: Run) -> None:
    run.others.add(200, 203, "io", "IO io1", cpu=-1)
    run.read()
    run.others.grow(203, cpu_ns=MS)
    run.others.asleep.add(203)
    found = of(run.read(), 203)
    assert (found.cpu, found.busy, found.wait, found.throttled) == (None, None, None, None)
    run.others.asleep.clear()
    assert of(run.read(), 203).busy == 0.0005  # of two seconds


def test_what_is_throttled_is_unknown(run: Run) -> None:
    run.others.add(200, 203, "io", "IO io1", throttled_ns=-1)
    run.read()
    run.others.grow(203, wait_ns=250 * MS)
    assert astuple(of(run.read(), 203))[5:] == (0, 0.25, None)
    run.others.grow(203, wait_ns=250 * MS, throttled_ns=1 + 100 * MS)  # known from now on
    assert astuple(of(run.read(), 203))[5:] == (0, 0.25, None)
    run.others.grow(203, wait_ns=250 * MS, throttled_ns=100 * MS)
    assert astuple(of(run.read(), 203))[5:] == (0, 0.15, 0.1)


def test_a_wait_that_began_earlier_is_no_more_than_what_is_left_of_the_time(run: Run) -> None:
    run.read()
    run.others.grow(100, wait_ns=5 * SECOND, cpu_ns=SECOND + 4 * MS)
    assert astuple(of(run.read(), 100))[5:] == (1, 0, 0)
    run.others.grow(100, wait_ns=5 * SECOND, cpu_ns=250 * MS, throttled_ns=500 * MS)
    assert astuple(of(run.read(), 100))[5:] == (0.25, 0.25, 0.5)


def test_another_with_the_same_id(run: Run) -> None:
    run.others.grow(100, cpu_ns=700 * MS, wait_ns=5)
    run.read()
    run.others.grow(100, cpu_ns=-600 * MS)
    assert of(run.read(), 100).busy is None


def test_whose_they_are_and_in_which_order(run: Run) -> None:
    for tid, role, name in ((109, "other", "a"), (108, "worker", "b"), (107, "io", "IO z"), (106, "io", "IO a")):
        run.others.add(100, tid, role, name)
    run.others.add(100, 105, "vhost", "vhost-\x1b[2J")
    interval = run.read()
    assert [one.tid for one in other_threads(interval, ALL)] == [200, 100, 106, 107, 108, 105, 109]
    assert [one.tid for one in other_threads(interval, Scope(200))] == [200]
    assert [one.tid for one in other_threads(interval, Scope(200, 201))] == [200]
    assert of(interval, 105).name == "vhost- [2J"
    assert only(run.host.read(), [200]).others["id"].tolist() == [200 << 32 | 200]


def test_none_are_known(run: Run) -> None:
    run.others = Others()
    assert other_threads(run.read()) == []
    assert run.texts() == []


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("io", "IO io1 of db is on a CPU 97.0% of its time, and can hardly do more, unless it polls"),
        ("vhost", "IO io1 of db is on a CPU 97.0% of its time, and can hardly do more, unless it polls"),
        ("worker", "IO io1 of db is on a CPU 97.0% of its time, and can hardly do more"),
        ("main", "the main thread of db is on a CPU 97.0% of its time, and can hardly do more"),
    ],
)
def test_a_busy_thread(run: Run, role: str, text: str) -> None:
    run.others.add(200, 203, role, "IO io1")
    run.others.add(200, 204, role, "IO io2")
    run.read()
    run.others.grow(203, cpu_ns=970 * MS)
    run.others.grow(204, cpu_ns=960 * MS)
    assert [(one.text, one.rule) for one in run.texts()] == [
        (text, "on a CPU ≥ 90% of the time of a thread of the VMM")
    ]
    run.others.grow(203, cpu_ns=899 * MS)
    assert run.texts() == []


def test_a_thread_that_waits(run: Run) -> None:
    run.others.add(200, 203, "io", "IO io1")
    run.others.add(100, 103, "other", "live_migration")
    run.read()
    run.others.grow(203, wait_ns=201 * MS)
    run.others.grow(103, wait_ns=900 * MS, cpu_ns=950 * MS)
    (found,) = run.texts()
    assert (
        found.text == "IO io1 of db waits for a CPU 20.1% of its time: its host CPU runs something else or is waking up"
    )
    run.others.grow(203, wait_ns=401 * MS, throttled_ns=201 * MS)
    assert run.texts() == []
    run.others.set(203, throttled_ns=-1)
    run.others.grow(203, wait_ns=300 * MS)
    (found,) = run.texts()
    assert found.text.endswith("runs something else or is waking up, or its CPU quota is used up")
    assert found.rule == "wait > 20% of the time of a thread of the VMM"


def test_numbers_that_no_thread_has(run: Run) -> None:
    """As a recording may have them."""
    run.read()
    for name in ("cpu_ns", "wait_ns", "time_ns"):
        run.others.set(100, **{name: 2**63 + 7})
        for one in other_threads(run.read()):
            assert all(share is None or 0 <= share <= 1 for share in (one.busy, one.wait, one.throttled))
    assert np.uint64(2**63 + 7) in run.others.rows(0)["cpu_ns"]
