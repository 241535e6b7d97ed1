"""The documents' commands that look at a host, where KVM is real."""

from __future__ import annotations

import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.documents import COMMANDS, RUNS_HERE, arguments

pytestmark = pytest.mark.long

LIVE = dict.fromkeys(tuple(arguments(c)) for c in COMMANDS if not re.match(RUNS_HERE, c))
PATIENCE = 20.0  # seconds


@pytest.mark.parametrize("words", LIVE, ids=" ".join)
def test_command(words: tuple[str, ...], tmp_path: Path) -> None:
    """It says something, and ends well, by itself or when it is asked to."""
    with subprocess.Popen([sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.05", "out:0"]) as guest:
        argv = [sys.executable, "-m", "kvmtop", *(str(guest.pid) if word == "4711" else word for word in words)]
        kvmtop = subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert kvmtop.stdout
        select.select([kvmtop.stdout], [], [], PATIENCE)  # with some outputs it says nothing until the end
        if not {"list", "doctor"} & {*words}:
            kvmtop.send_signal(signal.SIGINT)
        out, _ = kvmtop.communicate(timeout=120)
        guest.kill()
    assert kvmtop.returncode == 0, out
    assert out
