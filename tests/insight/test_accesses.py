from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kvmtop.insight.accesses import CODE, POLLING, TOUCHED, TREND, USER_SPACE, accesses, change, rates, seconds
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.snapshot import Details, Snapshot
from kvmtop.model.vocabulary import KINDS, DetailRequest
from kvmtop.reference.guest_symbols import KERNEL_HALF

from ..support.fake import SECOND, Host

LOOK = DetailRequest(frozenset(KINDS) - {""})
COM, KBD = 0x3F8, 0x60


@pytest.fixture
def host() -> Host:
    """Two VMs, of two vCPUs and one."""
    host = Host()
    host.add(100, "web", 2)
    host.add(200, "db")
    host.look(LOOK)
    return host


def later(host: Host, ns: int = SECOND) -> Snapshot:
    host.now += ns
    return host.read()


def details(snapshot: Snapshot) -> Details:
    assert snapshot.details is not None
    return snapshot.details


def test_figures_of_the_interval_alone(host: Host) -> None:
    host.touch(101, "io", COM, 0x101, *[9_000_000] * 7, user=10_000, wait=10_000)
    before = later(host)
    host.touch(101, "io", COM, 0x101, 1_000, 1_000, 1_000, 5_000, user=500, wait=100)
    (one,) = accesses(diff(before, later(host, 2 * SECOND)), ALL)
    assert (one.kind, one.value, one.extra) == ("io", COM, 0x101)
    assert (one.count, one.exits, one.total, one.seconds) == (4, 4, 8_000, 2.0)
    assert one.parts == {"kernel": 5_600, "user": 2_000, "idle": 0, "blocked": 0, "wait": 400, "throttled": 0}
    assert (one.rate, one.avg, one.share) == (2.0, 2_000, 1.0)
    assert one.max is not None and 5_000 <= one.max < 6_000  # the 9 ms were before
    assert sum(one.hist) == 4
    p50, p99 = one.percentile(0.5), one.percentile(0.99)
    assert p50 == pytest.approx(1_000, rel=0.125) and p99 == pytest.approx(5_000, rel=0.125)


def test_scopes(host: Host) -> None:
    before = later(host)
    host.touch(101, "io", COM, 1, 1_000)
    host.touch(102, "io", COM, 1, 2_000, 2_000)
    host.touch(201, "io", COM, 1, 4_000, 4_000, 4_000)
    host.touch(201, "io", KBD, 0, 4_000)
    interval = diff(before, later(host))

    def seen(scope: Scope) -> dict[int, tuple[int, int, float | None]]:
        return {one.value: (one.count, one.total, one.share) for one in accesses(interval, scope)}

    assert seen(ALL) == {COM: (6, 17_000, 17 / 21), KBD: (1, 4_000, 4 / 21)}
    assert seen(Scope(100)) == {COM: (3, 5_000, 1.0)}
    assert seen(Scope(100, 102)) == {COM: (2, 4_000, 1.0)}
    assert seen(Scope(200)) == {COM: (3, 12_000, 0.75), KBD: (1, 4_000, 0.25)}
    assert seen(Scope(300)) == seen(Scope(100, 999)) == {}


def test_shares_are_of_the_time_of_the_same_kind(host: Host) -> None:
    before = later(host)
    host.touch(101, "io", COM, 1, 3_000)
    host.touch(101, "io", COM, 0, 1_000)  # a read is a key of its own
    host.touch(101, "msr", 0x10, 0, 90_000)
    found = accesses(diff(before, later(host)), ALL)
    assert [(one.kind, one.extra, one.share) for one in found] == [("msr", 0, 1.0), ("io", 1, 0.75), ("io", 0, 0.25)]


def test_kinds_are_chosen_and_the_order_is_by_time_then_by_count(host: Host) -> None:
    before = later(host)
    host.touch(101, "io", 1, 0, 10, 10)
    host.touch(101, "io", 2, 0, 20)
    host.touch(101, "io", 3, 0, 21)
    host.touch(101, CODE, 9, 0, 1_000)
    host.touch(101, "poll", 0, 0, 1_000)
    host.touch(101, "window", 0, 0, 1_000)
    interval = diff(before, later(host))
    assert [one.value for one in accesses(interval, ALL)] == [3, 1, 2]
    assert [one.kind for one in accesses(interval, ALL, [CODE])] == [CODE]
    assert accesses(interval, ALL, []) == accesses(interval, ALL, ["msr"]) == []
    assert TOUCHED | {CODE, ""} | POLLING == set(KINDS) and not TOUCHED & (POLLING | {CODE, ""})


def test_an_event_without_an_exit_that_ended(host: Host) -> None:
    before = later(host)
    host.touch(101, "io", COM, 1)
    host.touches[101, "io", COM, 1]["count"] = 3
    (one,) = accesses(diff(before, later(host)), ALL)
    assert (one.count, one.exits, one.total) == (3, 0, 0)
    assert one.avg is one.max is one.share is one.percentile(0.5) is None  # unknown is not zero


def test_what_did_not_happen_in_the_interval_is_not_told(host: Host) -> None:
    host.touch(101, "io", COM, 1, 1_000)
    before = later(host)
    interval = diff(before, later(host))
    assert accesses(interval, ALL) == [] and rates(interval) == {}


