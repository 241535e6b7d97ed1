"""A host recorded into a directory: what is kept, whatever happens to the writer, the disk and the clock."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmtop.errors import KvmtopError
from kvmtop.model.interval import diff
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording import segments, store_recorder, writer, writing
from kvmtop.recording.folder import Folder
from kvmtop.recording.reader import Empty, Recording
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writer import Recorder
from kvmtop.recording.writing import Limits

from ..support.fake import SECOND
from ..support.fleet import Fleet
from ..support.recordings import equal

MB = 10**6
START = 1_800_000_000 * SECOND  # of the wall clock


class Host(Fleet):
    """A fleet with a wall clock, whose seconds may be longer."""

    wall_ns = START
    pace = 1

    def read(self) -> Snapshot:
        before = self.time_ns
        snapshot = super().read()
        passed = (self.time_ns - before) * self.pace
        self.time_ns = before + passed
        self.wall_ns += passed
        return replace(snapshot, time_ns=self.time_ns, wall_ns=self.wall_ns)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be had, since each reading waits for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name) / "store"


def made(folder: Path, source: Host, **limits: float | int | None) -> StoreRecorder:
    return StoreRecorder(source, Folder(folder, replace(Limits(), **limits)))  # type: ignore[arg-type]


def readings(folder: Path) -> list[Snapshot]:
    """All that is there, the oldest first."""
    found = list[Snapshot]()
    for one in segments.segments(folder):
        recording = Recording(one.path)
        found += recording
        recording.close()
    return found


def disk_usage(folder: Path) -> int:
    return int(
        subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True, check=True).stdout.split()[0]
    )


# ---- segments


def test_segments_follow_each_other_without_a_hole(folder: Path) -> None:
    host = Host(4)
    one = made(folder, host, hours=1 / 360)  # ten seconds
    read = [one.read() for _ in range(35)]
    final = one.close()
    files = segments.segments(folder)
    assert files[0].path.name == "2027-01-15T080001Z.kvmtop"
    assert len(files) == 4 and sorted(os.listdir(folder)) == [*(file.path.name for file in files), writing.FILE]
    found = [snapshot for file in files for snapshot in Recording(file.path)]
    assert len(found) == 35 and all(equal(a, b) for a, b in zip(found, read, strict=True))
    assert equal(Recording(files[-1].path).close(), final)
    border = next(n for n in range(1, 35) if found[n].wall_ns // SECOND == files[1].start)
    over, fine = (diff(a[border - 1], a[border]).rows for a in (found, read))
    assert over.tobytes() == fine.tobytes()
    # What SQL adds up is each segment's own, though the counters are of the whole run.
    added = 0
    for file in files:
        with contextlib.closing(sqlite3.connect(file.path)) as database:
            added += database.execute("SELECT sum(exits) FROM exits").fetchone()[0]
    assert added == int(final.heads["count"].sum())


def test_a_segment_is_a_tenth_at_most(folder: Path) -> None:
    one = made(folder, Host(100), size=5 * MB, segment=64 * MB)
    for _ in range(80):
        one.read()
    assert one.trouble is None
    sizes = [segments.taken(file.path) for file in segments.segments(folder)]
    assert len(sizes) > 2 and all(0.5 * MB <= size < 0.7 * MB for size in sizes[:-1])


def test_two_in_one_second_have_two_names(folder: Path) -> None:
    host = Host(1)
    for _ in range(3):
        host.wall_ns = START - SECOND
        one = made(folder, host)
        one.read()
        one.close()
    names = ["2027-01-15T080000Z.kvmtop", "2027-01-15T080000Z-1.kvmtop", "2027-01-15T080000Z-2.kvmtop"]
    assert [file.path.name for file in segments.segments(folder)] == names


# ---- never more than was asked


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    vcpus=st.integers(1, 60), size=st.integers(1 * MB, 3 * MB), segment=st.integers(1, 2 * MB), seed=st.integers(0, 99)
)
def test_it_never_takes_more_of_the_disk(folder: Path, vcpus: int, size: int, segment: int, seed: int) -> None:
    """At each step of writing, not only between readings: each change of a file is looked at."""
    folder = folder.parent / f"{vcpus}-{size}-{segment}-{seed}"
    one = made(folder, Host(vcpus, seed), size=size, segment=segment)
    rng, most = random.Random(seed), 0
    for _ in range(40):
        one.read()
        most = max(most, disk_usage(folder))
        if rng.random() < 0.1:  # killed: nothing is closed
            one._folder.close()
            one = made(folder, Host(vcpus, seed), size=size, segment=segment)
    assert one.trouble is None and readings(folder)
    assert most <= size
    one.close()
    assert disk_usage(folder) <= size


def test_the_oldest_go_first(folder: Path) -> None:
    one = made(folder, Host(32), size=MB)
    read = [one.read() for _ in range(100)]
    found = readings(folder)
    assert 10 < len(found) < 90
    assert all(equal(a, b) for a, b in zip(found, read[-len(found) :], strict=True))


def test_what_does_not_fit_at_all_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = made(folder, Host(200), size=150_000)
    one.read()
    assert "does not fit into 150kB: ask for more" in str(one.trouble)
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(folder) == [writing.FILE]


def test_a_store_that_is_full_goes_on_with_larger_readings(folder: Path) -> None:
    """The first of another run, of which nobody knows how large it will be."""
    one = made(folder, Host(8), size=MB)
    for _ in range(100):
        one.read()
    one.close()
    one = made(folder, Host(250), size=MB)
    for _ in range(2):
        one.read()
        assert disk_usage(folder) <= MB
    assert one.trouble is None


class Failing:
    """A database whose first COMMIT fails, as on a disk that has just become full."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database, self._failed = database, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT" and not self._failed:
            self._failed = True
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(sql, *values)


