from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import kvmtop
from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.errors import KvmtopError
from kvmtop.host import live, processes
from kvmtop.insight.accesses import TOUCHED
from kvmtop.model.arrays import Array
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import KINDS, DetailRequest
from kvmtop.output import summary
from kvmtop.recording import codec

from .support.fake import Busy, Host
from .support.nobody import as_nobody
from .support.program import AMD, KVMTOP, ROOT, RUN, STUB, sentence, start, until_it_counts

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not privileges.may_load_bpf() or processes.namespace() is not None,
    reason="only root gets as far as this",
)


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KVMTOP, *argv], capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **env}
    )


# ---- arguments


@pytest.mark.parametrize(
    ("argv", "pids"),
    [
        ("", []),
        ("-p 7", [7]),
        ("--pid 7,8", [7, 8]),
        ("--pid=7,8 -p 9 -p10", [7, 8, 9, 10]),
        ("-p 4194303", [4194303]),
    ],
)
def test_pids(argv: str, pids: list[int]) -> None:
    assert cli.parser().parse_args(argv.split()).pid == pids
    assert cli.parser().parse_args([]).pid == []  # nothing is left over


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        ("", "duration", None), ("-T 10", "duration", 10), ("-T0.1", "duration", 0.1),
        ("--duration 1e3", "duration", 1e3),
        ("", "interval", 1), ("-i 0.5", "interval", 0.5), ("--interval 3600", "interval", 3600),
        ("", "dump", None), ("-o x", "dump", Path("x")), ("--dump=/tmp/x y", "dump", Path("/tmp/x")),
        ("", "kvm", None), ("-G kvm=intel", "kvm", "intel"), ("-G kvm=amd", "kvm", "amd"), ("--kvm amd", "kvm", "amd"),
        ("-T 10 -G kvm=intel", "kvm", "intel"), ("", "batch", False), ("-b", "batch", True), ("--batch", "batch", True),
        ("--list", "list", True),
    ],
)  # fmt: skip
def test_options(argv: str, name: str, value: object) -> None:
    options, _ = cli.parser().parse_known_args(argv.split())
    assert getattr(options, name) == value


@pytest.mark.parametrize("argv", [
    "-p 0", "-p -1", "-p x", "-p 7,", "-p ,", "-p 7,,8", "-p 7.0", "-p 4194304", "-p ²", "-p " + "9" * 5000, "-p",
    "-T 0", "-T 0.05", "-T -1", "-T nan", "-T inf", "-T x", "-T", "-i 0", "-i 0.01", "-i 3601", "-i nan", "-i inf",
    "-G kvm", "-G kvm=", "-G kvm=arm", "-G intel", "-G KVM=intel", "-G x=intel", "--kvm x",
    "--nonsense", "--dur 5", "5", "--batch=1",
])  # fmt: skip
def test_bad_arguments(argv: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "_run", lambda options: 0)
    assert cli.main(argv.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(sentence(err)) < 300
    assert "_pids" not in err  # a name of the program's inside


def test_bad_arguments_of_the_command() -> None:
    done = run("-T", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'soon'" in sentence(done.stderr)


def test_help_is_quick_and_has_examples() -> None:
    took = []
    for _ in range(3):
        start = os.times()
        done = run("--help", COLUMNS="80")
        end = os.times()  # of its own: a busy machine lets it wait
        took.append(end.children_user + end.children_system - start.children_user - start.children_system)
        assert (done.returncode, done.stderr) == (0, "")
    assert min(took) < 1
    assert "examples:\n  sudo kvmtop " in done.stdout
    for option in (
        "--pid",
        "--duration",
        "--interval",
        "--dump",
        "--batch",
        "--list",
        "-G",
        "--record",
        "--replay",
        "--demo",
        "--live",
    ):
        assert option in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_nothing_slow_is_imported_for_the_help() -> None:
    code = "import sys, kvmtop.cli; print(*{'numpy', 'textual', 'rich', 'plotext', 'bcc'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "\n"


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kvmtop {kvmtop.__version__}\n", "")


# ---- what this machine or user lacks


@needs_root
def test_as_another_user(for_all: Path) -> None:
    done = as_nobody(for_all, "-m", "kvmtop", "--live")
    assert (done.returncode, done.stdout) == (1, "")
    assert "root" in sentence(done.stderr)


def test_as_another_user_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: False)
    assert cli.main(["-i", "1"]) == 1
    assert "sudo kvmtop" in sentence(capsys.readouterr().err)


# ---- recordings, and the demo where there is nothing to see


@needs_root
def test_without_any_option_and_without_rights_it_is_the_demo(for_all: Path) -> None:
    done = as_nobody(for_all, "-m", "kvmtop")
    assert done.returncode == 0
    assert "needs root" in sentence(done.stderr) and "This is the demo" in done.stderr
    tables = re.findall(r"^(.*)\nREASON ", done.stdout, re.MULTILINE)
    assert len(tables) > 20 and all(title.startswith("RECORDING of an emulated AMD host") for title in tables)
    assert AMD in done.stdout


def test_without_any_option_it_is_this_host_if_a_vm_runs(
    host: Busy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "vcpu_count", lambda pid: 2)
    monkeypatch.setattr(cli, "_batch", lambda source, *_: source.read())
    assert cli.main([]) == 0
    assert host.closed and "RECORDING" not in capsys.readouterr().out
    monkeypatch.setattr(processes, "vcpu_count", lambda pid: 0)
    host.closed = False
    assert cli.main(["--live"]) == 0
    assert host.closed
    monkeypatch.undo()


@pytest.mark.parametrize("why", [None, KvmtopError("this kernel has no KVM")])
def test_without_any_option_and_without_a_vm_it_is_the_demo(
    host: Busy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], why: KvmtopError | None
) -> None:
    def fail(pids: object, look: object) -> None:
        assert why
        raise why

    monkeypatch.setattr(processes, "vcpu_count", lambda pid: 2 if why else 0)
    monkeypatch.setattr(live, "Live", fail)
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    assert (str(why) if why else "no VM runs here") in sentence(err)
    assert "RECORDING of an emulated AMD host" in out


