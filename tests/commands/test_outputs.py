"""Files and standard output that cannot be written, or not any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.output import summary

from ..support.fake import Busy
from ..support.hostile import disk_full
from ..support.nobody import as_nobody, needs_root
from ..support.program import AMD, ROOT, RUN, STUB, run, sentence, start


@pytest.mark.parametrize("where", ["missing/out", "file/out", "n" * 300 + "/out"])
def test_dump_into_no_directory(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    done = run("--dump", str(tmp_path / where))
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path / where) in sentence(done.stderr)


@needs_root
def test_dump_into_a_directory_that_may_not_be_seen(tmp_path: Path, for_all: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    done = as_nobody(for_all, "-m", "kvmtop", "--dump", str(tmp_path / "a" / "b" / "out"))
    assert (done.returncode, done.stdout) in ((1, ""), (2, ""))
    sentence(done.stderr)


def test_the_summary_goes_out_even_if_its_file_fails(
    host: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(summary, "write", disk_full)
    assert cli.main([*RUN, "--dump", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert "No space left on device" in sentence(err)
    assert str(tmp_path / "out") in err
    assert AMD in out


def test_a_reader_that_leaves() -> None:
    with start("--batch", "-i", "0.1", "-T", "2") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


def test_a_reader_that_leaves_does_not_cost_the_file(tmp_path: Path) -> None:
    with start("--batch", "-i", "0.1", "-T", "2", "--dump", str(tmp_path / "out")) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(20) == 0
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full, start(*RUN, "--dump", str(tmp_path / "out"), stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert "No space left on device" in sentence(err)
    assert process.returncode == 1
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_standard_output_that_is_closed(tmp_path: Path) -> None:
    command = f'exec "$0" "$@" >&- 2>{tmp_path}/err'
    argv = ["sh", "-c", command, sys.executable, "-c", STUB, *RUN, "--dump", str(tmp_path / "out")]
    done = subprocess.run(argv, cwd=ROOT, timeout=60)
    assert (tmp_path / "err").read_text() == ""
    assert done.returncode == 0
    assert (tmp_path / "out").read_text().startswith(AMD)
