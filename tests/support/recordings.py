"""Recordings made and compared."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.scope import ALL
from kvmtop.model.snapshot import Snapshot
from kvmtop.output import batch, csv_rows, json_lines, stacks, summary
from kvmtop.recording.codec import Counters
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.reference.labels import Labels
from kvmtop.tables.reason_page import page

from .fake import Busy

LEFT_OUT = {"next", "pad"}


def same(found: Snapshot | Counters, snapshot: Snapshot) -> bool:
    """Whether all counters are equal, in the same rows."""
    found = found.whole() if isinstance(found, Counters) else found
    arrays = [(found.threads, snapshot.threads), (found.cells, snapshot.cells)]
    names = [set(array.dtype.names or ()) - LEFT_OUT for array, _ in arrays]
    return (
        all(len(a) == len(b) for a, b in arrays)
        and all((a[n] == b[n]).all() for (a, b), which in zip(arrays, names, strict=True) for n in which)
        and np.array_equal(found.thread_ids, snapshot.thread_ids)
        and np.array_equal(found.cell_ids, snapshot.cell_ids)
        and found.cpus == snapshot.cpus
        and found.told == snapshot.told
        and np.array_equal(found.others, snapshot.others)
    )


SCALARS = (
    "time_ns",
    "start_ns",
    "wall_ns",
    "lost",
    "userspace",
    "unpaired",
    "overwritten",
    "ended_threads",
    "names",
    "vms",
)


def record(path: Path, samples: int = 10, host: Busy | None = None) -> list[Snapshot]:
    """All Snapshots that were recorded, the final one too."""
    recorder = Recorder(host or Busy(), path)
    found = [recorder.read() for _ in range(samples)]
    found.append(recorder.close())
    assert recorder.trouble is None
    return found


def equal(found: Snapshot, snapshot: Snapshot) -> bool:
    return same(found, snapshot) and all(getattr(found, name) == getattr(snapshot, name) for name in SCALARS)


def complaint(path: Path, pids: tuple[int, ...] = ()) -> str:
    """What is said about a file that is no recording, in one line."""
    with pytest.raises(KvmtopError) as caught:
        look_at_all(path, pids)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < len(str(path)) + 300
    assert caught.value.status == 2
    return text


def look_at_all(path: Path, pids: tuple[int, ...] = ()) -> None:
    """Everything that a replay does with a file but for the screen."""
    found = Recording(path, pids)
    out = batch.Batch(io.StringIO(), Labels(), origin=found.origin)
    session = out.session
    for snapshot in found:
        out.write(snapshot)
    if session.interval:
        for line in session.lines(session.interval):
            page(session, session.interval, ALL, line.reason.key)
            break
        if len(session.interval.after.threads) < 20:  # else there is much to write
            json_lines.interval_line(session, session.interval, Labels(), found.origin)
            csv_rows.interval_rows(session, session.interval, found.origin)
    final = found.close()
    summary.text(final)
    stacks.text(final)
    stacks.folded(final)
    json_lines.summary_line(final, found.origin)
