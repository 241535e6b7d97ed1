"""kvm_exit as a raw tracepoint: it takes over in mid-run and counts the same; read at a wrong place, it never counts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from kvmtop.bpf.btf import Btf
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.kvm_exit import CLASSIC, ENOUGH, RAW
from kvmtop.host.selftest_guest import Apart, Step
from kvmtop.model.snapshot import Snapshot

from . import truth
from .scenarios import until_stopped

GUEST = ("--vcpus", "2", "cpuid:1500", "out:200", "rdmsr:30", "mmio:7", "hlt:3")
VMX = ("exit_reason.full", "vt.exit_reason.full")  # before and since 6.16
CHECKED = f"{CLASSIC}: the raw one is being checked"


@contextlib.contextmanager
def taking_over(collector: Collector) -> Iterator[None]:
    """The raw one takes over in the block."""
    seen, stop = set[str](), threading.Event()

    def read() -> None:
        while not stop.wait(0.05):
            seen.add((collector.read().counted_by or "").partition(",")[0])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
    assert seen == {CHECKED, RAW}


def nothing_missed(snapshot: Snapshot) -> bool:
    return (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)


def no_map_calls(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classic program misses what happens while a map's system call is on its CPU: none until the raw one counts."""
    retire = collector._retire

    def later(*rows: Any) -> None:
        if collector._exits.how.startswith(RAW):
            retire(*rows)

    monkeypatch.setattr(collector, "_retire", later)


def test_the_raw_one_takes_over_in_mid_run_and_every_exit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    no_map_calls(collector, monkeypatch)
    with truth.counting(*truth.BY_THREAD) as kernel:
        with taking_over(collector):
            truth.run_guest("--vcpus", "3", "cpuid:2000", *GUEST[3:])  # more than there are CPUs
        truth.run_guest("--vcpus", "3", "cpuid:1000", "out:50")  # whose threads the raw one alone has seen
        kernel.read()
    snapshot = collector.close()
    assert truth.by_thread(snapshot) == kernel and nothing_missed(snapshot)
    assert sorted(snapshot.threads["vcpu"].tolist()) == [0, 0, 1, 1, 2, 2]


def test_it_takes_over_while_guests_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    collector, pids = Collector(threads=128), deque[int]()
    no_map_calls(collector, monkeypatch)
    with truth.counting(*truth.BY_THREAD) as kernel:
        with taking_over(collector):
            for number in range(24):  # two at a time
                pids.append(truth.start([Step("cpuid", 50 + number), Step("out", 3)], vcpus=1 + number % 3))
                if number:
                    os.waitpid(pids.popleft(), 0)
            os.waitpid(pids.popleft(), 0)
        kernel.read()
    snapshot = collector.close()
    assert truth.by_thread(snapshot) == kernel and nothing_missed(snapshot)
    assert len(snapshot.threads) == snapshot.ended_threads == sum(1 + number % 3 for number in range(24))


def test_it_takes_over_forty_times_and_misses_none() -> None:
    """An exit that is under way when the programs change has one of them: without a grace period, one time of ten not.

    The kernel's own count comes before them in the event, so more are under way.
    """
    collector = Collector()
    try:
        with truth.counting() as kernel:
            argv = [sys.executable, "-m", "kvmtop.host.selftest_guest", "--vcpus", "2", "cpuid:0"]
            with subprocess.Popen(argv) as guest:
                while len(collector._read().threads) < 2:  # without update(), which takes over itself
                    time.sleep(0.1)
                for _ in range(40):
                    collector._exits._take_over()
                    guest.send_signal(signal.SIGSTOP)
                    until_stopped(guest.pid)
                    collector._probes.attach(collector._tracefs, {"on_exit"})
                    collector._probes.detach({"on_exit_raw"})
                    guest.send_signal(signal.SIGCONT)
                    time.sleep(0.01)
                guest.kill()
            kernel.read()
    finally:
        snapshot = collector.close()
    assert truth.counted(snapshot) == kernel and nothing_missed(snapshot), snapshot.caveats


def test_of_two_vms_only_the_one_that_is_watched_is_checked_and_counted() -> None:
    mine = [Apart([Step("cpuid", count), Step("out", 200)]) for count in (4_000, 1_000)]
    other = truth.start([Step("cpuid", 0)], vcpus=2)
    try:
        collector = Collector([one.pid for one in mine])
        with truth.counting(*truth.BY_THREAD) as kernel:
            with taking_over(collector):
                mine[0].run(300)
            mine[1].run(300)  # which the raw one alone has seen
            unwatched = {int(tid) for tid in os.listdir(f"/proc/{other}/task")}
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
            kernel.read()
        snapshot = collector.close()
    finally:
        for one in mine:
            one.close()
    watched = {key: count for key, count in kernel.items() if key[0] not in unwatched}
    assert truth.by_thread(snapshot) == watched and nothing_missed(snapshot)
    assert (snapshot.threads["id"] >> 32).tolist() == [one.pid for one in mine]
    assert sum(kernel.values()) - sum(watched.values()) > 2 * ENOUGH


def test_what_is_known_counts_from_the_start() -> None:
    collector = Collector(checked=True)
    with truth.counting() as kernel:
        truth.run_guest(*GUEST)
        kernel.read()
    snapshot = collector.close()
    assert snapshot.counted_by == RAW and truth.counted(snapshot) == kernel and nothing_missed(snapshot)


@pytest.mark.parametrize(
    ("members", "by"),
    [
        pytest.param({"vmcb", *VMX}, 16, id="vmcb"),
        pytest.param({"control.exit_code", *VMX}, 8, id="reason", marks=pytest.mark.long),
        pytest.param({"control.exit_code", *VMX}, 1, id="byte", marks=pytest.mark.long),
        pytest.param({"vcpu_id"}, 8, id="vcpu"),
    ],
)
def test_a_wrong_place_is_found_out(monkeypatch: pytest.MonkeyPatch, members: set[str], by: int) -> None:
    offset = Btf.offset

    def wrong(self: Btf, structure: str, path: str) -> int | None:
        found = offset(self, structure, path)
        return found + by if found is not None and path in members else found

    monkeypatch.setattr(Btf, "offset", wrong)
    collector = Collector()
    with truth.counting() as kernel:
        for _ in range(2):
            truth.run_guest(*GUEST)
            assert (collector.read().counted_by or "").startswith(f"{CLASSIC}: the raw one differed in ")
        kernel.read()
    snapshot = collector.close()
    assert truth.counted(snapshot) == kernel and nothing_missed(snapshot)
    assert sorted(snapshot.threads["vcpu"].tolist()) == [0, 0, 1, 1]
