"""VMs that come and go at the full exit rate, for as long as KVMTOP_SOAK_MINUTES says, with kvmtop over them.

With two CPUs the emulated kernels died after ten to sixteen minutes (6.12: "corrupted stack end detected inside
scheduler"); with one it is whole.

KVMTOP_ON_HOST=1 KVMTOP_SOAK_MINUTES=30 .venv/bin/python -m tests.hosts.amd --kernel 6.12 --cpus 1 -- \\
    .venv/bin/python -m pytest -s tests/on_host/test_soak.py
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kvmtop.host.selftest_guest import Step
from kvmtop.model.exit_stats import counts
from kvmtop.recording.reader import Recording

from . import truth
from .run import Run

pytestmark = pytest.mark.long

SECONDS = 60 * float(os.environ.get("KVMTOP_SOAK_MINUTES", "0.7"))
FLAT = 8_192  # KiB

# Killed while it exits, runs, sleeps in user space with its exit open, sleeps halted; one ends by itself.
KILLED: tuple[tuple[list[Step], dict[str, Any]], ...] = (
    ([Step("cpuid", 0)], {}),
    ([Step("cpuid", 20), Step("spin", 0)], {}),
    ([Step("out", 0)], {"io_sleep": 0.05}),
    ([Step("cpuid", 5), Step("hlt", 1)], {"irqchip": True}),
)
ENDS = [Step("cpuid", 500), Step("rdmsr", 100)]


def test_soak(tmp_path: Path) -> None:
    record = tmp_path / "run.kvmtop"
    runs = [
        Run(tmp_path / "batch", "--record", str(record)),
        Run(tmp_path / "dashboard", "-i", "1.5", terminal=True),
    ]
    chance, started, ended = random.Random(1), 0, 0
    samples: list[list[tuple[int, int, int]]] = []
    end = time.monotonic() + SECONDS
    with truth.counting() as kernel:
        steady = truth.start([Step("cpuid", 0)])
        for steps, options in itertools.cycle(KILLED):
            left = end - time.monotonic()
            if left < 0:
                break
            if SECONDS - left > len(samples) * SECONDS / 60:
                samples.append([run.memory() for run in runs])
                if SECONDS > 300:
                    print(f"{SECONDS - left:.0f} s: {samples[-1]}", flush=True)  # a silent host would be stopped
            pid = truth.start(steps, **options)
            other = truth.start(ENDS)
            time.sleep(chance.random() * 0.2)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.waitpid(other, 0)
            started, ended = started + 1, ended + 1
        os.kill(steady, signal.SIGKILL)
        os.waitpid(steady, 0)
        kernel.read()
    for run in runs:
        run.wait()
        run.end(signal.SIGTERM)
    threads = started + ended + 1
    total = sum(kernel.values())
    print(
        f"{threads} VMs, {total} exits in {SECONDS:.0f} s; KiB of its own, KiB of files, descriptors, from time to time:"
    )
    print(samples[:: len(samples) // 6])

    for run in runs:
        *intervals, summary = run.objects()
        honesty = summary["honesty"]
        assert (honesty["lost"], honesty["unpaired"], honesty["overwritten"]) == (0, 0, 0)
        assert honesty["expired"] == threads  # each thread's last exit: counted by the kernel, never paired
        found = {reason["code"]: reason["count"] for reason in summary["reasons"]}
        assert sum(found.values()) + threads == total
        assert all(found.get(code, 0) <= count for (_, code), count in kernel.items())
        assert found[0x7C] == 100 * ended  # what only those did that ended by themselves
        # The intervals leave nothing out: neither time nor exits.
        elapsed = [0.0, *(interval["elapsed"] for interval in intervals)]
        for interval, before, after in zip(intervals, elapsed, elapsed[1:], strict=False):
            assert interval["length"] == pytest.approx(after - before, abs=1e-5)
        assert sum(interval["totals"]["exits"] for interval in intervals) == sum(found.values())
        print(f"{len(intervals)} intervals, of up to {max(i['length'] for i in intervals):.1f} s")
    recorded = Recording(record)
    assert len(recorded) == len(runs[0].objects()) - 1
    assert sum(counts(recorded.close()).values()) + threads == total

    # After a third of half an hour the history, 300 intervals, has long been full.
    early, late = samples[len(samples) // 3], samples[-1]
    for (own, files, fds), (own_late, files_late, fds_late) in zip(early, late, strict=True):
        assert own_late + files_late < own + files + FLAT
        assert fds_late <= fds + 8  # a schedstat file for each vCPU that runs just now
