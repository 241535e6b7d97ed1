"""A kvmtop that runs beside a test, and tells what it saw by its --json."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KVMTOP = [sys.executable, "-m", "kvmtop"]
PATIENCE = 60.0  # seconds


class Run:
    """One kvmtop, from its first interval on."""

    def __init__(self, log: Path, *arguments: str, terminal: bool = False, before: Sequence[str] = ()) -> None:
        """log: where its intervals go; terminal: the dashboard, on one that nobody looks at; before: what runs it."""
        self.log = log
        self.process: subprocess.Popen[Any]
        argv = [*before, *KVMTOP, f"--json={log}", *arguments]
        if terminal:
            self.master, slave = os.openpty()
            env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
            self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, process_group=0)
            os.close(slave)
            threading.Thread(target=self._drain, daemon=True).start()
        else:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self.wait()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(self.master, 65536):
                pass

    def objects(self) -> list[dict[str, Any]]:
        """All that it has written."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def intervals(self) -> list[dict[str, Any]]:
        """Those of them that are intervals."""
        return [found for found in self.objects() if found["type"] == "interval"]

    def wait(self, more: int = 1) -> None:
        """Until it has written so many more intervals. Raises AssertionError if it has ended."""
        wanted, end = len(self.intervals()) + more, time.monotonic() + PATIENCE
        while len(self.intervals()) < wanted:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "no interval comes"
            time.sleep(0.1)

    def counted(self) -> Counter[int | str]:
        """Exits by code, added up over the intervals; "expired" are those that their threads' ends left open."""
        found: Counter[int | str] = Counter()
        intervals = self.intervals()
        for interval in intervals:
            found.update({reason["code"]: reason["count"] for reason in interval["reasons"]})
        found["expired"] = intervals[-1]["honesty"]["expired"]
        return found

    def end(self, number: int) -> tuple[str, str]:
        """End it by a signal; what it wrote, and what it complained of. Raises AssertionError if it has failed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, (self.process.returncode, out, err)
        return out or "", err or ""

    def memory(self) -> tuple[int, int, int]:
        """Resident KiB of its own, those of files (its code and the BPF maps), and open descriptors."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        anon, files = (int(status.partition(f"{name}:")[2].split()[0]) for name in ("RssAnon", "RssFile"))
        return anon, files, len(os.listdir(f"/proc/{self.process.pid}/fd"))
