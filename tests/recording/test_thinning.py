"""Segments with fewer samples: the same counters, whatever came and went between."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kvmtop.commands.headless import Replay
from kvmtop.ending import Ending
from kvmtop.model.arrays import Array
from kvmtop.model.snapshot import CELL, Snapshot
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.recording import segments, status, thinner, thinning
from kvmtop.recording import store as reader
from kvmtop.recording.folder import Folder
from kvmtop.recording.reader import Recording
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.thinning import FILE as THINNING
from kvmtop.recording.thinning import NotWorthIt, thin
from kvmtop.recording.writer import Recorder
from kvmtop.recording.writing import Limits, Writer
from kvmtop.ui.replay_feed import ReplayFeed

from ..support.fake import SECOND
from ..support.fleet import Fleet
from ..support.recordings import complaint, differences, look_at_all, same
from ..support.stores import BEGAN, Dated, write
from ..support.watched import EVERYTHING, Watched

MB = 10**6
ROOT = Path(__file__).parents[2]


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
        columns = [
            rows[name].astype("u8").reshape(len(rows), rows.dtype[name].itemsize // rows.dtype[name].base.itemsize)
            for name in names
        ]
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
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# ---- by who records them


class Clocked(Fleet):
    """A fleet whose seconds are longer."""

    wall_ns = 1_800_000_000 * SECOND

    def __init__(self, vcpus: int, seconds: int) -> None:
        super().__init__(vcpus)
        self.seconds = seconds

    def read(self) -> Snapshot:
        before = self.time_ns
        snapshot = super().read()
        self.time_ns = before + self.seconds * SECOND
        self.wall_ns += self.time_ns - before
        return replace(snapshot, time_ns=self.time_ns, wall_ns=self.wall_ns)


DAYS = ((86400.0, 3600.0), (3 * 86400.0, 6 * 3600.0))


def recorded(folder: Path, thin: Sequence[tuple[float, float]] = DAYS, size: int = 100 * MB) -> StoreRecorder:
    """A store that is read every ten minutes, with twelve hours in a segment."""
    return StoreRecorder(Clocked(2, 600), Folder(folder, Limits(size=size, hours=12, thin=tuple(thin))))


def steps(folder: Path) -> list[float]:
    found = []
    for one in segments.segments(folder):
        recording = Recording(one.path)
        found.append(recording.step)
        recording.free()
    return found


def work(store: StoreRecorder) -> None:
    """All that there is to do."""
    store._thinner._credit = 1e9
    store._thinner.work(store._old)
    while store._thinner._job:  # it waits for the disk
        store._thinner.work(store._old)
    store._thinner._credit = 0.0


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is thinned but by work(): how far it comes after a reading depends on the machine."""
    monkeypatch.setattr(thinner, "SHARE", 0)
    monkeypatch.setattr(thinner, "AT_ONCE", 1e9)


@pytest.mark.usefixtures("cheap")
def test_what_is_older_than_a_day_and_than_three(folder: Path) -> None:
    store = recorded(folder)
    read = [store.read() for _ in range(5 * 24 * 6)]
    before = sum(segments.taken(one.path) for one in segments.segments(folder))
    work(store)
    found = steps(folder)
    assert len(found) == 5 * 2 and found == sorted(found, reverse=True)
    assert [found.count(step) for step in (6 * 3600, 3600, 0)] == [2, 4, 4]
    assert sum(one.size for one in store._old) < 0.6 * before
    assert all(one.size == segments.taken(one.path) for one in store._old)
    read.append(store.close())
    # All of it adds up, over segments of any step.
    whole = reader.Store(folder)
    last = int(whole.times[-1])  # of the final one, if that is in a segment of its own
    assert grown(list(whole)) == grown([one for one in read if one.time_ns <= last]) and len(whole) < len(read) // 2
    assert whole.close().heads["count"].sum() == read[-1].heads["count"].sum()
    # Another one, later, knows what was thinned, and by what.
    names = {one.path: os.stat(one.path).st_ino for one in segments.segments(folder)}
    host = Clocked(2, 600)
    host.wall_ns += 6 * 86400 * SECOND
    later = StoreRecorder(host, Folder(folder, Limits(hours=12, thin=DAYS)))
    later.read()
    work(later)
    later.close()
    changed = [os.stat(path).st_ino != inode for path, inode in names.items()]
    again = [before != after for before, after in zip([*found, 0], steps(folder), strict=False)]
    assert changed == again[: len(changed)] and sum(changed) < 3  # for which the half day at the end was long enough


