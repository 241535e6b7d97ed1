from __future__ import annotations

from kvmtop.insight.detail_history import SLOWEST, Watched
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import DetailRequest

from ..support.fake import SECOND, Host

LOOK = DetailRequest(frozenset({"io"}), slow_ns=1)


def host() -> Host:
    one = Host()
    one.add(100, "web")
    one.look(LOOK)
    return one


def add(watched: Watched, host: Host, *slow: int) -> None:
    for ns in slow:
        host.linger(101, 0x7B, ns)
    host.now += SECOND
    watched.add(diff(None, host.read()))


def test_the_slowest_of_the_interval_and_of_the_run() -> None:
    watched, one = Watched(), host()
    add(watched, one, 3, 9, 6)
    assert [s.ns for s in watched.interval] == [s.ns for s in watched.run] == [9, 6, 3]
    add(watched, one, 7)
    assert [s.ns for s in watched.interval] == [7]
    assert [s.ns for s in watched.run] == [9, 7, 6, 3]
    add(watched, one)
    assert watched.interval == [] and [s.ns for s in watched.run] == [9, 7, 6, 3]  # each once


def test_no_more_than_some_are_kept() -> None:
    watched, one = Watched(), host()
    add(watched, one, *range(1, SLOWEST + 6))
    add(watched, one, 1_000, *range(1, 6))
    assert [s.ns for s in watched.interval] == [1_000, *range(5, 0, -1)]
    assert [s.ns for s in watched.run] == [1_000, *range(SLOWEST + 5, 6, -1)]
    assert len(watched.run) == SLOWEST


def test_samples_of_another_look_do_not_mix() -> None:
    watched, one = Watched(), host()
    for _ in range(3):
        one.touch(101, "io", 1, 0, 1_000)
        add(watched, one)
    assert len(watched.history) == 3 and list(watched.history[-1].values()) == [1.0]
    one.look(DetailRequest(frozenset({"msr"})))
    add(watched, one)
    assert list(watched.history) == [{}]


def test_while_nobody_looks_the_run_stays_and_the_interval_is_empty() -> None:
    watched, one = Watched(), host()
    add(watched, one, 5)
    one.look(None)
    add(watched, one)
    assert watched.interval == [] and [s.ns for s in watched.run] == [5]
    one.look(LOOK)
    add(watched, one, 8)
    assert [s.ns for s in watched.run] == [8, 5]


def test_the_history_is_bounded() -> None:
    watched, one = Watched(), host()
    for _ in range(70):
        add(watched, one)
    assert len(watched.history) == 60
