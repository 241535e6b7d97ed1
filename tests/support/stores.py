"""Stores made of a host's run or several: segments that are recordings by themselves."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.writer import Recorder

from .fake import SECOND, Busy

BEGAN = 1_795_500_000  # s since 1970: 2026-11-24 06:00 UTC


class Dated(Busy):
    """A host whose clock says when it is. began: s since 1970, when counting began; started: on CLOCK_MONOTONIC."""

    def __init__(self, began: float = BEGAN, started: int = 1000, seed: int = 1) -> None:
        super().__init__(seed=seed)
        self.began = began
        self.now = self.start = started * SECOND
        for vcpu in self.vcpus.values():
            vcpu.born = self.now

    def read(self) -> Snapshot:
        snapshot = super().read()
        return replace(snapshot, wall_ns=round(self.began * 1e9) + snapshot.time_ns - snapshot.start_ns)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The reader's time zone, in each test of a module that imports this."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def write(folder: Path, host: Dated, lengths: Sequence[int], final: bool = True) -> list[Snapshot]:
    """A run in segments of so many samples. All Snapshots of it; at the end the final one, if there shall be one."""
    folder.mkdir(exist_ok=True)
    found, sums = list[Snapshot](), None
    for number, length in enumerate(lengths):
        path = (
            folder
            / f"{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime(host.began + (host.now - host.start) / SECOND))}.kvmtop"
        )
        recorder = Recorder(host, path, "a made-up host", sums=sums)
        found += [recorder.read() for _ in range(length)]
        if final and number == len(lengths) - 1:
            found.append(recorder.close())
        recorder.end()
        sums = recorder.sums
        assert recorder.trouble is None
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE runs SET began = ?", (host.began,))
            database.commit()
    return found


def broken_off(folder: Path) -> tuple[list[Snapshot], list[Snapshot]]:
    """30 s in two segments, 70 s of nothing, 10 s of another run: the Snapshots of both."""
    return write(folder, Dated(), [20, 10]), write(folder, Dated(BEGAN + 100, started=50, seed=2), [10])