def test_a_reading_that_could_not_be_committed_is_in_no_segment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Recorder._create
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "_create", lambda self: Failing(create(self)))
        one = made(folder, Host(2))
        one.read()
    assert "disk is full" in str(one.trouble) and os.listdir(folder) == [writing.FILE]
    one._next = 0.0  # it tries again at once
    read = [one.read() for _ in range(3)]
    assert one.trouble is None and all(equal(a, b) for a, b in zip(readings(folder), read, strict=True))


# ---- ages and clocks


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """The two that the store has: seconds."""
    now = {"wall": START / SECOND, "boot": 100.0}
    monkeypatch.setattr(time, "clock_gettime", lambda _: now["boot"])
    monkeypatch.setattr(time, "time", lambda: now["wall"])
    yield now


def test_what_is_older_goes(folder: Path, clock: dict[str, float]) -> None:
    host = Host(2)
    host.pace = 60
    one = made(folder, host, keep=3600.0, hours=1 / 6)
    for _ in range(150):
        clock["boot"] += 60
        clock["wall"] += 60
        one.read()
    found = readings(folder)
    age = (host.wall_ns - found[0].wall_ns) / 60e9
    assert 60 <= age <= 81  # and two segments
    assert len(segments.segments(folder)) <= 8


@pytest.mark.parametrize("step", [86400 * 365, -86400 * 365])
def test_a_clock_that_jumps_makes_nothing_older_or_younger(folder: Path, clock: dict[str, float], step: int) -> None:
    host = Host(2)
    host.pace = 60
    one = made(folder, host, keep=3600.0, hours=1 / 6)
    times = []
    for turn in range(120):
        if turn == 60:
            clock["wall"] += step
            host.wall_ns += step * SECOND
        clock["boot"] += 60
        clock["wall"] += 60
        times.append(one.read().time_ns)
        if turn > 61 and turn % 10 == 0:
            found = sorted(snapshot.time_ns for snapshot in readings(folder))
            # What is there is the newest of all, an hour of it at least, and no more than was kept before.
            assert found == times[len(times) - len(found) :]
            assert 60 <= len(found) <= 81
    assert one.trouble is None
    names = {file.path.name[:4] for file in segments.segments(folder)}
    assert names == {"2027", str(2027 + step // 86400 // 365)} or names == {str(2027 + step // 86400 // 365)}


def test_a_clock_that_is_wrong_at_the_start_takes_two_at_a_time(folder: Path, clock: dict[str, float]) -> None:
    host = Host(2)
    one = made(folder, host, hours=1 / 360)
    for _ in range(100):
        one.read()
    one.close()
    before = len(segments.segments(folder))
    for file in segments.segments(folder):
        os.utime(file.path, (START / SECOND, START / SECOND))
    clock["wall"] += 86400 * 365
    one = made(folder, host, hours=1 / 360, keep=86400.0)
    one.read()
    assert len(segments.segments(folder)) == before - store_recorder.AT_ONCE + 1


# ---- what happens to the writer

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from kvmtop.recording.folder import Folder
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writing import Limits
from tests.recording.test_store_recorder import Host
host = Host(8, int(sys.argv[2]))
one = StoreRecorder(host, Folder(Path(sys.argv[1]), Limits(segment=150_000)))
while True:
    print(one.read().time_ns, flush=True)
"""


def kill(folder: Path, turn: int) -> None:
    """Kill a writer at some moment; the readings that it told of are there, and at most the one that it was at."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(turn)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        told = [int(writer.stdout.readline()) for _ in range(1 + turn % 23)]
        time.sleep(random.Random(turn).random() * 0.02)
        writer.kill()
        told += map(int, writer.stdout.read().split())
    there = [snapshot.time_ns for snapshot in readings(folder)][-len(told) - 1 :]
    assert told == there[-len(told) :] or told == there[-len(told) - 1 : -1], turn


@pytest.mark.parametrize("turn", range(3))
def test_killed_at_any_moment(folder: Path, turn: int) -> None:
    kill(folder, turn * 7)
    kill(folder, 1 + turn * 7)  # and the next writer, with what was left
    one = made(folder, Host(8))
    one.read()
    one.close()
    assert {Path(name).suffix for name in os.listdir(folder)} == {".kvmtop", ".lock"}  # no journals


def test_one_that_begins_is_empty_or_has_its_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is killed meanwhile: readers know either."""
    seen = []

    def look(fd: int) -> None:
        place = Path(f"/proc/self/fd/{fd}").resolve()
        seen.append(place.stat().st_size)
        with pytest.raises(Empty):
            Recording(place)

    def made() -> bytes:
        (place,) = folder.glob("*.kvmtop")
        seen.append(place.stat().st_size)
        with pytest.raises(Empty):
            Recording(place)
        return whole()

    whole = writer._without_samples
    monkeypatch.setattr(writer, "_without_samples", made)
    monkeypatch.setattr(os, "fsync", look)
    folder.mkdir()
    place = folder / "2026-11-30T171200Z.kvmtop"
    writer.Recorder(Host(2), place).end()
    assert seen == [0, len(whole())] and len(whole()) < 1 << 16


def test_what_was_half_written_is_taken_back(folder: Path) -> None:
    """A journal that has to be played back; and a file in which nothing is yet."""
    one = made(folder, Host(8))
    for _ in range(5):
        one.read()
    assert one._writer
    database = one._writer._database
    database.execute("BEGIN")
    database.execute("PRAGMA cache_size=1")
    database.execute("PRAGMA cache_spill=1")
    database.execute("UPDATE frames SET frame = zeroblob(20000)")
    copies = {path.name: path.read_bytes() for path in folder.iterdir()}
    database.execute("ROLLBACK")
    one.close()
    for path in folder.iterdir():
        path.unlink()
    for name, content in copies.items():
        (folder / name).write_bytes(content)
    (file,) = segments.segments(folder)
    assert Path(f"{file.path}-journal").stat().st_size > 0
    (folder / "2027-01-15T090000Z.kvmtop").touch()
    one = made(folder, Host(8))
    assert sorted(os.listdir(folder)) == [file.path.name, writing.FILE]
    assert len(list(Recording(file.path))) == 5
    one.close()


def test_one_writer_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PATIENCE", 0.0)
    one = made(folder, Host(1))
    with pytest.raises(KvmtopError, match=f"is being recorded to by process {os.getpid()}, since 20") as caught:
        made(folder, Host(1))
    assert caught.value.status == 2
    one.close()
    made(folder, Host(1)).close()


# ---- what others have put there


def test_what_is_not_of_kvmtop_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    foreign = folder / "2020-01-01T000000Z.kvmtop"
    foreign.write_bytes(b"somebody's letters" * 1000)
    database = sqlite3.connect(folder / "2020-01-02T000000Z.kvmtop")  # of another program
    database.execute("CREATE TABLE samples (x)")
    database.execute("INSERT INTO samples VALUES (1)")
    database.commit()
    database.close()
    os.mkfifo(folder / "2020-01-03T000000Z.kvmtop")
    mine = folder.parent / "mine.kvmtop"
    Recorder(Host(1), mine).close()
    (folder / "2020-01-04T000000Z.kvmtop").symlink_to(mine)
    (folder / "2020-01-05T000000Z.kvmtop").mkdir()
    os.link(mine, folder / "mine.kvmtop")  # another name
    (folder / "2020-02-31T000000Z.kvmtop").write_text("a day that there is not")
    before = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    host = Host(16)
    host.wall_ns = START
    one = made(folder, host, size=1 * MB, keep=3600.0)
    for _ in range(80):
        one.read()
    assert one.trouble is None and len(segments.segments(folder)) < 12
    one.close()
    after = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    assert before.items() <= after.items()
    assert foreign.read_bytes() == b"somebody's letters" * 1000 and len(Recording(mine)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
def test_files_of_others_are_left_alone(folder: Path) -> None:
    one = made(folder, Host(16))
    one.read()
    one.close()
    (file,) = segments.segments(folder)
    os.chown(file.path, 65534, 65534)
    host = Host(16)
    host.wall_ns += 3600 * SECOND
    one = made(folder, host, size=1 * MB)
    for _ in range(80):
        one.read()
    one.close()
    assert file.path.exists()


def link(folder: Path) -> None:
    (folder.parent / "elsewhere").touch()
    folder.mkdir()
    (folder / writing.FILE).symlink_to(folder.parent / "elsewhere")


def fifo(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / writing.FILE)


def shared(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def plain(folder: Path) -> None:
    folder.touch()


@pytest.mark.parametrize("prepare", [link, fifo, shared, plain])
def test_where_it_will_not_record(folder: Path, prepare: Callable[[Path], None]) -> None:
    prepare(folder)
    with pytest.raises(KvmtopError, match="cannot record to"):
        made(folder, Host(1))
    elsewhere = folder.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_text() == ""


def test_who_may_read(folder: Path) -> None:
    """The owner; and the group of a directory that gives its own to what is made in it."""
    mask = os.umask(0o077)
    try:
        for mode, wanted in ((0o700, 0o600), (0o750, 0o600), (0o2750, 0o640)):
            folder.mkdir()
            folder.chmod(mode)
            one = made(folder, Host(1))
            one.read()
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {wanted}
            one.close()
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    finally:
        os.umask(mask)
