"""All that guests do is counted, to the exit."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

import pytest

from . import truth
from .run import Run

SCRIPT = ("cpuid:1000", "out:20", "rdmsr:30")


@contextlib.contextmanager
def exact(*runs: Run) -> Iterator[truth.Truth]:
    """All that guests do in the block is counted, to the exit. They begin and end in it."""
    before = [run.counted() for run in runs]
    with truth.counting() as known:
        yield known
        known.read()
    wanted = {code: count for (_, code), count in known.items()}
    for run, old in zip(runs, before, strict=True):
        run.wait(2)
        found = run.counted()
        found.subtract(old)
        still_open = found.pop("expired")  # each thread's last
        assert found.total() + still_open == sum(wanted.values())
        assert all(0 <= count - found[code] <= still_open for code, count in wanted.items())


def intervals_fit(run: Run) -> None:
    """Each begins where the one before ended, and is as long as it says; the rates are of that length."""
    intervals = run.intervals()
    for before, after in itertools.pairwise(intervals):
        assert 0 < after["length"] == pytest.approx(after["elapsed"] - before["elapsed"], abs=1e-5)
        assert after["totals"]["rate"] == pytest.approx(after["totals"]["exits"] / after["length"], abs=0.001)


def perf_events(pid: int) -> int:
    """How many events a perf has open."""
    found = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += "perf_event" in os.readlink(entry.path)
    return found
