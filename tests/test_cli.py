"""Which command it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmtop
from kvmtop import cli, commands

from .support.fake import Busy
from .support.program import run, sentence


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kvmtop {kvmtop.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("recrod x", "record"), ("reply x", "replay"), ("doctro", "doctor"), ("Demo", "demo"), ("hlep", "help")],
)
def test_a_mistyped_command(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed.split()) == 2
    out, err = capsys.readouterr()
    assert not out and f"there is no command {typed.split()[0]!r}: did you mean {meant}?" in sentence(err)


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("--replay run --batch", "kvmtop replay FILE"),
        ("--replay=run", "kvmtop replay FILE"),
        ("--demo", "kvmtop demo [amd|intel]"),
        ("--demo intel -b", "kvmtop demo [amd|intel]"),
        ("--compare a b", "kvmtop compare A B"),
        ("--list", "kvmtop list"),
        ("--doctor --json", "kvmtop doctor"),
        ("--explain hlt", "kvmtop explain [NAME]"),
        ("--explain=48", "kvmtop explain [NAME]"),
        ("-T 1 record run", "kvmtop record [FILE|DIR]"),
        ("--vm web01 serve 9960", "kvmtop serve [ADDR:]PORT"),
    ],
)
def test_a_command_that_does_not_come_first_or_was_an_option(
    typed: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(typed.split()) == 2
    out, err = capsys.readouterr()
    assert not out and sentence(err).endswith(f" is a command, which comes first: {instead}\n")


def test_a_file_that_is_called_like_a_command(host: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["record", "replay", "-T", "0.1"]) == 0
    assert cli.main(["replay", "replay"]) == 0


def test_every_command_is_one_file() -> None:
    folder = Path(commands.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "\ndef parser()" in path.read_text()}
    assert files == set(cli.parsers())
    assert all(parser.command == name and parser.description for name, parser in cli.parsers().items())
