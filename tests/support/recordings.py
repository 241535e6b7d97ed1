"""Recordings made and compared."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.apic import Apic
from kvmtop.model.scheduling import Scheduling
from kvmtop.model.scope import ALL
from kvmtop.model.snapshot import Details, Snapshot, Stacks
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


# Fields that no recording has, and why. Whoever adds one stores it, or says so here.
NOT_STORED = {
    "Snapshot.base": "a store's reader knows it from the segment before",
    "Snapshot.price": "what the probes take here and now: its figures are of moments, not of intervals",
    "Snapshot.timeline": "each single exit of the last moments: what is slow of it is stored",
}


def differences(name: str, found: Any, told: Any) -> Iterator[str]:
    """Which parts of it are not the same, by their names."""
    if isinstance(told, (Snapshot, Details, Scheduling, Stacks, Apic)):
        if type(found) is not type(told):
            yield name
            return
        for field in fields(told):
            full, (its, whole) = (
                f"{type(told).__name__}.{field.name}",
                (getattr(one, field.name) for one in (found, told)),
            )
            if full in NOT_STORED:
                continue
            # What is counted from has counters alone: nobody looks up what was called how then.
            if full != "Stacks.base":
                yield from differences(full, its, whole)
            elif not same(its, whole) or its.time_ns != whole.time_ns or its.start_ns != whole.start_ns:
                yield full
    elif isinstance(told, np.ndarray):
        if told.dtype.names is None:
            if not np.array_equal(found, told):
                yield name
        elif found.dtype != told.dtype or len(found) != len(told):
            yield name
        else:
            yield from (f"{name}[{n}]" for n in {*told.dtype.names} - LEFT_OUT if not np.array_equal(found[n], told[n]))
    elif found != told:
        yield name
