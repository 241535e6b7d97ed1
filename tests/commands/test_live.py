"""kvmtop without a command: this host, or the demo where there is nothing to see."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.commands import headless
from kvmtop.errors import KvmtopError
from kvmtop.host import live, processes
from kvmtop.model.arrays import Array
from kvmtop.model.source import Source
from kvmtop.model.vocabulary import DetailRequest

from ..support.fake import Busy, Host
from ..support.nobody import as_nobody, needs_root
from ..support.program import AMD, RUN, run, sentence


@needs_root
def test_as_another_user(for_all: Path) -> None:
    done = as_nobody(for_all, "-m", "kvmtop", "--live")
    assert (done.returncode, done.stdout) == (1, "")
    assert "root" in sentence(done.stderr)


def test_as_another_user_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: False)
    assert cli.main(["-i", "1"]) == 1
    assert "sudo kvmtop" in sentence(capsys.readouterr().err)


@needs_root
def test_without_any_option_and_without_rights_it_is_the_demo(for_all: Path) -> None:
    done = as_nobody(for_all, "-m", "kvmtop")
    assert done.returncode == 0
    assert "needs root" in sentence(done.stderr) and "This is the demo" in done.stderr
    tables = re.findall(r"^(.*)\nREASON ", done.stdout, re.MULTILINE)
    assert len(tables) > 20 and all(title.startswith("RECORDING of an emulated AMD host") for title in tables)
    assert AMD in done.stdout


def test_text_is_of_every_second_unless_another_interval_is_asked_for(
    host: Busy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[float] = []

    def follow(source: Source, ending: object, schedule: headless.Schedule, **_: object) -> None:
        source.read()
        found.append(schedule.interval)

    monkeypatch.setattr(headless, "follow", follow)
    for argv in (["--batch"], ["--batch", "-i", "0.5"], ["record", str(tmp_path / "run")]):
        assert cli.main(argv) == 0
    assert found == [1, 0.5, 1]


def test_without_any_option_it_is_this_host_if_a_vm_runs(
    host: Busy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "vcpu_count", lambda pid: 2)
    monkeypatch.setattr(headless, "follow", lambda source, ending, **_: source.read())
    assert cli.main([]) == 0
    assert host.closed and "RECORDING" not in capsys.readouterr().out
    monkeypatch.setattr(processes, "vcpu_count", lambda pid: 0)
    for argv in (["--live"], ["live"], ["-i", "1"]):  # as it is asked for
        host.closed = False
        assert cli.main(argv) == 0
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


def test_batch_and_summary(host: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert cli.main([*RUN, "--dump", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert host.closed
    assert out.count("REASON  ") in range(1, 4)  # on a busy machine one may be left out
    tables, end = out.split(AMD)
    assert (tmp_path / "out").read_text() == AMD + end
    assert tables.endswith("\n\n")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


@pytest.mark.parametrize(("flavour", "line"), [("intel", "# reason: count"), ("amd", "# reason(hex): count")])
def test_flavour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flavour: str, line: str) -> None:
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: Host(isa=0))
    assert cli.main([*RUN, "-G", f"kvm={flavour}"]) == 0
    assert line in capsys.readouterr().out


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
