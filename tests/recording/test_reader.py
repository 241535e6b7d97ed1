"""Recordings: what went in comes out, whatever happened to the writer or to the file."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.scope import ALL
from kvmtop.model.vocabulary import Names, Vm
from kvmtop.output import batch, csv_rows, json_lines, summary
from kvmtop.recording import journal
from kvmtop.recording import reader as recording
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import PAGE, Recorder
from kvmtop.reference.labels import Labels
from kvmtop.tables import view

from ..support.fake import Busy
from ..support.nobody import as_nobody
from ..support.recordings import equal, record


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.kvmtop"


def complaint(path: Path, pids: tuple[int, ...] = ()) -> str:
    """What is said about a file that is no recording, in one line."""
    with pytest.raises(KvmtopError) as caught:
        look_at_all(path, pids)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < len(str(path)) + 300
    assert caught.value.status == 2
    return text


def look_at_all(path: Path, pids: tuple[int, ...] = ()) -> None:
    """Everything that a replay does with a file but for the screen."""
    found = Recording(path, pids)
    out = batch.Batch(io.StringIO(), Labels(), origin=found.origin)
    session = out.session
    for snapshot in found:
        out.write(snapshot)
    if session.interval:
        for line in session.lines(session.interval):
            view.page(session, session.interval, ALL, line.reason.key)
            break
        if len(session.interval.after.threads) < 20:  # else there is much to write
            json_lines.interval_line(session, session.interval, Labels(), found.origin)
            csv_rows.interval_rows(session, session.interval, found.origin)
    final = found.close()
    summary.text(final)
    json_lines.summary_line(final, found.origin)


# ---- what went in comes out


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
            host.counters |= {"lost": 7, "userspace": 8, "unpaired": 9, "overwritten": 10}
            host.delays[4101] = 12_345
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
            (4000, 4001, 0), (4000, 4002, 1), (4100, 4101, 0), (4100, 4102, 1)
        ]  # fmt: skip
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


def test_a_recording_that_ended_at_once_has_its_final_sample(file: Path) -> None:
    recorder = Recorder(Busy(), file)
    final = recorder.close()
    found = Recording(file)
    assert len(found) == 1 and equal(found.at(0), final)


def hot(file: Path) -> None:
    """A file whose writer was killed in the middle of a sample: half of it is written, its journal is whole."""
    victim = file.parent / "victim"
    record(victim, 20)
    database = sqlite3.connect(victim, isolation_level=None)
    database.execute("PRAGMA journal_mode=TRUNCATE")
    database.execute("PRAGMA cache_size=1")
    database.execute("BEGIN")
    database.execute("UPDATE frames SET frame = zeroblob(5000)")
    shutil.copy(victim, file)
    shutil.copy(f"{victim}-journal", f"{file}-journal")
    database.execute("ROLLBACK")
    assert file.read_bytes() != victim.read_bytes()


def test_a_sample_half_written_is_undone_in_a_copy(file: Path) -> None:
    hot(file)
    before = file.read_bytes(), Path(f"{file}-journal").read_bytes()
    found, whole = Recording(file), Recording(file.parent / "victim")
    assert all(equal(a, b) for a, b in zip(found, whole, strict=True)) and len(found) == 20
    folder = found._folder
    assert folder and Path(folder.name).exists()
    found.close()
    assert not Path(folder.name).exists()
    assert (file.read_bytes(), Path(f"{file}-journal").read_bytes()) == before


def test_a_journal_that_names_another_file_is_not_played(file: Path) -> None:
    """SQLite would delete the file that it takes for the journal of several databases."""
    hot(file)
    victim = file.parent / "precious"
    victim.write_text("root:*:19000:0:99999:7:::\n")
    name = str(victim).encode()
    with open(f"{file}-journal", "ab") as journal:
        journal.write(b"\0\0\0\0" + name + len(name).to_bytes(4, "big") + (sum(name) & 0xFFFFFFFF).to_bytes(4, "big"))
        journal.write(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
    complaint(file)
    assert victim.exists()


LOOK = """
import sys
from pathlib import Path
from kvmtop.recording.reader import Recording
from tests.recording.test_reader import PLANTS, told
path, kind, when = Path(sys.argv[1]), *sys.argv[2:]
if when == "before":
    PLANTS[kind](path)