@pytest.mark.usefixtures("cheap")
def test_nothing_is_thinned_where_nobody_asks(folder: Path) -> None:
    store = recorded(folder, ())
    for _ in range(2 * 24 * 6):
        store.read()
    work(store)
    store.close()
    assert not any(steps(folder))


@pytest.mark.usefixtures("cheap")
def test_a_disk_that_is_too_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there stays, --status says it, and it is thinned later."""
    store = recorded(folder)
    for _ in range(50 * 6):
        store.read()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(thinning._Made, "add", full)
        work(store)
    assert not any(steps(folder)) and THINNING not in os.listdir(folder)
    note = dict(status.of(folder).lines)["not thinned"]
    assert note.endswith(".kvmtop (No space left on device): it stays as it is, and is tried again")
    work(store)
    assert not any(steps(folder))  # not at once
    store._thinner._next = 0
    work(store)
    lines = dict(status.of(folder).lines)
    assert any(steps(folder)) and "not thinned" not in lines and lines["rate"].endswith("fit at least")
    assert re.fullmatch(
        r"after 1 d to a reading in 1 h \([0-9.]+kB a day\); after 3 d to a reading in 6 h", lines["thinned"]
    )
    store.close()


def test_how_much_fits() -> None:
    """100 B/s for ten seconds, 10 B/s for ten more, then 1 B/s; as long as none is thinned to that, what is known."""

    def fits(size: int, thinned: dict[float, float]) -> float:
        writer = Writer(1, 0, None, size, ((10, 2), (20, 3)))
        return status.Status(Path(), writer, 1, 0, 0, 0, 0, 100, thinned).fits(100, writer)

    assert fits(500, {2: 10, 3: 1}) == 5 and fits(1050, {2: 10, 3: 1}) == 15 and fits(1300, {2: 10, 3: 1}) == 220
    assert fits(1300, {2: 10}) == 40 and fits(1300, {}) == 13


@pytest.mark.usefixtures("cheap")
def test_what_is_dropped_is_no_longer_thinned(folder: Path) -> None:
    store = recorded(folder, [(3600.0, 3600.0)])
    for _ in range(42 * 6):
        store.read()
    while store._thinner._old is None:
        store._thinner._credit = 1e-9  # a single piece
        store._thinner.work(store._old)
    path = store._thinner._old.path
    while store._old[0].path != path:
        store._drop()
    store._drop()
    assert not path.exists() and THINNING not in os.listdir(folder)
    for _ in range(30 * 6):
        store.read()
    work(store)
    store.close()
    assert not path.exists() and any(steps(folder))


def test_it_works_after_readings_for_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On its own clock, on which each piece takes 30 ms."""
    clock, pieces = [0.0], [0]

    def job() -> Generator[bool]:
        while True:
            clock[0] += 0.03
            pieces[0] += 1
            yield False

    monkeypatch.setattr("kvmtop.recording.thinner.time.monotonic", lambda: clock[0])
    one = thinner.Thinner(DAYS, MB, lambda text: None)
    one._job, one._old = job(), thinner.Old(Path("x"), 1, 0.0, 1.0)
    longest = 0.0
    for _ in range(200):
        clock[0] += 1
        begin = clock[0]
        one.work([])
        longest = max(longest, clock[0] - begin)
    assert pieces[0] * 0.03 == pytest.approx(0.05 * clock[0], rel=0.02) and longest < 0.1
    clock[0] += 3600
    begin = clock[0]
    one.work([])
    assert clock[0] - begin <= thinner.AT_ONCE + 0.03  # nothing is made up for at once


# ---- who writes is killed

KILLED = """
import sys
from pathlib import Path
from kvmtop.recording.thinning import thin
from tests.recording.test_thinning import MB
for _ in thin(Path(sys.argv[1]), 10, 100 * MB):
    print(flush=True)
"""


