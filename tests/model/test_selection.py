"""Some VMs by name, live and from a recording: what is seen of them is what would be seen if they ran alone."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvmtop.errors import KvmtopError
from kvmtop.insight import compare, slow_exits
from kvmtop.insight.caveats import silence
from kvmtop.insight.scheduling import culprits
from kvmtop.model.exit_stats import add_by_reason, by_reason, counts
from kvmtop.model.interval import diff
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, TASK
from kvmtop.model.scope import ALL
from kvmtop.model.selection import MOST_WAITING, Selected, Selection
from kvmtop.model.snapshot import CELL, SLOW, Snapshot
from kvmtop.model.vocabulary import DetailRequest, Vm
from kvmtop.output import csv_rows, json_lines, prometheus, summary
from kvmtop.output.stream import Tee
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.fake import SECOND, Busy, Host
from ..support.recordings import same
from ..support.scheduling import Scheduler

HLT, IO, MSR = 0x78, 0x7B, 0x7C
WEB = Vm(7, "web01", aliases=("100", "shop/web01"))


@pytest.mark.parametrize(
    ("patterns", "vm", "matches"),
    [
        ((), WEB, True),
        (("web01",), WEB, True),
        (("web",), WEB, False),
        (("WEB01",), WEB, False),
        (("web*",), WEB, True),
        (("web0?",), WEB, True),
        (("web0[12]",), WEB, True),
        (("db*", "web*"), WEB, True),
        (("db*",), WEB, False),
        (("100",), WEB, True),
        (("1*",), WEB, True),
        (("shop/*",), WEB, True),
        (("7",), WEB, False),  # a pid is no name
        (("web[1]",), Vm(7, "web[1]"), True),
        (("web[1]",), Vm(7, "web1"), True),
        (("a*b",), Vm(7, "a*b"), True),
        (("[",), Vm(7, "["), True),
        (("  web01\n",), WEB, True),  # as names are: clean
        (("größe*",), Vm(7, "größe 東京"), True),
    ],
)
def test_matches(patterns: tuple[str, ...], vm: Vm, matches: bool) -> None:
    assert Selection.of(patterns).matches(vm) is matches


@pytest.mark.parametrize("text", ["", " ", "\x1b", "x" * 201])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(KvmtopError, match="is no VM's name") as caught:
        Selection.of([text])
    assert caught.value.status == 2 and "\n" not in str(caught.value)


def test_what_there_is_instead() -> None:
    selection = Selection.of(["web*", "db"])
    assert selection.missing([]) == "no VM is called web* or db; there is none at all"
    assert selection.missing([Vm(1, "a"), Vm(2, "b"), Vm(3, "a")]) == "no VM is called web* or db; there are a, b"
    many = selection.missing([Vm(n, f"v{n}") for n in range(20)])
    assert many == "no VM is called web* or db; there are v0, v1, v2, v3, v4, v5, v6, v7, and 12 more"


# ---- live


class Aging(Busy):
    """A host that adds up the threads of VMs that have ended, as the collector does after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier = np.zeros(0, CELL)

    def forget(self, pid: int) -> None:
        snapshot = super(Busy, self).read()
        mine = (snapshot.threads["id"] >> np.uint64(32) == pid)[snapshot.cells["thread"]]
        self.earlier = add_by_reason(np.concatenate([self.earlier, snapshot.cells[mine]]))
        self.vcpus = {tid: vcpu for tid, vcpu in self.vcpus.items() if vcpu.pid != pid}
        del self.vms[pid]

    def read(self) -> Snapshot:
        snapshot = super().read()
        ids = np.concatenate([snapshot.cell_ids, np.zeros(len(self.earlier), "u8")])
        return replace(snapshot, cells=np.concatenate([snapshot.cells, self.earlier]), cell_ids=ids)


def alone(snapshot: Snapshot, pid: int) -> dict[tuple[int, int], int]:
    """Exits by reason of one process, the long way."""
    found: dict[tuple[int, int], int] = {}
    for cell, id in zip(snapshot.cells, snapshot.cell_ids.tolist(), strict=True):
        if id and int(snapshot.threads["id"][cell["thread"]]) >> 32 == pid:
            key = int(cell["isa"]), int(cell["reason"])
            found[key] = found.get(key, 0) + int(cell["count"])
    return found


