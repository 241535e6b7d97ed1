"""What is no recording, or a damaged one, is told in a sentence."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.recording.writer import PAGE

from ..support.recordings import complaint, look_at_all, record


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
        ("PRAGMA user_version=4", "another version of kvmtop (format 4; this one reads 1 to 3)"),
        ("PRAGMA user_version=1", "its tables are others"),
        ("PRAGMA user_version=2", "its tables are others"),
        ("UPDATE columns SET kind = 'cpus' WHERE position = 2", "in two places"),
        ("UPDATE columns SET name = 'id' WHERE position = 2", "a column twice"),
        ("UPDATE columns SET name = hex(zeroblob(33)) WHERE position = 2", "too long a name"),
        ("DELETE FROM columns", "damaged"),
        ("DELETE FROM columns WHERE name = 'hist_by_size'", "damaged"),
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
    for into, words in (
        ("vms SELECT 0, i, 'x', '', 'running'", "more than 65536 VMs at a time"),
        ("columns SELECT 1000 + i, 'more', 'x' || i", "rows"),
        ("reasons SELECT 7, i, 'x'", "rows"),
        ("flags SELECT i, 'x'", "rows"),
    ):
        file.write_bytes(good)
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute(f"INSERT INTO {into} FROM n".replace("INSERT", f"{numbers} INSERT"))
            database.commit()
        assert words in complaint(file)


def test_no_database_at_all(file: Path) -> None:
    assert "there is no file" in complaint(file)
    assert "is not a file" in complaint(file.parent)
    for content in (b"SQLite format 3\0", b"hello" * 100, os.urandom(5000)):
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


NUMBERS = (0, 1, -1, 2**31, 2**32, 2**53, 2**62 - 1, 2**63 - 1, -(2**63), 0.5, 1e300, float("inf"))
VALUES = (*NUMBERS, None, "", "x" * 9999, "\x1b[2J", b"\xff\xfe", b"")


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
