"""Segments with fewer samples: the same counters, whatever came and went between."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kvmtop.model.arrays import Array
from kvmtop.model.snapshot import CELL, Snapshot
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.recording import thinning
from kvmtop.recording.reader import Recording
from kvmtop.recording.thinning import NotWorthIt, thin
from kvmtop.recording.writer import Recorder

from ..support.recordings import differences, look_at_all
from ..support.watched import EVERYTHING, Watched

MB = 10**6


class Changing(Watched):
    """VMs come, end, and are forgotten, as in bpf/collector.py: what they counted stays as a row a reason."""

    def __init__(self) -> None:
        super().__init__()
        self.pid, self.rest = 5000, dict[tuple[int, int], Array]()

    def come(self) -> None:
        self.pid += 100
        self.add(self.pid, f"vm{self.pid}", 1)
        self.threads.add(self.pid, self.pid + 50, "io", "iothread")

    def go(self) -> None:
        """The oldest of those."""
        tid = next((tid for tid in self.vcpus if tid > 5000), None)
        if tid is None:
            return
        vcpu = self.vcpus.pop(tid)
        del self.vms[vcpu.pid]
        self.threads.remove(vcpu.pid + 50)
        for (isa, reason), cell in vcpu.cells.items():
            row = self.rest.setdefault((isa, reason), np.zeros(1, CELL))
            row["isa"], row["reason"] = isa, reason
            for name in ("count", "total", "hist"):
                row[name] += cell[name]
        self.touches = {key: row for key, row in self.touches.items() if key[0] != tid}

    def read(self) -> Snapshot:
        snapshot = super().read()
        for tid in [tid for tid in self.vcpus if tid > 5000]:
            self.threads.grow(tid + 49, cpu_ns=1000 * tid, wait_ns=10)
        cells = np.concatenate([snapshot.cells, *self.rest.values()])
        ids = np.concatenate([snapshot.cell_ids, np.zeros(len(self.rest), "u8")])
        details = snapshot.details
        if details:  # named by what they are, as bpf/detail.py's
            names = [abs(hash(key)) for key in self.touches]
            details = replace(details, touched_ids=np.array(names, "u8"))
        return replace(snapshot, cells=cells, cell_ids=ids, details=details)


EVENTS = {
    "come": Changing.come,
    "go": Changing.go,
    "everything": Changing.look_at,
    "some": lambda host: host.look_at(look=DetailRequest(frozenset({"io"}))),
    "sched": lambda host: host.look_at(look=replace(EVERYTHING, sched=4000)),
    "away": Changing.look_away,
}


def run(file: Path, events: dict[int, str], samples: int) -> list[Snapshot]:
    """The Snapshots that were recorded, in which these happened before so many readings."""
    host = Changing()
    recorder, found = Recorder(host, file), list[Snapshot]()
    for n in range(samples):
        if n in events:
            EVENTS[events[n]](host)
        found.append(recorder.read())
    found.append(recorder.close())
    assert recorder.trouble is None
    return found


def all_of(file: Path) -> list[Snapshot]:
    """The final one, too."""
    recording = Recording(file)
    return [*recording, *([recording.close()] if recording.final else [])]


WEIGHTS = np.random.default_rng(1).integers(1, 2**63, 1000, "u8")


def counters(one: Snapshot) -> dict[Any, int]:
    """All that only grows, by what names it in each Snapshot: a sum of all numbers of a row, each times another one."""
    found = dict[Any, int]()

    def add(kind: str, ids: Sequence[Any], rows: Array, *names: str) -> None:
        columns = [rows[name].astype("u8").reshape(len(rows), -1) for name in names]
        sums = np.concatenate([*columns, np.zeros((len(rows), 1), "u8")], axis=1)
        found.update(
            ((kind, id), sum_) for id, sum_ in zip(ids, (sums @ WEIGHTS[: sums.shape[1]]).tolist(), strict=True)
        )

    def add_all(kind: str, look: Any, rows: Mapping[Any, Sequence[int]]) -> None:
        sums = {key: sum(map(int.__mul__, row, WEIGHTS.tolist())) for key, row in rows.items()}
        found.update(((kind, look, key), sum_) for key, sum_ in sums.items())

    add("thread", one.thread_ids.tolist(), one.threads, "states", "pairs", "unpaired", "overwritten", "nested_ns")
    keys = [
        id or (isa, code) for id, isa, code in zip(one.cell_ids, one.cells["isa"], one.cells["reason"], strict=True)
    ]
    add(
        "cell",
        list(map(str, keys)),
        one.cells,
        "count",
        "total",
        "user",
        "idle",
        "blocked",
        "wait",
        "throttled",
        "hist",
    )
    add("other", one.others["id"].tolist(), one.others, "cpu_ns", "wait_ns", "throttled_ns")
    add_all("all", 0, {0: (one.lost, one.userspace, one.unpaired, one.overwritten, one.ended_threads)})
    if details := one.details:
        ids = [(details.since_ns, id) for id in details.touched_ids.tolist()]
        add("touched", ids, details.touched, "count", "exits", "total", "user", "hist")
        add_all("dropped", details.since_ns, {kind: (events,) for kind, events in details.dropped.items()})
    if told := one.scheduling:
        look = told.since_ns, told.pid
        add("charge", [(look, id) for id in told.charge_ids.tolist()], told.charges, "count", "ns")
        add("latency", [(look, id) for id in told.latencies["id"].tolist()], told.latencies, "count", "total", "hist")
        add_all("idle", look, {cpu: (ns,) for cpu, ns in told.idle.items()})
    if stacks := one.stacks:
        add_all("off", stacks.base.time_ns, stacks.off)
        add_all("on", stacks.base.time_ns, {key: (count,) for key, count in stacks.samples.items()})
    return found


def grown(snapshots: Sequence[Snapshot]) -> dict[Any, int]:
    """What a reader adds up of the intervals between them, modulo 2**64: a row that is new has begun at 0."""
    found, before = dict[Any, int](), counters(snapshots[0])
    for one in snapshots[1:]:
        now = counters(one)
        for key, value in now.items():
            found[key] = (found.get(key, 0) + value - before.get(key, 0)) % 2**64
        before = now
    return {key: value for key, value in found.items() if value}


def slow(snapshots: Sequence[Snapshot]) -> bytes:
    return b"".join(one.details.slow.tobytes() for one in snapshots if one.details)


def is_the_same(thinned: Sequence[Snapshot], whole: Sequence[Snapshot]) -> None:
    """But for samples that are not there."""
    at = {one.time_ns: n for n, one in enumerate(whole)}
    kept = [at[one.time_ns] for one in thinned]
    assert kept[0] == 0 and kept[-2:] == [len(whole) - 2, len(whole) - 1]
    for n, one in zip(kept, thinned, strict=True):
        told = {name for name in differences("Snapshot", one, whole[n]) if not name.startswith("Details.slow")}
        assert not told, n
    for (first, last), (before, after) in zip(pairwise(kept), pairwise(thinned), strict=True):
        assert grown([before, after]) == grown(whole[first : last + 1]), (first, last)
        assert slow([after]) == slow(whole[first + 1 : last + 1]), (first, last)


def table(file: Path) -> list[tuple[int, ...]]:
    """What SQL adds up, of all of it."""
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT isa, code, sum(exits), sum(ns) FROM exits GROUP BY isa, code").fetchall()
        rows += database.execute("SELECT sum(exits) FROM samples").fetchall()
        return rows + database.execute("SELECT count(*), sum(ns) FROM slow").fetchall()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


@given(st.dictionaries(st.integers(1, 58), st.sampled_from([*EVENTS]), max_size=10))
@example({3: "come", 5: "everything", 17: "go", 23: "sched", 31: "away", 40: "some", 52: "everything"})
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_of_any_stretch_are_what_they_were(folder: Path, events: dict[int, str]) -> None:
    file = folder / "run.kvmtop"
    file.unlink(missing_ok=True)
    whole = run(file, events, 60)
    sums = table(file)
    for step in (4, 20):  # what was thinned is thinned further
        try:
            for _ in thin(file, step, 100 * MB):
                pass
        except NotWorthIt:
            assert len(events) > 1
        else:
            assert Recording(file).step == step
        is_the_same(all_of(file), whole)
        assert table(file) == sums and os.listdir(folder) == [file.name]
    look_at_all(file)


def test_what_ended_between_would_be_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees it, if a sample that is the last with something is left out."""
    events = {3: "come", 5: "everything", 17: "go", 23: "sched", 31: "away"}
    whole = run(folder / "run", events, 60)
    kept = thinning.chosen
    for lost in (16, 22, 30):
        file = folder / f"without-{lost}"
        file.write_bytes((folder / "run").read_bytes())
        with monkeypatch.context() as patch:
            patch.setattr(thinning, "chosen", lambda *args, lost=lost: [n for n in kept(*args) if n != lost])
            for _ in thin(file, 10, 100 * MB):
                pass
        with pytest.raises(AssertionError):
            is_the_same(all_of(file), whole)