def test_one_vm_of_two() -> None:
    host, source = Busy(), Selected(Busy(), Selection(("db*",)))  # both of the same seed
    before = None
    for _ in range(3):
        whole, part = host.read(), source.read()
        assert set(part.vms) == {4100} and part.thread_ids.tolist() == [4101, 4102]
        assert counts(part) == alone(whole, 4100)
        assert set(part.cpus) == {4101, 4102}
        interval = diff(before, part)
        assert (interval.budget.sum(axis=1) > 0).all() and len(interval.budget) == 2
        assert {reason.name for reason in by_reason(interval)} == {"hlt", "io", "msr", "npf", "cpuid", "interrupt"}
        before = part
    final = source.close()
    assert counts(final)[2, HLT] == 4 * 2 * 50  # close() reads once more


def test_one_that_starts_later() -> None:
    host = Host()
    host.add(100, "db01")
    source = Selected(host, Selection(("web*",)))
    host.exits(101, IO, 10)
    host.counters["userspace"] = 5
    snapshot = source.read()
    assert (len(snapshot.threads), len(snapshot.cells), snapshot.vms) == (0, 0, {})
    host.now += 10 * SECOND
    assert "no VM runs here" in str(silence(source.read()))  # and not that this kernel tells of no exits
    host.add(200, "web01")
    host.exits(201, MSR, 10, 20)
    assert counts(source.read()) == {(2, MSR): 2}


def test_that_the_kernel_tells_of_no_exits_is_still_said() -> None:
    host = Host()
    host.vms[100] = Vm(100, "web01")
    host.counters["userspace"], host.now = 5, host.now + 10 * SECOND
    assert "emits no kvm_exit" in str(silence(Selected(host, Selection(("web*",))).read()))


def test_what_is_of_the_whole_host_stays() -> None:
    host = Busy()
    host.counters |= {"lost": 3, "unpaired": 2, "overwritten": 1}
    part = Selected(host, Selection(("web*",))).read()
    assert (part.lost, part.unpaired, part.overwritten, part.time_ns) == (3, 2, 1, host.now)


def test_nothing_of_a_selected_vm_is_forgotten_and_nothing_of_another_comes_in() -> None:
    host = Aging()
    source = Selected(host, Selection(("web*",)))
    source.read()
    for pid in (4000, 4100):
        host.end(pid)
    last = source.read()
    expected = counts(last)
    assert sum(expected.values()) > 100
    for pid in (4100, 4000):
        host.forget(pid)
        part = source.read()
        assert counts(part) == expected
    assert not len(part.threads) and not part.cell_ids.any()
    assert not diff(last, part).rows["count"].any()
    host.add(4300, "web09")
    part = source.read()
    assert counts(source.close())[2, HLT] > counts(part)[2, HLT] > expected[2, HLT]


def test_details_are_theirs() -> None:
    host = Host()
    host.add(100, "web01")
    host.add(200, "db01")
    source = Selected(host, Selection(("web*",)))
    source.look(DetailRequest(frozenset(["io"]), slow_ns=1))
    for tid in (101, 201):
        host.exits(tid, IO, 1000)
        host.touch(tid, "io", 0x3F8, 1, *[1000] * tid)
        host.linger(tid, IO, 5000)
    part = source.read()
    assert part.details
    assert part.details.touched["count"].tolist() == [101] and len(part.details.touched_ids) == 1
    assert [one.tid for one in slow_exits.read(part.details.slow, part)] == [101]


