"""The self-test, as root runs it anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.errors import KvmtopError
from kvmtop.host import exit_cost

from ..support.program import ROOT


def test_nothing_of_the_current_directory_and_of_path_is_executed(tmp_path: Path) -> None:
    """As the installed command does it, the doctor imports and calls all there is to import and to call."""
    for name in ("bcc", "ctypes", "json", "kvmtop", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    for name in ("clang", "gcc", "ld", "ldconfig", "modprobe", "mount", "objdump", "sh", "uname"):
        (tmp_path / name).write_text(f"#!/bin/sh\n>{tmp_path}/executed\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": str(tmp_path), "CPATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kvmtop", "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=env,
    )
    assert "kernel headers are not needed" in done.stdout, done
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_cost_that_cannot_be_measured_is_one_sentence(
    option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(now: exit_cost.Now, seconds: float) -> exit_cost.Cost:
        raise KvmtopError("there is nothing to time here")

    monkeypatch.setattr(exit_cost, "measure", broken)
    assert cli.main(["doctor", "--cost", *option]) == 1
    assert capsys.readouterr() == ("", "kvmtop: there is nothing to time here\n")
