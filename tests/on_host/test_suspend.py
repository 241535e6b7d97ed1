"""The host sleeps under a kvmtop that counts, and wakes again: neither counts nor times show it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.host.selftest_guest import Step

from . import truth
from .exact import exact, intervals_fit
from .run import Run

pytestmark = pytest.mark.long

STATE, ALARM = Path("/sys/power/state"), Path("/sys/class/rtc/rtc0/wakealarm")
ASLEEP = 6  # seconds


def asleep() -> float:
    """Seconds that this machine has slept since it booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "log")
    yield run
    run.process.kill()
    run.process.wait()


@pytest.mark.skipif("HOST_OUT" not in os.environ, reason="only where nobody minds: an emulated host")
def test_the_host_is_suspended(run: Run) -> None:
    before, began = asleep(), time.monotonic()
    with exact(run):
        guest = truth.start([Step("cpuid", 0)])
        try:
            run.wait()
            ALARM.write_text(f"+{ASLEEP}")
            try:
                STATE.write_text("freeze")
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                pytest.skip("a device cannot be suspended: virtiofs, on the emulated AMD host")
            run.wait(2)
        finally:
            os.kill(guest, signal.SIGKILL)
            os.waitpid(guest, 0)
    run.end(signal.SIGTERM)
    slept, awake = asleep() - before, time.monotonic() - began
    print(f"{slept:.1f} s asleep, {awake:.1f} s awake")
    assert slept > ASLEEP / 2
    intervals_fit(run)
    assert sum(interval["length"] for interval in run.intervals()) < awake
