"""A terminal in tmux: what a person at one would type and see."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path


class Terminal:
    """One tmux session on a server of its own."""

    def __init__(self, argv: Sequence[str], width: int = 120, height: int = 40) -> None:
        self._socket = f"kvmtop-{uuid.uuid4().hex[:8]}"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), *argv)
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", self._socket, *arguments], capture_output=True, text=True)
        return done.stdout

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names (Enter, Escape, Down, a)."""
        self._tmux("send-keys", *names)

    def type(self, *names: str, pause: float = 1.0) -> None:
        """Press keys one after the other, as slowly as a person on an emulated machine must."""
        for name in names:
            self.keys(name)
            time.sleep(pause)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def wait(self, pattern: str, seconds: float = 60) -> str:
        """The screen once it matches. Raises AssertionError with what is there instead."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            screen = self.screen()
            if re.search(pattern, screen, re.MULTILINE):
                return screen
            if self.ended():
                raise AssertionError(f"no {pattern!r} on the screen when its command had ended:\n{screen}")
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} on the screen after {seconds} s:\n{self.screen()}")

    def ended(self) -> bool:
        """Whether its command has."""
        return self._tmux("list-panes", "-F", "#{pane_dead}").strip() == "1"

    def pane_pid(self) -> int:
        return int(self._tmux("list-panes", "-F", "#{pane_pid}").strip())

    def save(self, path: Path) -> None:
        """The screen with its colours, as tmux escapes it."""
        path.write_text(self._tmux("capture-pane", "-p", "-e"))

    def close(self) -> None:
        self._tmux("kill-server")
