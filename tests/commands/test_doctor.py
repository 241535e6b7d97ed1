"""The self-test, as root runs it anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
