"""A QEMU's threads beside its vCPUs: what kvmtop tells of them is what /proc says of the same time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kvmtop.host.live import Live
from kvmtop.insight.findings import findings
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.session import Session
from kvmtop.output.json_lines import interval_line
from kvmtop.reference.labels import Labels

from ..hosts import qemu

VIRTIO = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
NULL = "driver=null-co,node-name=%s,size=1073741824,read-zeroes=on"
# Reading it takes the I/O thread more than it takes the guest to ask: all is read four times, and compared.
DISK = [
    *("-object", "iothread,id=io1"),
    *[part for name in "abcd" for part in ("-blockdev", NULL % name)],
    *("-blockdev", "driver=blkverify,node-name=ab,test=a,raw=b"),
    *("-blockdev", "driver=blkverify,node-name=cd,test=c,raw=d"),
    *("-blockdev", "driver=blkverify,node-name=disk,test=ab,raw=cd"),
    *("-device", "virtio-blk-pci,drive=disk,iothread=io1"),
]
READ = "for i in 1 2 3 4; do while :; do dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null; done & done"
Figures = dict[int, tuple[int, int]]  # by tid: ns on a CPU, and ns of waiting


def said(pid: int) -> Figures:
    """What /proc says of a process's threads."""
    found = {}
    for tid in map(int, os.listdir(f"/proc/{pid}/task")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # workers come and go
            cpu, wait, _ = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()
            found[tid] = int(cpu), int(wait)
    return found


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A guest that reads a disk that is as fast as its I/O thread."""
    with qemu.guest("disk01", 1, 192, "6.1", *DISK, work=READ, modules=VIRTIO) as process:
        qemu.wait_until_up(process, 180)
        yield process


def test_figures_are_procs(process: subprocess.Popen[bytes]) -> None:
    """Each reading lies between what /proc says right before and after it, and so do the JSON's shares."""
    live, session = Live(), Session()
    readings: list[tuple[Figures, Figures, dict[int, int], dict[str, Any]]] = []
    for _ in range(6):
        time.sleep(1)
        before = said(process.pid)
        snapshot = live.read()
        after = said(process.pid)
        line = json.loads(interval_line(session, session.add(snapshot), Labels()))
        times = {int(row["id"]) & 0xFFFFFFFF: int(row["time_ns"]) for row in snapshot.others}
        readings.append((before, after, times, line))
    live.close()
    checked = set()
    for (early, early_after, then, _), (late, late_after, now, line) in pairwise(readings):
        (vm,) = line["vms"]
        vcpus = {vcpu["tid"] for vcpu in vm["vcpus"]}
        threads = {thread["tid"]: thread for thread in vm["threads"]}
        lasting = early.keys() & late_after.keys()
        assert threads.keys() >= lasting - vcpus and not threads.keys() & vcpus
        for tid in lasting & then.keys() & now.keys():
            length, thread, rest = now[tid] - then[tid], threads[tid], 1.0
            for number, share in enumerate((thread["busy"], thread["wait"])):
                least = late[tid][number] - early_after[tid][number]
                most = late_after[tid][number] - early[tid][number]
                # A thread at its limit: its figures and the clock are read one after the other, and it has no more than 1.
                assert min(least / length, rest) - 2e-6 <= share <= most / length + 2e-6, (tid, thread, least, most)
                rest -= share
            checked.add((thread["role"], thread["name"]))
    assert {("main", "qemu-system-x86"), ("io", "IO io1")} <= checked, checked


@contextlib.contextmanager
def apart(pid: int, comm: str) -> Iterator[None]:
    """A thread of a process has a CPU for itself; its other threads, and the test, have another."""
    every = os.sched_getaffinity(0)
    for tid in map(int, os.listdir(f"/proc/{pid}/task")):
        alone = Path(f"/proc/{pid}/task/{tid}/comm").read_text().strip() == comm
        os.sched_setaffinity(tid, {max(every) if alone else min(every)})
    os.sched_setaffinity(0, {min(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def test_an_io_thread_at_its_limit_is_found(process: subprocess.Popen[bytes]) -> None:
    live, session, texts = Live(), Session(), list[str]()
    with apart(process.pid, "IO io1"):
        for _ in range(30):  # a busy machine gives the guest's CPU less than it needs to ask for more
            time.sleep(1)
            interval = session.add(live.read())
            rows = vcpu_rows(session, interval)
            texts += [found.text for found in findings(session, interval, rows, Labels(interval.after.names))]
            if any(text.startswith("IO io1 of disk01 is on a CPU ") for text in texts):
                break
        else:
            pytest.fail(f"only {texts}")
    live.close()
