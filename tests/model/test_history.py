from __future__ import annotations

import numpy as np
import pytest

from kvmtop.model import history as module
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.history import Sample
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import STATES, SVM

from ..support.fake import SECOND, Busy, Host

HLT, MSR = 0x78, 0x7C
KEY = SVM, MSR


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


def test_where_the_time_went_is_kept_by_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    host, session = Host(), Session()
    host.add(100, "web", 2)
    host.add(200, "db")
    for tid in (101, 102, 201):
        host.enter(tid)
    session.add(host.read())
    host.now += SECOND // 2
    host.leave(101, MSR, "wait")
    host.leave(201, MSR, "throttled")
    host.now += SECOND // 2
    sample = Sample(session.add(host.read()))
    assert sample.states(Scope(100)) == dict.fromkeys(STATES, 0) | {"guest": 0.75, "wait": 0.25}
    assert sample.states(Scope(100, 101)) == dict.fromkeys(STATES, 0) | {"guest": 0.5, "wait": 0.5}
    everything = sample.states(ALL)
    assert (
        everything and everything["throttled"] == pytest.approx(1 / 6) and sum(everything.values()) == pytest.approx(1)
    )
    assert sample.states(Scope(300)) is None
    # In a session, older ones forget what nobody has asked for.
    monkeypatch.setattr(module, "MOST_STATES", 6)
    first = session.history[-1]
    assert first.states(Scope(200)) and session.history[-1] is first
    for _ in range(3):
        host.now += SECOND
        session.add(host.read())
    assert [len(one.spent) for one in session.history] == [0, 0, 0, 3, 3]
    kept = session.history[1]
    assert kept.states(ALL) == everything and kept.states(Scope(200)) and kept.states(Scope(100)) is None


@pytest.mark.parametrize(("told", "shares"), [(("guest",), {"guest": 0.5}), ((), None)])
def test_what_is_not_told_of_states_is_left(told: tuple[str, ...], shares: dict[str, float] | None) -> None:
    host, session = Host(), Session()
    host.told = told
    host.add(100, "web")
    host.enter(101)
    session.add(host.read())
    host.now += SECOND // 2
    host.leave(101, MSR)
    host.now += SECOND // 2
    session.add(host.read())
    assert session.history[-1].states(ALL) == shares
