"""No output takes the place of another, or of what is read: before anything is started, by what a path leads to."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.commands import sources
from kvmtop.recording import store
from kvmtop.recording.writer import Recorder

from ..support.fake import Busy
from ..support.program import ROOT, STUB, sentence

SHARED = [  # what would be lost; "a", "b", … are made by `folder`
    "--record r --dump r",
    "--record r --json=r",
    "--record r --csv=r",
    "--record r --json=r-journal",
    "--json=a --csv=a",
    "--json=a --dump a",
    "--csv=a --dump a",
    "--json=new --csv=new",
    "--json=a --csv=b --dump a",
    "--json=a --csv=./a",
    "--json=new --csv=sub/../new",
    "--json=a --csv=hard",
    "--json=a --csv=link",
    "--json=link --csv=link",
    "--json=new --csv=dangling",
    "--json=dangling --csv=dangling",
    "--json=a --csv=dir/a",
    "--json=new --csv=dir/new",
    "--record new --json=dir/new",
    "--json=null --csv=null",
    "--record=new --dump dangling",
]
READ = [
    "--guest-kallsyms a --json=a",
    "--guest-kallsyms a --csv=hard",
    "--memory-map a --dump link",
    "--memory-map dir/a --dump ./a",
    "--guest-kallsyms link --json=a",
    "replay good --json=good",
    "replay good --dump dir/good",
    "replay good --csv=goodlink",
]
ALLOWED = [
    "--json=a --csv=b --dump new",
    "--json=/dev/null --csv=/dev/null --dump /dev/null",
    "--json=pipe --dump pipe",
    "--record r --json=a",
    "--json=/dev/stdout --dump /dev/stdout",
    "--json --dump /dev/stderr",
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording."""
    path = tmp_path_factory.mktemp("places") / "good"
    Recorder(Busy(), path).close()
    return path.read_bytes()


@pytest.fixture
def folder(host: object, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host where nothing takes long, and a folder with files under several names."""
    monkeypatch.chdir(tmp_path)
    Path("good").write_bytes(good)
    for name in "ab":
        Path(name).write_text("0000000000001000 T mine\n")
    Path("sub").mkdir()
    for name, target in (("link", "a"), ("dangling", "new"), ("dir", "."), ("null", "/dev/null"), ("goodlink", "good")):
        Path(name).symlink_to(target)
    os.link("a", "hard")
    os.mkfifo("pipe")
    return tmp_path


def files(folder: Path) -> dict[str, bytes | str]:
    return {
        path.name: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.iterdir()
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("argv", SHARED + READ)
def test_one_file_for_two(
    argv: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    monkeypatch.setattr(sources, "host", lambda *_: pytest.fail("it has begun"))
    monkeypatch.setattr(store, "Store", lambda *_: pytest.fail("it has begun"))
    given = shlex.split(argv)
    assert cli.main([*given, "-b"] if given[0] == "replay" else ["-b", "-T", "0.1", *given]) == 2
    out, err = capsys.readouterr()
    words = "are one file" if argv in SHARED else "it is "
    assert not out and words in sentence(err) and "--" in err
    assert files(folder) == before


@pytest.mark.parametrize("argv", ALLOWED)
def test_each_its_own_or_no_file(argv: str, folder: Path) -> None:
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    live = [sys.executable, "-c", STUB, "-i", "0.1", "-T", "0.2", *shlex.split(argv)]
    done = subprocess.run(live, capture_output=True, text=True, env=environment())
    os.close(reader)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("argv", ["--json=out", "--dump out", "--csv=out", "--json=dir/out", "--record out"])
@pytest.mark.parametrize("stream", ["standard output", "standard error"])
def test_the_file_that_a_stream_goes_to(argv: str, stream: str, folder: Path) -> None:
    with open("out", "w") as out:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {
            "stdout" if "output" in stream else "stderr": out
        }
        live = [sys.executable, "-c", STUB, "-T", "0.2", *shlex.split(argv)]
        done = subprocess.run(live, text=True, env=environment(), **streams)  # type: ignore[call-overload]
    said = Path("out").read_text() if done.stderr is None else done.stderr
    assert done.returncode == 2 and f"and {stream} are one file" in sentence(said)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_the_log_of_both_streams(folder: Path) -> None:
    with open("out", "w") as out:
        live = [sys.executable, "-c", STUB, "-i", "0.1", "-T", "0.2", "--dump", "a", "--json=/dev/stdout"]
        assert subprocess.run(live, stdout=out, stderr=out, env=environment()).returncode == 0
    assert '"type"' in Path("out").read_text()


# Only once there is something to write does a file lose what it had.

FAILING = [
    "replay none",
    "replay a",
    "--pid 4194303",
    "--record b",
    "--record none/r",
    "--guest-kallsyms none",
    "--csv=full/x",
    "--csv=pipe",
]


@pytest.mark.parametrize("argv", FAILING)
def test_a_run_that_cannot_begin_empties_nothing(
    argv: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--pid" in argv:
        monkeypatch.undo()
        monkeypatch.chdir(folder)
    for name in ("old.json", "old.csv", "old.txt"):
        Path(name).write_text("precious")
    before = files(folder)
    csv = [] if "--csv" in argv else ["--csv=old.csv"]
    assert cli.main([*shlex.split(argv), "--json=old.json", *csv, "--dump", "old.txt"]) in (1, 2)
    sentence(capsys.readouterr().err)
    assert files(folder) == before


def test_outputs_that_fail_leave_no_recording(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(folder)
    assert cli.main(["--record", "r", "--csv=pipe", "--json=a"]) == 1
    assert "cannot write pipe" in sentence(capsys.readouterr().err)
    assert files(folder) == before


def test_a_file_that_keeps_its_place_leaves_no_recording(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another user's file in a directory as /tmp is."""

    def kept(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    before = files(folder)
    monkeypatch.setattr(os, "replace", kept)
    assert cli.main(["--record", "r", "--json=a", "-T", "0.1"]) == 1
    assert "cannot write a: Operation not permitted" in sentence(capsys.readouterr().err)
    assert files(folder) == before
