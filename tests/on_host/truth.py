"""The kernel's own count of the exits, by a histogram trigger: independent of BPF."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvmtop.host.selftest_guest import Guest, Step
from kvmtop.model.exit_stats import counts
from kvmtop.model.nesting import together
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import NESTED

EVENT = Path("/sys/kernel/tracing/events/kvm/kvm_exit")
MOST_KEYS = 3  # TRACING_MAP_KEYS_MAX
BY_REASON: tuple[str, ...] = ("isa", "exit_reason")
BY_THREAD = ("common_pid", "vcpu_id", "exit_reason")  # a thread is on one CPU at a time


class Truth(dict[tuple[int, ...], int]):
    """The values of the keys, (isa, reason) if not told otherwise → events."""

    event, fields = EVENT, BY_REASON

    def read(self) -> Truth:
        self.clear()
        text = (self.event / "hist").read_text()
        assert re.search(r"Dropped: 0\b", text), text
        for row in re.finditer(r"{ (.+) } hitcount:\s+(\d+)", text):
            values = [int(value) & 0xFFFFFFFF for value in re.findall(r":\s+(\d+)", row[1])]
            key = tuple(values[: len(self.fields)])
            self[key] = self.get(key, 0) + int(row[2])
        return self


@contextlib.contextmanager
def counting(*keys: str, event: Path = EVENT) -> Iterator[Truth]:
    """Counts while the block runs; read() the result in it.

    By CPU, too: where two of them meet a key for the first time and the first is interrupted before it has stored it,
    the other gives up and drops its event (dup_try in kernel/trace/tracing_map.c).
    """
    found = Truth()
    found.event, found.fields = event, keys or BY_REASON
    by = [*found.fields, "cpu"] if len(found.fields) < MOST_KEYS else found.fields
    trigger = f"hist:keys={','.join(by)}"
    (event / "trigger").write_text(trigger)
    try:
        yield found
    finally:
        (event / "trigger").write_text(f"!{trigger}")


def counted(snapshot: Snapshot) -> dict[tuple[int, int], int]:
    """What kvmtop counted, with the exits still open: those the kernel has counted too. It knows no levels."""
    snapshot = together(snapshot)
    found = counts(snapshot)
    threads = snapshot.threads[snapshot.threads["exit_ns"] != 0]
    for isa, reason in zip((threads["isa"] & NESTED - 1).tolist(), threads["reason"].tolist(), strict=True):
        found[isa, reason] = found.get((isa, reason), 0) + 1
    return {key: count for key, count in found.items() if count}


def by_thread(snapshot: Snapshot) -> dict[tuple[int, ...], int]:
    """The same by thread, vCPU and reason, as counting(*BY_THREAD) has it; of few threads, none of which is added up."""
    threads, cells = snapshot.threads, snapshot.cells
    still_open = np.flatnonzero(threads["exit_ns"])
    found = Counter[tuple[int, ...]]()
    for rows, reasons, numbers in (
        (cells["thread"], cells["reason"], cells["count"]),
        (still_open, threads["reason"][still_open], np.ones(len(still_open), int)),
    ):
        tids, vcpus = threads["id"][rows] & 0xFFFFFFFF, threads["vcpu"][rows]
        for *key, number in zip(tids.tolist(), vcpus.tolist(), reasons.tolist(), numbers.tolist(), strict=True):
            found[tuple(key)] += number
    return dict(+found)


def instants(reading: Snapshot) -> dict[int, int]:
    """Up to when each thread's states are counted (ns), by its row's id: threads are read one after the other."""
    ends = reading.threads["first_ns"] + reading.threads["states"].sum(axis=1)
    return dict(zip(reading.thread_ids.tolist(), ends.tolist(), strict=True))


def run_guest(*arguments: str) -> int:
    """Run the known guest to its end; its pid."""
    with subprocess.Popen([sys.executable, "-m", "kvmtop.host.selftest_guest", *arguments]) as process:
        assert process.wait() == 0
    return process.pid


def start(steps: Sequence[Step], **options: Any) -> int:
    """A guest in a child of this process, which spares a new Python; its pid, once it is about to run."""
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            guest = Guest(steps, **options)
            os.write(tell, b".")
            guest.run()
        finally:
            os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def only(snapshot: Snapshot, pid: int) -> bool:
    """Whether all threads of a Snapshot are this process's."""
    return bool(np.all(snapshot.threads["id"] >> np.uint64(32) == pid))
