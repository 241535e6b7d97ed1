"""Recordings, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop import cli

from ..support.fake import Busy
from ..support.program import AMD, RUN, sentence
from ..support.recordings import record
from ..support.watched import Watched


def test_record_and_replay(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run"
    assert cli.main([*RUN, "--record", str(file)]) == 0
    shown, err = capsys.readouterr()
    assert err == "" and host.closed
    assert cli.main(["replay", str(file), "--dump", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("RECORDING of ") == 3 == out.count("REASON  ")
    assert out[out.index(AMD) :] == shown[shown.index(AMD) :] == (tmp_path / "out").read_text()


@pytest.mark.parametrize(
    "argv",
    [
        "replay F --event io",
        "replay F --slow 1ms",
        "replay F --live",
        "replay F --record G",
        "replay F -T 3",
        "demo -i 2",
        "demo --live",
        "demo --record G",
        "demo arm",
        "replay",
        "--record",
    ],
)
def test_what_does_not_go_with_a_recording(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(sentence(err)) < 200


def test_replay_of_what_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, words in (
        (tmp_path / "none", "there is no file"),
        (tmp_path, "has no recordings (FILE.kvmtop) in it"),
        (Path(__file__), "is not a recording of kvmtop"),
    ):
        assert cli.main(["replay", str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in sentence(err)


def test_an_option_that_would_take_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--json", "--csv"):
        assert cli.main(["replay", option, "run"]) == 2
        assert "FILE; write it before --json and --csv" in sentence(capsys.readouterr().err)


def test_what_was_looked_at_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, symbols = tmp_path / "run", tmp_path / "kallsyms"
    symbols.write_text("ffffffff81000000 T do_it\nffffffff81002000 T later\n")
    host = Watched()
    host.look_at()
    record(file, 3, host)
    assert cli.main(["replay", str(file), "--guest-kallsyms", str(symbols), "--stacks", "--batch"]) == 0
    out = capsys.readouterr().out
    assert "port 0x70" in out and "do_it+0x1" in out and "tar (backup.service)" in out
    assert "blocked in userfaultfd" in out[out.rindex("# Where in the kernel") :]
    folded = tmp_path / "folded"
    assert cli.main(["replay", str(file), f"--stacks={folded}"]) == 0
    assert "web01;vCPU 0;npf;" in folded.read_text() and "REASON  " not in capsys.readouterr().out
    host.look_away()
    record(tmp_path / "none", 3, host)
    assert cli.main(["replay", str(tmp_path / "none"), "--stacks"]) == 2
    assert "nobody looked at stacks when" in sentence(capsys.readouterr().err)
