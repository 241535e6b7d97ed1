"""A live run into a file, with a dashboard, tables or nothing beside it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.recording import codec
from kvmtop.recording.reader import Recording

from ..support.fake import Busy
from ..support.hostile import disk_full
from ..support.program import AMD, RUN, sentence, start, until_it_counts


def test_record_into_a_file_that_is_there(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run"
    file.write_text("mine")
    assert cli.main([*RUN, "--record", str(file)]) == 2
    assert f"{file} exists" in sentence(capsys.readouterr().err)
    assert file.read_text() == "mine" and not host.closed
    assert cli.main([*RUN, "--record", str(tmp_path / "none" / "run")]) == 1
    assert "cannot record to" in sentence(capsys.readouterr().err)
    assert host.closed  # the probes are gone


def test_a_recording_that_ends_early_is_said_at_the_end(
    host: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(codec, "encode", disk_full)
    assert cli.main([*RUN, "--record", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert "recording ended after 0 samples" in sentence(err) and "No space left on device" in err
    assert out.count("REASON  ") == 3 and AMD in out


def test_record_has_neither_dashboard_nor_tables(
    host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run"
    assert cli.main(["record", str(file), "-i", "0.1", "-T", "0.3", "--dump", str(tmp_path / "summary")]) == 0
    summary, err = capsys.readouterr()
    assert sentence(err) == f"recording to {file}; Ctrl-C ends it\n"
    assert host.closed and summary.startswith(AMD) and summary == (tmp_path / "summary").read_text()
    assert len(Recording(file)) == 3
    assert cli.main(["replay", str(file)]) == 0
    assert capsys.readouterr().out.endswith(summary)
    assert cli.main(["record", str(file)]) == 2
    assert f"{file} exists" in sentence(capsys.readouterr().err)
    assert cli.main(["record", str(tmp_path / "other"), "--dump", str(tmp_path / "other")]) == 2
    assert "are one file" in sentence(capsys.readouterr().err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_summary(tmp_path: Path, number: signal.Signals) -> None:
    with start("record", str(tmp_path / "run"), "-i", "30") as process:
        until_it_counts(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out.startswith(AMD) and sentence(err)
    assert len(Recording(tmp_path / "run")) == 1  # the last, shorter interval
    assert not (tmp_path / "run-journal").exists()


def test_one_vm_is_recorded(tmp_path: Path) -> None:
    with start("record", str(tmp_path / "run"), "-i", "0.1", "-T", "0.3", "--vm", "web01") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert {vm.name for vm in Recording(tmp_path / "run").at(0).vms.values()} == {"web01"}
