"""The VMs of a host, with all their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.host import processes

from ..support.program import sentence


def vm(proc: Path, pid: int, vcpus: int, *argv: str) -> None:
    """A process."""
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_text("\0".join(("qemu", *argv, "")))
    for number in range(vcpus):
        (proc / str(pid) / "fd" / str(number)).symlink_to(f"anon_inode:kvm-vcpu:{number}")


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert cli.main(["list"]) == 1
    assert "no VM" in sentence(capsys.readouterr().err)
    for pid, name, vcpus in ((4711, "web\x1b[2J01", 12), (12, "db", 1), (9, "", 0)):
        vm(tmp_path, pid, vcpus, "-name", name)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr() == ("    PID VCPUS NAME\n     12     1 db\n   4711    12 web [2J01\n", "")


def test_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All that --vm takes for it."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    vm(tmp_path, 12, 2, "-id", "100", "-name", "web01")
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "     12     2 web01 (100)"
    assert cli.main(["list", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == [{"pid": 12, "vcpus": 2, "name": "web01", "aliases": ["100"]}]
