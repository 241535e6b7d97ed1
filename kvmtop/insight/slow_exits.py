"""Single slow exits: which vCPU, how long, where the time went, and what the guest was doing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..model.arrays import Array
from ..model.exit_stats import by_reason
from ..model.histogram import BUCKETS, bucket_bounds
from ..model.interval import Interval
from ..model.keys import pack, unpack
from ..model.scope import Scope
from ..model.snapshot import NO_INFO, SLOW, Snapshot
from ..model.vocabulary import KINDS, OUTSIDE, Key


@dataclass(frozen=True)
class Slow:
    """One slow exit. Times in ns."""

    time: float  # when it ended, seconds since the epoch
    ended_ns: int  # the same, CLOCK_MONOTONIC
    vm: str
    pid: int
    tid: int
    vcpu: int
    isa: int
    code: int
    name: str
    ns: int
    parts: Mapping[str, int]  # ns of it in each of OUTSIDE that is told
    rip: int  # 0: not known
    info: tuple[int, int] | None
    cpu: int
    kind: str  # what it touched first; "" where nothing is known
    value: int
    extra: int


def read(rows: Array, snapshot: Snapshot) -> list[Slow]:
    """Rows of dtype SLOW as Slows, in their order."""
    # As the clocks were then, of a recording.
    ahead = (snapshot.wall_ns - snapshot.time_ns) / 1e9 if snapshot.wall_ns else time.time() - time.monotonic()
    found = []
    for row in rows:
        item = dict(zip(SLOW.names or (), row.tolist(), strict=True))
        pid, tid = unpack(item["id"])
        parts = {state: item[state] for state in OUTSIDE[1:] if state in snapshot.told}
        vm = snapshot.vms.get(pid)
        found.append(
            Slow(
                time=item["time_ns"] / 1e9 + ahead,
                ended_ns=item["time_ns"],
                vm=vm.name if vm else f"pid {pid}",
                pid=pid,
                tid=tid,
                # Two probes have timed it, one after the other: their clocks may be some ns apart.
                parts={"kernel": max(item["ns"] - sum(parts.values()), 0), **parts},
                info=None if item["info1"] == NO_INFO else (item["info1"], item["info2"]),
                code=item["reason"],
                name=snapshot.names.name(item["isa"], item["reason"]),
                kind=KINDS[item["kind"] % len(KINDS)],
                **{name: item[name] for name in ("vcpu", "isa", "ns", "rip", "cpu", "value", "extra")},
            )
        )
    return found


def in_scope(found: Iterable[Slow], scope: Scope, snapshot: Snapshot) -> list[Slow]:
    """Those of a scope's vCPUs, in their order."""
    if scope.thread is None:
        return [one for one in found if scope.pid in (None, one.pid)]
    mine = set(snapshot.threads["id"][scope.mask(snapshot)].tolist())
    return [one for one in found if pack(one.pid, one.tid) in mine]


def threshold(interval: Interval, only: Key | None = None, most: int = 60) -> int:
    """ns: a duration that about so many exits a second, idle ones aside, reach."""
    left = most * interval.seconds
    hist = np.zeros(BUCKETS, "i8")
    for reason in by_reason(interval):
        if not reason.idle and only in (None, reason.key):
            hist += np.array(reason.hist)
    for index in range(BUCKETS - 1, 0, -1):
        left -= int(hist[index])
        if left < 0:
            return bucket_bounds(index)[1]
    return 1
