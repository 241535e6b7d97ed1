from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pytest

import kvmtop
from kvmtop import cli
from kvmtop.errors import KvmtopError
from kvmtop.output import json_lines, stream
from kvmtop.output.stream import Output, Tee, creating, finish
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed

from ..support.exported import counters, lines, rows
from ..support.fake import Busy
from ..support.program import AMD, RUN, pretended, sentence, start, until_it_counts


def create(path: Path) -> TextIO:
    with creating(path) as (file,):
        return file


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def until_then(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file system can do without a name."""
    if not request.param:
        monkeypatch.setattr(stream, "_unnamed", lambda folder: None)


@pytest.mark.usefixtures("until_then")
def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o666)
    with create(path) as file:
        file.write("new é")
    assert path.read_bytes() == "new é".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nothing_is_left_of_it_whatever_ends_this_process(tmp_path: Path) -> None:
    unnamed = stream._unnamed(tmp_path)
    if not unnamed:
        pytest.skip(f"the file system of {tmp_path} has no files without a name")
    os.close(unnamed[0])
    pid = os.fork()
    if not pid:
        with creating(tmp_path / "out") as (file,):
            file.write("half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("until_then")
@pytest.mark.parametrize("victim", ["file", "missing"])
def test_a_planted_link_leads_nowhere(tmp_path: Path, victim: str) -> None:
    (tmp_path / "file").write_text("precious")
    path = tmp_path / "out"
    path.symlink_to(tmp_path / victim)
    with create(path) as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "missing").exists()
    assert not path.is_symlink() and path.read_text() == "new"


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError):  # nobody reads it: no waiting without an end
        create(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with create(path) as file:
        file.write("through")
    assert os.read(reader, 100) == b"through"
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(PermissionError):
            create(path)
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as behind:
        with create(Path(f"/dev/fd/{behind.fileno()}")) as file:
            file.write("kept")
        behind.seek(0)
        assert behind.read() == "kept"


# ---- a run


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    return pretended(monkeypatch)


def test_a_replay_for_programs_is_as_the_live_run(
    busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table = tmp_path / "run", tmp_path / "csv"
    assert cli.main(["-i", "0.1", "-T", "0.3", "--record", str(file), "--json", f"--csv={table}"]) == 0
    shown, shown_table = capsys.readouterr().out, table.read_text()
    assert cli.main(["replay", str(file), "--json", f"--csv={table}"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") - 1 in INTERVALS
    assert counters(out) == counters(shown)
    assert [r["elapsed"] for r in rows(table.read_text())] == [r["elapsed"] for r in rows(shown_table)]
    live, replayed = ([json.loads(line) for line in text.splitlines()] for text in (shown, out))
    assert {one["recording"] for one in live} == {None} and {platform.node() in o["recording"] for o in replayed} == {
        True
    }
    for one, again in zip(live, replayed, strict=True):  # this host's clock goes faster than its counters' does
        began = datetime.fromisoformat(replayed[0]["time"]).timestamp() - replayed[0]["elapsed"]
        assert datetime.fromisoformat(again["time"]).timestamp() == pytest.approx(began + one["elapsed"], abs=0.002)


@pytest.mark.parametrize("option", ["--json", "--csv", "--dump"])
def test_a_recording_is_not_overwritten_by_its_replay(
    option: str, busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run"
    assert cli.main([*RUN, "--record", str(file)]) == 0
    capsys.readouterr()
    before = file.read_bytes()
    assert cli.main(["replay", str(file), f"{option}={file}"]) == 2
    assert "it is the recording" in sentence(capsys.readouterr().err)
    assert file.read_bytes() == before


SHORT = ["-i", "0.1", "-T", "0.3"]
INTERVALS = range(1, 4)  # on a machine that is busy with other things one may be late, and the next one left out


def test_json_has_standard_output_for_itself(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, "--json", "--dump", str(tmp_path / "dump")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    *intervals, last = lines(out)
    assert {found["type"] for found in intervals} == {"interval"} and len(intervals) in INTERVALS
    table = (tmp_path / "dump").read_text().splitlines()[3:]
    assert table == [
        f"0x{r['code']:03x}: {r['count']} {r['sum_us']} {r['min_us']} {r['avg_us']} {r['max_us']}"
        for r in last["reasons"]
    ]


def test_csv_on_standard_output(busy: Busy, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, "--csv", "-"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = rows(out)
    assert len({row["elapsed"] for row in table}) in INTERVALS
    assert all(row.get(None) is None and row["lost"] == "0" for row in table)  # type: ignore[call-overload]


def test_files_beside_tables(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, f"--json={tmp_path}/j", f"--csv={tmp_path}/c"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("REASON  ") in INTERVALS and AMD in out
    found = lines((tmp_path / "j").read_text())
    assert [line["type"] for line in found] == ["interval"] * out.count("REASON  ") + ["summary"]
    table = rows((tmp_path / "c").read_text())
    assert sum(int(row["count"]) for row in table) == sum(line["totals"]["exits"] for line in found[:3])


def test_a_file_alone_writes_no_tables(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, f"--json={tmp_path}/j"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(AMD)
    assert len(lines((tmp_path / "j").read_text())) - 1 in INTERVALS


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--json --csv", "share"),
        ("--batch --json", "share"),
        ("--batch --csv=-", "share"),
        ("--json=", "file"),
        ("--json=/no/such/place", "no directory /no/such"),
        ("--csv=/tmp", "is a directory"),
    ],
)
def test_bad_arguments(busy: Busy, capsys: pytest.CaptureFixture[str], argv: str, words: str) -> None:
    assert cli.main([*argv.split(), *SHORT]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in sentence(err)


def test_a_file_that_cannot_be_written(busy: Busy, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, "--json=/dev/full"]) == 1
    out, err = capsys.readouterr()
    assert sentence(err) == "cannot write /dev/full: No space left on device\n"
    assert out.startswith(AMD)  # what was counted is not lost


def test_a_full_standard_output() -> None:
    with open("/dev/full", "w") as full, start(*SHORT, "--json", stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in sentence(err)


def test_a_reader_that_leaves() -> None:
    with start("--json", "-i", "0.1", "-T", "2") as process:
        assert process.stdout and process.stderr
        lines(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_with_the_summary(number: signal.Signals) -> None:
    with start("--json", "-i", "30") as process:
        until_it_counts(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [found["type"] for found in lines(out)] == ["interval", "summary"]


def test_a_locale_without_utf_8() -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with start(*SHORT, "--json", env=env) as process:
        out, err = process.communicate(timeout=60)
    assert err == "" and len(lines(out)) - 1 in INTERVALS


def test_the_doctor_keeps_its_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from kvmtop.host import doctor

    monkeypatch.setattr(doctor, "report", lambda as_json, out: bool(out.write(f"{as_json}\n")))
    assert cli.main(["doctor", "--json"]) == 0
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "True\nFalse\n"


async def test_beside_the_dashboard(tmp_path: Path) -> None:
    path = tmp_path / "out"
    outputs = [json_lines.output(create(path), path)]
    app = KvmtopApp(LiveFeed(Tee(Busy(), outputs), interval=0.1))
    async with app.run_test(size=(120, 40)) as pilot:
        while path.read_text().count("\n") < 3:
            await pilot.pause(0.05)
    assert {found["type"] for found in lines(path.read_text())} == {"interval"}


async def test_the_dashboard_ends_where_a_file_fails() -> None:
    path = Path("/dev/full")
    source = Tee(Busy(), [json_lines.output(create(path), path)])
    app = KvmtopApp(LiveFeed(source, interval=0.1))
    async with app.run_test(size=(120, 40)) as pilot:
        while app.is_running and not app.failure:
            await pilot.pause(0.05)
    assert isinstance(app.failure, KvmtopError) and "No space left" in str(app.failure)


def test_a_failed_output_gets_nothing_more() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, os.strerror(28))

    file = Full()
    output = Output(file, Path("x"), "", lambda *_: "i", lambda *_: "end")
    source = Tee(Busy(), [output])
    with pytest.raises(KvmtopError, match="cannot write x"):
        source.read()
    assert list(finish([output], source.close())) == []
    assert file.closed or file.getvalue() == "i"


def test_the_package_ships_its_data(tmp_path: Path) -> None:
    """What a wheel holds: hatchling takes the whole package."""
    package = Path(kvmtop.__file__).parent
    argv = ["git", "ls-files", "kvmtop"] if shutil.which("git") else ["true"]
    tracked = subprocess.run(argv, cwd=package.parent, capture_output=True, text=True).stdout
    for name in ("output/schema.json", "data/kvmtop.service", "data/kvmtop-record.service", "data/grafana.json"):
        assert (package / name).is_file()
        assert not tracked or re.search(rf"^kvmtop/{name}$", tracked, re.MULTILINE)
