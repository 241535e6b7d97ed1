"""The kernel's own count of the exits, by a histogram trigger: independent of BPF."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvmtop.host.selftest_guest import Guest, Step
from kvmtop.model.exit_stats import counts
from kvmtop.model.snapshot import Snapshot

EVENT = Path("/sys/kernel/tracing/events/kvm/kvm_exit")
TRIGGER = "hist:keys=exit_reason,isa"


class Truth(dict[tuple[int, int], int]):
    """(isa, reason) → events."""

    def read(self) -> Truth:
        found = re.finditer(r"exit_reason:\s+(\d+), isa:\s+(\d+) } hitcount:\s+(\d+)", (EVENT / "hist").read_text())
        self.update({(int(m[2]), int(m[1]) & 0xFFFFFFFF): int(m[3]) for m in found})
        return self


@contextlib.contextmanager
def counting() -> Iterator[Truth]:
    """Counts while the block runs; read() the result in it."""
    (EVENT / "trigger").write_text(TRIGGER)
    try:
        yield Truth()
    finally:
        (EVENT / "trigger").write_text(f"!{TRIGGER}")


def counted(snapshot: Snapshot) -> dict[tuple[int, int], int]:
    """What kvmtop counted, with the exits still open: those the kernel has counted too."""
    found = counts(snapshot)
    threads = snapshot.threads[snapshot.threads["exit_ns"] != 0]
    for isa, reason in zip(threads["isa"].tolist(), threads["reason"].tolist(), strict=True):
        found[isa, reason] = found.get((isa, reason), 0) + 1
    return {key: count for key, count in found.items() if count}


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
