"""What a quota withholds from a thread is told where nobody else can have been meant."""

from __future__ import annotations

import pytest

from kvmtop.host import throttled
from kvmtop.host.throttled import UNKNOWN, Throttled

from ..support.cgroups import Groups
from ..support.proc import Proc

MS = 1_000_000


@pytest.fixture(params=["cgroup2", "cgroup"])
def groups(proc: Proc, request: pytest.FixtureRequest) -> Groups:
    return Groups(proc, request.param)


def test_no_quota_nothing_throttled(groups: Groups) -> None:
    groups.set("vm/io", "max")
    groups.hold("vm/io", 7, 8)
    threads = Throttled()
    for wait in (5, 50):
        assert threads.update({7: wait, 8: wait}) == {7: 0, 8: 0}


def test_a_quota_of_its_own(groups: Groups) -> None:
    groups.set("vm/io", "20000")
    groups.throttle("vm/io", 1, 1000)
    groups.hold("vm/io", 7)
    threads = Throttled()
    assert threads.update({7: 10 * MS}) == {7: 0}  # what was before is nobody's here
    groups.throttle("vm/io", 2, 4000)
    assert threads.update({7: 15 * MS}) == {7: 3 * MS}
    groups.throttle("vm/io", 3, 9000)
    assert threads.update({7: 15 * MS}) == {7: 3 * MS}  # it has not been seen to have waited yet
    assert threads.update({7: 17 * MS}) == {7: 5 * MS}
    assert threads.update({7: 30 * MS}) == {7: 8 * MS}
    assert threads.update({}) == {}
    assert threads.update({7: 30 * MS}) == {7: 0}  # it may be another


def test_a_quota_that_others_share(groups: Groups) -> None:
    groups.set("vm/io", "20000")
    groups.hold("vm/io", 7, 8)
    assert Throttled().update({7: 5, 8: 5}) == {7: UNKNOWN, 8: UNKNOWN}
    groups.hold("vm/io", 7)
    (groups.point / "vm/io/below").mkdir()
    assert Throttled().update({7: 5}) == {7: UNKNOWN}
    (groups.point / "vm/io/below").rmdir()
    assert Throttled().update({7: 5}) == {7: 0}
    groups.set("vm", "90000")  # of which those have a part that are elsewhere in it
    assert Throttled().update({7: 5}) == {7: UNKNOWN}
    groups.set("vm/io", "max")
    assert Throttled().update({7: 5}) == {7: UNKNOWN}


def test_a_quota_that_comes_and_goes(groups: Groups) -> None:
    groups.set("vm/io", "max")
    groups.hold("vm/io", 7)
    threads = Throttled()
    assert threads.update({7: 1 * MS}) == {7: 0}
    groups.set("vm/io", "20000")
    groups.throttle("vm/io", 4, 500)
    assert threads.update({7: 2 * MS}) == {7: UNKNOWN}  # since when it held it back is not known
    groups.throttle("vm/io", 5, 1500)
    assert threads.update({7: 4 * MS}) == {7: 1 * MS}
    (groups.point / "vm/io/cpu.stat").unlink()
    assert threads.update({7: 5 * MS}) == {7: UNKNOWN}
    groups.set("vm/io", "max")
    assert threads.update({7: 6 * MS}) == {7: UNKNOWN}
    assert threads.update({7: 7 * MS}) == {7: 1 * MS}
    assert threads.update({7: 8 * MS}) == {7: 1 * MS}


def test_groups_that_cannot_all_be_seen(proc: Proc) -> None:
    groups = Groups(proc, root="/docker/abc")
    groups.join(7, "0::/docker/abc/vm")
    groups.join(8, "0::/../vm")
    groups.join(9, "5:cpu,cpuacct:/vm", "0::/docker/abc/vm")
    assert Throttled().update({7: 1, 8: 1, 9: 1, 10: 1}) == dict.fromkeys((7, 8, 9, 10), UNKNOWN)


def test_those_are_looked_at_in_turn_that_have_waited(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttled, "LOOKS", 2)
    groups.hold("vm", 1, 2, 3, 4, 5)
    threads = Throttled()
    waits = dict.fromkeys((1, 2, 3, 4, 5), 7)
    assert list(threads.update(waits).values()) == [0, 0, UNKNOWN, UNKNOWN, UNKNOWN]
    waits[1] += 1  # it has waited again: its turn comes after theirs
    assert list(threads.update(waits).values()) == [0, 0, 0, 0, UNKNOWN]
    groups.set("vm", "5000")
    assert list(threads.update(waits).values()) == [UNKNOWN, 0, 0, 0, UNKNOWN]
    waits |= dict.fromkeys((2, 3, 4), 8)
    assert list(threads.update(waits).values()) == [UNKNOWN, UNKNOWN, UNKNOWN, 0, UNKNOWN]
