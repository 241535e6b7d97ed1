"""The real program in a real terminal: a host with two QEMU guests, driven by keys over its serial console."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hosts import amd
from .hosts.kernels import HostUnavailable
from .support.terminal import Terminal

REQUIRED = os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1"
pytestmark = pytest.mark.skipif(not (shutil.which("tmux") or REQUIRED), reason="tmux is not installed")

AT_MOST = 180  # seconds until a screen has come, where other hosts are at work, too
AFTERWARDS = 30  # seconds that the screen stays as it is in the end


@contextlib.contextmanager
def two_guests() -> Iterator[Terminal]:
    """An emulated AMD host with web01 (2 vCPUs) and db01 (1), and kvmtop in its terminal."""
    inside = [
        sys.executable,
        "-m",
        "tests.hosts.two_guests",
        "sh",
        "-c",
        f"{shlex.quote(sys.executable)} -m kvmtop; echo status $?; sleep {AFTERWARDS}",
    ]
    terminal = Terminal([sys.executable, "-m", "tests.hosts.amd", "--tty", "--", *inside], 120, 40)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.skipif(
    not REQUIRED, reason="boots an emulated host for two minutes: set KVMTOP_REQUIRE_HOSTS=1 (make hosts)"
)
def test_a_drill_down_on_a_real_host() -> None:
    try:
        with amd.command(["true"]):
            pass
    except HostUnavailable as error:
        pytest.fail(str(error))
    with two_guests() as host:
        try:
            drill_down(host)
        except AssertionError as error:
            if not host.ended():
                host.type("q")
                time.sleep(AFTERWARDS + 10)
            raise AssertionError(f"{error}\nWhat became of the guests:\n{host.screen()}") from None


def drill_down(host: Terminal) -> None:
    first = host.wait(r"[\d.]+k? exits/s · 2 VMs · 3 vCPUs", 2 * AT_MOST)
    assert host.wait(r"hlt idle +[\d.]+", AT_MOST), first
    screens = set()
    for _ in range(20):
        time.sleep(0.3)
        screens.add(host.screen())
    assert len(screens) > 2, "the numbers do not move"
    host.wait(r"▾ web01 +[\d.]+", AT_MOST)
    host.type("2", "End", "Enter")  # web01's vCPU 1
    host.wait(r"› web01 › vCPU 1", AT_MOST)
    host.type("1", "T", "Home")
    host.wait(r"TIME/S▼", AT_MOST)
    host.type("/", "h", "l", "t", "Enter")
    host.wait(r"/hlt", AT_MOST)
    host.type("Home", "Enter")
    page = host.wait(r"› web01 › vCPU 1 › hlt", AT_MOST)
    page = host.wait(r"P99\.9", AT_MOST)
    page = host.wait("Halt polling of each vCPU", AT_MOST)
    assert "Guest code that made them" in page
    host.type("NPage")
    host.wait("Durations of the last interval", AT_MOST)
    host.type("Escape")  # the page, then the filter, then the vCPU
    host.wait(r"› web01 › vCPU 1 ", AT_MOST)
    host.type("Escape")
    host.type("Escape")
    host.wait(r"2 VMs · 3 vCPUs", AT_MOST)
    host.type("S")  # who has the CPU: probes of its own
    host.wait("Who ran instead", AT_MOST)
    print(host.wait(r"timer interrupt +\d", AT_MOST))
    host.type("Escape")
    host.wait(r"hlt idle +[\d.]+", AT_MOST)
    host.type("q")
    end = host.wait(r"^status 0", AT_MOST)
    rows = re.findall(r"^0x[0-9a-f]{3}: \d+ \d+ \d+ \d+ \d+$", end, re.MULTILINE)
    assert "# reason(hex): count sum(us) min(us) avg(us) max(us)" in end and len(rows) >= 5
    assert "TREND" not in end, "the dashboard is still on the screen"


# What ends or interrupts it from outside, on this machine's own kernel (no exits are needed for that).


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Terminal]:
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    if not Path("/sys/kernel/tracing/events/kvm").exists() and subprocess.run(
        ["mount", "-t", "tracefs", "nodev", "/sys/kernel/tracing"]
    ).returncode | (not Path("/sys/kernel/tracing/events/kvm").exists()):
        pytest.skip("this kernel has no KVM tracepoints")
    dump = tmp_path / "summary.txt"
    # bash hands its first command both of them, if it was typed early enough.
    shell = f"export COLUMNS LINES; echo before; {shlex.quote(sys.executable)} -m kvmtop --dump {shlex.quote(str(dump))}; echo status $?"
    terminal = Terminal(["env", "HISTFILE=", "bash", "--norc", "-i"], 100, 30)  # nobody's history
    terminal.keys(shell, "Enter")
    terminal.wait("^ kvmtop  ", 30)
    yield terminal
    terminal.close()


def kvmtop_pid(terminal: Terminal) -> int:
    out = subprocess.run(["pgrep", "-P", str(terminal.pane_pid()), "-f", "kvmtop"], capture_output=True, text=True)
    return int(out.stdout.split()[0])


HEADER = r"^# reason reason\(hex\): count sum\(us\)|^# reason\(hex\): count|^# reason: count"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_a_clean_terminal_and_the_summary(local: Terminal, tmp_path: Path, number: int) -> None:
    os.kill(kvmtop_pid(local), number)
    screen = local.wait(r"^status 0", 20)
    assert re.search(HEADER, screen, re.MULTILINE) and "before" in screen and "╭─" not in screen
    assert (tmp_path / "summary.txt").read_text().startswith("\n# ")
    local.keys("echo $((6 * 7))", "Enter")  # the shell echoes and answers
    assert "echo $((6 * 7))" in local.wait(r"^42", 10)


def test_suspended_and_back(local: Terminal) -> None:
    local.keys("C-z")
    assert "Stopped" in local.wait("Stopped", 20)
    local.keys("fg", "Enter")
    local.wait("^ kvmtop  ", 20)
    local.keys("q")
    local.wait(HEADER, 20)  # the shell went on to "status" when it stopped


def test_resized(local: Terminal) -> None:
    for width, height in ((60, 15), (160, 48), (80, 24)):
        local.resize(width, height)
        local.wait(r"^ kvmtop  ", 10)
        time.sleep(0.5)
        lines = local.screen().split("\n")
        assert len(lines) >= height and all(len(line) <= width for line in lines)
    local.keys("q")
    local.wait(r"^status 0", 20)


def test_the_terminal_vanishes(local: Terminal, tmp_path: Path) -> None:
    pid = kvmtop_pid(local)
    local.close()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    else:
        raise AssertionError("kvmtop goes on without a terminal")
    assert (tmp_path / "summary.txt").read_text().startswith("\n# ")
