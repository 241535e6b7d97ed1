"""A run to its end, whatever ends it: what was counted is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.errors import KvmtopError
from kvmtop.model.snapshot import Snapshot

from ..support.fake import Busy
from ..support.program import AMD, RUN, sentence, start, until_it_counts


def test_what_was_lost_is_said(host: Busy, capsys: pytest.CaptureFixture[str]) -> None:
    host.counters["lost"] = 12
    assert cli.main(RUN) == 0
    out, err = capsys.readouterr()
    assert "12 exits" in sentence(err)
    assert "  lost 12" in out
    assert "lost" not in out.split(AMD)[1]


@pytest.mark.parametrize("error", [KvmtopError("the map has gone"), KvmtopError("no such thing", 2)])
def test_a_failure_keeps_what_was_counted(
    host: Busy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: KvmtopError
) -> None:
    whole, read = host.read(), host.read

    def fail() -> Snapshot:
        monkeypatch.setattr(host, "read", read)
        raise error

    monkeypatch.setattr(host, "read", fail)
    assert cli.main(RUN) == error.status
    out, err = capsys.readouterr()
    assert sentence(err) == f"{error}\n"
    assert out.startswith(AMD)
    assert len(out.splitlines()) >= 3 + len(set(whole.cells["reason"].tolist()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_signals_end_it_with_the_summary(tmp_path: Path, number: signal.Signals) -> None:
    dump = tmp_path / "out"
    with start("--batch", "-i", "300", "--dump", str(dump)) as process:
        until_it_counts(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)  # its summary waits for a disk that others may keep busy
    assert (process.returncode, err) == (0, "")
    tables, end = out.split(AMD)
    assert "REASON" in tables  # the last, shorter interval too
    assert dump.read_text() == AMD + end


def test_a_terminal_that_has_gone(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with start(
        "--batch", "-i", "30", "--dump", str(tmp_path / "out"), stdout=slave, stdin=subprocess.DEVNULL
    ) as process:
        os.close(slave)
        until_it_counts(process)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert (tmp_path / "out").read_text().startswith(AMD)
