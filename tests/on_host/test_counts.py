"""Counts equal the kernel's own, to the event; times agree with a known truth."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.host.selftest_guest import Guest, Step
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import SVM
from kvmtop.output import summary

from . import truth

SCRIPT = ("cpuid:3000", "out:50", "in:20", "rdmsr:30", "wrmsr:40", "mmio:7", "hlt:3")


def codes(snapshot: Snapshot) -> dict[str, int]:
    """Codes of the known exits on this isa."""
    if snapshot.isa == SVM:
        return {"cpuid": 0x72, "io": 0x7B, "rdmsr": 0x7C, "wrmsr": 0x7C, "hlt": 0x78}
    return {"cpuid": 10, "io": 30, "rdmsr": 31, "wrmsr": 32, "hlt": 12}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.mark.parametrize("vcpus", [1, 4])
@pytest.mark.parametrize("fallback", [{}, {"use_mmap": False, "use_raw": False}], ids=["", "without-mmap-and-raw"])
def test_every_exit_is_counted(vcpus: int, fallback: dict[str, bool]) -> None:
    collector = Collector(**fallback)  # type: ignore[arg-type]
    with truth.counting() as kernel:
        truth.run_guest("--vcpus", str(vcpus), *SCRIPT)
        kernel.read()
    snapshot = collector.close()
    assert truth.counted(snapshot) == kernel
    code = codes(snapshot)
    assert kernel[snapshot.isa, code["cpuid"]] == 3000 * vcpus
    assert kernel[snapshot.isa, code["io"]] == 71 * vcpus  # 50 + 20 and the one that ends it
    assert kernel[snapshot.isa, code["hlt"]] == 3 * vcpus
    assert sum(kernel[snapshot.isa, c] for c in {code["rdmsr"], code["wrmsr"]}) == 70 * vcpus
    assert (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)
    assert sorted(snapshot.threads["vcpu"].tolist()) == list(range(vcpus))
    for reason in by_reason(diff(None, snapshot)):
        if reason.count:
            assert reason.min is not None and reason.max is not None and reason.avg is not None
            assert 0 < reason.min <= reason.avg <= reason.max
            assert sum(reason.hist) == reason.count


def test_times_against_a_vmm_that_sleeps(collector: Collector) -> None:
    guest = Guest([Step("cpuid", 100), Step("out", 50)], io_sleep=0.02)
    guest.run()
    guest.close()
    snapshot = collector.close()
    io = next(r for r in by_reason(diff(None, snapshot)) if r.code == codes(snapshot)["io"])
    assert io.count == 50 and io.min is not None
    assert io.min >= 20_000_000
    # 1.0 s, but for what a busy machine adds to it: the VMM tells what it really slept.
    assert guest.io_seconds >= 1.0
    assert io.total == pytest.approx(guest.io_seconds * 1e9, rel=0.05)
    print(f"50 exits of 20 ms: {io.total / 1e9:.3f} s, the VMM says {guest.io_seconds:.3f} s")
    assert io.parts["user"] + io.parts["blocked"] > 0.9 * io.time
    assert io.parts["blocked"] > 0.7 * io.time  # it sleeps, but for what it takes to sleep
    assert io.percentile(0.5) == pytest.approx(20_000_000, rel=0.2)
    line = next(line for line in summary.text(snapshot).splitlines() if line.startswith(("0x07b:", "30:")))
    _, count, total, low, avg, high = line.replace(":", "").split()
    assert int(count) == 50 and int(low) >= 20_000 and int(total) // 50 == int(avg) <= int(high)


def test_pid_filters_in_the_kernel() -> None:
    other = subprocess.Popen([sys.executable, "-m", "kvmtop.host.selftest_guest", "cpuid:0"])
    mine = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.stdin.read(1); from kvmtop.host.selftest_guest import main; main(sys.argv[1:])",
            *SCRIPT,
        ],
        stdin=subprocess.PIPE,
    )
    collector = Collector([mine.pid])
    mine.communicate(b"\n", timeout=60)
    snapshot = collector.close()
    other.kill()
    other.wait()
    assert truth.only(snapshot, mine.pid)
    assert truth.counted(snapshot)[snapshot.isa, codes(snapshot)["cpuid"]] == 3000
    assert snapshot.userspace > 0


def test_counts_hold_while_they_are_read(collector: Collector) -> None:
    snapshots: list[Snapshot] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.01):
            snapshots.append(collector.read())

    reader = threading.Thread(target=read)
    with truth.counting() as kernel:
        reader.start()
        truth.run_guest("--vcpus", "2", "cpuid:20000", "out:200")
        kernel.read()
    stop.set()
    reader.join()
    final = collector.close()
    assert truth.counted(final) == kernel
    assert len(snapshots) > 5
    before, shares, spent, known = None, [], 0, 0
    for snapshot in [*snapshots, final]:
        interval = diff(before, snapshot)
        assert (interval.rows["count"] >= 0).all()
        if before is not None and len(snapshot.threads):
            shares += (interval.budget.sum(axis=1) / np.maximum(interval.known, 1)).tolist()
            spent, known = spent + int(interval.budget.sum()), known + int(interval.known.sum())
        before = snapshot
    # No vCPU spends more than there was. An emulated CPU may stand still in the middle of a probe, for ms: what a
    # reading misses then, the next one has too much. So all together are exact, and nearly each one is.
    assert spent == pytest.approx(known, rel=0.02)
    assert sum(share > 1.02 for share in shares) <= 0.05 * len(shares) + 1, shares
