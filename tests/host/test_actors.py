"""Names that charges need: processes, files, and VMs that nobody has asked for."""

from __future__ import annotations

from kvmtop.host.actors import Actors
from kvmtop.insight.scheduling import culprits
from kvmtop.model.interval import diff
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, BLOCKED, TASK, UNKNOWN, Process
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
