"""Signals at any moment: before counting begins they end it at once, from then on with the summary."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvmtop.ending import Ending

from .support.program import KVMTOP, ROOT

DELAYS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5, 3.0, 6.0)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The command, which says when it has begun: before that there is Python alone, and its own traceback.
COMMAND = [
    sys.executable,
    "-c",
    """
import os, sys
from kvmtop import __main__
begin, told = __main__.at_once, int(sys.argv.pop(1))
__main__.at_once = lambda: (begin(), os.write(told, b"."))
sys.exit(__main__.main())
""",
]
TABLE = b"# reason(hex): count sum(us)"


def ended(argv: list[str], number: int, delay: float, seen: bytes = b"") -> tuple[int, bytes]:
    """Its status as a shell has it, and all that it wrote to its terminal.

    It gets the signal after the delay in seconds, and once that has been seen.
    """
    master, slave = os.openpty()
    started, start = os.pipe()
    process = subprocess.Popen(
        [*COMMAND[:3], str(start), *argv],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        pass_fds=[start],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    os.close(start)
    drawn = b""
    try:
        assert os.read(started, 1)
        sent, give_up = time.monotonic() + delay, time.monotonic() + 30
        while time.monotonic() < give_up:
            wait = sent - time.monotonic()
            if number and wait <= 0 and seen in drawn:
                process.send_signal(number)
                number = 0
            if select.select([master], [], [], max(wait, 0.01) if number else 1)[0]:
                try:
                    drawn += os.read(master, 65536)
                except OSError:  # EIO: it has ended
                    break
        status = process.wait(60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(master)
        os.close(started)
    return 128 - status if status < 0 else status, drawn


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


DEMO = str(ROOT / "kvmtop" / "demo" / "amd.kvmtop")
SWEPT = {
    "dashboard": ["demo"],
    "explain": ["explain", "hlt"],
    "compare": ["compare", DEMO, DEMO],
    "fifo": ["--guest-kallsyms", "FIFO"],
}


@pytest.mark.parametrize("which", SWEPT)
def test_at_any_moment(which: str, fifo: Path) -> None:
    argv = [str(fifo) if word == "FIFO" else word for word in SWEPT[which]]
    cases = [(number, delay) for delay in DELAYS for number in SIGNALS]
    cases = cases[:: 2 if which in ("dashboard", "explain") else 4]  # each signal and each delay, but not all pairs
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda case: ended(argv, *case), cases))
    whole = 0
    for (number, delay), (status, drawn) in zip(cases, found, strict=True):
        told = f"signal {number} after {delay} s: status {status}, {drawn[-2000:].decode(errors='replace')}"
        assert status in (0, 128 + number), told
        assert b"Traceback" not in drawn and b"Keyboard" not in drawn, told
        if status:
            assert not drawn or which == "explain", told  # which may have said it all, and be about to end
        elif which == "dashboard":
            assert TABLE in drawn, told
        whole += not status
    assert whole < len(cases), "no signal came early"
    assert bool(whole) == (which != "fifo"), "each signal came early"


@pytest.mark.parametrize(("which", "end"), [("dashboard", TABLE), ("compare", b"CHANGE")])
@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGQUIT])
def test_once_there_is_a_screen(which: str, end: bytes, number: int) -> None:
    status, drawn = ended(SWEPT[which], number, 0, b"msr")  # of a row that both have
    assert status == 0
    assert end in drawn.rpartition(b"\x1b[?1049l")[2]  # back on the screen that was there before


# ---- Ending itself


@pytest.fixture
def ending() -> Iterator[Ending]:
    with Ending() as ending:
        yield ending


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGQUIT])
def test_a_signal_sets_it_for_good(ending: Ending, number: int) -> None:
    assert not ending.is_set() and not ending.wait(0.001)
    for _ in range(3):
        os.kill(os.getpid(), number)
    assert ending.is_set() and ending.wait(1e12)
    assert select.select([ending], [], [], 0)[0]


def test_nohup_is_obeyed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Ending() as ending:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not ending.is_set()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_wakes_who_waits(ending: Ending) -> None:
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert ending.wait(30)
    timer.join()


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Ending(hangup=False) as ending:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not ending.wait(0.05)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_is_ignored_stays_ignored() -> None:
    """As a shell without job control has it for what runs in its background."""
    argv = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *KVMTOP, "explain", "list"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as process:
        status = Path(f"/proc/{process.pid}/status")
        while not int(status.read_text().partition("SigIgn:\t")[2][:16], 16) & 1 << signal.SIGINT - 1:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.stdout and process.stdout.read()
    assert process.returncode == 0


def test_nothing_is_imported_before_signals_are_as_they_should_be() -> None:
    code = "import sys; was = {*sys.modules}; import kvmtop.__main__; print(*sorted({*sys.modules} - was))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "kvmtop kvmtop.__main__\n"