def test_what_the_scheduler_does_with_them_names_those_that_are_not_selected() -> None:
    """Who has a selected VM's CPU is most often one that is not."""
    host = Host()
    host.add(100, "web01")
    host.add(200, "db01", 2)
    web, db = pack(100, 101), pack(200, 202)
    scheduler = Scheduler(host.now)
    for thread, who in ((web, db), (db, web)):
        scheduler.charge(thread, BEHIND, TASK, who, ns=SECOND // 4, comm=b"CPU 1/KVM")
        scheduler.charge(thread, BEHIND, TASK, pack(200, 200), ns=SECOND // 8, comm=b"qemu")
        scheduler.woke(thread, 1000)
    host.scheduling = scheduler.read()
    host.vcpus[101].states["wait"] = 3 * SECOND // 8
    host.now += SECOND
    part = Selected(host, Selection(("web*",))).read()
    found = culprits(diff(None, part), ALL)
    assert found and [(one.actor.kind, one.actor.text, one.ns) for one in found] == [
        ("vcpu", "vCPU 1 of db01", SECOND // 4),
        ("vm thread", "qemu of db01", SECOND // 8),
    ]
    assert part.scheduling and part.scheduling.latencies["id"].tolist() == [web]
    assert len(part.scheduling.charges) == len(part.scheduling.charge_ids) == 2


def test_slow_exits_between_readings() -> None:
    host = Host()
    host.add(100, "web01")
    host.add(200, "db01")
    source = Selected(host, Selection(("web*",)))
    source.look(DetailRequest(slow_ns=1))
    source.read()
    host.add(300, "web02")
    for tid in (101, 201, 301):
        host.linger(tid, IO, 5000)
    assert (source.slow()["id"] >> np.uint64(32)).tolist() == [100]
    assert len(source.slow()) == 0
    host.linger(201, IO, 6000)
    host.linger(301, IO, 6000)
    for _ in range(2 * MOST_WAITING):  # of somebody whose name is never told
        host.slows.append(np.array([(0,) * len(SLOW.names or ())], SLOW))
    source.slow()
    host.linger(301, IO, 7000)
    details = source.read().details
    assert details and details.slow["ns"].tolist() == [7000]  # its first ones had no room


def test_the_first_slow_exits_of_a_vm_come_with_its_name() -> None:
    host = Host()
    source = Selected(host, Selection(("web*",)))
    source.look(DetailRequest(slow_ns=1))
    source.read()
    host.add(300, "web02")
    host.linger(301, IO, 5000)
    assert len(source.slow()) == 0
    host.linger(301, IO, 6000)
    details = source.read().details
    assert details and details.slow["ns"].tolist() == [5000, 6000]
    details = source.read().details
    assert details and not len(details.slow)


# ---- everything that takes a Source


def test_json_and_csv() -> None:
    out, table = io.StringIO(), io.StringIO()
    outputs = [json_lines.output(out), csv_rows.output(table)]
    source = Tee(Selected(Busy(), Selection(("web*",))), outputs)
    snapshots = [source.read(), source.read()]
    found = json.loads(out.getvalue().splitlines()[-1])
    assert [vm["name"] for vm in found["vms"]] == ["web01"]
    assert found["totals"]["vms"] == 1 and found["totals"]["vcpus"] == 2
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    assert {row["vm"] for row in rows} == {"web01"}
    assert sum(int(row["count"]) for row in rows) == snapshots[-1].cells["count"].sum()


def test_openmetrics() -> None:
    exporter = prometheus.Exporter(Selected(Busy(), Selection(("web*",))))
    page = exporter.scrape()[0].decode()
    assert 'vm="web01"' in page and "db01" not in page


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of web01 and db01."""
    recorder = Recorder(Busy(), tmp_path / "run.kvmtop")
    for _ in range(6):
        recorder.read()
    recorder.close()
    return tmp_path / "run.kvmtop"


def test_a_recording_of_a_selection(tmp_path: Path) -> None:
    recorder = Recorder(Selected(Busy(), Selection(("db01",))), tmp_path / "part.kvmtop")
    snapshots = [recorder.read(), recorder.read(), recorder.close()]
    assert recorder.trouble is None
    found = Recording(tmp_path / "part.kvmtop")
    assert all(same(found.at(n), snapshot) for n, snapshot in enumerate(snapshots))
    assert found.at(0).vms == snapshots[0].vms and set(found.at(0).vms) == {4100}
    assert found.exits.sum() == snapshots[1].cells["count"].sum()


def test_a_recording_seen_through_a_selection(file: Path) -> None:
    whole, part, by_pid = Recording(file), Recording(file, selection=Selection(("db*",))), Recording(file, [4100])
    for n in (5, 0, 3):
        assert set(part.at(n).vms) == {4100}
        assert counts(part.at(n)) == alone(whole.at(n), 4100)
        assert same(part.at(n), by_pid.at(n))
    assert summary.text(part.close()) == summary.text(by_pid.close())
    with pytest.raises(KvmtopError, match=r"run.kvmtop, no VM is called cache\*; there are web01, db01$") as caught:
        Recording(file, selection=Selection(("cache*",)))
    assert caught.value.status == 2
    with pytest.raises(KvmtopError):
        Recording(file, [4000], Selection(("db*",)))


def test_recordings_compared_through_a_selection(file: Path) -> None:
    part = compare.RecordingSpan.read(f"{file}@1..5", Selection(("db*",)))
    mine = Recording(file, [4100])
    expected = {r.key: r.count for r in by_reason(diff(mine.at(0), mine.at(4)))}
    assert {key: reason.count for key, reason in part.reasons.items()} == expected
    pieces = [piece for _, piece in part.pieces(part.cuts(1))]
    assert len(pieces) == 4
    assert {key: sum(piece[key].count for piece in pieces) for key in expected} == expected
