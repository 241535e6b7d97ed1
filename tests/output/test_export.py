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
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

import kvmtop
from kvmtop import cli, sanitize
from kvmtop.bpf import privileges
from kvmtop.errors import KvmtopError
from kvmtop.host import live
from kvmtop.model.session import Session
from kvmtop.model.snapshot import UNKNOWN, VMX, DetailRequest
from kvmtop.output import export, summary
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed

from ..support.exported import SCHEMA, VALIDATOR, Object, counters, lines, rows
from ..support.fake import SECOND, Busy, Host
from ..support.hostile import HOSTILE
from ..support.program import AMD, RUN, sentence, start, until_it_counts


def interval(session: Session, host: Host) -> Object:
    (found,) = lines(export.json_interval(session, session.add(host.read()), Labels()))
    return found


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web01", 2)
    host.add(200, "db")
    return host


# ---- JSON


def test_the_schema_is_one_and_can_fail(host: Host) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = interval(Session(), host)
    bad: list[Object] = [
        {**good, "schema": 2}, {**good, "isa": "AMD"}, {**good, "length": -1.0}, {**good, "surprise": 1},
        {**good, "type": "other"}, {**good, "budget": {"guest": 2}}, {k: v for k, v in good.items() if k != "honesty"},
        {**good, "vms": [{**good["vms"][0], "name": "a\nb"}]},
    ]  # fmt: skip
    for wrong in bad:
        assert not VALIDATOR.is_valid(wrong), wrong


