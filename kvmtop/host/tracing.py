"""A stretch of time with every single exit in it, from this host to a file of its own until it is written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import bounded
from ..bpf.timeline import TimelineProbes
from ..model.arrays import Array
from ..model.keys import pack
from ..model.snapshot import Snapshot
from ..model.timeline import EXIT, NO_REASON, OPEN, RAN, SPAN
from ..model.vocabulary import STATES, Names, Vm

if TYPE_CHECKING:
    from .live import Live

PAUSE = 0.01  # seconds between two readings: a CPU's ring holds 8,192 exits, at 200,000/s 40 ms
READING = 1.0  # seconds between two readings of the counters, which keep the names of VMs that end
PIECE = 16_384  # records that are worked on at once
GUEST, KERNEL, USER, WAIT, THROTTLED = (STATES.index(name) for name in ("guest", "kernel", "user", "wait", "throttled"))


class Spool:
    """Exits and spans in two files without a name: memory does not grow with the trace."""

    def __init__(self, folder: Path | None = None) -> None:
        """folder: where they are. Raises OSError."""
        self._files = {name: tempfile.TemporaryFile(dir=folder) for name in ("exits", "spans")}  # noqa: SIM115
        self._dtypes = {"exits": EXIT, "spans": SPAN}
        self._parts = list[tuple[int, int]]()  # exits and spans that came together

    def add(self, exits: Array, spans: Array) -> None:
        """Raises OSError."""
        if not len(exits) and not len(spans):
            return
        for name, rows in (("exits", exits), ("spans", spans)):
            self._files[name].write(np.ascontiguousarray(rows).tobytes())
        if self._parts and sum(self._parts[-1]) + len(exits) + len(spans) <= PIECE:
            before = self._parts.pop()
            self._parts.append((before[0] + len(exits), before[1] + len(spans)))
        else:
            self._parts.append((len(exits), len(spans)))

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """All of them, piece by piece, in the order in which they came."""
        for file in self._files.values():
            file.seek(0)
        for exits, spans in self._parts:
            yield self._read("exits", exits), self._read("spans", spans)

    def _read(self, name: str, count: int) -> Array:
        dtype = self._dtypes[name]
        return np.frombuffer(self._files[name].read(count * dtype.itemsize), dtype)

    def close(self) -> None:
        """Let go of them."""
        for file in self._files.values():
            file.close()


@dataclass(frozen=True)
class Trace:
    """What was seen from start_ns to stop_ns (CLOCK_MONOTONIC); records may begin before and end after.

    A record whose number is 0 had not ended at stop_ns, or nobody saw how it began.
    """

    start_ns: int
    stop_ns: int
    wall_ns: int  # CLOCK_REALTIME at start_ns
    records: Spool
    names: Names
    vms: Mapping[int, Vm]  # by pid
    vcpus: Mapping[int, int]  # thread (tgid and tid, packed) → vCPU
    lost: Mapping[str, int] = field(default_factory=dict)  # exits, spans: overwritten before they were read
    missed: int = 0  # exits without an entry, and entries without an exit


def record(
    live: Live,
    probes: TimelineProbes,
    wait: Callable[[float], bool],
    seconds: float,
    spool: Spool,
    begun: Callable[[], object] = bool,
) -> Trace:
    """Record for so long, or until wait(seconds) is true. begun: is called once it has. Raises KvmtopError, and OSError
    of the spool."""
    probes.start()
    try:
        first = last = live.read()
        probes.skip()
        start = time.monotonic_ns()
        wall = time.time_ns()
        begun()
        vms, vcpus = dict(first.vms), _vcpus(first)
        end, read = time.monotonic() + seconds, time.monotonic() + READING
        while (left := end - time.monotonic()) > 0:
            ended = wait(min(PAUSE, left))
            spool.add(*probes.take())
            if ended:
                break
            if time.monotonic() > read:
                last, read = live.read(), time.monotonic() + READING
                vms, vcpus = {**vms, **last.vms}, vcpus | _vcpus(last)
        stop = time.monotonic_ns()
        probes.freeze()
        spool.add(*probes.take())
        last = live.read()
        spool.add(*still_open(first.threads, last.threads, probes.opens(), start, stop))
        spool.add(np.zeros(0, EXIT), who_runs(probes.running(), last.threads, stop))
    finally:
        probes.stop()
    return Trace(
        start_ns=start,
        stop_ns=stop,
        wall_ns=wall,
        records=spool,
        names=last.names,
        vms={**vms, **last.vms},
        vcpus=vcpus | _vcpus(last),
        lost={name: int(counts.sum()) for name, counts in probes.lost.items()},
        missed=probes.missed,
    )


def _vcpus(snapshot: Snapshot) -> dict[int, int]:
    return dict(zip(snapshot.threads["id"].tolist(), snapshot.threads["vcpu"].tolist(), strict=True))


def still_open(first: Array, last: Array, rows: Array, start: int, stop: int) -> tuple[Array, Array]:
    """What the rings do not tell: what was open at the end, and what threads did at the start until their first event.

    first, last: the threads of Snapshots, from the start and from the end on; rows: dtype OPEN, at the end.
    """
    exits, spans = list[Array](), list[Array]()
    now = {int(one["id"]): one for one in last}

    def end(one: int) -> int:
        """It may have ended before."""
        return min(int(now[one]["end_ns"]) or stop, stop)

    def leaves(one: int, guest: int, begin: int, source: np.void, seen: bool = True) -> None:
        """It was in the guest from `guest` on (0: it was not), and out of it from `begin` on."""
        out = np.zeros(1, EXIT)
        out["id"], out["guest_ns"], out["begin_ns"], out["end_ns"] = one, guest, begin, end(one)
        out["vcpu"], out["cpu"] = now[one]["vcpu"], now[one]["cpu"]
        for name in {"rip", "value", "kind", "extra", "reason", "isa"} & {*(source.dtype.names or ())}:
            out[name] = source[name]
        if not seen:
            out["reason"] = NO_REASON
        exits.append(out)

    def does(one: int, state: int, begin: int, end: int, row: np.void | None = None) -> None:
        if state in (GUEST, KERNEL) or begin >= end:
            return
        out = np.zeros(1, SPAN)
        out["id"], out["begin_ns"], out["end_ns"], out["cpu"] = one, begin, end, now[one]["cpu"]
        out["state"] = WAIT if state == THROTTLED else state
        if row is not None and state == WAIT:
            for name in ("waker", "comm", "by"):
                out[name] = row[name]
        spans.append(out)

    known = {int(row["id"]): row for row in rows if int(row["id"]) in now}
    for one, row in known.items():
        begin, guest, since, woken = (int(row[name]) for name in ("begin_ns", "guest_ns", "since_ns", "woken_ns"))
        if begin:
            leaves(one, guest, begin, row, not row["unseen"])
        elif guest:
            leaves(one, guest, end(one), row, False)
        elif row["unseen"] or row["state"] != GUEST:
            leaves(one, 0, start, row, False)
        if woken > since and row["state"] != WAIT:
            does(one, int(row["state"]), since, woken)
            does(one, WAIT, woken, end(one), row)
        else:
            does(one, int(row["state"]), since, end(one), row)
    for thread in first[first["end_ns"] == 0]:
        one, state = int(thread["id"]), int(thread["state"])
        if (seen := known.get(one)) is not None:
            does(one, state, start, min(int(seen["first_ns"]), stop))
        elif one in now and not now[one]["end_ns"]:  # nothing has happened to it
            if state == GUEST:
                leaves(one, start, stop, thread, False)
            else:
                leaves(one, 0, int(thread["exit_ns"]) or start, thread, thread["exit_ns"] > 0)
            does(one, state, start, stop)
    return (
        np.concatenate(exits) if exits else np.zeros(0, EXIT),
        np.concatenate(spans) if spans else np.zeros(0, SPAN),
    )


def who_runs(running: Iterable[tuple[int, int]], last: Array, stop: int, cpus: Container[int] | None = None) -> Array:
    """Who has each CPU (of these alone) at the end. running: as TimelineProbes has it; last: a Snapshot's threads."""
    alive = last[last["end_ns"] == 0]
    ids = {int(one["id"]) & 0xFFFFFFFF: int(one["id"]) for one in alive}
    on = {int(one["cpu"]): int(one["id"]) & 0xFFFFFFFF for one in alive if one["state"] <= USER}
    found = []
    for cpu, (since, tid) in enumerate(running):
        if not since:  # it has not switched at all: a vCPU's thread is known by its own events
            tid = on.get(cpu, 0)
        if tid and (cpus is None or cpu in cpus):
            out = np.zeros(1, SPAN)
            out["begin_ns"], out["end_ns"], out["cpu"], out["state"] = since, stop, cpu, RAN
            out["id"] = ids.get(tid) or pack(tid, tid)
            out["comm"] = _comm(tid)
            found.append(out)
    return np.concatenate(found) if found else np.zeros(0, SPAN)


def _comm(tid: int) -> bytes:
    try:
        return bounded.head(f"/proc/{tid}/comm").strip()[:16]
    except OSError:
        return b""


assert OPEN.itemsize % 8 == 0
