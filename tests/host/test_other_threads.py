"""The VMs' threads that are no vCPUs: which they are, and that what is told is /proc's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kvmtop.host import other_threads, processes
from kvmtop.host.other_threads import OtherThreads
from kvmtop.model.arrays import Array
from kvmtop.model.keys import unpack
from kvmtop.model.scheduling import ROLES

from ..support.cgroups import Groups
from ..support.fake import Host
from ..support.proc import Proc


class Vms:
    """web01 is 4000 with vCPUs 4001 and 4002, db01 4100 with 4101; 5000 is none."""

    def __init__(self, proc: Proc) -> None:
        self.proc, self.host, self.found = proc, Host(), OtherThreads()
        for pid, name, vcpus in ((4000, "web01", 2), (4100, "db01", 1)):
            proc.add(pid)
            proc.schedule(pid, pid, "qemu-system-x86", 70, 7, 3)
            self.host.add(pid, name, vcpus)
            for tid in range(pid + 1, pid + 1 + vcpus):
                proc.schedule(pid, tid, "qemu-system-x86", 500)
        proc.add(5000)
        proc.schedule(5000, 5000, "cat")

    def rows(self) -> Array:
        return self.found.update(self.host.read(), self.host.vms, list(processes.pids()))

    def read(self) -> dict[int, tuple[str, str]]:
        """Role and name by tid."""
        return {int(unpack(row["id"])[1]): (ROLES[row["role"]], row["comm"].decode()) for row in self.rows()}


@pytest.fixture
def vms(proc: Proc) -> Vms:
    return Vms(proc)


def test_what_is_told(vms: Vms) -> None:
    before = time.monotonic_ns()
    rows = vms.rows()
    after = time.monotonic_ns()
    assert rows["id"].tolist() == [4000 << 32 | 4000, 4100 << 32 | 4100]
    assert rows[["cpu_ns", "wait_ns", "cpu", "role", "comm"]].tolist()[0] == (70, 7, 3, 0, b"qemu-system-x86")
    assert all(before <= time_ns <= after for time_ns in rows["time_ns"].tolist())
    vms.proc.schedule(4000, 4000, "web01 (main) x", 90, 8, 1)
    rows = vms.rows()
    assert rows[["cpu_ns", "wait_ns", "cpu", "comm"]].tolist()[0] == (90, 8, 1, b"web01 (main) x")
    assert rows["time_ns"].min() > after  # idle ones, too


@pytest.mark.parametrize(
    ("comm", "role"),
    [
        ("IO iothread1", "io"),
        ("IO mon_iothread", "io"),
        ("iothread0", "io"),
        ("iou-wrk-4000", "io"),
        ("worker", "worker"),
        ("pool-spawner", "worker"),
        ("SPICE Worker", "worker"),
        ("vnc_worker", "worker"),
        ("vhost-4000", "vhost"),
        ("vhost-user", "other"),
        ("qemu-system-x86", "other"),
        ("live_migration", "other"),
        ("", "other"),
    ],
)
def test_roles(vms: Vms, comm: str, role: str) -> None:
    vms.proc.schedule(4000, 4009, comm)
    assert vms.read()[4009] == (role, comm)


@pytest.mark.parametrize("comm", ["CPU 2/KVM", "fc_vcpu 2", "vcpu2", "crosvm_vcpu2", "kvm-vcpu-2"])
def test_a_vcpu_that_has_not_run_yet(vms: Vms, comm: str) -> None:
    vms.proc.schedule(4000, 4009, comm)
    assert vms.read().keys() == {4000, 4100}
    vms.proc.schedule(4000, 4000, comm)  # a first thread is none, whatever it says
    assert vms.read()[4000] == ("main", comm)


def test_a_thread_that_turns_out_to_be_a_vcpu(vms: Vms) -> None:
    vms.proc.schedule(4100, 4102, "qemu-system-x86")
    assert vms.read()[4102] == ("other", "qemu-system-x86")
    vms.host.add(4100, "db01", 2)
    assert vms.read().keys() == {4000, 4100}


def test_a_thread_that_has_the_id_of_a_vcpu_that_ended(vms: Vms) -> None:
    vms.host.vcpus[4002].ended = vms.host.now
    assert vms.read().keys() == {4000, 4100, 4002}


def test_the_kernels_threads(vms: Vms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that say it of themselves are the kernel's, and name a thread of the VM."""
    looks: list[tuple[int | str, str]] = []
    of_thread = processes.of_thread

    def look(tid: int | str, name: str) -> bytes:
        looks.append((tid, name))
        return of_thread(tid, name)

    monkeypatch.setattr(processes, "of_thread", look)
    vms.proc.schedule(900, 900, "vhost-4000", 33, kernel=True)
    vms.proc.schedule(901, 901, "kvm-pit/4100", kernel=True)
    vms.proc.schedule(902, 902, "kvm-nx-lpage-recovery-4100", kernel=True)
    vms.proc.schedule(903, 903, "vhost-4002", kernel=True)  # plugged in by another thread of it
    vms.proc.schedule(904, 904, "vhost-5000", kernel=True)
    vms.proc.schedule(905, 905, "kthreadd", kernel=True)
    vms.proc.add(906, comm="vhost-4000")
    vms.proc.schedule(906, 906, "vhost-4000")
    assert vms.read() == {
        4000: ("main", "qemu-system-x86"),
        4100: ("main", "qemu-system-x86"),
        900: ("vhost", "vhost-4000"),
        901: ("other", "kvm-pit/4100"),
        902: ("other", "kvm-nx-lpage-rec"),
        903: ("vhost", "vhost-4002"),
    }
    row = vms.rows()[2]
    assert (int(row["id"]), int(row["cpu_ns"])) == (4000 << 32 | 900, 33)
    vms.proc.schedule(905, 905, "vhost-4100", kernel=True)  # it had no name yet
    assert vms.read()[905] == ("vhost", "vhost-4100")
    assert looks.count((906, "comm")) == 1
    vms.proc.remove(900)
    vms.host.end(4100)
    assert vms.read().keys() == {4000, 903}


