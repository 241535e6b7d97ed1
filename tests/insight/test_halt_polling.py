from __future__ import annotations

import pytest

from kvmtop.insight.halt_polling import Polling, Verdict, polling
from kvmtop.model.interval import Interval, diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.vocabulary import HIT, UNPOLLED, WASTED, DetailRequest
from kvmtop.tables.halt_polling import verdict as verdict_words

from ..support.fake import SECOND, Host


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    host.add(200, "db")
    host.look(DetailRequest(frozenset({"poll", "window"})))
    return host


def one(hits: int, wasted: int, ns: int, other: int = 0, seconds: float = 1.0) -> Polling:
    return Polling(1, seconds, hits, wasted, other, ns // 3, ns - ns // 3, None)


def interval(host: Host) -> Interval:
    before = host.read()
    host.touch(101, "poll", HIT, 0, *[10_000] * 6)
    host.touch(101, "poll", WASTED, 0, *[200_000] * 4)
    host.touch(101, "poll", UNPOLLED, 0, 0)
    host.touch(101, "window", 0, 0, 200_000)
    host.touch(102, "poll", UNPOLLED, 0, 0, 0, 0)
    host.touch(201, "poll", UNPOLLED, 0, 0)
    host.touch(201, "io", 0x3F8, 0, 10**9)
    host.now += 2 * SECOND
    return diff(before, host.read())


def test_each_vcpu_and_its_numbers(host: Host) -> None:
    host.touch(101, "poll", HIT, 0, *[1_000_000] * 50)  # before the interval
    found = {p.id & 0xFFFFFFFF: p for p in polling(interval(host), ALL)}
    assert found[101] == Polling(
        100 << 32 | 101, 2.0, hits=6, wasted=4, other=1, success_ns=60_000, fail_ns=800_000, window=200_000
    )
    assert found[102] == Polling(100 << 32 | 102, 2.0, 0, 0, other=3, success_ns=0, fail_ns=0, window=None)
    assert found[201] == Polling(200 << 32 | 201, 2.0, hits=0, wasted=0, other=1, success_ns=0, fail_ns=0, window=None)


def test_what_was_spent_is_both_and_a_halt_without_a_poll_has_no_share(host: Host) -> None:
    found = {p.id & 0xFFFFFFFF: p for p in polling(interval(host), ALL)}
    assert (found[101].ns, found[101].burnt, found[101].hit) == (860_000, 860_000 / 2e9, 0.6)
    assert (found[102].ns, found[102].hit, found[102].verdict) == (0, None, Verdict.NOT_POLLED)  # halt_poll_ns=0


def test_scopes_and_order(host: Host) -> None:
    between = interval(host)
    tids = [
        [p.id & 0xFFFFFFFF for p in polling(between, scope)]
        for scope in (ALL, Scope(100), Scope(100, 102), Scope(200), Scope(9))
    ]
    assert tids == [[101, 102, 201], [101, 102], [102], [201], []]


def test_a_vcpu_that_did_not_halt_is_left_out(host: Host) -> None:
    interval(host)
    before = host.read()
    host.touch(102, "poll", HIT, 0, 5)
    host.now += SECOND
    assert [p.id & 0xFFFFFFFF for p in polling(diff(before, host.read()), ALL)] == [102]


def test_nobody_looks(host: Host) -> None:
    host.look(None)
    assert polling(diff(None, host.read()), ALL) == []


@pytest.mark.parametrize(
    ("given", "verdict", "words"),
    [
        (one(0, 0, 0), Verdict.NO_HALT, "no halt"),
        (one(0, 0, 0, other=3), Verdict.NOT_POLLED, "no halt was polled"),
        (one(1, 9, 19_999_999), Verdict.CHEAP, "cheap: 10.0% of 10 polls hit, 2.0% of a CPU spent"),
        (
            one(1, 9, 20_000_000),
            Verdict.WASTEFUL,
            "wasteful: 10.0% of 10 polls hit, 2.0% of a CPU spent; lower kvm's halt_poll_ns",
        ),
        (
            one(49, 51, 50_000_000),
            Verdict.WASTEFUL,
            "wasteful: 49.0% of 100 polls hit, 5.0% of a CPU spent; lower kvm's halt_poll_ns",
        ),
        (one(50, 50, 50_000_000), Verdict.PAYS, "pays: 50.0% of 100 polls hit, 5.0% of a CPU spent"),
        (one(50, 50, 50_000_000, seconds=5), Verdict.CHEAP, "cheap: 50.0% of 100 polls hit, 1.0% of a CPU spent"),
        (one(4, 0, 10**9), Verdict.PAYS, "pays: 100% of 4 polls hit, 100% of a CPU spent"),
    ],
)
def test_verdicts(given: Polling, verdict: Verdict, words: str) -> None:
    assert given.verdict is verdict
    assert verdict_words(given) == words
