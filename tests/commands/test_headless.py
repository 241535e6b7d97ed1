"""Reading without a screen: when, and what is told of it."""

from __future__ import annotations

import threading
import time

import pytest

from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.host import live
from kvmtop.model.snapshot import Snapshot

from ..support.fake import Busy, Host
from ..support.program import RUN, sentence


def test_silence_is_explained_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host()
    host.now += 10**10
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", lambda pids=(), flags=(), look=None: host)
    assert cli.main(RUN) == 0
    assert "no VM runs here" in sentence(capsys.readouterr().err)


def test_a_slow_reading_is_not_made_up_for(host: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause (SIGSTOP, a suspended machine) no burst of intervals of no length."""
    times = list[float]()
    read = host.read

    def slow() -> Snapshot:
        times.append(time.monotonic())
        if len(times) == 1:
            threading.Event().wait(0.5)
        return read()

    monkeypatch.setattr(host, "read", slow)
    assert cli.main(["--batch", "-i", "0.1", "-T", "1"]) == 0
    assert len(times) <= 8  # not the ten, and close()'s, that there would be without the pause; fewer where others work