def test_what_goes_is_gone(vms: Vms) -> None:
    for tid in (4010, 4011, 4012):
        vms.proc.schedule(4000, tid, "worker")
    assert {4010, 4011, 4012} < vms.read().keys()
    (vms.proc.path / "4000/task/4010").rename(vms.proc.path / "gone")
    (vms.proc.path / "4000/task/4011/schedstat").unlink()
    (vms.proc.path / "4000/task/4012/stat").write_text("4012 (worker")
    (vms.proc.path / "4000/task/4012/schedstat").write_text("9 9 9\n")
    vms.proc.remove(4100)
    assert vms.read().keys() == {4000}


def test_a_kernel_that_keeps_no_figures(vms: Vms) -> None:
    (vms.proc.path / "4000/task/4000/schedstat").write_text("0 0 0\n")
    assert vms.read().keys() == {4100}


def test_a_part_is_read_in_turn(vms: Vms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_threads, "BUDGET", 3)
    for tid in range(4010, 4015):
        vms.proc.schedule(4000, tid, "worker")
    assert [len(vms.rows()) for _ in range(4)] == [3, 6, 7, 7]
    times = vms.rows()["time_ns"]
    assert len(set(times.tolist())) == 7
    assert sum(vms.rows()["time_ns"] > times) == 3


def test_bounds(vms: Vms, monkeypatch: pytest.MonkeyPatch) -> None:
    for tid in range(4010, 4020):
        vms.proc.schedule(4000, tid, "worker")
    monkeypatch.setattr(other_threads, "MOST_OF_VM", 4)
    assert sum(tid // 100 == 40 for tid in vms.read()) == 4
    monkeypatch.setattr(other_threads, "MOST", 3)
    assert len(vms.rows()) == 3


def test_what_a_quota_withholds(vms: Vms) -> None:
    groups = Groups(vms.proc)
    groups.set("io", "20000")
    groups.hold("io", 4009)
    groups.hold("rest", 4000, 4100)
    vms.proc.schedule(4000, 4009, "IO io1", 9, 9)
    assert dict(zip(*(vms.rows()[name].tolist() for name in ("comm", "throttled_ns")), strict=True)) == {
        b"qemu-system-x86": 0,
        b"IO io1": 0,
    }
    groups.throttle("io", 1, 5)
    vms.proc.schedule(4000, 4009, "IO io1", 9, 4009)
    rows = vms.rows()
    assert rows["throttled_ns"][rows["comm"] == b"IO io1"].tolist() == [2000]


# ---- the real /proc

THREADS = """
import sys, threading
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """It sleeps in its first thread and spins in its second."""
    argv = [sys.executable, "-c", THREADS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel keeps no schedstat")
def test_a_process_that_spins_and_sleeps(process: subprocess.Popen[str]) -> None:
    """What is told lies between what /proc says before and after."""

    def said() -> dict[int, tuple[int, int]]:
        tids = map(int, os.listdir(f"/proc/{process.pid}/task"))
        texts = {tid: Path(f"/proc/{process.pid}/task/{tid}/schedstat").read_text().split() for tid in tids}
        return {tid: (int(text[0]), int(text[1])) for tid, text in texts.items()}

    host, found = Host(), OtherThreads()
    host.add(process.pid, "vm", 0)
    grown: list[int] = []
    while not grown or grown[-1] < 50_000_000:  # it may have to wait for a CPU
        before = said()
        rows = found.update(host.read(), host.vms, [process.pid])
        after = said()
        tids = unpack(rows["id"])[1].tolist()
        assert set(tids) == set(before) == set(after) and len(tids) == 2
        for tid, *ns in zip(tids, rows["cpu_ns"].tolist(), rows["wait_ns"].tolist(), strict=True):
            assert all(low <= mine <= high for low, mine, high in zip(before[tid], ns, after[tid], strict=True))
        assert rows["role"].tolist() == [ROLES.index("main"), ROLES.index("other")]
        assert (rows["cpu"] >= 0).all() and (rows["cpu"] < (os.cpu_count() or 1) + 1024).all()
        assert np.diff(rows["time_ns"].astype("i8")).min() > 0
        grown.append(int(rows["cpu_ns"][1]))
