"""Where threads may run, and on which nodes a VM's memory is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmtop.host import placement, processes
from kvmtop.host.placement import Memory, Placements, cpus, idle, nodes
from kvmtop.model.scheduling import Placement

from ..support.proc import Proc


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CPUs 0 to 7, of which 4 to 7 are the siblings of 0 to 3; odd cores are on node 1."""
    root = tmp_path / "system"
    monkeypatch.setattr(placement, "CPUS", root)
    for cpu in range(8):
        (root / f"cpu{cpu}/topology").mkdir(parents=True)
        (root / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
        (root / f"cpu{cpu}/node{cpu % 2}").symlink_to("/nowhere")
    (root / "online").write_text("0-7\n")
    return root


def may_run(proc: Proc, tid: int, allowed: str) -> None:
    (proc.path / str(tid)).mkdir(exist_ok=True)
    text = f"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\nMems_allowed_list:\t0\n"
    (proc.path / str(tid) / "status").write_text(text)


def test_where_threads_may_run(proc: Proc, system: Path) -> None:
    for tid, allowed in ((7, "2-3,6"), (8, "0-127"), (9, "1"), (10, "0-7")):
        may_run(proc, tid, allowed)
    assert Placements().of({7: 6, 8: 1, 9: -1, 10: 99, 11: 0}) == {
        7: Placement("2-3,6", False, (2,), 0),
        8: Placement("0-127", True, (5,), 1),
        9: Placement("1", False, (), None),
        10: Placement("0-7", True, (), None),
    }


def test_the_host_is_remembered_until_a_cpu_goes(proc: Proc, system: Path) -> None:
    may_run(proc, 7, "0-7")
    found = Placements()
    assert found.of({7: 2})[7].siblings == (6,)
    (system / "cpu2/topology/thread_siblings_list").write_text("2\n")
    assert found.of({7: 2})[7].siblings == (6,)
    (system / "online").write_text("0-5,7\n")
    assert found.of({7: 2})[7].siblings == ()
    (system / "online").unlink()
    assert found.of({7: 2}) == {7: Placement("0-7", False, (), 0)}


def test_cores_of_several_threads(proc: Proc, system: Path) -> None:
    found = Placements()
    assert found.cores() == {}  # as it says nothing of it, or that it is off
    (system / "smt").mkdir()
    (system / "smt/active").write_text("1\n")
    assert found.cores() == {}  # as it was
    (system / "online").write_text("0-5,7\n")
    assert found.cores() == {0: 0, 4: 0, 1: 1, 5: 1, 2: 2, 3: 3, 7: 3}
    for cpu in range(8):
        (system / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{cpu}\n")
    (system / "online").write_text("0-7\n")
    assert found.cores() == {}


def test_lists_of_cpus() -> None:
    assert cpus("0-3,8") == {0, 1, 2, 3, 8} and cpus("5\n") == {5}
    for wrong in ("", "x", "1-", "-1", "0-3,", "0-99999999", "0-9999999999999999", "3-x", "²"):
        assert cpus(wrong) == frozenset(), wrong


def test_idle_cpus(proc: Proc) -> None:
    assert idle() == {}
    (proc.path / "stat").write_text(
        "cpu  9 9 9 9 9 0 0 0 0 0\ncpu0 1 2 3 400 50 6 7 8 0 0\ncpu12 1 2 3 4 5 0\ncpu3 1 2 3 x 5 0\ncpu4 1\nintr 5 4 3\n"
    )
    assert idle() == {0: 4_500_000_000, 12: 90_000_000}


def test_memory_by_node(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(4000)
    assert nodes(4000) is None
    (proc.path / "4000/numa_maps").write_text(
        "55d0 default file=/usr/bin/qemu\\040N7=9 mapped=2 N0=2 kernelpagesize_kB=4\n"
        "7f00 bind:1 anon=300 dirty=300 active=0 N0=100 N1=200 kernelpagesize_kB=4\n"
        "7fff prefer:0 file=/dev/hugepages/ram huge dirty=3 N1=3 kernelpagesize_kB=2048\n"
        "7ffe default\n"
    )
    assert nodes(4000) == {0: 102 * 4096, 1: 200 * 4096 + 3 * 2048 * 1024}
    monkeypatch.setattr(placement, "MOST_BYTES", 100)
    assert nodes(4000) is None


def test_it_is_read_beside_and_seldom(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(placement.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    for pid, pages in ((4000, 1), (4100, 2)):
        proc.add(pid)
        (proc.path / f"{pid}/numa_maps").write_text(f"7f00 default N0={pages} kernelpagesize_kB=4\n")
    memory = Memory()

    def asked(pid: int) -> object:
        memory.of(pid)
        if memory._reader:
            memory._reader.join()
        return memory.of(pid)

    assert (asked(4000), asked(4100)) == ({0: 4096}, {0: 8192})
    (proc.path / "4000/numa_maps").write_text("7f00 default N1=5 kernelpagesize_kB=4\n")
    assert asked(4000) == {0: 4096}
    clock[0] += placement.AGAIN
    assert asked(4000) == {1: 5 * 4096}
    assert asked(4200) is None


@pytest.mark.skipif(not Path("/proc/self/numa_maps").exists(), reason="this kernel knows no nodes")
def test_this_process() -> None:
    tid = os.getpid()
    cpu = int(Path(f"/proc/{tid}/stat").read_text().rpartition(") ")[2].split()[36])
    found = Placements().of({tid: cpu})[tid]
    assert cpus(found.allowed) >= os.sched_getaffinity(0) and cpu not in found.siblings
    resident = int(processes.of_thread(tid, "statm").split()[1]) * os.sysconf("SC_PAGESIZE")
    known = nodes(tid)
    assert known and 0.5 * resident < sum(known.values()) < 2 * resident
