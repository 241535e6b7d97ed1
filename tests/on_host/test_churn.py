"""Guests that come and go: nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time

import numpy as np

from kvmtop.bpf.collector import KEEP_ENDED, Collector
from kvmtop.host.selftest_guest import Step
from kvmtop.model.snapshot import Snapshot

from . import truth


def test_two_hundred_guests_killed_in_a_row() -> None:
    collector = Collector(threads=64)
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.5):
            collector.read()

    reader = threading.Thread(target=read)
    reader.start()
    with truth.counting() as kernel:
        for number in range(200):
            pid = truth.start([Step("cpuid", 20), Step("spin" if number % 2 else "cpuid", 0)])
            time.sleep(0.06)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if number == 100:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kernel.read()
    stop.set()
    reader.join()
    time.sleep(0.5)
    first = collector.read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory + 8_192  # KiB
    assert 190 <= first.ended_threads <= 200 and first.lost == 0  # one that is killed before it has run has no thread
    # Every slot and cell is free again: nothing of 200 threads is left in 64 slots.
    collector.read()
    assert not collector._maps["threads"].read()["head"]["id"].any()
    assert not collector._maps["cells"].read()["thread"].any()
    snapshot = collector.close()
    assert truth.counted(snapshot) == kernel
    assert len(snapshot.threads) <= KEEP_ENDED
    ended = snapshot.threads[snapshot.threads["end_ns"] > 0]
    lasted = ended["end_ns"] - ended["first_ns"]
    assert (ended["states"].sum(axis=1) == lasted).all()  # killed ones, too


def one_id_twice() -> Snapshot | None:
    """What was counted of two guests, the second with the first one's id; None where another process got that."""
    collector = Collector()
    pid = truth.start([Step("cpuid", 50)])
    os.waitpid(pid, 0)
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))
    again = truth.start([Step("cpuid", 70)])
    os.waitpid(again, 0)
    snapshot = collector.close()
    return snapshot if again == pid else None


def test_a_reused_thread_id_is_another_thread() -> None:
    """The second guest gets the first one's ids, whose last exit is still open: no pair may come of it."""
    snapshot = next(filter(None, (one_id_twice() for _ in range(3))), None)
    assert snapshot, "the kernel gave another id each time; nothing was tested"
    tids = snapshot.threads["id"]
    assert len(tids) == 2 and tids[0] == tids[1]
    assert (snapshot.unpaired, snapshot.overwritten, snapshot.ended_threads) == (0, 0, 2)
    cpuid = [c for c in snapshot.cells if c["count"] in (50, 70)]
    assert sorted(int(c["count"]) for c in cpuid) == [50, 70]
    assert np.all(snapshot.threads["exit_ns"] > 0)  # both ended outside the guest


def test_full_maps_count_what_they_lose() -> None:
    collector = Collector(threads=2)
    with truth.counting() as kernel:
        truth.run_guest("--vcpus", "4", "cpuid:100")
        kernel.read()
    snapshot = collector.close()
    assert len(snapshot.threads) == 2
    assert sum(truth.counted(snapshot).values()) + snapshot.lost == sum(kernel.values())
    assert snapshot.lost > 0
