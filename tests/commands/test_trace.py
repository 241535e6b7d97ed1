"""`kvmtop trace`: the file it makes, what it says, and what is left where it fails."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from kvmtop import cli
from kvmtop.commands import trace
from kvmtop.errors import KvmtopError
from kvmtop.output import chrome_trace
from kvmtop.output.chrome_trace import Around
from kvmtop.reference.labels import Labels

from ..support import traces


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the command asks for; it gets a trace of one exit."""
    found: dict[str, object] = {}
    one = traces.trace((traces.exits((0, 10, 20)), traces.spans()), lost=found.setdefault("lost", {}))

    def traced(options: object, folder: Path | None, out: TextIO) -> object:
        found.update(vars(options), folder=folder)
        if isinstance(found.get("fail"), BaseException):
            out.write("half of it")
            raise found["fail"]  # type: ignore[misc]
        around = Around(1, 1) if found["slow"] else None
        return one, trace._written(one, [traces.PID], Labels(), around, out)

    monkeypatch.setattr(trace, "_traced", traced)
    return found


def test_a_file(made: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    assert cli.main(["trace", str(path)]) == 0
    slices, _ = traces.read(path.read_text())
    assert len(slices) == 3 and path.stat().st_mode & 0o777 == 0o600
    out, err = capsys.readouterr()
    assert not out
    assert err == f"kvmtop: 1 exit of 1 VM in 0.0001 s, for ui.perfetto.dev and speedscope, in {path}\n"
    assert (made["duration"], made["around"], made["slow"], made["folder"]) == (1.0, None, None, tmp_path)


def test_compressed_where_the_name_says_so(made: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    assert cli.main(["trace", str(path), "-T", "2", "--slow", "1ms", "--around", "3ms"]) == 0
    traces.read(gzip.decompress(path.read_bytes()).decode())
    assert (made["duration"], made["around"], made["slow"]) == (2.0, 3_000_000, 1_000_000)


def test_standard_output(made: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", "-"]) == 0
    out, err = capsys.readouterr()
    assert len(traces.read(out)[0]) == 3 and "in standard output" in err and made["folder"] is None


def test_no_terminal_is_flooded(
    made: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.main(["trace", "-"]) == 2
    assert "is a terminal" in capsys.readouterr().err and "folder" not in made


def test_what_was_lost_is_said(made: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made["lost"] |= {"exits": 1234, "spans": 1}  # type: ignore[operator]
    assert cli.main(["trace", str(tmp_path / "x")]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "kvmtop: missing in it: 1,234 exits and 1 switch, overwritten before kvmtop could read them"
    assert json.loads((tmp_path / "x").read_text())["otherData"]["exits lost"] == 1234


def test_slow_exits_are_told(made: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", str(tmp_path / "x"), "--slow", "1ms"]) == 0
    assert "of 1 VM around 1 slow exit in" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KvmtopError("no VM is called x"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_failure_leaves_what_was_there(
    made: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, name: str
) -> None:
    path = tmp_path / name
    path.write_text("mine")
    made["fail"] = error
    assert cli.main(["trace", str(path)]) == 1
    assert [one.name for one in tmp_path.iterdir()] == [name] and path.read_text() == "mine"
    said = capsys.readouterr().err
    assert said in (
        "kvmtop: no VM is called x\n",
        f"kvmtop: cannot write {path}: No space left on device\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_is_written_leaves_what_was_there(
    made: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    path, before = tmp_path / "run.json", signal.getsignal(number)
    path.write_text("mine")

    def interrupted(one: object, pids: object, labels: object, around: object, out: Callable[[str], object]) -> None:
        out("half of it")
        os.kill(os.getpid(), number)
        out("the rest")

    monkeypatch.setattr(chrome_trace, "write", interrupted)
    assert cli.main(["trace", str(path)]) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"] and path.read_text() == "mine"
    assert "a signal came before the trace was written" in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_a_link_is_replaced_not_followed(made: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "x").symlink_to("mine")
    assert cli.main(["trace", str(tmp_path / "x")]) == 0
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "x").is_symlink()


def test_what_is_no_file_is_written_to_as_it_is(made: dict[str, object], tmp_path: Path) -> None:
    assert cli.main(["trace", "/dev/null"]) == 0
    assert made["folder"] is None
    assert Path("/dev/null").is_char_device()
