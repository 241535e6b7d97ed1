"""Recordings made and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.codec import Counters
from kvmtop.recording.writer import Recorder

from .fake import Busy

LEFT_OUT = {"cells", "next"}  # links of the BPF maps


def same(found: Snapshot | Counters, snapshot: Snapshot) -> bool:
    """Whether all counters are equal, in the same rows."""
    arrays = [(found.threads, snapshot.threads), (found.cells, snapshot.cells)]
    names = [set(array.dtype.names or ()) - LEFT_OUT for array, _ in arrays]
    return (
        all(len(a) == len(b) for a, b in arrays)
        and all((a[n] == b[n]).all() for (a, b), which in zip(arrays, names, strict=True) for n in which)
        and np.array_equal(found.thread_ids, snapshot.thread_ids)
        and np.array_equal(found.cell_ids, snapshot.cell_ids)
        and found.run_delay == snapshot.run_delay
        and found.cpus == snapshot.cpus
    )


SCALARS = ("time_ns", "start_ns", "lost", "userspace", "unpaired", "overwritten", "expired", "names", "vms")


def record(path: Path, samples: int = 10, host: Busy | None = None) -> list[Snapshot]:
    """All Snapshots that were recorded, the final one too."""
    recorder = Recorder(host or Busy(), path)
    found = [recorder.read() for _ in range(samples)]
    found.append(recorder.close())
    assert recorder.trouble is None
    return found


def equal(found: Snapshot, snapshot: Snapshot) -> bool:
    return same(found, snapshot) and all(getattr(found, name) == getattr(snapshot, name) for name in SCALARS)