def test_an_interval(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.now += SECOND
    host.exits(101, 0x72, *[2_000] * 1200)
    host.exits(101, 0x7B, *[40_000] * 300, user=30_000)
    host.exits(102, 0x78, SECOND // 2)
    host.exits(201, 0x9, 1_000_000, 1_000_000)
    for tid, inside in ((101, SECOND - 14_400_000), (102, SECOND // 2), (201, SECOND - 2_000_000)):
        host.vcpus[tid].guest = inside
    host.counters.update(lost=4, unpaired=5, overwritten=6)
    found = interval(session, host)
    assert (found["schema"], found["type"], found["isa"], found["length"], found["elapsed"]) == (
        1,
        "interval",
        "SVM",
        1,
        1,
    )
    assert (found["kernel"], found["kvmtop"]) == (os.uname().release, kvmtop.__version__)
    assert found["totals"] == {"vms": 2, "vcpus": 3, "exits": 1503, "rate": 1503}
    assert found["budget"] == pytest.approx(
        {"guest": 0.8279, "kernel": 0.0025, "user": 0.003, "idle": 0.1667, "wait": 0}, abs=1e-4
    )
    assert sum(found["budget"].values()) == pytest.approx(1, abs=1e-5)
    assert found["honesty"] == {"lost": 4, "unpaired": 5, "overwritten": 6, "expired": 0}
    reasons = {reason["name"]: reason for reason in found["reasons"]}
    assert list(reasons) == ["0x009", "cpuid", "hlt", "io"]
    assert reasons["io"] == {
        "isa": "SVM", "code": 0x7B, "name": "io", "idle": False, "count": 300, "rate": 300, "share": 0.199601,
        "time_ns": 12_000_000, "time_share": 0.023238, "user_ns": 9_000_000, "avg_ns": 40_000, "p50_ns": 40_000,
        "p99_ns": 40_000, "p99_9_ns": 40_000, "max_ns": 40_000, "min_ns": 40_000, "total": 300,
    }  # fmt: skip
    assert [name for name, reason in reasons.items() if reason["idle"]] == ["hlt"]
    db, web = found["vms"]
    assert (web["name"], web["pid"], web["alive"], web["rate"], web["top"]) == ("web01", 100, 2, 1501, "io")
    assert [(v["vcpu"], v["tid"], v["cpu"], v["top"], v["open"]) for v in web["vcpus"]] == [
        (0, 101, 1, "io", None),
        (1, 102, 2, None, None),
    ]
    assert web["vcpus"][1]["budget"] == {"guest": 0.5, "kernel": 0, "user": 0, "idle": 0.5, "wait": 0}
    assert (db["name"], db["rate"], len(db["vcpus"])) == ("db", 2, 1)

    host.now += 2 * SECOND
    host.exits(101, 0x72, *[2_000] * 5)
    found = interval(session, host)
    reasons = {reason["name"]: reason for reason in found["reasons"]}
    assert (reasons["cpuid"]["count"], reasons["cpuid"]["rate"], reasons["cpuid"]["total"]) == (5, 2.5, 1205)
    assert [reasons["io"][name] for name in ("count", "share", "time_share", "avg_ns", "p99_ns", "max_ns", "total")] == [
        0, 0, 0, None, None, None, 300,
    ]  # fmt: skip


def test_what_is_unknown_is_null() -> None:
    session, host = Session(), Host(isa=UNKNOWN)
    host.now += SECOND
    found = interval(session, host)
    assert (found["isa"], found["budget"], found["reasons"], found["vms"]) == (None, None, [], [])
    host = Host(isa=VMX)
    host.add(100, "a")
    host.now += SECOND
    host.exits(101, 10, 1000)
    snapshot = replace(host.read(), run_delay={}, cpus={})
    (found,) = lines(export.json_interval(session, Session().add(snapshot), Labels()))
    assert found["isa"] == "VMX"
    assert found["budget"]["wait"] is None and found["budget"]["kernel"] is not None
    assert found["vms"][0]["vcpus"][0]["cpu"] is None


def test_a_stuck_vcpu(host: Host) -> None:
    session = Session()
    host.leave(101, 0x7B)
    host.to_user(101)
    session.add(host.read())
    host.now += 31 * SECOND
    web = interval(session, host)["vms"][1]
    assert (web["stuck"], web["state"]) == (True, "1 stuck")
    assert web["vcpus"][0]["open"] == {"reason": "io", "ns": 31 * SECOND, "user_ns": 31 * SECOND}
    assert (web["vcpus"][0]["stuck"], web["vcpus"][1]["stuck"]) == (True, False)
    assert web["vcpus"][0]["budget"]["user"] == 1


def test_what_has_ended_is_told_once(host: Host) -> None:
    session = Session()
    for _ in range(2):
        host.now += SECOND
        host.exits(101, 0x72, 1000)
        session.add(host.read())
    host.vcpus[102].ended = host.now  # one vCPU of a VM
    host.now += SECOND
    assert len(interval(session, host)["vms"][1]["vcpus"]) == 1
    host.exits(101, 0x72, 1000)
    host.end(100)
    first, second = interval(session, host), interval(session, host)
    assert [(vm["name"], vm["ended"], vm["rate"] > 0) for vm in first["vms"]] == [
        ("db", False, False),
        ("web01", True, True),
    ]
    assert [vm["name"] for vm in second["vms"]] == ["db"]
    assert second["totals"]["vms"] == 1


def test_the_summary_says_the_same() -> None:
    host = Busy()
    for _ in range(3):
        host.read()
    host.leave(4001, 0x7B)  # still open: left out
    final = host.close()
    (found,) = lines(export.json_summary(final))
    assert found["type"] == "summary"
    text = summary.text(final).splitlines()[3:]
    assert text == [
        f"0x{r['code']:03x}: {r['count']} {r['sum_us']} {r['min_us']} {r['avg_us']} {r['max_us']}"
        for r in found["reasons"]
    ]
    assert len(text) == 6
    assert {r["name"] for r in found["reasons"]} >= {"hlt", "msr"}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(name: str) -> None:
    host, session = Host(), Session()
    host.add(100, name)
    host.exits(101, 0x72, 1000, 2000)
    host.now += SECOND
    done = session.add(host.read())
    (found,) = lines(export.json_interval(session, done, Labels()))
    expected = clean(name) or "pid 100"
    assert found["vms"][0]["name"] == expected
    assert len(expected) <= sanitize.NAME_LENGTH
    text = export.csv_interval(session, done)
    assert text.count("\n") == 1 and text.encode()
    (row,) = rows(",".join(export.CSV_HEAD) + "\n" + text)
    assert row["vm"].removeprefix("'" if expected[0] in "=+-@" else "") == expected
    assert row["vm"][0] not in "=+-@"
    assert (row["count"], row["lost"], row.get(None)) == ("2", "0", None)  # type: ignore[call-overload]


# ---- CSV


def test_csv_adds_up_over_the_vms() -> None:
    host, session = Busy(3, 2), Session()
    out = export.csv_rows(io.StringIO())
    text = out.start
    wholes = []
    for _ in range(3):
        done = session.add(host.read())
        text += export.csv_interval(session, done)
        wholes += lines(export.json_interval(session, done, Labels()))
    table = rows(text)
    assert list(table[0]) == list(export.CSV_HEAD)
    for whole in wholes:
        mine = [row for row in table if float(row["elapsed"]) == whole["elapsed"]]
        for reason in whole["reasons"]:
            of_it = [row for row in mine if int(row["code"]) == reason["code"]]
            assert sum(int(row["count"]) for row in of_it) == reason["count"] > 0
            assert sum(int(row["time_ns"]) for row in of_it) == reason["time_ns"]
            assert sum(int(row["user_ns"]) for row in of_it) == reason["user_ns"]
            assert sum(int(row["total"]) for row in of_it) == reason["total"]
        for vm in whole["vms"]:
            of_it = [row for row in mine if int(row["pid"]) == vm["pid"]]
            assert sum(float(row["rate"]) for row in of_it) == pytest.approx(vm["rate"])
            assert sum(float(row["share"]) for row in of_it) == pytest.approx(1, abs=1e-4)
    assert {row["vm"] for row in table} == {"web01", "db01", "cache01"}


def test_csv_of_an_open_exit_and_of_none(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.leave(101, 0x78)
    host.now += SECOND
    (row,) = rows(",".join(export.CSV_HEAD) + "\n" + export.csv_interval(session, session.add(host.read())))
    assert (row["name"], row["count"], row["time_ns"], row["avg_ns"], row["share"]) == ("hlt", "0", str(SECOND), "", "")
    host.enter(101)
    session.add(host.read())
    host.now += SECOND
    assert export.csv_interval(session, session.add(host.read())) == ""


# ---- files


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o666)
    with export.create(path) as file:
        file.write("new é")
    assert path.read_bytes() == "new é".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("victim", ["file", "missing"])
def test_a_planted_link_leads_nowhere(tmp_path: Path, victim: str) -> None:
    (tmp_path / "file").write_text("precious")
    path = tmp_path / "out"
    path.symlink_to(tmp_path / victim)
    with export.create(path) as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "missing").exists()
    assert not path.is_symlink() and path.read_text() == "new"


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError):  # nobody reads it: no waiting without an end
        export.create(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with export.create(path) as file:
        file.write("through")
    assert os.read(reader, 100) == b"through"
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(PermissionError):
            export.create(path)
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as behind:
        with export.create(Path(f"/dev/fd/{behind.fileno()}")) as file:
            file.write("kept")
        behind.seek(0)
        assert behind.read() == "kept"


# ---- a run


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    host = Busy()
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: host)
    return host


def test_a_replay_for_programs_is_as_the_live_run(
    busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table = tmp_path / "run", tmp_path / "csv"
    assert cli.main(["-i", "0.1", "-T", "0.3", "--record", str(file), "--json", f"--csv={table}"]) == 0
    shown, shown_table = capsys.readouterr().out, table.read_text()
    assert cli.main(["--replay", str(file), "--json", f"--csv={table}"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 4
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
    assert cli.main(["--replay", str(file), f"{option}={file}"]) == 2
    assert "it is the recording" in sentence(capsys.readouterr().err)
    assert file.read_bytes() == before


SHORT = ["-i", "0.1", "-T", "0.3"]


def test_json_has_standard_output_for_itself(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, "--json", "--dump", str(tmp_path / "dump")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    *intervals, last = lines(out)
    assert [found["type"] for found in intervals] == ["interval"] * 3
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
    assert len({row["elapsed"] for row in table}) == 3
    assert all(row.get(None) is None and row["lost"] == "0" for row in table)  # type: ignore[call-overload]


def test_files_beside_tables(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, f"--json={tmp_path}/j", f"--csv={tmp_path}/c"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("REASON  ") == 3 and AMD in out
    found = lines((tmp_path / "j").read_text())
    assert [line["type"] for line in found] == ["interval"] * 3 + ["summary"]
    table = rows((tmp_path / "c").read_text())
    assert sum(int(row["count"]) for row in table) == sum(line["totals"]["exits"] for line in found[:3])


def test_a_file_alone_writes_no_tables(busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SHORT, f"--json={tmp_path}/j"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(AMD)
    assert len(lines((tmp_path / "j").read_text())) == 4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--json --csv", "share"), ("--batch --json", "share"), ("--batch --csv=-", "share"), ("--json=", "file"),
        ("--json=/no/such/place", "no directory /no/such"), ("--csv=/tmp", "is a directory"),
    ],
)  # fmt: skip
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
        _, err = process.communicate(timeout=20)
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
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert [found["type"] for found in lines(out)] == ["interval", "summary"]


def test_a_locale_without_utf_8() -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with start(*SHORT, "--json", env=env) as process:
        out, err = process.communicate(timeout=20)
    assert err == "" and len(lines(out)) == 4


def test_the_doctor_keeps_its_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from kvmtop.host import doctor

    monkeypatch.setattr(doctor, "report", lambda as_json, out: bool(out.write(f"{as_json}\n")))
    assert cli.main(["--doctor", "--json"]) == 0
    assert cli.main(["--doctor"]) == 0
    assert capsys.readouterr().out == "True\nFalse\n"


async def test_beside_the_dashboard(tmp_path: Path) -> None:
    path = tmp_path / "out"
    outputs = [export.json_lines(export.create(path), path)]
    app = KvmtopApp(LiveFeed(export.Tee(Busy(), outputs), interval=0.1))
    async with app.run_test(size=(120, 40)) as pilot:
        while path.read_text().count("\n") < 3:
            await pilot.pause(0.05)
    assert {found["type"] for found in lines(path.read_text())} == {"interval"}


async def test_the_dashboard_ends_where_a_file_fails() -> None:
    path = Path("/dev/full")
    source = export.Tee(Busy(), [export.json_lines(export.create(path), path)])
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
    output = export.Output(file, Path("x"), "", lambda *_: "i", lambda *_: "end")
    source = export.Tee(Busy(), [output])
    with pytest.raises(KvmtopError, match="cannot write x"):
        source.read()
    assert list(export.finish([output], source.close())) == []
    assert file.closed or file.getvalue() == "i"


def test_the_package_ships_its_data(tmp_path: Path) -> None:
    """What a wheel holds: hatchling takes the whole package."""
    package = Path(kvmtop.__file__).parent
    argv = ["git", "ls-files", "kvmtop"] if shutil.which("git") else ["true"]
    tracked = subprocess.run(argv, cwd=package.parent, capture_output=True, text=True).stdout
    for name in ("output/schema.json", "data/kvmtop.service", "data/grafana.json"):
        assert (package / name).is_file()
        assert not tracked or re.search(rf"^kvmtop/{name}$", tracked, re.MULTILINE)


# ---- what was looked at


def test_details_are_null_while_nobody_looks(host: Host) -> None:
    session = Session()
    (found,) = lines(export.json_interval(session, session.add(host.read()), Labels()))
    assert (found["touched"], found["slow"], found["polling"]) == (None, None, None)


def test_details() -> None:
    host, session = Host(), Session()
    host.add(100, "web\x1b[2J01", 2)
    host.look(DetailRequest(frozenset({"io", "poll", "window"}), slow_ns=1_000_000))
    session.add(host.read())
    host.now += SECOND
    host.exits(101, 0x7B, 2_000_000)
    host.touch(101, "io", 0x3F8, 0x101, 2_000_000, user=1_500_000)
    host.touch(102, "io", 0x3F8, 0x101, 1_000_000)
    host.linger(101, 0x7B, 2_000_000, 1_500_000, "io", 0x3F8, 0x101, rip=0xFFFFFFFF81000000)
    (found,) = lines(export.json_interval(session, session.add(host.read()), Labels()))
    keys = {(row["pid"], row["tid"]): row["count"] for row in found["touched"]}
    assert keys == {(None, None): 2, (100, None): 2, (100, 101): 1, (100, 102): 1}
    whole = found["touched"][0]
    assert whole["what"].startswith("port 0x3f8 COM1") and whole["rate"] == 2.0
    assert (whole["time_ns"], whole["user_ns"], whole["max_ns"]) == (3_000_000, 1_500_000, 2_000_000)
    (slow,) = found["slow"]["exits"]
    assert (slow["ns"], slow["kernel_ns"], slow["user_ns"]) == (2_000_000, 500_000, 1_500_000)
    assert slow["what"] == whole["what"] and slow["rip"] == 0xFFFFFFFF81000000
    assert found["slow"]["threshold_ns"] == 1_000_000 and found["polling"] == []
