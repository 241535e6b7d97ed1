from __future__ import annotations

import time

import numpy as np
import pytest

from kvmtop.insight import slow_exits
from kvmtop.model.histogram import bucket_bounds
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.vocabulary import OUTSIDE, SVM

from ..support.fake import SECOND, Host


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    return host


def test_a_row_in_full(host: Host) -> None:
    host.linger(102, 0x7B, 9_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.slows[0]["idle"], host.slows[0]["wait"], host.slows[0]["info1"], host.slows[0]["info2"] = (
        1_000_000,
        500_000,
        11,
        12,
    )
    (one,) = slow_exits.read(host.slow(), host.read())
    assert (one.vm, one.pid, one.tid, one.vcpu) == ("web", 100, 102, 1)
    assert (one.isa, one.code, one.name) == (SVM, 0x7B, "io")
    assert one.ns == 9_000_000 == sum(one.parts.values())
    assert {state: ns for state, ns in one.parts.items() if ns} == {
        "kernel": 2_500_000,
        "user": 5_000_000,
        "idle": 1_000_000,
        "wait": 500_000,
    }
    assert tuple(one.parts) == OUTSIDE
    assert (one.rip, one.info, one.cpu) == (0xFFFFFFFF81000010, (11, 12), 1)
    assert (one.kind, one.value, one.extra) == ("io", 0x3F8, 0x101)


def test_the_time_is_of_the_wall_clock(host: Host) -> None:
    host.now = time.monotonic_ns() - 5 * SECOND
    host.linger(101, 0x7B, 1_000)
    (one,) = slow_exits.read(host.slow(), host.read())
    assert one.time == pytest.approx(time.time() - 5, abs=0.5)


def test_the_order_is_kept_and_what_is_not_known_is_named(host: Host) -> None:
    for ns in (3_000, 1_000, 2_000):
        host.linger(101, 0x999, ns, user=2_500)
    rows = host.slow()
    rows["id"] = 777 << 32 | 778
    rows["kind"] = 0
    found = slow_exits.read(rows, host.read())
    assert [one.ns for one in found] == [3_000, 1_000, 2_000]
    assert [one.parts["kernel"] for one in found] == [500, 0, 0]  # never less than nothing
    assert {(one.vm, one.name, one.kind) for one in found} == {("pid 777", "0x999", "")}
    assert slow_exits.read(rows[:0], host.read()) == []


def exits(host: Host, seconds: int, *groups: tuple[int, int, int]) -> int:
    before = host.read()
    for reason, count, ns in groups:
        host.exits(101, reason, *[ns] * count)
    host.now += seconds * SECOND
    return slow_exits.threshold(diff(before, host.read()))


@pytest.mark.parametrize(
    ("seconds", "count", "reached"), [(1, 60, True), (1, 61, False), (2, 120, True), (2, 121, False)]
)
def test_a_threshold_lets_sixty_exits_a_second_pass(host: Host, seconds: int, count: int, reached: bool) -> None:
    found = exits(host, seconds, (0x7B, count, 1_000_000), (0x7C, 100_000, 1_000))
    assert (found <= 1_000_000) == reached
    assert found > 1_000
    bounds = [bucket_bounds(index)[1] for index in range(128)]
    assert found in bounds


def test_a_threshold_passes_over_idle_exits_and_minds_one_reason(host: Host) -> None:
    before = host.read()
    host.exits(101, 0x78, *[10**9] * 1000)
    host.exits(101, 0x7B, *[10**6] * 100)
    host.exits(101, 0x72, *[10**3] * 100)
    host.now += SECOND
    interval = diff(before, host.read())
    assert 10**6 < slow_exits.threshold(interval) < 2 * 10**6
    assert 10**3 < slow_exits.threshold(interval, (SVM, 0x72)) < 2 * 10**3
    assert slow_exits.threshold(interval, (SVM, 0x78)) == 1  # idle ones are never slow
    assert slow_exits.threshold(interval, most=99) > 10**6 and slow_exits.threshold(interval, most=100) < 10**6


def test_a_threshold_goes_by_what_was_halted_and_not_by_the_reason(host: Host) -> None:
    """MWAIT that KVM makes a no-op is not idle; a HLT whose VMM works on it is not, either."""
    assert exits(host, 1, (0x8B, 100, 10**6)) > 10**6
    before = host.read()
    host.exits(101, 0x78, *[10**6] * 100, user=9 * 10**5, idle=0)
    host.now += SECOND
    assert slow_exits.threshold(diff(before, host.read())) > 10**6


def test_few_exits_are_all_slow(host: Host) -> None:
    assert exits(host, 1) == 1
    assert exits(host, 1, (0x7B, 5, 1_000)) == 1


def test_the_longest_bucket_has_no_upper_end_that_c_cannot_hold(host: Host) -> None:
    found = exits(host, 1, (0x7B, 61, 300 * SECOND))
    assert 300 * SECOND < found < 2**64
    assert np.uint64(found) == found


def test_those_of_a_scope(host: Host) -> None:
    host.add(200, "db")
    for tid in (101, 102, 201):
        host.linger(tid, 0x7B, 5_000)
    snapshot = host.read()
    found = slow_exits.read(host.slow(), snapshot)
    scopes = (ALL, Scope(100), Scope(100, 102), Scope(200), Scope(300), Scope(100, 999))
    assert [[one.tid for one in slow_exits.in_scope(found, scope, snapshot)] for scope in scopes] == [
        [101, 102, 201], [101, 102], [102], [201], [], [],
    ]  # fmt: skip
