"""What is said on stderr: one line, and nothing for a terminal to obey."""

from __future__ import annotations

import io
import sys

import pytest

from kvmtop.errors import LONGEST, KvmtopError, tell


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no such file", "no such file"),
        ("/tmp/\x1b[2J\x9b1m\nkvmtop: all is well", "/tmp/?[2J?1m?kvmtop: all is well"),
        ("Größe 中", "Größe 中"),
        ("\u202eexe.txt", "?exe.txt"),  # right to left from here
    ],
)
def test_one_printable_line(capsys: pytest.CaptureFixture[str], text: str, line: str) -> None:
    tell(KvmtopError(text))
    assert capsys.readouterr() == ("", f"kvmtop: {line}\n")


def test_a_long_one_keeps_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    tell("begin" + "x" * 100_000 + "end")
    line = capsys.readouterr().err
    assert len(line) < LONGEST + 20 and line.startswith("kvmtop: begin") and line.endswith("end\n")


def test_a_stderr_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        tell("nobody hears it")
        monkeypatch.setattr(sys, "stderr", None)
        tell("nor this")
        monkeypatch.undo()
