"""README's commands that look at a host, where KVM is real."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..test_readme import COMMANDS, RUNS_HERE, arguments

LIVE = dict.fromkeys(tuple(arguments(c)) for c in COMMANDS if not re.match(RUNS_HERE, c))


@pytest.mark.parametrize("words", LIVE, ids=" ".join)
def test_command(words: tuple[str, ...], tmp_path: Path) -> None:
    """It says something, and ends well, by itself or when it is asked to."""
    with subprocess.Popen([sys.executable, "-m", "kvmtop.guest", "cpuid:0"]) as guest:
        argv = [sys.executable, "-m", "kvmtop", *(str(guest.pid) if word == "4711" else word for word in words)]
        kvmtop = subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert kvmtop.stdout
        first = kvmtop.stdout.readline()
        if not {"--list", "--doctor"} & {*words}:
            kvmtop.send_signal(signal.SIGINT)
        rest, _ = kvmtop.communicate(timeout=60)
        guest.kill()
    assert kvmtop.returncode == 0, first + rest
    assert first + rest
