"""Where a vCPU's second goes, against guests that spend it in one known way."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from kvmtop.host.live import Live
from kvmtop.host.standstill import _taken_out
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import Interval
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import STATES

from ..hosts import qemu

GUEST = [sys.executable, "-m", "kvmtop.host.selftest_guest"]


@contextlib.contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv) as process:
        try:
            yield process
        finally:
            process.kill()


def watch(live: Live, intervals: int = 3, seconds: float = 2.0, settle: float = 3.0) -> tuple[Session, list[Interval]]:
    """Some intervals, once the guest is at work."""
    session = Session()
    time.sleep(settle)
    session.add(live.read())
    found = []
    for _ in range(intervals):
        time.sleep(seconds)
        found.append(session.add(live.read()))
    return session, found


def shares(interval: Interval, row: int) -> dict[str, float]:
    return dict(zip(STATES, interval.budget[row] / interval.known[row], strict=True))


def check(argv: list[str], vcpus: int = 1) -> list[list[dict[str, float]]]:
    live = Live()
    with running(argv):
        _, intervals = watch(live)
        final = live.read()
    live.close()
    assert len(final.threads) == vcpus and final.told == STATES
    found = [[shares(interval, row) for row in range(vcpus)] for interval in intervals]
    for interval in found:
        for vcpu in interval:
            assert sum(vcpu.values()) == pytest.approx(1, abs=0.001), vcpu
    print(argv, found)
    return found


def test_a_spinning_guest_is_in_the_guest() -> None:
    # Where there are two CPUs, on the one that has no tick while it runs a single task (nohz_full=1).
    pinned = ["taskset", "-c", "1"] if len(os.sched_getaffinity(0)) > 1 else []
    found = check([*pinned, *GUEST, "cpuid:1", "spin:0"])
    assert statistics.median(vcpu["guest"] for (vcpu,) in found) > 0.95, found  # one may fall on a busy moment


def test_a_halted_guest_is_idle() -> None:
    for (vcpu,) in check([*GUEST, "--irqchip", "cpuid:1", "hlt:1"]):
        assert vcpu["idle"] > 0.95, vcpu


def test_a_vmm_that_sleeps_is_blocked_time_of_io() -> None:
    live = Live()
    with running([*GUEST, "--io-sleep", "0.02", "cpuid:1", "out:0"]):
        _, intervals = watch(live)
    live.close()
    for interval in intervals:
        vcpu = shares(interval, 0)
        # The last 4 ms of each 20 it spends awake (selftest_guest.py).
        assert vcpu["blocked"] > 0.5 and vcpu["blocked"] + vcpu["user"] > 0.8, vcpu
        assert sum(vcpu.values()) == pytest.approx(1, abs=0.001), vcpu
        io = max(by_reason(interval), key=lambda reason: reason.time)
        assert io.name in ("io", "IO_INSTRUCTION") and not io.idle
        assert io.time > 0.8 * interval.seconds * 1e9 and sum(io.parts.values()) == io.time
        assert io.parts["blocked"] + io.parts["user"] > 0.9 * io.time


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs: one for the guest, one for the reader")
def test_two_spinning_vcpus_on_one_cpu_wait_for_each_other() -> None:
    for interval in check(["taskset", "-c", "1", *GUEST, "--vcpus", "2", "cpuid:1", "spin:0"], vcpus=2):
        for vcpu in interval:
            assert vcpu["wait"] == pytest.approx(0.5, abs=0.1), vcpu
            assert vcpu["guest"] == pytest.approx(0.5, abs=0.1), vcpu


@pytest.mark.parametrize("how", ["stop", "SIGSTOP"])
def test_a_vm_that_stands_still_is_told_once_and_as_what_it_is(how: str) -> None:
    with qemu.guest("web01", 1) as process:
        qemu.wait_until_up(process, 180)
        live, session = Live([process.pid]), Session()
        time.sleep(1)
        session.add(live.read())
        for _ in range(8):
            if how == "stop":
                qemu.monitor(process, "stop")
            else:
                process.send_signal(signal.SIGSTOP)
            for _ in range(5):
                time.sleep(1)
                interval = session.add(live.read())
            vm, vcpu = vcpu_rows(session, interval)
            if how == "SIGSTOP" or _taken_out(interval.after.threads).any():
                break
            # It was in the VMM when it was stopped, which may still be about to answer: not known to be a pause.
            assert not vm.outside
            qemu.monitor(process, "cont")
            time.sleep(1)
        process.send_signal(signal.SIGCONT)
        live.close()
    assert vcpu.shares is not None and vcpu.shares["blocked"] > 0.95, vcpu
    assert sum(vcpu.shares.values()) == pytest.approx(1, abs=0.001)
    assert vm.outside and vm.outside.where == ("paused" if how == "stop" else "stopped") and vm.outside.ns > 3e9, vm
    assert not vm.stuck and not vcpu.stuck
