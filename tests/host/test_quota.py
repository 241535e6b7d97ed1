from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.host import processes
from kvmtop.host.quota import Quotas

from ..support.cgroups import Groups
from ..support.fake import SECOND, Host
from ..support.proc import Proc


@pytest.fixture
def groups(proc: Proc) -> Groups:
    return Groups(proc)


def of(tid: int, quotas: Quotas | None = None) -> str | None:
    found = (quotas or Quotas()).of([tid]).get(tid)
    return str(found) if found else None


def test_its_own_group(groups: Groups) -> None:
    groups.set("machine.slice/vm/vcpu0", "20000")
    groups.set("machine.slice/vm", "max")
    groups.join(7, "0::/machine.slice/vm/vcpu0")
    assert of(7) == "machine.slice/vm/vcpu0: 20 ms of 100 ms"
    assert of(8) is None


def test_a_group_above(groups: Groups) -> None:
    groups.set("machine.slice/vm/vcpu0", "max")
    groups.set("machine.slice", "1500", 10_000)
    groups.join(7, "0::/machine.slice/vm/vcpu0")
    assert of(7) == "machine.slice: 1.5 ms of 10 ms"


def test_none(groups: Groups) -> None:
    groups.set("a/b", "max")
    groups.join(7, "0::/a/b")
    groups.join(8, "0::/")
    groups.join(9, "0::/../../a")  # outside this cgroup namespace
    groups.join(10, "", "nonsense", "1:x")
    assert Quotas().of([7, 8, 9, 10, 11]) == {}


def test_of_several_the_one_that_throttled(groups: Groups) -> None:
    """The tightest is not the one: four vCPUs of at most one CPU each have 1.5 together."""
    quotas = Quotas()
    for throttled in (5, 6):
        groups.set("vm/vcpu0", "100000", throttled=3)
        groups.set("vm", "150000", throttled=throttled)
        groups.join(7, "0::/vm/vcpu0")
        groups.join(8, "0::/vm/vcpu0")
        found = quotas.of([7, 8])
        name = "vm" if throttled == 6 else "vm/vcpu0"  # what was before is not known at first: the tightest
        assert {tid: quota.group for tid, quota in found.items()} == {7: name, 8: name}


def test_cgroup_v1(proc: Proc) -> None:
    Groups(proc, point="unified")
    groups = Groups(proc, "cgroup")
    groups.set("machine/vm", "50000")
    groups.set("machine", "-1")
    groups.join(7, "4:memory:/other", "3:cpu,cpuacct:/machine/vm", "0::/")
    assert of(7) == "machine/vm: 50 ms of 100 ms"


def test_a_part_of_the_tree_is_mounted(proc: Proc) -> None:
    groups = Groups(proc, root="/docker/abc")
    groups.set("vm", "50000")
    groups.set("d", "50000")
    groups.join(7, "0::/docker/abc/vm")
    groups.join(8, "0::/docker/abcd")
    assert of(7) == "vm: 50 ms of 100 ms" and of(8) is None


def test_its_name_is_cleaned(groups: Groups) -> None:
    groups.set("a\x1b[31m", "50000")
    groups.join(7, "0::/a\x1b[31m")
    assert of(7) == "a [31m: 50 ms of 100 ms"


def test_a_thread_that_was_throttled_since_the_last_reading(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    groups.set("vcpu0", "20000")
    groups.set("vcpu1", "50000")
    for tid in (4001, 4002, 4101):
        groups.join(tid, f"0::/vcpu{tid % 2}")
    host, quotas = Host(), Quotas()
    host.add(4000, "web01", 2)
    host.add(4100, "db01", 1)
    assert quotas.update(host.read()) == {}
    for tid, state in ((4001, "wait"), (4002, "throttled"), (4101, "wait")):
        host.turn(tid, state)
    host.now += SECOND
    assert {pid: quota.group for pid, quota in quotas.update(host.read()).items()} == {4000: "vcpu0"}
    host.turn(4001, "throttled")
    host.turn(4002, "guest")
    host.now += SECOND
    assert {pid: quota.group for pid, quota in quotas.update(host.read()).items()} == {4000: "vcpu1"}
    host.turn(4001, "throttled")
    host.turn(4002, "throttled")
    host.now += SECOND
    host.turn(4001, "guest")
    host.now += SECOND
    assert {pid: quota.group for pid, quota in quotas.update(host.read()).items()} == {4000: "vcpu0"}  # lost most
    host.turn(4002, "guest")
    monkeypatch.setattr(processes, "PROC", Path("/nowhere"))
    assert quotas.update(host.read()) == {}