def test_nobody_looks(host: Host) -> None:
    host.look(None)
    interval = diff(later(host), later(host))
    assert change(interval) is None and accesses(interval, ALL) == [] and rates(interval) == {}
    assert seconds(interval) == 1.0


def test_a_look_that_began_within_the_interval(host: Host) -> None:
    host.look(None)
    before = later(host)
    host.now += 3 * SECOND
    host.look(LOOK)
    host.touch(101, "io", COM, 1, 1_000, 1_000)
    interval = diff(before, later(host, SECOND // 2))
    assert interval.seconds == 3.5 and seconds(interval) == 0.5
    assert accesses(interval, ALL)[0].rate == 4.0
    assert rates(interval) == {(100 << 32 | 101, KINDS.index("io"), COM, 1): 4.0}


def test_a_new_look_starts_from_nothing(host: Host) -> None:
    host.touch(101, "io", COM, 1, *[1_000] * 50)
    before = later(host)
    host.look(DetailRequest(LOOK.kinds, slow_ns=5))
    host.touch(101, "io", COM, 1, 1_000)
    (one,) = accesses(diff(before, later(host)), ALL)
    assert one.count == 1  # not 1 - 50


def test_rows_that_vanish_and_rows_that_come(host: Host) -> None:
    """Rows by their id: one given up is missed by nobody, one that took its place begins at zero."""
    host.touch(101, "io", 1, 0, *[1_000] * 10)
    host.touch(101, "io", 2, 0, *[1_000] * 20)
    before = later(host)
    host.touch(101, "io", 2, 0, 1_000)
    host.touch(101, "io", 3, 0, *[1_000] * 5)
    after = later(host)
    kept = details(after).touched["value"] != 1
    after = replace(
        after,
        details=replace(
            details(after), touched=details(after).touched[kept], touched_ids=np.array([2, 1 << 32 | 1], "u8")
        ),
    )
    found = {one.value: (one.count, one.total, sum(one.hist)) for one in accesses(diff(before, after), ALL)}
    assert found == {2: (1, 1_000, 1), 3: (5, 5_000, 5)}


def test_since_the_start(host: Host) -> None:
    host.touch(101, "io", COM, 1, *[1_000] * 3)
    later(host)
    host.touch(101, "io", COM, 1, 1_000)
    (one,) = accesses(diff(None, later(host)), ALL)
    assert (one.count, one.rate, one.max) == (4, 2.0, 1_000)


def test_trends(host: Host) -> None:
    history = []
    before = later(host)
    for n in range(TREND + 4):
        host.touch(101, "io", COM, 1, *[1_000] * n)
        host.touch(201, "io", COM, 1, *[1_000] * 2)
        after = later(host)
        interval = diff(before, after)
        history.append(rates(interval))
        before = after
    last = range(4, TREND + 4)
    assert list(accesses(interval, ALL, history=history)[0].trend) == [n + 2 for n in last]
    assert list(accesses(interval, Scope(100), history=history)[0].trend) == list(last)
    assert list(accesses(interval, Scope(200, 201), history=history)[0].trend) == [2] * TREND
    for pid in range(300, 340):  # more threads than keys
        host.add(pid, "x")
    assert list(accesses(diff(before, later(host)), ALL, history=history)) == []


def test_the_trend_of_many_threads_and_of_many_keys_is_the_same(host: Host) -> None:
    before = later(host)
    for n in range(50):
        host.touch(101, "io", n, 1, 1_000)
    many = diff(before, later(host))
    sample = rates(many)
    few = {key: rate for key, rate in sample.items() if key[2] == 7}
    for scope in (ALL, Scope(100), Scope(100, 101)):
        by_value = {one.value: list(one.trend) for one in accesses(many, scope, history=[sample, few])}
        assert by_value[7] == [1, 1] and by_value[8] == [1, 0]


def test_user_space_is_one_in_a_history_and_on_the_screen() -> None:
    host = Host()
    host.add(100, "web")
    host.look(DetailRequest(frozenset({"rip"})))
    for address in (0x1000, 0x7F0000000000, KERNEL_HALF + 16):
        host.touch(101, "rip", address, 0, 2_000, 3_000)
    host.now += SECOND
    interval = diff(None, host.read())
    history = [rates(interval)]
    assert sorted((key[2], rate) for key, rate in history[0].items()) == [(USER_SPACE, 4.0), (KERNEL_HALF + 16, 2.0)]
    found = accesses(interval, ALL, ["rip"], history, fold=True)
    assert [(one.value, one.count, one.total, list(one.trend)) for one in found] == [
        (USER_SPACE, 4, 10_000, [4.0]),
        (KERNEL_HALF + 16, 2, 5_000, [2.0]),
    ]
    assert len(accesses(interval, ALL, ["rip"])) == 3  # programs have them all


def test_time_of_its_own(host: Host) -> None:
    host.touch(101, "io", COM, 0, 10_000, wait=4_000, throttled=1_000, idle=2_000)
    host.touch(101, "io", KBD, 0, 1_000)
    host.touch(101, "rip", KERNEL_HALF, 0, 9_000, idle=8_000)
    port, other = accesses(diff(None, later(host)), ALL, ["io"])
    assert (port.total, port.own, port.own_share, other.own) == (10_000, 3_000, 0.75, 1_000)
    (halt,) = accesses(diff(None, later(host)), ALL, ["rip"])
    assert (halt.own, halt.own_share) == (8_000, 1.0)
