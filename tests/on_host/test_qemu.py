"""Real QEMU guests: names found, and every exit counted, also by perf."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kvmtop.host.live import Live
from kvmtop.model.exit_stats import by_reason, counts
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import SVM

from ..hosts import qemu
from . import truth
from .exact import perf_events


def test_two_guests_boot_and_idle() -> None:
    live = Live()
    with truth.counting() as kernel:
        with qemu.guest("web01", 2) as web, qemu.guest("db01", 1) as db:
            qemu.wait_until_up(web, 180)
            qemu.wait_until_up(db, 180)
            time.sleep(10)
            live.read()  # names are looked up while there is somebody to ask
            time.sleep(10)
            for process in (web, db):
                process.kill()
                process.wait()
        kernel.read()
    snapshot = live.close()
    assert truth.counted(snapshot) == kernel
    assert snapshot.lost == 0
    assert {vm.pid: vm.name for vm in snapshot.vms.values()} == {web.pid: "web01", db.pid: "db01"}
    assert sorted(snapshot.threads["vcpu"].tolist()) == [0, 0, 1]
    seen = {reason.name for reason in by_reason(diff(None, snapshot)) if reason.count}
    print(sorted(seen))
    if snapshot.isa == SVM:
        assert {"hlt", "msr", "io", "interrupt", "cpuid", "npf"} <= seen


@pytest.mark.skipif(not shutil.which("perf"), reason="perf is not installed (Debian's linux-perf)")
def test_perf_kvm_stat_counts_the_same(tmp_path: Path) -> None:
    live = Live()
    data = tmp_path / "perf.data"
    perf = subprocess.Popen(["perf", "kvm", "stat", "record", "-a", "-o", data], stderr=subprocess.PIPE)
    while perf.poll() is None and not perf_events(perf.pid):  # it does not say when it has begun
        time.sleep(0.1)
    time.sleep(2)
    with truth.counting() as kernel:
        truth.run_guest("--vcpus", "2", "cpuid:3000", "out:200", "rdmsr:300", "mmio:20", "hlt:10")
        kernel.read()
    perf.send_signal(signal.SIGINT)
    _, said = perf.communicate(timeout=60)
    snapshot = live.close()
    report = subprocess.run(
        ["perf", "kvm", "-i", data, "stat", "report"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    theirs = {
        m[1].lower(): int(m[2])
        for m in re.finditer(r"^\s*(\S+)\s+(\d+)\s+[\d.]+%", report.stdout + report.stderr, re.M)
    }
    ours = {snapshot.names.name(*key).lower(): count for key, count in counts(snapshot).items()}
    print(f"{'reason':<20} {'kvmtop':>8} {'perf':>8} {'kernel':>8}")
    for (isa, code), count in kernel.items():
        name = snapshot.names.name(isa, code).lower()
        print(f"{name:<20} {ours.get(name, 0):>8} {theirs.get(name, 0):>8} {count:>8}")
    assert theirs, (report.stdout, report.stderr, said)
    for name, count in theirs.items():
        assert ours.get(name) == count, name
    assert truth.counted(snapshot) == kernel
