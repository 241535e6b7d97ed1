"""Recordings: what went in comes out."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from dataclasses import replace
from pathlib import Path

from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM, Names, Vm
from kvmtop.output import summary
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.fake import SECOND, Busy
from ..support.nobody import as_nobody
from ..support.recordings import complaint, equal, record


def test_every_snapshot_comes_back(file: Path) -> None:
    host = Busy()
    recorder = Recorder(host, file)
    snapshots = []
    for turn in range(80):
        if turn == 20:
            host.add(9000, "a late one", 3)
        if turn == 40:
            host.end(4000)
        if turn == 50:
            host.leave(4101, 0x78)
        if turn == 60:
            del host.vms[4000]
            host.counters |= {"lost": 7, "userspace": 8, "unpaired": 9, "overwritten": 10, "ended_threads": 11}
        snapshots.append(recorder.read())
    final = recorder.close()
    found = Recording(file)
    assert len(found) == len(snapshots)
    assert all(equal(a, b) for a, b in zip(found, snapshots, strict=True))
    for n in random.Random(1).choices(range(80), k=60):  # in any order
        assert equal(found.at(n), snapshots[n])
    assert equal(found.read(), snapshots[0]) and equal(found.read(), snapshots[1])
    assert found.exits.sum() == snapshots[-1].cells["count"].sum()
    last = found.close()
    assert equal(last, final)
    assert summary.text(last) == summary.text(final)


def test_nested_guests_come_back_and_are_exits_as_any_to_the_shell(file: Path) -> None:
    host = Busy()
    recorder, snapshots = Recorder(host, file), []
    for turn in range(5):
        for isa in (SVM | NESTED, SVM | NESTED | REFLECTED):
            host.exits(4001, 0x7C, *[1000] * turn, isa=isa)
        host.vcpus[4001].nested, host.vcpus[4001].out = turn * 1000, turn * 10
        snapshots.append(recorder.read())
    cells = recorder.close().cells
    found = Recording(file)
    assert all(equal(a, b) for a, b in zip(found, snapshots, strict=True))
    assert found.at(4).threads["nested_ns"].max() == 4000 and found.at(4).threads["out_ns"].max() == 40
    with contextlib.closing(sqlite3.connect(file)) as database:
        (total,) = database.execute("SELECT sum(exits) FROM exits JOIN reasons USING (isa, code) WHERE name = 'msr'")
    assert total[0] == int(cells["count"][cells["reason"] == 0x7C].sum())
    assert {*cells["isa"].tolist()} == {SVM, SVM | NESTED, SVM | NESTED | REFLECTED}


def test_the_shell_can_read_it(file: Path) -> None:
    snapshots = record(file, 40)
    with contextlib.closing(sqlite3.connect(file)) as database:
        totals = dict(
            database.execute("SELECT name, sum(exits) FROM exits JOIN reasons USING (isa, code) GROUP BY name")
        )
        cells = snapshots[-1].cells
        assert totals["msr"] == int(cells["count"][cells["reason"] == 0x7C].sum())
        assert database.execute("SELECT sum(ns) FROM exits").fetchone()[0] == int(cells["total"].sum())
        assert database.execute("SELECT pid, tid, vcpu FROM vcpus ORDER BY tid").fetchall() == [
            (4000, 4001, 0),
            (4000, 4002, 1),
            (4100, 4101, 0),
            (4100, 4102, 1),
        ]
        assert [row[0] for row in database.execute("SELECT name FROM vms")] == ["web01", "db01"]


def test_one_vm_of_it(file: Path) -> None:
    snapshots = record(file)
    found = Recording(file, [4100])
    for part, whole in zip(found, snapshots, strict=False):
        assert set(part.vms) == {4100}
        assert part.thread_ids.tolist() == [4101, 4102]
        mine = whole.cells[whole.threads["id"][whole.cells["thread"]] >> 32 == 4100]
        assert part.cells["count"].tolist() == mine["count"].tolist()
        assert set(part.cells["thread"].tolist()) == {0, 1}
    assert "no VM with the process id 5" in complaint(file, (5,))


def test_names_are_cleaned(file: Path) -> None:
    host = Busy()
    host.vms[4000] = Vm(4000, "web\x1b[2J01\u202e", "qemu\n")
    host.names = Names({2: {0x7C: "m\x1bsr"}})
    record(file, 2, host)
    found = Recording(file).at(0)
    assert (found.vms[4000].name, found.vms[4000].comm) == ("web [2J01", "qemu")
    assert found.names.name(2, 0x7C) == "m sr"


def test_further_names(file: Path) -> None:
    host = Busy()
    host.vms[4000] = replace(host.vms[4000], aliases=("100", "4450a55c-1669-da0e-d0bd-3ab45fef0398"))
    recorder = Recorder(host, file)
    snapshots = [recorder.read(), recorder.read()]
    host.end(4000)
    snapshots += [recorder.read(), recorder.close()]
    found = Recording(file)
    assert [found.at(n).vms for n in range(4)] == [snapshot.vms for snapshot in snapshots]
    with contextlib.closing(sqlite3.connect(file)) as database:
        # What older versions make of it: the last row of a sample is how the VM is called.
        names = dict(database.execute("SELECT pid, name FROM vms ORDER BY sample, rowid"))
        assert names == {4000: "web01", 4100: "db01"}
        database.executemany("INSERT INTO vms VALUES (0, 4100, ?, '', 'alias')", [(f"\x1b{n}\n",) for n in range(99)])
        database.execute("INSERT INTO vms VALUES (0, 4100, 'db01', '', 'running')")
        database.commit()
    assert Recording(file).at(0).vms[4100].aliases == tuple("01234567")


def test_what_stands_still_and_what_holds_it_back(file: Path) -> None:
    host, quota = Busy(), "/machine/web01: 20 ms of 100 ms"
    recorder = Recorder(host, file)
    for changes in (
        {},
        {"stopped": True},
        {"stopped": True, "paused": True},
        {"quota": quota},
        {},
        {"unstarted": (1, 12)},
    ):
        host.vms[4000] = replace(Vm(4000, "web01", "qemu", aliases=("100",)), **changes)
        recorder.read()
    recorder.close()
    found = [Recording(file).at(n).vms[4000] for n in range(6)]
    assert [(vm.stopped, vm.paused) for vm in found] == [(0, 0), (1, 0), (1, 1), (0, 0), (0, 0), (0, 0)]
    assert [vm.unstarted for vm in found] == [(), (), (), (), (), (1, 12)]
    assert [vm.quota for vm in found] == ["", "", "", quota, "", ""]
    assert {vm.aliases for vm in found} == {("100",)}
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM vms WHERE pid = 4000").fetchone() == (2 + 2 + 2 + 2 + 4,)


def test_a_wall_clock_that_is_stepped(file: Path) -> None:
    class Stepped(Busy):
        def read(self) -> Snapshot:
            return replace(super().read(), wall_ns=10**18 + (self.now if self.now < 1003 * SECOND else 5))

    snapshots = record(file, 5, Stepped())
    assert [found.wall_ns for found in Recording(file)] == [snapshot.wall_ns for snapshot in snapshots[:5]]


def test_a_recording_that_ended_at_once_has_its_final_sample(file: Path) -> None:
    recorder = Recorder(Busy(), file)
    final = recorder.close()
    found = Recording(file)
    assert len(found) == 1 and equal(found.at(0), final)


def test_replay_needs_neither_root_nor_bcc(for_all: Path) -> None:
    file = for_all / "run.kvmtop"
    record(file, 3)
    file.chmod(0o644)
    code = (
        "import sys; sys.modules['bcc'] = None; import kvmtop.cli; status = kvmtop.cli.main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if 'bpf' in m or m == 'kvmtop.host.live'), file=sys.stderr); sys.exit(status)"
    )
    done = as_nobody(for_all, "-c", code, "replay", str(file))
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.count("RECORDING of ") == 3
