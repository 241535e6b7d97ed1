"""A live run into a file, with a dashboard, tables or nothing beside it."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.commands import prices, record
from kvmtop.recording import codec, segments
from kvmtop.recording.always import ALWAYS
from kvmtop.recording.reader import Recording

from ..support.fake import Busy
from ..support.hostile import disk_full
from ..support.program import AMD, ROOT, RUN, sentence, start, until, until_it_counts


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
    assert out.count("REASON  ") in range(1, 4) and AMD in out


def test_record_has_neither_dashboard_nor_tables(
    host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run"
    assert cli.main(["record", str(file), "-i", "0.1", "-T", "0.3", "--dump", str(tmp_path / "summary")]) == 0
    summary, err = capsys.readouterr()
    assert sentence(err) == f"recording to {file}; Ctrl-C ends it\n"
    assert host.closed and summary.startswith(AMD) and summary == (tmp_path / "summary").read_text()
    assert len(Recording(file)) in range(1, 4)
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
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.startswith(AMD) and sentence(err)
    assert len(Recording(tmp_path / "run")) == 1  # the last, shorter interval
    assert not (tmp_path / "run-journal").exists()


def test_one_vm_is_recorded(tmp_path: Path) -> None:
    with start("record", str(tmp_path / "run"), "-i", "0.1", "-T", "0.3", "--vm", "web01") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert {vm.name for vm in Recording(tmp_path / "run").at(0).vms.values()} == {"web01"}


def test_a_directory_is_recorded_to_and_told_of(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    limits = ["--keep", "7d", "--max-size", "20M", "-i", "0.1", "-T", "0.3"]
    assert cli.main(["record", str(store), *limits, "--details", "io,cpuid", "--slow", "10ms"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"kvmtop: recording to {store} (for 7 d, 20.0MB at most); Ctrl-C ends it"
    assert "adds some 2,776 instructions to each exit, instead of 637 without (docs/cost.md)" in told[1]
    assert cli.main(["record", str(store), "-i", "0.1", "-T", "0.3"]) == 0  # it is one already
    assert "10.0GB at most" in capsys.readouterr().err
    files = segments.segments(store)
    assert [len(Recording(file.path)) for file in files] == [3, 3]
    assert cli.main(["record", "--status", str(store)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert lines["segments"] == "2" and lines["kept"] == "what fits into 10.0GB"
    assert lines["written"].startswith(f"by  nobody; process {os.getpid()} began 2") and "fit" in lines["rate"]
    assert lines["oldest"][:4] == lines["newest"][:4] == time.strftime("%Y")
    assert cli.main(["record", str(files[0].path), "--keep", "1d"]) == 2
    assert "is a file" in sentence(capsys.readouterr().err)
    assert cli.main(["record"]) == 2
    assert "name a FILE or a DIR" in sentence(capsys.readouterr().err)


def test_the_status_of_what_is_being_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    with start("record", str(store), "-i", "0.1", "--max-size", "10M") as process:
        until_it_counts(process)
        until(lambda: store.exists() and bool(segments.segments(store)))
        assert cli.main(["record", "--status", str(store)]) == 0
        out = capsys.readouterr().out
        assert f"written by  process {process.pid}, since " in out and "what fits into 10.0MB" in out
        assert cli.main(["record", str(store)]) == 2
        assert f"recorded to by process {process.pid}" in sentence(capsys.readouterr().err)
        process.kill()
    assert cli.main(["record", "--status", str(store)]) == 0
    assert f"nobody; process {process.pid}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x"}', b"\xff" * 9999, b"[" * 4000])
def test_the_status_where_nobody_can_be_known(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kvmtop.lock").write_bytes(content)
    (tmp_path / "2027-01-01T000000Z.kvmtop").write_text("no recording")
    assert cli.main(["record", "--status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "written by  nobody\n" in out and "segments    0\n" in out and "not read    1 more" in out
    assert cli.main(["record", "--status", str(tmp_path / "none")]) == 2
    assert "cannot read" in sentence(capsys.readouterr().err)


def test_prices_are_those_of_the_documents() -> None:
    """Each figure is in a row of the table in docs/cost.md, of Linux 6.1."""
    rows = [[cell.strip(" *") for cell in line.split("|")] for line in (ROOT / "docs/cost.md").read_text().splitlines()]
    table = {cells[1]: cells[2] for cells in rows if len(cells) > 5}
    assert table["kvmtop"] == f"{prices.COUNTING:,}"
    assert table["kvmtop while slow exits are looked at (nothing found)"] == f"{prices.LOOKING:,}"
    assert table["kvmtop while guest code is looked at"] == f"{prices.MORE['rip']:,}"
    assert table["kvmtop while CPUID leaves are looked at (one for each exit)"] == f"{prices.MORE['cpuid']:,}"
    assert prices.of([], None) is None
    assert "1,971" in str(prices.of([], 1)) and "to each switch" not in str(prices.of(["io"], None))
    assert "2,426" in str(prices.of(["io", "rip", "sched"], None)) and "to each switch" in str(
        prices.of(["sched"], None)
    )


def test_the_unit_starts_what_there_is() -> None:
    """It records where --status looks, with no more rights than the service that serves."""
    unit, other = configparser.RawConfigParser(strict=False), configparser.RawConfigParser(strict=False)
    for one, name in ((unit, "kvmtop-record.service"), (other, "kvmtop.service")):
        one.optionxform = str  # type: ignore[assignment, method-assign]
        one.read(ROOT / "kvmtop/data" / name)
    program, command, *argv = unit["Service"]["ExecStart"].split()
    options = record.parser().read(argv)
    assert program.endswith("/bin/kvmtop") and command == "record"
    assert options.file == ALWAYS == Path("/var/lib") / unit["Service"]["StateDirectory"]
    assert (options.keep, options.max_size) == (30 * 86400, 10 * 10**9)
    mine, theirs = dict(unit["Service"]), dict(other["Service"])
    hardened = list(theirs)[list(theirs).index("DynamicUser") :]
    assert {name: mine[name] for name in hardened if name != "RestrictAddressFamilies"} == {
        name: theirs[name] for name in hardened if name != "RestrictAddressFamilies"
    }
    if shutil.which("systemd-analyze"):
        command_line = ["systemd-analyze", "verify", "--man=no", str(ROOT / "kvmtop/data/kvmtop-record.service")]
        done = subprocess.run(command_line, capture_output=True, text=True)
        assert [line for line in done.stderr.splitlines() if "is not executable" not in line] == []
