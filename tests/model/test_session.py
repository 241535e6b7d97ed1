from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kvmtop.model import session as module
from kvmtop.model.session import ALL, HISTORY, Line, Sample, Scope, Session
from kvmtop.model.snapshot import SVM, Snapshot
from kvmtop.model.stats import Interval, by_reason, diff

from ..support.fake import SECOND, Busy, Host

CPUID, HLT, MSR, IO = 0x72, 0x78, 0x7C, 0x7B
KEY = SVM, MSR


def lines(session: Session, scope: Scope = ALL, leave_idle: bool = False, trend: int = 0) -> dict[int, Line]:
    assert session.interval
    return {line.reason.code: line for line in session.lines(session.interval, scope, leave_idle, trend)}


def tick(session: Session, host: Host, seconds: float = 1) -> None:
    host.now += int(seconds * SECOND)
    session.add(host.read())


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "a", 2)
    host.add(200, "b")
    return host


SCOPES = [ALL, Scope(100), Scope(200), Scope(100, 101), Scope(100, 102), Scope(200, 201)]


def test_scopes(host: Host) -> None:
    snapshot = host.read()
    assert ALL.mask(snapshot) is None
    masks = [scope.mask(snapshot) for scope in SCOPES[1:]]
    assert [mask.tolist() for mask in masks if mask is not None] == [
        [True, True, False], [False, False, True], [True, False, False], [False, True, False], [False, False, True]
    ]  # fmt: skip
    for nobody in (Scope(7), Scope(100, 7)):
        mask = nobody.mask(snapshot)
        assert mask is not None
        assert not mask.any()


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


