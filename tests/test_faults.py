"""Disks that are full or read-only, as kvmtop finds them."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.recording import segments
from kvmtop.recording.reader import Recording

from .support.program import start


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", tmp_path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(disk: Path) -> None:
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_disk_that_fills_up(disk: Path) -> None:
    """Nothing written before is lost, the run goes on to its end, and each file is named."""
    (disk / "dump").write_text("of another day")
    with start("--batch", "-i", "0.1", "-T", "3", "--record", str(disk / "run"), f"--dump={disk / 'dump'}") as kvmtop:
        assert kvmtop.stdout
        tables = 0
        while tables < 4:
            tables += kvmtop.stdout.readline().startswith("REASON")
        fill(disk)
        out, err = kvmtop.communicate(timeout=30)
    assert kvmtop.returncode == 1
    dump, record = sorted(err.splitlines())
    assert "cannot write" in dump and str(disk / "dump") in dump and "No space left on device" in dump
    assert "recording ended after" in record and str(disk / "run") in record
    assert tables + out.count("REASON ") > 10 and "\n# reason(hex): count" in out
    assert (disk / "dump").read_text() == "of another day"
    assert 4 <= len(Recording(disk / "run")) < 15
    assert sorted(os.listdir(disk)) == ["dump", "filler", "run"]


def test_a_full_disk_ends_what_only_writes_to_it(disk: Path) -> None:
    with start(f"--json={disk / 'out'}", "-i", "0.1", "-T", "20") as kvmtop:
        while not (disk / "out").exists() or not (disk / "out").stat().st_size:
            assert kvmtop.poll() is None
        fill(disk)
        out, err = kvmtop.communicate(timeout=60)
    assert kvmtop.returncode == 1
    assert err == f"kvmtop: cannot write {disk / 'out'}: No space left on device\n"
    assert "\n# reason(hex): count" in out  # the summary of what was counted


def said(kvmtop: subprocess.Popen[str], words: str) -> None:
    """Wait until it has told this."""
    assert kvmtop.stderr
    while words not in (line := kvmtop.stderr.readline()):
        assert line, f"it never said {words!r}"


def newest(store: Path) -> int:
    """How many readings there are in a directory's segments."""
    count = 0
    for one in segments.segments(store):
        with contextlib.suppress(KvmtopError), contextlib.closing(Recording(one.path)) as recording:  # it may begin
            count += len(recording)
    return count


@contextlib.contextmanager
def recording_to(store: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """kvmtop, that records there."""
    with start("record", str(store), "--max-size", "10M", "-i", "0.1", *options) as kvmtop:
        try:
            yield kvmtop
        finally:
            kvmtop.kill()


def counted(store: Path, kvmtop: subprocess.Popen[str], least: int) -> int:
    """How many readings it has, once they are so many."""
    while not store.exists() or newest(store) < least:
        assert kvmtop.poll() is None
    return newest(store)


def test_a_store_on_a_full_disk_goes_on_when_there_is_room(disk: Path) -> None:
    """What was there stays; one sentence when it stops, one when it goes on."""
    store = disk / "store"
    with recording_to(store) as kvmtop:
        counted(store, kvmtop, 3)
        fill(disk)
        said(kvmtop, f"recording to {store} pauses (")
        before = newest(store)
        assert before >= 3
        (disk / "filler").unlink()
        said(kvmtop, "goes on; ")
        counted(store, kvmtop, before + 1)
        kvmtop.terminate()
        _, err = kvmtop.communicate(timeout=60)
    assert kvmtop.returncode == 0 and err == ""
    assert {Path(name).suffix for name in os.listdir(store)} == {".kvmtop", ".lock"}


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A file system on a disk of its own, and in it a folder."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(tmp_path / "at")]):
        tmp_path.joinpath("at").mkdir(exist_ok=True)
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system to break: {error}")
    yield tmp_path / "at"
    subprocess.run(["umount", "--lazy", tmp_path / "at"], check=True)


def test_a_store_on_a_file_system_that_breaks_keeps_what_is_there(device: Path) -> None:
    """ext4 aborts its journal, as it does when the disk fails: all is read-only from then on."""
    store = device / "store"
    with recording_to(store) as kvmtop:
        before = counted(store, kvmtop, 3)
        subprocess.run(["mount", "-o", "remount,abort", device], check=True)
        said(kvmtop, f"recording to {store} pauses (")
        kvmtop.terminate()
        _, err = kvmtop.communicate(timeout=60)
    assert kvmtop.returncode == 1
    assert f"readings are not in {store} (" in err and err.count("\n") == 1
    subprocess.run(["umount", device], check=True)
    subprocess.run(["mount", "-o", "loop", device.parent / "image", device], check=True)
    assert newest(store) >= before
    with recording_to(store, "-T", "0.3") as kvmtop:
        kvmtop.communicate(timeout=60)
    assert kvmtop.returncode == 0 and newest(store) >= before + 3
    assert {Path(name).suffix for name in os.listdir(store)} == {".kvmtop", ".lock"}


@pytest.mark.parametrize("option", ["--dump", "--record", "--json"])
def test_a_read_only_disk_is_told_before_counting(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with start("--batch", "-T", "0.2", f"{option}={disk / 'out'}") as kvmtop:
        out, err = kvmtop.communicate(timeout=60)
    assert kvmtop.returncode in (1, 2) and out == ""
    assert err.startswith("kvmtop: cannot ") and "ead-only" in err and err.count("\n") == 1