@pytest.mark.parametrize("which", ["amd", "intel"])
def test_the_demos_show_what_their_titles_say(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--demo", which]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("web01" in out and "db01" in out and "npf" in out) if which == "amd" else "EPT_VIOLATION" in out
    assert f"emulated {'AMD' if which == 'amd' else 'Intel'} host" in out
    files = list((ROOT / "kvmtop" / "demo").iterdir())
    assert len(files) == 2 and sum(file.stat().st_size for file in files) < 1_000_000


def test_record_and_replay(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run"
    assert cli.main([*RUN, "--record", str(file)]) == 0
    shown, err = capsys.readouterr()
    assert err == "" and host.closed
    assert cli.main(["--replay", str(file), "--dump", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("RECORDING of ") == 3 == out.count("REASON  ")
    assert out[out.index(AMD) :] == shown[shown.index(AMD) :] == (tmp_path / "out").read_text()


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
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(codec, "encode", full)
    assert cli.main([*RUN, "--record", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert "recording ended after 0 samples" in sentence(err) and "No space left on device" in err
    assert out.count("REASON  ") == 3 and AMD in out


@pytest.mark.parametrize("argv", ["--replay F --demo", "--replay F --record G", "--replay F -T 3", "--demo -i 2",
                                  "--demo --live", "--demo --record G", "--demo arm", "--replay", "--record"])  # fmt: skip
def test_what_does_not_go_with_a_recording(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(sentence(err)) < 200


def test_replay_of_what_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, words in ((tmp_path / "none", "there is no file"), (tmp_path, "is not a file"),
                        (Path(__file__), "is not a recording of kvmtop")):  # fmt: skip
        assert cli.main(["--replay", str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in sentence(err)


@needs_root
def test_unknown_pid() -> None:
    done = run("-p", "4194303")
    assert (done.returncode, done.stdout) == (2, "")
    assert "4194303" in sentence(done.stderr)


@needs_root
def test_pid_without_vcpus() -> None:
    done = run("-p", str(os.getpid()))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{os.getpid()} (" in sentence(done.stderr)
    assert "no vCPUs" in done.stderr


@needs_root
@pytest.mark.parametrize("content", ["", "raise ImportError('broken')"])
def test_a_bcc_that_is_another(tmp_path: Path, content: str) -> None:
    """PyPI's namesake, or one that cannot be imported."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text(content)
    done = run("-T", "1", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "bcc" in sentence(done.stderr)
    assert any(name in done.stderr for name in ("python3-bpfcc", "python3-bcc", "python-bcc"))


@pytest.mark.parametrize("where", ["missing/out", "file/out", "n" * 300 + "/out"])
def test_dump_into_no_directory(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    done = run("--dump", str(tmp_path / where))
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path / where) in sentence(done.stderr)


@needs_root
def test_dump_into_a_directory_that_may_not_be_seen(tmp_path: Path, for_all: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    done = as_nobody(for_all, "-m", "kvmtop", "--dump", str(tmp_path / "a" / "b" / "out"))
    assert (done.returncode, done.stdout) in ((1, ""), (2, ""))
    sentence(done.stderr)


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert cli.main(["--list"]) == 1
    assert "no VM" in sentence(capsys.readouterr().err)
    for pid, name, vcpus in ((4711, "web\x1b[2J01", 12), (12, "db", 1), (9, "", 0)):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "cmdline").write_text(f"qemu\0-name\0{name}\0")
        for number in range(vcpus):
            (tmp_path / str(pid) / "fd" / str(number)).symlink_to(f"anon_inode:kvm-vcpu:{number}")
    assert cli.main(["--list"]) == 0
    assert capsys.readouterr() == ("    PID VCPUS NAME\n     12     1 db\n   4711    12 web [2J01\n", "")


# ---- a run, with exits from a fake host


def test_batch_and_summary(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert cli.main([*RUN, "--dump", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert host.closed
    assert out.count("REASON  ") == 3
    tables, end = out.split(AMD)
    assert (tmp_path / "out").read_text() == AMD + end
    assert tables.endswith("\n\n")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_the_summary_goes_out_even_if_its_file_fails(
    host: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(summary, "write", full)
    assert cli.main([*RUN, "--dump", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert "No space left on device" in sentence(err)
    assert str(tmp_path / "out") in err
    assert AMD in out


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


@pytest.mark.parametrize(("flavour", "line"), [("intel", "# reason: count"), ("amd", "# reason(hex): count")])
def test_flavour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flavour: str, line: str) -> None:
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: Host(isa=0))
    assert cli.main([*RUN, "-G", f"kvm={flavour}"]) == 0
    assert line in capsys.readouterr().out


def test_silence_is_explained_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host()
    host.now += 10**10
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: host)
    assert cli.main(RUN) == 0
    assert "no VM runs here" in sentence(capsys.readouterr().err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_signals_end_it_with_the_summary(tmp_path: Path, number: signal.Signals) -> None:
    dump = tmp_path / "out"
    with start("--batch", "-i", "30", "--dump", str(dump)) as process:
        until_it_counts(process)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 15
    assert (process.returncode, err) == (0, "")
    tables, end = out.split(AMD)
    assert "REASON" in tables  # the last, shorter interval too
    assert dump.read_text() == AMD + end


def test_a_reader_that_leaves() -> None:
    with start("--batch", "-i", "0.1", "-T", "2") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


def test_a_reader_that_leaves_does_not_cost_the_file(tmp_path: Path) -> None:
    with start("--batch", "-i", "0.1", "-T", "2", "--dump", str(tmp_path / "out")) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(20) == 0
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_a_terminal_that_has_gone(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with start(
        "--batch", "-i", "30", "--dump", str(tmp_path / "out"), stdout=slave, stdin=subprocess.DEVNULL
    ) as process:
        os.close(slave)
        until_it_counts(process)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full, start(*RUN, "--dump", str(tmp_path / "out"), stdout=full) as process:
        _, err = process.communicate(timeout=20)
    assert "No space left on device" in sentence(err)
    assert process.returncode == 1
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_standard_output_that_is_closed(tmp_path: Path) -> None:
    command = f'exec "$0" "$@" >&- 2>{tmp_path}/err'
    argv = ["sh", "-c", command, sys.executable, "-c", STUB, *RUN, "--dump", str(tmp_path / "out")]
    done = subprocess.run(argv, cwd=ROOT, timeout=20)
    assert (tmp_path / "err").read_text() == ""
    assert done.returncode == 0
    assert (tmp_path / "out").read_text().startswith(AMD)


def test_a_slow_reading_is_not_made_up_for(host: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause (SIGSTOP, a suspended machine) no burst of intervals of no length."""
    times = list[float]()
    read = host.read

    def slow() -> Snapshot:
        times.append(time.monotonic())
        if len(times) == 1:
            threading.Event().wait(0.5)
        return read()

    monkeypatch.setattr(host, "read", slow)
    assert cli.main(["--batch", "-i", "0.1", "-T", "1"]) == 0
    assert len(times) <= 8  # not the ten, and close()'s, that there would be without the pause; fewer where others work


# ---- what exits touch, and slow exits


@pytest.mark.parametrize(
    ("argv", "kinds"),
    [
        ("", []), ("--event io", ["io"]), ("--event io,msr --event rip", ["io", "msr", "rip"]),
        ("--event all", list(cli.EVENTS)), ("--event io,all", list(cli.EVENTS)),
    ],
)  # fmt: skip
def test_events(argv: str, kinds: list[str]) -> None:
    assert cli.parser().parse_args(argv.split()).event == kinds


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1ms", 10**6), ("500us", 500_000), ("500µs", 500_000), ("2s", 2 * 10**9), ("1.5ms", 1_500_000), ("7ns", 7),
     ("3600s", 3600 * 10**9), ("0.001us", 1), ("1 ms", 10**6)],
)  # fmt: skip
def test_slow(text: str, ns: int) -> None:
    assert cli.parser().parse_args(["--slow", text]).slow == ns


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--slow", text) for text in ("", "0", "0ms", "1", "ms", "-1ms", "1m", "1h", "nan", "inf s", "1e3ms", "3601s",
                                        "1ms2", "0.1ns", "9" * 5000 + "s", "1ms\x1b[31m", "1,5ms")),
        *(("--event", text) for text in ("", ",", "io,", "ports", "IO", "window", "all,x", "io msr", "\x1b[31mio")),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(
    option: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_run", lambda options: 0)
    assert cli.main([option + "=" + text]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err) < 400
    assert option in sentence(err) and sentence(err).removesuffix("\n").isprintable()


def test_what_the_options_look_at() -> None:
    def look(*argv: str) -> DetailRequest | None:
        return cli._look(cli.parser().parse_args(argv))

    assert look() is None
    assert look("--event", "io,rip") == DetailRequest(frozenset({"io", "rip"}))
    assert look("--event", "poll") == DetailRequest(frozenset({"poll", "window"}))
    assert look("--event", "all") == DetailRequest(frozenset(KINDS) - {""})
    assert look("--slow", "2ms") == DetailRequest(TOUCHED, slow_ns=2_000_000)
    assert look("--slow", "2ms", "--event", "rip") == DetailRequest(TOUCHED | {"rip"}, slow_ns=2_000_000)


@pytest.mark.parametrize("option", ["--guest-kallsyms", "--memory-map"])
@pytest.mark.parametrize("content", [None, b"", b"0000000000000000 T a\n" * 9, b"\xff\x00\x1b[31m" * 99])
def test_files_that_do_not_serve(
    option: str, content: bytes | None, host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert cli.main([*RUN, option, str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and str(file) in sentence(err)


def test_slow_exits_are_printed_as_they_come_from_the_first_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Slow(Host):
        def slow(self) -> Array:
            self.now += 1
            self.linger(101, 0x7B, 7_000_000 + self.now - self.start, kind="io", value=0x3F8, rip=0x1004)
            return super().slow()

    host = Slow()
    host.add(100, "web")
    asked: list[DetailRequest | None] = []

    def source(pids: object = (), flags: object = (), look: DetailRequest | None = None) -> Host:
        asked.append(look)
        host.look(look)
        return host

    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", source)
    (tmp_path / "map").write_text("0000000000001000 T outb\n")
    assert cli.main(["-b", "-i", "1", "-T", "1", "--slow", "1ms", "--guest-kallsyms", str(tmp_path / "map")]) == 0
    out, err = capsys.readouterr()
    assert err == "" and [look and look.slow_ns for look in asked] == [10**6]
    before_the_table = out.partition("REASON  ")[0].splitlines()[:-1]
    assert len(before_the_table) == host.now - host.start - 1 >= 4  # but for the one made up at close(), all
    assert all(" web vCPU 0 io 7.00ms " in line and "outb+0x4" in line for line in before_the_table)


def test_the_environment_names_no_module_and_no_file(tmp_path: Path) -> None:
    """Textual's variables would, and kvmtop runs as root."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass D: pass\n")
    master, slave = os.openpty()
    env = {**os.environ, "TEXTUAL_DRIVER": "evil:D", "TEXTUAL_LOG": str(tmp_path / "log"), "TERM": "xterm",
           "PYTHONPATH": f"{ROOT}:{tmp_path}"}  # fmt: skip
    with subprocess.Popen(
        [*KVMTOP, "--demo"], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=tmp_path, start_new_session=True
    ) as process:
        os.close(slave)
        drawn = b""
        while b"Quit" not in drawn:
            drawn += os.read(master, 65536)
        process.terminate()
        with pytest.raises(OSError):  # the terminal has gone when the process has
            while True:
                os.read(master, 65536)
        assert process.wait(20) == 0
    assert sorted(os.listdir(tmp_path)) == ["evil.py"]


def test_nothing_of_the_current_directory_and_of_path_is_executed(tmp_path: Path) -> None:
    """As the installed command does it, the doctor imports and calls all there is to import and to call."""
    for name in ("bcc", "ctypes", "json", "kvmtop", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    for name in ("clang", "gcc", "ld", "ldconfig", "modprobe", "mount", "objdump", "sh", "uname"):
        (tmp_path / name).write_text(f"#!/bin/sh\n>{tmp_path}/executed\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": str(tmp_path), "CPATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kvmtop", "--doctor"], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env=env,
    )  # fmt: skip
    assert "kernel headers are not needed" in done.stdout, done
    assert not (tmp_path / "executed").exists()
