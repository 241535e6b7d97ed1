from __future__ import annotations

import pytest

from kvmtop.insight import detail_history
from kvmtop.insight.detail_history import SAMPLES, SLOWEST, DetailHistory
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import DetailRequest

from ..support.fake import SECOND, Host

LOOK = DetailRequest(frozenset({"io"}), slow_ns=1)


def host() -> Host:
    one = Host()
    one.add(100, "web")
    one.look(LOOK)
    return one


def add(history: DetailHistory, host: Host, *slow: int) -> DetailHistory:
    for ns in slow:
        host.linger(101, 0x7B, ns)
    host.now += SECOND
    return history.add(diff(None, host.read()))


def test_the_slowest_of_the_interval_and_of_the_run() -> None:
    history, one = DetailHistory(), host()
    history = add(history, one, 3, 9, 6)
    assert [s.ns for s in history.slow] == [s.ns for s in history.slowest] == [9, 6, 3]
    history = add(history, one, 7)
    assert [s.ns for s in history.slow] == [7]
    assert [s.ns for s in history.slowest] == [9, 7, 6, 3]
    history = add(history, one)
    assert history.slow == () and [s.ns for s in history.slowest] == [9, 7, 6, 3]  # each once


def test_no_more_than_some_are_kept() -> None:
    history, one = DetailHistory(), host()
    history = add(history, one, *range(1, SLOWEST + 6))
    history = add(history, one, 1_000, *range(1, 6))
    assert [s.ns for s in history.slow] == [1_000, *range(5, 0, -1)]
    assert [s.ns for s in history.slowest] == [1_000, *range(SLOWEST + 5, 6, -1)]
    assert len(history.slowest) == SLOWEST


def test_a_vcpu_keeps_its_slowest_beside_a_slower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    history, one = DetailHistory(), host()
    one.add(200, "db")
    one.linger(201, 0x7B, 5)
    history = add(history, one, *range(1_000, 1_000 + 2 * SLOWEST))
    assert [(s.vm, s.ns) for s in history.slowest if s.vm == "db"] == [("db", 5)]
    assert len(history.slowest) == SLOWEST + 1
    monkeypatch.setattr(detail_history, "MOST", SLOWEST)
    assert len(add(history, one).slowest) == SLOWEST


def test_samples_of_another_look_do_not_mix() -> None:
    history, one = DetailHistory(), host()
    for _ in range(3):
        one.touch(101, "io", 1, 0, 1_000)
        history = add(history, one)
    assert len(history.samples) == 3 and list(history.samples[-1].values()) == [1.0]
    one.look(DetailRequest(frozenset({"msr"})))
    history = add(history, one)
    assert history.samples == ({},)


def test_while_nobody_looks_the_run_stays_and_the_interval_is_empty() -> None:
    history, one = DetailHistory(), host()
    history = add(history, one, 5)
    one.look(None)
    history = add(history, one)
    assert history.slow == () and [s.ns for s in history.slowest] == [5]
    one.look(LOOK)
    history = add(history, one, 8)
    assert [s.ns for s in history.slowest] == [8, 5]


def test_the_history_is_bounded() -> None:
    history, one = DetailHistory(), host()
    for _ in range(SAMPLES + 10):
        history = add(history, one)
    assert len(history.samples) == SAMPLES


def test_what_was_handed_out_does_not_change() -> None:
    history, one = DetailHistory(), host()
    one.touch(101, "io", 1, 0, 1_000)
    before = add(history, one, 5)
    samples = [dict(sample) for sample in before.samples]
    add(before, one, 7)
    assert history == DetailHistory()
    assert list(before.samples) == samples and [s.ns for s in before.slow] == [s.ns for s in before.slowest] == [5]