found = Recording(path)
if when == "later":
    PLANTS[kind](path)
print(told(found))
"""


def told(recording: Recording) -> str:
    return f"{recording.origin.title} {sum(int(snapshot.cells['count'].sum()) for snapshot in recording)}"


def forged_journal(file: Path) -> None:
    """It undoes what was never done: with it, the run's title is another one."""
    evil = file.parent / "evil"
    shutil.copy(file, evil)
    with contextlib.closing(sqlite3.connect(evil, isolation_level=None)) as database:
        database.execute("UPDATE runs SET title = 'forged'")
        database.execute("PRAGMA cache_size=1")
        database.execute("BEGIN")
        database.execute("UPDATE runs SET title = ''")
        database.execute("UPDATE frames SET frame = zeroblob(5000)")
        shutil.copy(f"{evil}-journal", f"{file}-journal")
        database.execute("ROLLBACK")


def others_journal(file: Path) -> None:
    forged_journal(file)
    os.chown(f"{file}-journal", 65534, 65534)


def linked_journal(file: Path) -> None:
    forged_journal(file)
    os.rename(f"{file}-journal", file.parent / "target")
    os.symlink("target", f"{file}-journal")


def forged_log(file: Path) -> None:
    """A write-ahead log that changes the run's title."""
    evil = file.parent / "evil"
    shutil.copy(file, evil)
    with contextlib.closing(sqlite3.connect(evil, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("UPDATE runs SET title = 'forged'")
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{evil}{suffix}", f"{file}{suffix}")


PLANTS: dict[str, Callable[[Path], None]] = {
    "nothing": lambda file: None,
    "journal": others_journal,
    "linked": linked_journal,
    "log": forged_log,
    "pipe-journal": lambda file: os.mkfifo(f"{file}-journal"),
    "pipe-wal": lambda file: os.mkfifo(f"{file}-wal"),
    "pipe-shm": lambda file: os.mkfifo(f"{file}-shm"),
    "directory": lambda file: os.mkdir(f"{file}-journal"),
    "dangling": lambda file: os.symlink("nowhere", f"{file}-journal"),
}


@pytest.mark.parametrize("when", ["before", "later"])
@pytest.mark.parametrize("kind", PLANTS)
def test_what_others_put_beside_it_is_left_out(file: Path, kind: str, when: str) -> None:
    """Neither read, nor waited for, nor changed; a file that might have been its journal is told of."""
    if kind == "journal" and os.geteuid():
        pytest.skip("only root can make another user's file")
    record(file, 20)
    expected = told(Recording(file))
    command = [sys.executable, "-c", LOOK, str(file), kind, when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{expected}\n"
    has_journal = os.path.lexists(f"{file}-journal") and when == "before"
    warning = f"kvmtop: {file}-journal is not a file of the owner of {file}: it is left out\n"
    assert done.stderr == (warning if has_journal else "")


def test_a_link_to_a_recording_is_mended_like_the_recording(file: Path) -> None:
    hot(file)
    link = file.parent / "folder" / "link"
    link.parent.mkdir()
    link.symlink_to(file)
    assert all(equal(a, b) for a, b in zip(Recording(link), Recording(file.parent / "victim"), strict=True))


def test_a_large_file_with_little_in_it_is_copied_without_its_holes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot(file)
    os.truncate(file, 20 << 30)
    written = file.stat().st_blocks * 512 + Path(f"{file}-journal").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * written + 2))
    assert all(equal(a, b) for a, b in zip(Recording(file), Recording(file.parent / "victim"), strict=True))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=written))
    assert "name a directory with more room in TMPDIR" in complaint(file)


def test_too_large_to_be_copied_while_it_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(file)
    Path(f"{file}-journal").touch()
    assert len(Recording(file)) == 10
    monkeypatch.setattr(journal, "MOST_LIVE", 5000)
    assert f"if nothing does, remove {file}-journal" in complaint(file)


