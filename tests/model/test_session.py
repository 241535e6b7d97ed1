from __future__ import annotations

import pytest

from kvmtop.model import session as module
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.history import HISTORY
from kvmtop.model.interval import Interval, diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Line, Session
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import SVM

from ..support.fake import SECOND, Host
from ..support.intervals import folded

CPUID, HLT, MSR, IO = 0x72, 0x78, 0x7C, 0x7B
KEY = SVM, MSR


def lines(session: Session, scope: Scope = ALL, idle: bool = False, trend: int = 0) -> dict[int, Line]:
    assert session.interval
    return {line.reason.code: line for line in session.lines(session.interval, scope, idle, trend)}


def tick(session: Session, host: Host, seconds: float = 1) -> None:
    host.now += int(seconds * SECOND)
    session.add(host.read())


def test_lines(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.exits(101, MSR, *[1_000] * 30)
    host.exits(102, MSR, *[1_000] * 10)
    host.exits(201, IO, *[1_000] * 60)
    tick(session, host)
    found = lines(session)
    assert [(line.reason.count, line.share, line.time_share, line.total) for line in found.values()] == [
        (60, 0.6, 0.6, 60),
        (40, 0.4, 0.4, 40),
    ]
    assert list(lines(session, Scope(100))) == [MSR]
    assert lines(session, Scope(100))[MSR].share == 1
    assert lines(session, Scope(100, 101))[MSR].total == 30


def test_lines_without_exits(host: Host) -> None:
    session = Session()
    host.exits(101, MSR, 1_000)
    session.add(host.read())
    tick(session, host)
    line = lines(session)[MSR]
    assert (line.share, line.time_share, line.total) == (None, None, 1)


def test_a_reason_has_its_own_time_and_idle_ones_are_left_aside(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.exits(101, HLT, SECOND // 2, idle=SECOND // 8 * 3)
    host.exits(101, MSR, SECOND // 4, wait=SECOND // 8)
    host.exits(101, IO, SECOND // 8, blocked=SECOND // 16)
    host.exits(101, CPUID, SECOND // 8, throttled=SECOND // 8)
    tick(session, host)
    without, among = lines(session), lines(session, idle=True)
    assert [without[code].aside for code in (HLT, MSR, IO)] == [True, False, False]
    assert [without[code].own_share for code in (HLT, MSR, IO, CPUID)] == [None, 0.5, 0.5, 0]
    assert [among[code].own_share for code in (HLT, MSR, IO, CPUID)] == [0.6, 0.2, 0.2, 0]
    assert not any(line.aside for line in among.values())
    for found in (without, among):  # what programs are told stays
        assert [found[code].time_share for code in (HLT, MSR, IO, CPUID)] == [0.5, 0.25, 0.125, 0.125]
        assert [found[code].share for code in (HLT, MSR, IO)] == [0.25] * 3


def test_trend_is_of_the_measured_seconds_oldest_first(host: Host) -> None:
    session = Session()
    session.add(host.read())
    for count, seconds in ((10, 1), (0, 1), (30, 2), (5, 0.5)):
        host.exits(101, MSR, *[1_000] * count)
        host.exits(201, MSR, *[1_000] * count)
        tick(session, host, seconds)
    assert lines(session, trend=3)[MSR].trend == [0, 30, 20]
    assert lines(session, Scope(100), trend=3)[MSR].trend == [0, 15, 10]
    assert lines(session, trend=99)[MSR].trend == [0, 20, 0, 30, 20]
    assert lines(session)[MSR].trend == []
    assert [sample.rate(ALL) for sample in session.history] == [0, 20, 0, 30, 20]
    assert [sample.rate(Scope(200), KEY) for sample in session.history] == [0, 10, 0, 15, 10]
    assert [sample.rate(Scope(200), (SVM, IO)) for sample in session.history] == [0] * 5


def test_totals_and_a_baseline(host: Host) -> None:
    session = Session()
    assert session.total() is None
    host.exits(101, MSR, *[1_000] * 5)
    session.add(host.read())
    host.exits(101, MSR, *[1_000] * 7)
    tick(session, host)
    assert lines(session)[MSR].total == 12
    total = session.total()
    assert total
    assert [reason.count for reason in by_reason(total)] == [12]

    session = session.since(session.last)
    assert len(session.history) == 0
    assert lines(session)[MSR].total == 0
    host.exits(101, MSR, *[1_000] * 3)
    host.exits(101, IO, 1_000)
    tick(session, host, 2)
    assert {code: line.total for code, line in lines(session).items()} == {IO: 1, MSR: 3}
    assert lines(session, Scope(100, 101))[MSR].total == 3
    total = session.total()
    assert total
    assert [(reason.count, reason.rate) for reason in by_reason(total)] == [(1, 0.5), (3, 1.5)]
    assert session.last
    assert [reason.count for reason in by_reason(diff(None, session.last))] == [1, 15]  # as the summary has it


@pytest.mark.parametrize("scope", [ALL, Scope(100), Scope(100, 102)])
@pytest.mark.parametrize("reset", [False, True])
def test_totals_after_a_thread_is_long_gone(host: Host, scope: Scope, reset: bool) -> None:
    session = Session()
    host.exits(101, MSR, *[1_000] * 50)
    host.exits(102, MSR, *[1_000] * 5)
    session.add(host.read())
    if reset:
        session = session.since(session.last)
    host.exits(102, MSR, *[1_000] * 2)
    host.now += SECOND
    session.add(folded(host.read(), 0))
    expected = (2 if reset else 57) if scope == ALL else 2 if reset else 7
    assert lines(session, scope)[MSR].total == expected


def test_history_is_bounded(host: Host) -> None:
    session = Session()
    for _ in range(HISTORY + 10):
        host.now += SECOND
        session.add(host.read())
    assert len(session.history) == HISTORY
    assert session.history[-1].time_ns == host.now
    assert session.history[0].time_ns == host.now - (HISTORY - 1) * SECOND


def test_the_total_is_made_once_for_each_reading(host: Host) -> None:
    session = Session()
    session.add(host.read())
    total = session.total()
    assert session.total() is total
    session = session.since(session.last)
    assert session.total() is not total
    tick(session, host)
    assert session.total() is not None and session.total().seconds == 1  # type: ignore[union-attr]


# ---- one thread adds, another has a copy


def test_a_copy_is_not_added_to(host: Host) -> None:
    session = Session()
    for _ in range(3):
        host.exits(101, MSR, 1_000)
        tick(session, host)
    copy = session.copy()
    then, last, total = list(copy.history), copy.last, copy.total()
    tick(session, host)
    session.prepend(then[0])
    assert (list(copy.history), copy.last, copy.total()) == (then, last, total)
    assert copy.interval and copy.interval.after is last


def test_a_copy_since_an_earlier_snapshot(host: Host) -> None:
    session = Session()
    host.exits(101, MSR, *[1_000] * 5)
    tick(session, host)
    baseline = session.last
    for _ in range(2):
        host.exits(101, MSR, *[1_000] * 3)
        tick(session, host)
    copy = session.since(baseline)
    assert copy.since(baseline) is copy and session.since(None) is session
    assert len(copy.history) == 2 and len(session.history) == 3
    assert lines(copy)[MSR].total == 6 and lines(session)[MSR].total == 11
    assert copy.since(None) is not copy


def test_a_reading_while_totals_are_added_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    tick(session, host)
    host.exits(101, MSR, 1_000)
    copy = session.copy()

    def slow(before: Snapshot | None, after: Snapshot) -> Interval:
        monkeypatch.setattr(module, "diff", diff)
        tick(session, host)  # as the reader's thread may at any moment
        return diff(before, after)

    monkeypatch.setattr(module, "diff", slow)
    total = copy.total()
    assert total
    assert total.after is copy.last is not session.last
    assert by_reason(total) == []
    total = session.total()
    assert total
    assert total.after is session.last
    assert [reason.count for reason in by_reason(total)] == [1]
