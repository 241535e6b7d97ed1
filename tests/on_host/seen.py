"""What kvmtop tells of the scheduler between two readings, in the words of culprits_truth.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import numpy as np

from kvmtop.model import scheduling
from kvmtop.model.scheduling import Scheduling
from kvmtop.model.snapshot import Snapshot

from .culprits_truth import Actor

WORDS = {
    scheduling.UNKNOWN: "unknown",
    scheduling.TASK: "task",
    scheduling.IDLE: "idle",
    scheduling.INTERRUPT: "interrupt",
    scheduling.SOFTIRQ: "softirq",
    scheduling.TIMER: "timer",
    scheduling.OTHER_INTERRUPT: "other",
}
TID = 0xFFFFFFFF  # of a packed id


class Charged(NamedTuple):
    """Between two readings."""

    times: int
    ns: int


def scheduling_of(reading: Snapshot) -> Scheduling:
    assert reading.scheduling is not None
    return reading.scheduling


def actor(row: Any) -> Actor:
    """Whom a row of charges is about."""
    word = WORDS[int(row["by"])]
    return word, int(row["who"]) & TID if word == "task" else int(row["who"])


def charged(before: Snapshot, after: Snapshot, kind: int) -> dict[int, dict[Actor, Charged]]:
    """What was charged between two readings, by the vCPU's tid."""
    old, new = scheduling_of(before), scheduling_of(after)
    then = dict(zip(old.charge_ids.tolist(), old.charges, strict=True))
    found: dict[int, dict[Actor, Charged]] = defaultdict(dict)
    for charge_id, row in zip(new.charge_ids.tolist(), new.charges, strict=True):
        if row["kind"] != kind:
            continue
        count, ns = int(row["count"]), int(row["ns"])
        if (first := then.get(charge_id)) is not None:
            count, ns = count - int(first["count"]), ns - int(first["ns"])
        if count or ns:
            mine = found[int(row["id"]) & TID]
            had = mine.get(actor(row), Charged(0, 0))  # one for each stack
            mine[actor(row)] = Charged(had.times + count, had.ns + ns)
    return found


def wakers(before: Snapshot, after: Snapshot) -> Counter[tuple[int, str, int]]:
    """How often each vCPU's thread was woken, by its tid and whom a hist trigger knows: see waking.py."""
    found: Counter[tuple[int, str, int]] = Counter()
    for tid, by in charged(before, after, scheduling.WOKEN).items():
        for (word, number), seen in by.items():
            word = "interrupt" if word in ("timer", "other") else word
            found[tid, word, number if word == "task" else 0] += seen.times
    return found


def latencies(before: Snapshot, after: Snapshot) -> dict[int, list[int]]:
    """The histogram of each vCPU's thread, by its tid."""
    found = {}
    then = {int(row["id"]): row["hist"].astype("i8") for row in scheduling_of(before).latencies}
    for row in scheduling_of(after).latencies:
        hist = row["hist"].astype("i8") - then.get(int(row["id"]), 0)
        found[int(row["id"]) & TID] = np.asarray(hist).tolist()
    return found