def test_a_writer_is_waited_for_but_not_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(file)
    Path(f"{file}-journal").touch()
    code = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('BEGIN IMMEDIATE'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout and writer.stdout.readline()
        monkeypatch.setattr(journal, "LONGEST_LOCK", 0.2)
        assert "another program keeps" in complaint(file)
        monkeypatch.setattr(journal, "LONGEST_LOCK", 30)
        with ThreadPoolExecutor() as pool:
            found = pool.submit(Recording, file)
            assert wait([found], 0.1).not_done
            writer.communicate(b"\n")
            assert len(found.result()) == 10


def test_while_it_is_written(file: Path) -> None:
    recorder = Recorder(Busy(), file)
    snapshots = [recorder.read() for _ in range(5)]
    found = Recording(file)
    recorder.read()
    assert recorder.trouble is None
    assert len(found) == 5 and all(equal(a, b) for a, b in zip(found, snapshots, strict=True))
    recorder.close()


# ---- what is no recording


def other_tables(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE more (x)")


def a_view(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE samples RENAME TO real_samples")
    database.execute("CREATE VIEW samples AS SELECT * FROM real_samples")


def a_trigger(database: sqlite3.Connection) -> None:
    database.execute("CREATE TRIGGER t AFTER INSERT ON samples BEGIN SELECT 1; END")


@pytest.mark.parametrize("change", [other_tables, a_view, a_trigger])
def test_other_tables(file: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    record(file)
    with contextlib.closing(sqlite3.connect(file)) as database:
        change(database)
        database.commit()
    assert "its tables are others" in complaint(file)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("PRAGMA user_version=2", "another version of kvmtop (format 2; this one reads 1)"),
        ("PRAGMA application_id=7", "not a recording of kvmtop"),
        ("PRAGMA journal_mode=WAL", "another mode of SQLite"),
        ("DELETE FROM runs", "ended before the first interval"),
        ("DELETE FROM samples", "samples are missing"),
        ("DELETE FROM samples WHERE sample=3", "samples are missing"),
        ("DELETE FROM frames WHERE sample=3", "frame 3 is missing"),
        ("UPDATE samples SET time_ns = 5 WHERE sample=3", "a clock that went back"),
        ("UPDATE samples SET lost = -1", "a clock that went back"),
        ("UPDATE samples SET time_ns = 9223372036854775807", "a clock that went back"),
        ("UPDATE runs SET began = 1e300", "a time that cannot be"),
        ("UPDATE frames SET frame = zeroblob(70000000) WHERE sample=3", "damaged"),
        ("UPDATE frames SET frame = x'00' WHERE sample=3", "damaged"),
    ],
)
def test_foreign_newer_or_damaged(file: Path, sql: str, words: str) -> None:
    record(file)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute(sql)
        database.commit()
    assert words in complaint(file)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_a_flood_of_vms_or_of_names(file: Path) -> None:
    """A few megabytes of them would make a hundred times as much text."""
    record(file)
    good = file.read_bytes()
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70000)"
    for into, words in (("vms SELECT 0, i, 'x', '', 'running'", "more than 65536 VMs at a time"),
                        ("reasons SELECT 7, i, 'x'", "rows"), ("flags SELECT i, 'x'", "rows")):  # fmt: skip
        file.write_bytes(good)
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute(f"INSERT INTO {into} FROM n".replace("INSERT", f"{numbers} INSERT"))
            database.commit()
        assert words in complaint(file)


def test_no_database_at_all(file: Path) -> None:
    assert "there is no file" in complaint(file)
    assert "is not a file" in complaint(file.parent)
    for content in (b"", b"SQLite format 3\0", b"hello" * 100, os.urandom(5000)):
        file.write_bytes(content)
        assert "is not a recording of kvmtop" in complaint(file)
    os.mkfifo(file.parent / "pipe")
    assert "is not a file" in complaint(file.parent / "pipe")


def test_cut_off(file: Path) -> None:
    record(file, 40)
    content = file.read_bytes()
    for end in (*range(0, len(content), 1713), len(content) - 1):
        file.write_bytes(content[:end])
        text = complaint(file)
        assert end < 200 or any(words in text for words in ("cut off", "malformed", "damaged")), (end, text)


# ---- fuzzing


def fuzz(path: Path, seconds: float = 10.0) -> bool:
    """Whether a changed file is still taken for a recording. It is told quickly, in one sentence, or not at all."""
    start = time.process_time()
    try:
        look_at_all(path)
    except KvmtopError as error:
        assert "\n" not in str(error)
        return False
    finally:
        assert time.process_time() - start < seconds
    return True


def test_bytes_changed_anywhere(file: Path) -> None:
    record(file, 5)
    good, rnd = file.read_bytes(), random.Random(21)
    taken = 0
    for _ in range(1500):
        bad = bytearray(good)
        for _ in range(rnd.choice((1, 1, 2, 8, 64))):
            # Where there is something: most of the pages are empty.
            page = PAGE * rnd.randrange(len(bad) // PAGE)
            at = page + (rnd.randrange(120) if rnd.random() < 0.5 else rnd.randrange(PAGE))
            bad[at] = rnd.choice((0, 1, 0x7F, 0xFF, bad[at] ^ 1 << rnd.randrange(8)))
        file.write_bytes(bad)
        taken += fuzz(file)
    assert 0 < taken < 1500


def test_frames_changed_within_their_checksum(file: Path) -> None:
    record(file, 4)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        frames = [zlib.decompress(row[0]) for row in database.execute("SELECT frame FROM frames ORDER BY sample")]
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        rnd, taken = random.Random(22), 0
        for _ in range(800):
            n = rnd.randrange(len(frames))
            bad = bytearray(frames[n])
            for _ in range(rnd.choice((1, 1, 2, 5))):
                bad[rnd.randrange(len(bad))] = rnd.choice((0, 1, 2, 8, 0x7F, 0x80, 0xFF, rnd.randrange(256)))
            database.execute("UPDATE frames SET frame = ? WHERE sample = ?", (zlib.compress(bytes(bad), 1), n))
            taken += fuzz(file)
            database.execute("UPDATE frames SET frame = ? WHERE sample = ?", (zlib.compress(frames[n], 1), n))
    assert 0 < taken < 800


VALUES = (0, 1, -1, 2**31, 2**32, 2**53, 2**62 - 1, 2**63 - 1, -(2**63), 0.5, 1e300, float("inf"), None, "", "x" * 9999,
          "\x1b[2J", b"\xff\xfe", b"")  # fmt: skip


def test_any_value_anywhere(file: Path) -> None:
    """As a program would write it that does not keep to the columns' types."""
    record(file, 4)
    good, taken = file.read_bytes(), 0
    rnd = random.Random(23)
    with contextlib.closing(sqlite3.connect(file)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
        columns = [(t, row[1]) for t in tables for row in database.execute(f"PRAGMA table_info({t})")]
    tried = 0
    for table, column in columns:
        for value in VALUES:
            file.write_bytes(good)
            with contextlib.closing(sqlite3.connect(file)) as database, contextlib.suppress(sqlite3.Error):
                where = rnd.choice(("", " WHERE rowid = 2")) if table != "exits" else ""
                database.execute("PRAGMA synchronous=OFF")
                database.execute(f"UPDATE {table} SET {column} = ?{where}", (value,))
                database.commit()
                tried += 1
                taken += fuzz(file)
    assert tried > 200 and 0 < taken < tried


def test_replay_needs_neither_root_nor_bcc(for_all: Path) -> None:
    file = for_all / "run.kvmtop"
    record(file, 3)
    file.chmod(0o644)
    code = (
        "import sys; sys.modules['bcc'] = None; import kvmtop.cli; status = kvmtop.cli.main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if 'bpf' in m or m == 'kvmtop.host.live'), file=sys.stderr); sys.exit(status)"
    )
    done = as_nobody(for_all, "-c", code, "--replay", str(file))
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.count("RECORDING of ") == 3


def test_what_a_sample_is_packed_against() -> None:
    assert recording.base(32) is None and recording.base(45) == 44
