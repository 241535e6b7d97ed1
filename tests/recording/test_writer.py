"""Runs written to files: where, for whom, and whatever happens to the writer meanwhile."""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import Vm
from kvmtop.recording import reader
from kvmtop.recording import writer as recorder_module
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.fake import Busy
from ..support.fleet import Fleet
from ..support.recordings import equal, record


def test_an_hour_of_64_busy_vcpus_is_below_70_megabytes(file: Path) -> None:
    """Each of them in all states in each second, which no real one is."""
    fleet = Fleet(64)
    recorder = Recorder(fleet, file)
    for _ in range(96):
        recorder.read()
    assert recorder.trouble is None
    size = file.stat().st_size
    print(f"{size / 96 * 3600 / 1e6:.1f} MB an hour")
    assert size / 96 * 3600 < 70e6


# ---- where it is written


def test_it_is_for_its_owner_and_alone(file: Path) -> None:
    mask = os.umask(0)
    try:
        record(file)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "directory"])
def test_what_is_there_already_stays(file: Path, kind: str, suffix: str) -> None:
    place, target = Path(f"{file}{suffix}"), file.parent / "target"
    if kind == "directory":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        if kind == "link":
            target.write_text("mine")
        place.symlink_to(target)
    with pytest.raises(KvmtopError, match="exists: choose another name") as caught:
        Recorder(Busy(), file)
    assert caught.value.status == 2
    assert place.is_symlink() == (kind in ("link", "dangling"))
    assert target.exists() == (kind == "link")
    assert kind not in ("file", "link") or place.read_text() == "mine"
    assert {path.name for path in file.parent.iterdir()} <= {place.name, target.name}


def test_empty_files_of_a_run_that_was_killed_are_in_nobodys_way(file: Path) -> None:
    Path(f"{file}-journal").touch()
    Path(f"{file}-wal").touch()
    record(file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_nobody_else_gets_a_place_beside_it(file: Path) -> None:
    """SQLite would take a write-ahead log that is put there for its own, read it, and write the run to it."""
    recorder = Recorder(Busy(), file)
    for suffix in ("-journal", "-wal"):
        place = Path(f"{file}{suffix}")
        assert (place.stat().st_size, stat.S_IMODE(place.stat().st_mode)) == (0, 0o600)
        for _ in range(3):
            recorder.read()
        with pytest.raises(FileExistsError):  # all that somebody else can do in /tmp
            place.touch(exist_ok=False)
    recorder.close()
    assert recorder.trouble is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(KvmtopError, match=r"cannot record to .*No such file or directory"):
        Recorder(Busy(), tmp_path / "none" / "run")


def test_a_full_disk_ends_the_recording_only(file: Path) -> None:
    host = Busy()
    recorder = Recorder(host, file)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        read = [recorder.read() for _ in range(200)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert recorder.trouble and str(file) in recorder.trouble and "\n" not in recorder.trouble
    assert equal(recorder.close(), host.read()) or host.closed
    found = Recording(file)
    assert 1 < len(found) < 200
    assert all(equal(a, b) for a, b in zip(found, read, strict=False))


# ---- what happens to the writer

WRITER = """
import sys, time
from pathlib import Path
from kvmtop.recording.writer import Recorder
from tests.support.fleet import Fleet
recorder = Recorder(Fleet(8), Path(sys.argv[1]))
n = 0
while True:
    recorder.read()
    n += 1
    print(n, flush=True)
"""


@pytest.mark.parametrize("turn", range(10))
def test_killed_at_any_moment(file: Path, turn: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        while int(writer.stdout.readline()) < 3 + turn:
            pass
        time.sleep(random.Random(turn).random() * 0.03)
        writer.kill()
        written = int((writer.stdout.read().split() or [str(3 + turn)])[-1])
    fleet = Fleet(8)
    found = Recording(file)
    assert len(found) in (written, written + 1)  # what it had said, and what it was about to say
    assert all(equal(a, fleet.read()) for a in found)


def test_replayed_while_it_is_written(file: Path) -> None:
    """Each time whole samples, and the writer goes on."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        counts = []
        fleet, read = Fleet(8), list[Snapshot]()
        for _ in range(5):
            written = int(writer.stdout.readline())
            found = Recording(file)
            assert len(found) >= written
            read += [fleet.read() for _ in range(len(found) - len(read))]
            assert equal(found.at(len(found) - 1), read[-1])
            counts.append(len(found))
            found.close()
        writer.kill()
    assert counts[-1] > counts[0]


def test_signals_that_end_a_recorded_run_complete_it(file: Path) -> None:
    """Not only kill -9: TERM lets the run end as always, which is between two readings."""
    told = "import signal\nstop = []\nsignal.signal(15, lambda *_: stop.append(1))\nwhile not stop:"
    code = f"{WRITER.replace('while True:', told)}recorder.close()\n"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        while int(writer.stdout.readline()) < 3:
            pass
        writer.send_signal(signal.SIGTERM)
        writer.communicate(timeout=30)
    assert writer.returncode == 0
    assert len(Recording(file)) >= 3


# ---- how much it may hold


def test_not_more_vms_than_are_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recorder_module, reader):
        monkeypatch.setattr(module, "MOST_VMS", 3)
    host = Busy()
    recorder = Recorder(host, file)
    for turn in range(4):  # others in the place of those that were there
        host.vms = {10 * turn + n: Vm(10 * turn + n, "x") for n in range(3)}
        recorder.read()
        assert recorder.trouble is None
    host.vms[99] = Vm(99, "one more")
    recorder.read()
    assert "ended after 4 samples" in str(recorder.trouble) and "too many VMs" in str(recorder.trouble)
    recorder.close()
    assert [sorted(snapshot.vms) for snapshot in Recording(file)] == [
        [10 * t, 10 * t + 1, 10 * t + 2] for t in range(4)
    ]
    monkeypatch.setattr(reader, "MOST_VMS", 2)
    with pytest.raises(KvmtopError, match="more than 2 VMs at a time"):
        Recording(file)


def test_not_more_changes_of_vms_than_are_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that starts one each second has a million in four days."""
    for module in (recorder_module, reader):
        monkeypatch.setattr(module, "MOST_CHANGES", 20)
    host = Busy()
    recorder = Recorder(host, file)
    for turn in range(30):
        host.vms = {turn: Vm(turn, "x")}
        recorder.read()
    assert "ended after 10 samples" in str(recorder.trouble) and "too many VMs" in str(recorder.trouble)
    recorder.close()
    assert len(Recording(file)) == 10
