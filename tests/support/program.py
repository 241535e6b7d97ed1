"""kvmtop as a process of its own, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmtop
from kvmtop.bpf import privileges
from kvmtop.host import live

from .fake import Busy

ROOT = Path(kvmtop.__file__).parent.parent

KVMTOP = [sys.executable, "-m", "kvmtop"]

AMD = "\n# AMD reasons are SVM_EXIT_* in linux/arch/x86/include/asm/svm.h\n# reason(hex): count sum(us) min(us)"


def sentence(stderr: str) -> str:
    """The one line that tells what is wrong."""
    assert stderr.startswith("kvmtop: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    return stderr.removeprefix("kvmtop: ")


RUN = ["--batch", "-i", "0.1", "-T", "0.3"]

# It calls itself "counting" when it waits for its first reading.
STUB = """
import sys
from pathlib import Path
import kvmtop.host.live
from kvmtop.bpf import privileges
from kvmtop.cli import main
from kvmtop.commands.headless import Schedule
from tests.support.fake import Busy
privileges.may_load_bpf = lambda: True
kvmtop.host.live.Live = lambda pids=(), flags=(), look=None: Busy()
due = Schedule.readings
def readings(self, source, ending, slow=None):
    wait = ending.wait
    ending.wait = lambda seconds: Path("/proc/self/comm").write_text("counting") and wait(seconds)
    return due(self, source, ending, slow)
Schedule.readings = readings
sys.exit(main(sys.argv[1:]))
"""


def pretended(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """The live host that kvmtop reads in this process from now on."""
    host = Busy()
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: host)
    return host


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """kvmtop, with these variables in its environment."""
    return subprocess.run(
        [*KVMTOP, *argv], capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **env}
    )


def start(*argv: str, **options: object) -> subprocess.Popen[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | options
    return subprocess.Popen([sys.executable, "-c", STUB, *argv], **options)  # type: ignore[call-overload, no-any-return]


def until_it_counts(process: subprocess.Popen[str]) -> None:
    """Wait until it has its signal handlers and waits, too."""
    end = time.monotonic() + 60
    while Path(f"/proc/{process.pid}/comm").read_text() != "counting\n":
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes about soon."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
