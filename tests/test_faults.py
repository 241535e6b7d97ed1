"""Disks that are full or read-only, as kvmtop finds them."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
        out, err = kvmtop.communicate(timeout=15)
    assert kvmtop.returncode == 1
    assert err == f"kvmtop: cannot write {disk / 'out'}: No space left on device\n"
    assert "\n# reason(hex): count" in out  # the summary of what was counted


@pytest.mark.parametrize("option", ["--dump", "--record", "--json"])
def test_a_read_only_disk_is_told_before_counting(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with start("--batch", "-T", "0.2", f"{option}={disk / 'out'}") as kvmtop:
        out, err = kvmtop.communicate(timeout=15)
    assert kvmtop.returncode in (1, 2) and out == ""
    assert err.startswith("kvmtop: cannot ") and "ead-only" in err and err.count("\n") == 1