@pytest.mark.parametrize("after", [30, 61, 69])
def test_killed_while_it_is_rewritten(folder: Path, after: int) -> None:
    """The segment is there, and what is half done goes when somebody records."""
    file = folder / "2027-01-15T080000Z.kvmtop"
    whole = run(file, {20: "come"}, 60)
    command = [sys.executable, "-c", KILLED, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        for _ in range(after):
            process.stdout.readline()
        process.kill()
    found = all_of(file)
    is_the_same(found, whole)
    assert len(found) in (61, 9)
    StoreRecorder(Clocked(2, 1), Folder(folder, Limits())).close()
    assert THINNING not in os.listdir(folder) and len(all_of(file)) == len(found)


# ---- who reads


def test_a_reader_in_the_middle_of_a_rename(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opened the old one, and the new one is what it asks the size of."""
    file = folder / "run.kvmtop"
    whole = run(file, {}, 60)
    size = os.path.getsize

    def getsize(path: Any) -> int:
        if Path(path) == file and not thinned:
            thinned.append(True)
            for _ in thin(file, 10, 100 * MB):
                pass
        return size(path)

    thinned = list[bool]()
    before = Recording(file)
    monkeypatch.setattr(os.path, "getsize", getsize)
    after = Recording(file)
    assert thinned and len(before) == 60 and len(after) < 10 and after.step == 10 and after.taken == 61
    is_the_same([*before, before.close()], whole)  # who has it open reads on in it
    is_the_same([*after, after.close()], whole)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE thinned SET step_ns = 0", "a step that there cannot be"),
        ("UPDATE thinned SET samples = -1", "a step that there cannot be"),
        ("INSERT INTO thinned VALUES (1, 1)", "more than 1 rows"),
        ("CREATE TABLE thinner (step_ns INTEGER)", "its tables are others"),
    ],
)
def test_a_table_that_is_damaged(folder: Path, sql: str, words: str) -> None:
    file = folder / "run.kvmtop"
    run(file, {}, 30)
    for _ in thin(file, 10, MB):
        pass
    look_at_all(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute(sql)
        database.commit()
    assert words in complaint(file)


def test_what_cannot_be_half_is_left(folder: Path) -> None:
    file = folder / "run.kvmtop"
    run(file, {}, 30)
    before = file.read_bytes()
    for step, most in ((2, MB), (10, 20_000)):
        with pytest.raises(NotWorthIt):
            for _ in thin(file, step, most):
                pass
        assert file.read_bytes() == before and os.listdir(folder) == [file.name]


def test_columns_that_came_later_are_left(folder: Path) -> None:
    """Who does not know a column cannot write it."""
    file = folder / "run.kvmtop"
    run(file, {}, 30)
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO columns (kind, name) VALUES ('later', 'count')")
        database.commit()
    with pytest.raises(NotWorthIt):
        for _ in thin(file, 10, MB):
            pass


def test_a_store_that_is_thinned_while_it_is_open(folder: Path) -> None:
    """Its intervals are those that it had, and each tells of the longer one that it is a part of now."""
    host = Dated()
    read = write(folder, host, [40, 30, 30])
    store, player = reader.Store(folder), reader.Store(folder)
    paths = [one.path for one in segments.segments(folder)]
    assert same(store.at(20), read[20])  # the first is open, and stays as it was
    for path in paths:
        for _ in thin(path, 10, MB):
            pass
    assert same(store.at(20), read[20]) and same(store.at(21), read[21])
    fresh = reader.Store(folder)
    assert len(store) == 100 and len(fresh) < 20
    ends = {one.time_ns for one in fresh} | {fresh.start_ns}
    for n in range(len(player)):
        before, after = player.before(n), player.at(n)
        begin = before.time_ns if before else after.start_ns
        assert {begin, after.time_ns} <= ends and begin <= player.begins[n] < player.times[n] <= after.time_ns
        assert sum(begin < end <= after.time_ns for end in ends) == 1
    # Who reads all of it has each of the intervals once.
    schedule = Replay(player.played.tolist(), timed=False)
    got = list(schedule.readings(player, Ending()))
    assert [one.time_ns for one in got] == [one.time_ns for one in fresh]
    assert player.find(BEGAN + 25.5) == store.find(BEGAN + 25.5) == 25
    assert same(player.close(), read[-1])


def test_a_player_of_what_is_thinned(folder: Path) -> None:
    """It has no interval of no length, and none twice."""
    write(folder, Dated(), [60])
    feed = ReplayFeed(reader.Store(folder), start=25)
    (one,) = segments.segments(folder)
    for _ in thin(one.path, 10, MB):
        pass
    feed._seek(25)
    feed._fill_until = float("inf")
    feed._fill()
    feed._advance(50)
    times = [one.time_ns for one in feed._session.history]
    assert times == sorted(set(times)) and len(times) == 7 and all(one.seconds >= 1 for one in feed._session.history)
