"""What a killed writer, or somebody else, has left beside a recording."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvmtop.recording import journal
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.fake import Busy
from ..support.recordings import complaint, equal, record


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
from kvmtop.recording.format import base
from kvmtop.recording.reader import Recording
from tests.recording.test_journal import PLANTS, told
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
