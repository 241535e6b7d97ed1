"""The kernel's measurement of programs, in this machine's kernel."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from kvmtop.bpf import run_time, syscalls
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.run_time import Runs, Statistics, unavailable

from .machine import Player, enter, leave

EXITS = 50


def ran(one: Collector) -> Runs:
    (found,) = (runs for probe, runs in one.runs().items() if probe.function == "on_exit")
    return found


def test_each_exit_is_a_run_while_it_is_measured(counting: Collector) -> None:
    def act(player: Player) -> None:
        for _ in range(2):
            player.step()
            for _ in range(EXITS):
                leave(0x72)
                enter()
        player.step()

    if Path(run_time.SYSCTL).read_text().strip() == "1":
        pytest.skip("somebody has switched statistics on")
    statistics, before = Statistics(), ran(counting)
    with Player(act) as player:  # before what it would inherit
        player.wait()
        assert statistics.start(600) == ""
        player.next()
        statistics.stop()
        found = ran(counting)
        player.next()
        assert ran(counting) == found  # nobody measures any more
    assert (found - before).count == EXITS and found.ns > before.ns and not found.missed


def test_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, fd = threading.Event(), os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr(syscalls, "enable_statistics", lambda: fd)
    stop = Statistics.stop

    def stopped(self: Statistics) -> None:
        stop(self)
        if threading.current_thread() is not threading.main_thread():
            ended.set()

    monkeypatch.setattr(Statistics, "stop", stopped)
    assert Statistics().start(0.01) == ""
    assert ended.wait(60)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize(
    ("code", "sysctl", "why"),
    [
        (errno.EPERM, "0", "it takes CAP_SYS_ADMIN, or sysctl kernel.bpf_stats_enabled=1"),
        (errno.EPERM, None, "it takes CAP_SYS_ADMIN, or sysctl kernel.bpf_stats_enabled=1"),
        (errno.EPERM, "1", ""),
        (errno.EINVAL, None, "it takes Linux 5.8"),
    ],
)
def test_why_it_is_not_measured(
    code: int, sysctl: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(syscalls, "enable_statistics", refuses)
    monkeypatch.setattr(run_time, "SYSCTL", str(tmp_path / "enabled"))
    if sysctl is not None:
        (tmp_path / "enabled").write_text(f"{sysctl}\n")
    assert unavailable() == why
