"""kvmtop diagnose as a user calls it, on a host whose seconds pass at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.commands import sources
from kvmtop.commands.headless import Schedule
from kvmtop.ending import Ending
from kvmtop.host import live
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.source import Source
from kvmtop.model.vocabulary import Vm
from kvmtop.recording.writer import Recorder

from ..insight.test_diagnosis import healthy, pm_timer
from ..support.exported import VALIDATOR
from ..support.fake import SECOND, Host


class Planted(Host):
    """web reads its clock all the time, mail is fine."""

    ill = True

    def __init__(self) -> None:
        super().__init__()
        self.add(100, "web")
        self.add(200, "mail")

    def read(self) -> Snapshot:
        self.now += SECOND
        healthy(self)
        if self.ill:
            pm_timer(self)
        return super().read()


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    def readings(self: Schedule, source: Source, ending: Ending, slow: object = None) -> Iterator[Snapshot]:
        while not ending.is_set():
            yield source.read()

    vms = [(Vm(100, "web"), 1), (Vm(200, "mail"), 1)]
    monkeypatch.setattr(Planted, "ill", True)
    monkeypatch.setattr(Schedule, "readings", readings)
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(sources, "running", lambda: vms)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: Planted())


def test_a_cause_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--no-config"]) == 3
    out, err = capsys.readouterr()
    assert "1. web reads the ACPI PM timer 100 times a second" in out and not err


def test_what_is_done_is_said_from_the_start_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, one thing in the place of the other, and none at the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["diagnose", "--no-config"]) == 3
    first, *told, last = capsys.readouterr().err.split("\r\x1b[K")[1:]
    assert first == "loading the probes …" and last == ""
    assert told[1].startswith("looking at the counters: ") and told[1].endswith(" s left")
    assert any(one.startswith("loading the probes for io") and one.endswith(" s left after that") for one in told)


def test_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Planted, "ill", False)
    assert cli.main(["diagnose", "--no-config"]) == 0
    assert "Nothing stands out." in capsys.readouterr().out


@pytest.mark.parametrize(("option", "found"), [("--vm=mail", 0), ("--vm=w*", 1), ("-p 200", 0), ("-p100", 1)])
def test_some_vms_only(option: str, found: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--no-config", "--json", *option.split()]) == 3 * found
    one = json.loads(capsys.readouterr().out)
    VALIDATOR.validate(one)
    assert [cause["rule"] for cause in one["causes"]] == ["pm-timer"] * found
    assert [vm["name"] for vm in one["vms"]] == (["web"] if found else ["mail"])


def test_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--no-config", f"--json={tmp_path / 'out'}"]) == 3
    assert not capsys.readouterr().out
    VALIDATOR.validate(json.loads((tmp_path / "out").read_text()))


def test_a_process_that_is_no_vm(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "-p", "7"]) == 2
    assert "process 7 is no VM of this host" in capsys.readouterr().err


def test_since_when(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvmtop.insight.earlier.ALWAYS", Path("/nowhere"))
    monkeypatch.setattr(Planted, "ill", False)
    recorder = Recorder(Planted(), tmp_path / "run.kvmtop")
    for number in range(40):
        monkeypatch.setattr(Planted, "ill", number >= 30)
        recorder.read()
    recorder.close()
    config = tmp_path / "config.toml"
    config.write_text("[findings]\nuser = 10\n")
    command = ["diagnose", "--config", str(config), "--json", "--earlier", str(tmp_path)]
    assert cli.main(command) == 3
    one = json.loads(capsys.readouterr().out)
    VALIDATOR.validate(one)
    (since,) = (cause["since"] for cause in one["causes"])
    assert since["not_yet"] and since["held"] > since["not_yet"] and 3 < since["moments"] < 15
    assert cli.main([*command[:3], "--earlier", str(tmp_path)]) == 3
    told = capsys.readouterr().out
    assert "by the recording not yet at" in " ".join(told.split()) and "Since when" not in told
    for option, why in (
        ([], "there is no recording in /nowhere that can be read"),
        (["--earlier", "/nowhere"], "there is no file /nowhere."),
    ):
        assert cli.main([*command[:3], *option]) == 3
        out, err = capsys.readouterr()
        assert f"Since when is not known: {why}" in " ".join(out.split()) and not err


def test_a_recording_that_cannot_be_read_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--no-config", "--json", "--earlier", str(tmp_path / "none")]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["causes"][0]["since"] is None
    assert err.startswith("kvmtop: since when is not known: ") and err.count("\n") == 1