def test_idle_left_out_of_time_shares(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.exits(101, HLT, SECOND // 2)
    host.exits(101, MSR, SECOND // 8)
    host.exits(101, IO, SECOND // 8)
    tick(session, host)
    all_of_it, without = lines(session), lines(session, leave_idle=True)
    assert [all_of_it[code].time_share for code in (HLT, MSR, IO)] == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert [without[code].time_share for code in (HLT, MSR, IO)] == [None, 0.5, 0.5]
    assert without[HLT].share == pytest.approx(1 / 3)  # of the exits they stay a part


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


def gone(snapshot: Snapshot, row: int) -> Snapshot:
    """After a thread's cells have been added up with those of others long gone."""
    cells, ids = snapshot.cells.copy(), snapshot.cell_ids.copy()
    ids[cells["thread"] == row] = 0
    cells["thread"] -= (cells["thread"] > row).astype("u4")
    cells["thread"][ids == 0] = 0
    kept = np.arange(len(snapshot.threads)) != row
    left = replace(snapshot, threads=snapshot.threads[kept], thread_ids=snapshot.thread_ids[kept])
    return replace(left, cells=cells, cell_ids=ids)


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
    session.add(gone(host.read(), 0))
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


def test_old_histograms_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    session, host = Session(), Busy(2, 2)
    monkeypatch.setattr(module, "MOST_BUCKETS", 1_000)
    for _ in range(30):
        session.add(host.read())
        kept = [len(sample.hist_row) for sample in session.history]
        assert sum(kept) <= 1_000
    assert len(session.history) == 30
    known = [bool(n) for n in kept]
    assert known == sorted(known)  # the newest stay
    assert sum(known) > 3
    assert sum(kept) + max(kept) > 1_000  # none without need
    for sample in session.history:
        assert sample.rate(ALL, KEY)  # what the trends need stays
        assert sample.hist(ALL, KEY).sum() == (sample.by_reason(ALL)[KEY][0] if len(sample.hist_row) else 0)


def test_old_samples_forget_whose_exits_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    session, host = Session(), Busy(2, 2)
    monkeypatch.setattr(module, "MOST_ROWS", 200)
    vm, vcpu = Scope(4000), Scope(4000, 4001)
    known = []
    for _ in range(30):
        session.add(host.read())
        sample = session.history[-1]
        known.append(
            [sample.rate(ALL), sample.rate(ALL, KEY), sample.rate(vm), sample.rate(vcpu), sample.rate(vm, KEY)]
        )
    assert sum(len(sample.key) for sample in session.history) <= 200
    whole = [sample.whole for sample in session.history]
    assert whole == sorted(whole)  # the newest stay
    assert 3 < sum(whole) < 30
    for sample, expected in zip(session.history, known, strict=True):
        # Sums over all, the rates of each VM and vCPU, and what was asked for before.
        assert [sample.rate(ALL), sample.rate(ALL, KEY), sample.rate(vm), sample.rate(vcpu)] == expected[:4]
        assert sample.rate(vm, KEY) == expected[4]
        if not sample.whole:  # unknown is not zero
            assert sample.rate(vcpu, KEY) is None
            assert not sample.hist(vcpu, KEY).any()


def test_samples_share_what_is_equal() -> None:
    session, host = Session(), Busy(2, 2)
    for _ in range(3):
        session.add(host.read())
    first, *others = session.history
    assert all(sample.threads is first.threads and sample.pids is first.pids for sample in others)
    host.add(9000, "new")
    session.add(host.read())
    assert len(session.history[-1].threads) == len(first.threads) + 1


def test_the_total_is_made_once_for_each_reading(host: Host) -> None:
    session = Session()
    session.add(host.read())
    total = session.total()
    assert session.total() is total
    session = session.since(session.last)
    assert session.total() is not total
    tick(session, host)
    assert session.total() is not None and session.total().seconds == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(5))
def test_samples_say_what_by_reason_says(seed: int) -> None:
    host, last = Busy(3, 2, seed), None
    for turn in range(6):
        if turn == 2:
            host.leave(4001, HLT)
        if turn == 4:
            host.enter(4001)
            host.end(4100)
        now = host.read()
        interval, last = diff(last, now), now
        sample = Sample(interval)
        assert sample.seconds == interval.seconds
        vcpus = [Scope(vcpu.pid, tid) for tid, vcpu in host.vcpus.items()]
        for scope in (ALL, Scope(7), *map(Scope, host.vms), *vcpus):
            found = {r.key: r for r in by_reason(interval, scope.mask(now)) if r.count or r.time}
            sums = {key: pair for key, pair in sample.by_reason(scope).items() if any(pair)}
            assert sums == {key: (r.count, r.time) for key, r in found.items()}
            for key, reason in found.items():
                assert sample.hist(scope, key).tolist() == list(reason.hist)
            assert sample.rate(scope) == pytest.approx(sum(r.rate for r in found.values()))
            if scope != ALL:
                assert sample.rates.get(scope, 0) == pytest.approx(sample.rate(scope))
        assert sample.by_reason(ALL) is sample.by_reason(ALL)  # added up once


def test_a_sample_does_not_hold_on_to_the_snapshot() -> None:
    host = Busy(1, 1)
    sample = Sample(diff(host.read(), host.read()))
    arrays = [value for value in vars(sample).values() if isinstance(value, np.ndarray)]
    assert len(arrays) >= 8
    assert all(array.base is None for array in arrays)


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


@pytest.mark.parametrize("bound", ["MOST_BUCKETS", "MOST_ROWS"])
def test_a_sample_in_use_stays_whole(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, host = Session(), Busy(2, 2)
    session.add(host.read())
    sample, history = session.history[0], session.history
    filled, rows = len(sample.hist_row), len(sample.key)
    monkeypatch.setattr(module, bound, 0)
    session.add(host.read())
    assert not len(session.history[0].hist_row)
    assert (len(sample.hist_row), len(sample.key), sample.whole) == (filled, rows, True)
    assert sample.hist(ALL, KEY).sum() == sample.by_reason(ALL)[KEY][0] > 0
    assert list(history) == [sample]
