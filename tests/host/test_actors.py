"""Names that charges need: processes, files, and VMs that nobody has asked for."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from kvmtop.host import actors
from kvmtop.host.actors import Actors
from kvmtop.insight.scheduling import culprits
from kvmtop.model.interval import diff
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, BLOCKED, TASK, UNKNOWN, Process
from kvmtop.model.scheduling import Scheduling as SchedulingModel
from kvmtop.model.scope import ALL
from kvmtop.model.vocabulary import Vm

from ..support.fake import SECOND, Host
from ..support.proc import Proc
from ..support.scheduling import Scheduler

WEB = pack(100, 101)


def test_processes_and_the_files_of_sleepers(proc: Proc) -> None:
    proc.add(4000, "tar")
    (proc.path / "4000" / "cgroup").write_text("0::/system.slice/backup.service\n")
    proc.add(100, "qemu", vcpus=1)
    scheduler = Scheduler(1)
    scheduler.charge(WEB, BEHIND, TASK, pack(4000, 4001), ns=5, comm=b"worker")
    scheduler.charge(WEB, BEHIND, TASK, pack(30, 30), ns=5, comm=b"ksoftirqd/3", kernel=1)
    scheduler.charge(WEB, BEHIND, TASK, pack(5000, 5000), ns=5, comm=b"gone\x1b")
    scheduler.charge(WEB, BEHIND, TASK, WEB, ns=5, comm=b"CPU 0/KVM")
    scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=5, call=(17, 0))
    scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=5, call=(202, 0))
    found = Actors().named(scheduler.read(), [Vm(100, "web")])
    assert found.processes == {4000: Process("tar", "system.slice/backup.service"), 5000: Process("gone")}
    assert found.calls == {(100, 0): "/dev/null"}


def test_a_vm_that_nobody_has_asked_for_keeps_its_name(proc: Proc) -> None:
    """As with --pid: it is not in the Snapshots, but its vCPUs have the CPU."""
    proc.add(200, "qemu", ["qemu", "-name", "guest=db01,debug-threads=on"], vcpus=1)
    proc.add(300, "docker", ["docker", "run", "--name", "x"])  # is no VM
    host = Host()
    host.add(100, "web")
    scheduler = Scheduler(host.now)
    scheduler.charge(WEB, BEHIND, TASK, pack(200, 201), ns=60, comm=b"CPU 0/KVM")
    scheduler.charge(WEB, BEHIND, TASK, pack(300, 300), ns=40, comm=b"docker")
    host.vcpus[101].states["wait"] = 100
    host.scheduling = Actors().named(scheduler.read(), host.vms.values())
    host.now += SECOND
    found = culprits(diff(None, host.read()), ALL)
    assert found and [one.actor.text for one in found] == ["CPU 0/KVM of db01", "docker"]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up tree of cgroups."""
    monkeypatch.setattr(actors, "mounts", lambda: {"": ("/", tmp_path)})
    return tmp_path


def of_group(inode: int) -> SchedulingModel:
    scheduler = Scheduler(1)
    scheduler.charge(WEB, BEHIND, TASK, pack(5000, 5000), ns=5, comm=b"gone", cgroup=inode)
    return scheduler.read()


def test_cgroups_are_kept_for_as_long_as_they_have_charges(proc: Proc, groups: Path) -> None:
    """A host makes thousands of them a day; one that has ended is not looked for again."""
    backup = groups / "system.slice" / "backup.service"
    backup.mkdir(parents=True)
    found, number = Actors(), backup.stat().st_ino
    assert found.named(of_group(number), []).cgroups == {number: "system.slice/backup.service"}
    for inode in range(1 << 40, (1 << 40) + 50):
        assert found.named(of_group(inode), []).cgroups == {}
    assert len(found._cgroups) == 1 and number not in found._cgroups


def test_no_more_cgroups_are_looked_through_than_that(
    proc: Proc, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (groups / f"{number}" / "below").mkdir(parents=True)
    scandir = Mock(wraps=os.scandir)
    monkeypatch.setattr(actors, "MOST_GROUPS", 5)  # passed within the first
    monkeypatch.setattr("os.scandir", scandir)
    Actors().named(of_group(1 << 40), [])
    assert [path for (path,), _ in scandir.call_args_list if "5000" not in str(path)] == [str(groups)]


def test_a_task_whose_rows_have_no_name_is_asked_for_it(proc: Proc) -> None:
    """It has had the CPU without a pause since somebody began to look, so nothing has been charged to it yet."""
    proc.schedule(30, 30, "ksoftirqd/3", kernel=True)
    proc.add(4000, "tar")
    proc.schedule(4000, 4000, "tar")
    scheduler = Scheduler(1)
    for pid in (30, 4000, 5000):
        scheduler.charge(WEB, BEHIND, TASK, pack(pid, pid), ns=5, open=True)
    found = Actors().named(scheduler.read(), [])
    assert found.charges[["comm", "kernel"]].tolist() == [(b"ksoftirqd/3", 1), (b"tar", 0), (b"", 0)]
    assert found.processes.keys() == {4000, 5000}


def test_an_id_that_another_process_has_now(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up again, in turn; who has ended keeps its own."""
    proc.add(4000, "tar")
    scheduler = Scheduler(1)
    for pid in (4000, 5000):
        scheduler.charge(WEB, BEHIND, TASK, pack(pid, pid), ns=5, comm=b"sh")
    found = Actors()
    assert found.named(scheduler.read(), []).processes == {4000: Process("tar"), 5000: Process("sh")}
    (proc.path / "4000" / "comm").write_text("gzip\n")
    assert found.named(scheduler.read(), []).processes[4000] == Process("gzip")
    with monkeypatch.context() as counting:
        counting.setattr("kvmtop.host.processes.vcpu_count", Mock(side_effect=AssertionError))  # it may have much open
        found.named(scheduler.read(), [])
    proc.remove(4000)
    assert found.named(scheduler.read(), []).processes[4000] == Process("gzip")
