"""Two recordings to compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.recording.writer import Recorder

from .fake import SECOND, Host

MSR, IO, CPUID = 0x7C, 0x7B, 0x72


def record(path: Path, turns: list[dict[int, tuple[int, int]]], seconds: int = 1) -> str:
    """A run with so many exits of so many ns of each reason in each interval of so many seconds."""
    host = Host()
    host.add(4000, "web01")
    recorder = Recorder(host, path)
    for turn in turns:
        host.now += seconds * SECOND
        for reason, (count, ns) in turn.items():
            host.exits(4001, reason, *[ns] * count)
        recorder.read()
    recorder.close()
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """MSR: 100±10/s, then 105±10; IO: 50 exactly, then 60 exactly of half the duration; CPUID in the second only."""
    first = [{MSR: (90 + 20 * (n % 2), 2000), IO: (50, 40_000)} for n in range(10)]
    second = [{MSR: (95 + 20 * (n % 2), 2000), IO: (60, 20_000), CPUID: (7, 1000)} for n in range(10)]
    return record(tmp_path / "a", first), record(tmp_path / "b", second)
