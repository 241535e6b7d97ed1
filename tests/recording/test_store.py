"""Segments as one recording."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Snapshot
from kvmtop.output import summary
from kvmtop.recording import open_segments
from kvmtop.recording.folder import Folder
from kvmtop.recording.moment import words
from kvmtop.recording.store import Dropped, Store
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writing import Limits

from ..support.fake import SECOND
from ..support.recordings import equal
from ..support.stores import BEGAN, Dated, write


def figures(before: Snapshot | None, after: Snapshot) -> list[object]:
    return [(r.key, r.count, r.time, r.total, r.hist) for r in by_reason(diff(before, after))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot], list[Snapshot]]:
    """Two runs, of which the second begins 100 s after the first ended, with a clock that began anew."""
    folder = tmp_path_factory.mktemp("store")
    first = write(folder, Dated(), [40, 33, 7])
    second = write(folder, Dated(BEGAN + 180, started=50, seed=2), [10, 20])
    return folder, first, second


def test_segments_of_a_run_are_one_recording(store: tuple[Path, list[Snapshot], list[Snapshot]]) -> None:
    folder, first, second = store
    found = Store(folder)
    runs = first[:-1], second[:-1]
    assert len(found) == 80 + 30 and found.trouble is None
    expected = [figures(run[n - 1] if n else None, run[n]) for run in runs for n in range(len(run))]
    numbers = list(range(len(found)))
    random.Random(1).shuffle(numbers)
    for n in numbers:
        assert equal(found.at(n), [*runs[0], *runs[1]][n])
        assert figures(found.before(n), found.at(n)) == expected[n]
        assert found.follows(n) == (n not in (0, 80))
    assert len(found._open) <= open_segments.MOST_OPEN < len(found._segments)
    assert (np.diff(found.times) > 0).all() and (found.begins[1:] >= found.times[:-1]).all()
    exits = [sum(r[1] for r in one) for one in expected]  # type: ignore[index]
    assert found.exits.tolist() == exits


def test_between_runs_nothing_is_known(store: tuple[Path, list[Snapshot], list[Snapshot]]) -> None:
    folder, _, second = store
    found = Store(folder)
    assert [n for n in range(len(found)) if found.gap(n)] == [80]
    assert found.gap(80) == f"nothing was recorded from {words(BEGAN + 80)} to {words(BEGAN + 180)}"
    assert found.begins[80] - found.times[79] == 100 * SECOND
    assert found.played[-1] == 110 * SECOND
    session = Session()
    for n in range(len(found)):
        interval = session.add(found.read())
        assert interval.seconds == 1 and interval.after.time_ns == found.at(n).time_ns
    assert [sample.time_ns for sample in session.history] == [one.time_ns for one in second[:-1]]


def test_the_summary_is_of_all_runs(store: tuple[Path, list[Snapshot], list[Snapshot]]) -> None:
    folder, first, second = store
    final = Store(folder).close()
    for row in summary.rows(final):
        mine = [one for run in (first, second) for one in summary.rows(run[-1]) if one.code == row.code]
        assert row.count == sum(one.count for one in mine) and mine
        assert row.min == min(one.min or 0 for one in mine) and row.max == max(one.max or 0 for one in mine)
    assert final.time_ns - final.start_ns == (81 + 31) * SECOND  # the final readings came a second later


def test_one_run_in_segments_has_the_summary_of_the_run(tmp_path: Path) -> None:
    run = write(tmp_path, Dated(), [5, 6, 7])
    assert summary.text(Store(tmp_path).close()) == summary.text(run[-1])


def test_a_stretch_is_the_difference_of_its_ends(store: tuple[Path, list[Snapshot], list[Snapshot]]) -> None:
    """The shortest and the longest exit are unknown where they may have come before; else they are its own."""
    folder, first, _ = store
    found = Store(folder).between(BEGAN + 30, BEGAN + 60)
    assert len(found) == 30 and found.at(0).time_ns == first[30].time_ns
    base = found.base
    assert base is not None and equal(base, first[29])
    assert found.read().base is base or equal(found.at(0), first[30])
    rows = {row.code: row for row in summary.rows(found.close())}
    told = 0
    for reason in by_reason(diff(first[29], first[59])):
        row = rows[reason.code]
        assert (row.count, row.sum) == (reason.count, reason.total // 1000)
        for name, sign in (("min", -1), ("max", 1)):
            before, after = (
                next(getattr(r, name) for r in by_reason(diff(None, one)) if r.key == reason.key)
                for one in (first[29], first[59])
            )
            assert getattr(row, name) == (after // 1000 if sign * after > sign * before else None)
            told += getattr(row, name) is not None
    assert 0 < told < 2 * len(rows)
    assert "-" in summary.text(Store(folder).between(BEGAN + 30, BEGAN + 60).close())


def test_a_moment(store: tuple[Path, list[Snapshot], list[Snapshot]]) -> None:
    found = Store(store[0])
    for second, n in ((0.5, 0), (1, 0), (1.5, 1), (40.5, 40), (79.9, 79), (130, 80), (181.5, 81), (210, 109)):
        assert found.find(BEGAN + second) == n, second
    assert found.seek("-30s", BEGAN + 1000) == 79 + 1
    with pytest.raises(KvmtopError, match=f"is not in .*, which has {words(BEGAN)} to {words(BEGAN + 210)}"):
        found.seek("-10m")


def test_a_clock_that_is_set_within_a_segment(tmp_path: Path) -> None:
    """An hour on after 30 s, half an hour back after 60 s; the file says by which clock it began."""

    class Set(Dated):
        def read(self) -> Snapshot:
            snapshot = super().read()
            passed = (snapshot.time_ns - snapshot.start_ns) // SECOND
            return replace(snapshot, wall_ns=snapshot.wall_ns + (3600 * (passed > 30) - 1800 * (passed > 60)) * SECOND)

    write(tmp_path, Set(), [90])
    found = Store(tmp_path)
    for second, n in ((10, 9), (3600 + 45, 44), (1800 + 70, 69)):
        assert found.find(BEGAN + second) == n
        assert found.wall(n) == BEGAN + second


def test_what_is_no_segment_is_left_out(tmp_path: Path) -> None:
    run = write(tmp_path, Dated(), [10, 10, 10])
    one, two, three = sorted(tmp_path.iterdir())
    whole = two.read_bytes()
    (tmp_path / "notes.txt").write_text("not one")
    for content in (b"", b"foreign" * 100, whole[: len(whole) // 2], whole[:1000] + bytes(len(whole) - 1000)):
        two.write_bytes(content)
        found = Store(tmp_path)
        assert found.trouble and str(two) in found.trouble and "\n" not in found.trouble
        assert len(found) == 20 and found.follows(10)  # of the same run: its counters went on
        assert figures(found.before(10), found.at(10)) == figures(run[9], run[20])
    three.write_bytes(b"")  # as by a recorder that has just begun with it, or was killed then
    two.unlink()
    found = Store(tmp_path)
    assert len(found) == 10 and found.trouble is None
    one.write_bytes(b"")
    with pytest.raises(KvmtopError, match=f"{one.name} is empty"):
        Store(tmp_path)


def test_a_run_whose_first_reading_is_damaged_goes_on_with_the_next_segment(tmp_path: Path) -> None:
    run = write(tmp_path, Dated(), [10, 10, 10])
    one, *others = sorted(tmp_path.iterdir())
    damage(one)
    found = Store(tmp_path)
    assert found.trouble and str(one) in found.trouble and len(found) == 19  # what the first counts from is not there
    assert figures(found.before(0), found.at(0)) == figures(run[10], run[11])
    for other in others:
        damage(other)
    with pytest.raises(KvmtopError, match="damaged"):
        Store(tmp_path)


def test_a_time_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, Dated(), [10, 10])
    one, _ = sorted(tmp_path.iterdir())
    with closing(sqlite3.connect(one)) as database, database:
        database.execute("UPDATE runs SET began = 1e11")  # ns since 1970 that no 64 bits hold
    found = Store(tmp_path)
    assert "a time that cannot be" in str(found.trouble) and len(found) == 9


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE frames SET frame = x'00' WHERE sample = 0")


def test_a_copy_of_a_segment_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, Dated(), [10, 10])
    (tmp_path / "copy.kvmtop").write_bytes(min(tmp_path.iterdir()).read_bytes())
    found = Store(tmp_path)
    assert len(found) == 20 and "what another segment has" in str(found.trouble)


def test_a_segment_that_is_dropped_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, Dated(), [10, 10, 10, 10])
    monkeypatch.setattr(open_segments, "MOST_OPEN", 1)
    found = Store(tmp_path)
    one, two, *_ = sorted(tmp_path.iterdir())
    found.at(30)
    for path in (one, two):
        path.unlink()
    with pytest.raises(Dropped, match="dropped it") as caught:
        found.at(3)
    assert caught.value.on == 11
    first = found.read()  # of what is left, the first that is whole
    assert first.time_ns == found.at(21).time_ns and first.base and first.base.time_ns == found.at(20).time_ns
    assert "dropped it" in str(found.trouble)


def test_a_run_whose_beginning_was_dropped(tmp_path: Path) -> None:
    """Its first sample is what the others count from: it is no interval of the days before."""
    run = write(tmp_path, Dated(), [40, 10, 10])
    min(tmp_path.iterdir()).unlink()
    found = Store(tmp_path)
    assert len(found) == 19 and found.first == BEGAN + 41 and not found.follows(0)
    assert figures(found.before(0), found.at(0)) == figures(run[40], run[41])
    assert figures(None, found.close())[0] != figures(None, run[-1])[0]


def test_one_that_is_being_written_is_read_to_its_newest_sample(tmp_path: Path) -> None:
    from kvmtop.recording.writer import Recorder

    host = Dated()
    run = write(tmp_path, host, [10], final=False)
    recorder = Recorder(host, tmp_path / "2026-11-30T171200Z.kvmtop")
    empty = Store(tmp_path)
    assert len(empty) == 10 and empty.trouble is None
    for _ in range(5):
        run.append(recorder.read())
    found = Store(tmp_path)
    recorder.read()
    assert len(found) == 15
    assert [equal(found.at(n), run[n]) for n in range(15)] == [True] * 15
    recorder.end()


def test_some_vms(tmp_path: Path) -> None:
    from kvmtop.model.selection import Selection

    write(tmp_path, Dated(), [5, 5])
    found = Store(tmp_path, selection=Selection.of(["web*"]))
    assert {vm.name for n in range(10) for vm in found.at(n).vms.values()} == {"web01"}
    with pytest.raises(KvmtopError, match="no VM"):
        Store(tmp_path, selection=Selection.of(["none"]))
    with pytest.raises(KvmtopError, match="no VM"):
        Store(tmp_path, [77])


def test_a_foreign_runs_row_is_no_traceback(tmp_path: Path) -> None:
    write(tmp_path, Dated(), [5, 5])
    path = min(tmp_path.iterdir())
    for column, value in (("began", 1e300), ("start_ns", -5), ("began", float("-inf"))):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"UPDATE runs SET {column} = ?", (value,))
            database.commit()
        assert len(Store(tmp_path)) == 4  # what the second one's first sample counts from is not there


@pytest.mark.parametrize("late", [0, 60])
def test_whether_a_runs_beginning_is_there_is_told_by_its_exits(tmp_path: Path, late: int) -> None:
    """Not by how long it took to its first reading: probes may be slow to load."""
    host = Dated()
    host.now += late * SECOND
    write(tmp_path, host, [5, 5])
    whole = Store(tmp_path)
    assert len(whole) == 10 and whole.before(0) is None
    min(tmp_path.iterdir()).unlink()
    assert len(Store(tmp_path)) == 4


def test_what_kvmtop_record_writes(tmp_path: Path) -> None:
    """Its segments, under another clock than this machine's: what they are named by is the host's."""
    host = Dated()
    writer = StoreRecorder(host, Folder(tmp_path / "store", replace(Limits(), segment=60_000)))
    run = [writer.read() for _ in range(60)]
    run.append(writer.close())
    found = Store(tmp_path / "store")
    assert len(found._segments) > 1 and len(found) == 60 and found.trouble is None
    assert all(equal(found.at(n), run[n]) for n in range(60))
    assert found.find(BEGAN + 30.5) == 30 and abs(found.first - BEGAN) < 0.01
    assert found.exits.sum() == sum(r.count for r in by_reason(diff(None, run[59])))
    assert summary.text(found.close()) == summary.text(run[-1])
