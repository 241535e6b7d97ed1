"""What reaches a terminal that can do less, or shall get less: TERM=dumb, NO_COLOR. All that is written is looked at."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .support.program import KVMTOP, ROOT

SGR = re.compile(rb"\x1b\[([0-9;:]*)m")
DEMO = str(ROOT / "kvmtop" / "demo" / "amd.kvmtop")


class Screen:
    """A terminal of 120 by 40 with a process in it; `drawn` is what that has written."""

    def __init__(self, argv: list[str], env: dict[str, str | None]) -> None:
        self.master, slave = os.openpty()
        os.set_blocking(self.master, False)
        subprocess.run(["stty", "rows", "40", "cols", "120"], stdin=slave, check=True)
        merged = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [*KVMTOP, *argv], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=merged, start_new_session=True
        )
        os.close(slave)
        self.drawn = b""

    def wait(self, pattern: bytes, seconds: float = 100) -> None:
        """Until it has written that; None: until it has ended."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.drawn, re.DOTALL):
            assert time.monotonic() < end and self.read(), (pattern, self.drawn[-3000:])

    def read(self) -> bool:
        """Some more of it; whether it goes on."""
        try:
            if select.select([self.master], [], [], 1)[0]:
                self.drawn += os.read(self.master, 1 << 16)
        except OSError:  # EIO: it has ended
            return False
        return True

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """Read to the end; its status."""
        while self.read():
            pass
        return self.process.wait(20)


@contextmanager
def screen(argv: list[str], **env: str | None) -> Iterator[Screen]:
    one = Screen(argv, {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": None} | env)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        os.close(one.master)


def attributes(drawn: bytes) -> set[int]:
    """All SGR parameters."""
    return {int(number or 0) for found in SGR.findall(drawn) for number in re.split(rb"[;:]", found)}


@pytest.mark.parametrize("term", ["dumb", "unknown", "", None])
@pytest.mark.parametrize("argv", [["demo"], ["compare", DEMO, DEMO]])
def test_a_terminal_without_escapes_gets_none(term: str | None, argv: list[str]) -> None:
    with screen(argv, TERM=term) as one:
        assert one.end() == 0, one.drawn[-1000:]
    assert b"\x1b" not in one.drawn
    assert one.drawn.count(b"REASON ") >= (20 if argv == ["demo"] else 1)


@pytest.mark.parametrize("argv", [["demo"], ["compare", DEMO, DEMO]])
def test_no_color(argv: list[str]) -> None:
    with screen(argv, NO_COLOR="1") as one:
        for words in (b"REASON", b"hlt", b"(?i:quit)"):
            one.wait(words)
        cursor = rb"\x1b\[(?:\d+;)*7(?:;\d+)*m"  # reverse
        one.wait(cursor)
        for keys in (b"j", b"?", b"\x1b", b"/h\r", b"\x10"):
            one.press(keys)
            one.drawn, before = b"", one.drawn
            one.wait(b"m")
            one.drawn = before + one.drawn
        one.press(b"\x03\x03")
        one.process.terminate()
        assert one.end() == 0, one.drawn[-1000:]
    assert attributes(one.drawn) <= {0, 1, 2, 3, 4, 5, 7, 9, 22, 24, 27}
    assert not re.search(rb"\x1b\](?:4|1[0-9]);[^\x07\x1b?]", one.drawn)  # no colour is set by OSC, either


@pytest.mark.parametrize("value", ["", None])
def test_colours_otherwise(value: str | None) -> None:
    """An empty NO_COLOR says nothing: https://no-color.org."""
    with screen(["demo"], NO_COLOR=value) as one:
        for words in (b"REASON", b"hlt", b"quit"):
            one.wait(words)
        one.process.terminate()
        assert one.end() == 0, one.drawn[-1000:]
    assert {38, 48} <= attributes(one.drawn)
    assert b"38;2;86;180;233" in one.drawn  # the sky's blue, and no grey
