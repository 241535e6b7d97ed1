"""A fault of the program on the screen, wherever it is: one sentence, no local variables, and not status 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmtop.recording.writer import Recorder

from .support.fake import Busy
from .support.program import ROOT

# Breaks what is named, and starts kvmtop; for a live run on a host that is made up.
CODE = """\
import sys
from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.host import live
from kvmtop.ui import app, compare_app, replay_feed
from tests.support.fake import Busy
def broken(self, *_):
    secret = "the value of a local variable"
    raise OverflowError("int too\\nbig")
exec(f"{sys.argv[1]} = broken")
privileges.may_load_bpf = lambda: True
live.Live = lambda pids=(), look=None: Busy()
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("place", "argv", "last"),
    [
        ("replay_feed.ReplayFeed.rates", "replay run", "# reason"),  # while it starts, on the screen
        ("replay_feed.ReplayFeed.run", "replay run", "# reason"),  # in the thread that reads
        ("Busy.read", "--live -i 0.1", ""),  # in that of a live run
        ("app.KvmtopApp.on_tick", "--live -i 0.1", "# reason"),  # in a message
        ("app.KvmtopApp.compose", "--live -i 0.1", "# reason"),  # before there is a screen
        ("compare_app.Comparison._draw", "compare run run", "more than chance"),
    ],
)
def test_a_fault(place: str, argv: str, last: str, tmp_path: Path) -> None:
    recorder = Recorder(Busy(), tmp_path / "run")
    for _ in range(3):
        recorder.read()
    recorder.close()
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", CODE, place, *argv.split()],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=env,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        out = b""
        try:
            while chunk := os.read(ours, 65536):
                out += chunk
        except OSError:  # EIO: the process has closed it
            pass
        assert process.wait(20) == 1
    os.close(ours)
    shown = out.decode()
    assert "Traceback" not in shown and "local variable" not in shown
    lines = [line for line in shown.splitlines() if "kvmtop: " in line]
    assert len(lines) == 1 and "a fault of its own ended it (OverflowError: int too?big" in lines[0]
    assert last in shown  # and what was counted
