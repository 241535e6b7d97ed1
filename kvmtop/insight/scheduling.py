"""Who had the CPU while vCPUs waited, who woke them, and what held them up, in an Interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..model.arrays import U64, Array, Mask, find
from ..model.histogram import BUCKETS, bucket_bounds, percentile
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scheduling import BEHIND, BLOCKED, TASK, UNKNOWN, WOKEN, Scheduling
from ..model.scope import Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES
from ..reference.waits import held_up
from ..sanitize import clean
from .actors import NOBODY_KNOWN, TOO_EARLY, Actor, Actors

WAIT = STATES.index("wait")
ROUNDING = 0.005  # of a wait that may have nobody without a word: its parts are read one after the other
ROUNDING_NS = 100_000


@dataclass(frozen=True)
class Culprit:
    """Somebody behind whom vCPUs of a scope waited in the interval; of kind "idle" the CPU had nobody else."""

    actor: Actor
    ns: int
    share: float  # of what the scope's vCPUs waited, as Interval.budget has it
    count: int


@dataclass(frozen=True)
class Waker:
    """Somebody who woke vCPUs of a scope."""

    actor: Actor
    count: int
    rate: float  # a second


@dataclass(frozen=True)
class Latency:
    """From being woken to running, ns; None is unknown."""

    count: int
    p50: float | None
    p99: float | None
    max: int | None  # since the look began, or what the histogram of the interval allows
    hist: tuple[int, ...]


@dataclass(frozen=True)
class HoldUp:
    """What vCPUs of a scope were blocked on, and who let them go on (None while nobody has)."""

    what: str  # "a lock or event (futex)", "read of /dev/vda", "swap-in" …
    stack: tuple[str, ...]  # kernel functions, the innermost first
    actor: Actor | None
    count: int  # that ended
    ns: int  # in the interval
    max: int  # ns, the longest since the look began


def change(interval: Interval) -> Array | None:
    """What the interval has of each thread, kind and actor: dtype CHARGE, with `max` since the look began; None while
    nobody looks."""
    found = _seen(interval)
    return found.rows if found else None


def culprits(interval: Interval, scope: Scope) -> list[Culprit] | None:
    """Most time first; None while nobody looks. They add up to the wait of those vCPUs that are looked at: what nobody
    is known for is of kind "unknown", and so is what came before the look."""
    seen = _seen(interval)
    if seen is None:
        return None
    sums: dict[Actor, list[int]] = {}
    for row, actor in seen.of(scope, BEHIND):
        sum_ = sums.setdefault(actor, [0, 0])
        sum_[0] += int(row["ns"])
        sum_[1] += int(row["count"])
    waited = int(interval.budget[seen.looked_at(scope), WAIT].sum())
    rest = waited - sum(ns for ns, _ in sums.values())
    if rest > max(ROUNDING * waited, ROUNDING_NS):
        early = seen.now.since_ns > interval.start_ns
        sums.setdefault(TOO_EARLY if early else NOBODY_KNOWN, [0, 0])[0] += rest
    whole = max(waited, sum(ns for ns, _ in sums.values()))
    found = [Culprit(actor, ns, ns / whole, count) for actor, (ns, count) in sums.items() if ns]
    return sorted(found, key=lambda one: (-one.ns, -one.count, one.actor.text))


def wakers(interval: Interval, scope: Scope) -> list[Waker] | None:
    """Most often first; None while nobody looks."""
    seen = _seen(interval)
    if seen is None:
        return None
    counts: dict[Actor, int] = {}
    for row, actor in seen.of(scope, WOKEN):
        counts[actor] = counts.get(actor, 0) + int(row["count"])
    found = [Waker(actor, count, count / seen.seconds) for actor, count in counts.items() if count]
    return sorted(found, key=lambda one: (-one.count, one.actor.text))


def latency(interval: Interval, scope: Scope) -> Latency | None:
    """None while nobody looks."""
    seen = _seen(interval)
    if seen is None:
        return None
    rows = seen.latencies[np.isin(seen.latencies["id"], seen.threads(scope))]
    hist = rows["hist"].sum(axis=0, dtype="i8")
    filled = np.flatnonzero(hist)
    if not len(filled):
        return Latency(0, None, None, None, (0,) * BUCKETS)
    counts = tuple(hist.tolist())
    longest = min(int(rows["max"].max()), bucket_bounds(int(filled[-1]))[1])
    p50, p99 = (percentile(counts, share, None, longest) for share in (0.5, 0.99))
    return Latency(int(rows["count"].sum()), p50, p99, longest, counts)


def holdups(interval: Interval, scope: Scope) -> list[HoldUp] | None:
    """Most time first; None while nobody looks."""
    seen = _seen(interval)
    if seen is None:
        return None
    found: dict[tuple[str, tuple[str, ...], Actor | None], list[int]] = {}
    for row, actor in seen.of(scope, BLOCKED):
        stack = seen.now.stacks.get(int(row["stack"]), ())
        still = row["by"] == UNKNOWN and not row["count"]
        sums = found.setdefault((seen.held_up(row, stack), stack, None if still else actor), [0, 0, 0])
        sums[0] += int(row["count"])
        sums[1] += int(row["ns"])
        sums[2] = max(sums[2], int(row["max"]))
    rows = [HoldUp(*key, *sums) for key, sums in found.items()]
    return sorted(rows, key=lambda one: (-one.ns, -one.count, one.what, one.actor.text if one.actor else ""))


def looked_at(interval: Interval, scope: Scope) -> bool:
    """Whether somebody looks at what the scheduler does with any vCPU of this scope."""
    seen = _seen(interval)
    return bool(seen and seen.looked_at(scope).any())


def placement_words(interval: Interval, scope: Scope) -> Mapping[int, str]:
    """By tid of vCPUs: "may run on CPUs 0-3; on CPU 2 (node 0), whose sibling CPU 3 runs vCPU 1 of web01". Who runs
    there is of one instant. Empty while nobody looks; without those of which nothing is known."""
    seen = _seen(interval)
    tids = [unpack(thread)[1] for thread in seen.threads(scope).tolist()] if seen else []
    return {tid: words for tid in tids if seen and (words := seen.place(tid))}


def may_run_on(allowed: str) -> str:
    """Host CPUs as the kernel writes them ("0-3,8"), in words."""
    return f"CPUs {allowed}" if "-" in allowed or "," in allowed else f"CPU {allowed} only"


@dataclass(frozen=True)
class _Seen:
    """What was seen in an interval. rows: dtype CHARGE, by thread; latencies: dtype LATENCY."""

    after: Snapshot
    now: Scheduling
    rows: Array
    latencies: Array
    seconds: float  # for which somebody looked
    actors: Actors = field(repr=False)

    def looked_at(self, scope: Scope) -> Mask:
        """Which of the later Snapshot's threads are of a scope and looked at."""
        mask = scope.mask(self.after)
        pids = unpack(self.after.threads["id"])[0]
        looked: Mask = (pids == self.now.pid) | (self.now.pid == 0)
        return looked if mask is None else looked & mask

    def threads(self, scope: Scope) -> U64:
        """Those threads, as packed (tgid, tid)."""
        ids: U64 = self.after.threads["id"][self.looked_at(scope)]
        return ids

    def of(self, scope: Scope, kind: int) -> Iterator[tuple[np.void, Actor]]:
        """The rows of a kind that are about a scope's threads, each with who it was."""
        ids = self.threads(scope)
        if len(ids) == 1:  # they are many, and asked for one by one
            first, last = np.searchsorted(self.rows["id"], [ids[0], ids[0] + np.uint64(1)])
            rows = self.rows[first:last]
        else:
            rows = self.rows[np.isin(self.rows["id"], ids)]
        for row in rows[rows["kind"] == kind]:
            yield row, self.actors.of(row)

    def held_up(self, row: np.void, stack: tuple[str, ...]) -> str:
        """What it slept on. row: of BLOCKED."""
        pid, call = unpack(int(row["id"]))[0], int(row["call"])
        return held_up(unpack(call) if call else None, stack, lambda fd: clean(self.now.calls.get((pid, fd), "")))

    def place(self, tid: int) -> str:
        """Where a thread may run, and runs."""
        may, cpu = self.now.placements.get(tid), self.after.cpus.get(tid)
        words = []
        if may:
            words.append("may run on any CPU" if may.all else f"may run on {may_run_on(may.allowed)}")
        if cpu is not None:
            node = f" (node {may.node})" if may and may.node is not None else ""
            words.append(f"on CPU {cpu}{node}{self._siblings(may.siblings if may else ())}")
        return "; ".join(words)

    def _siblings(self, cpus: tuple[int, ...]) -> str:
        running = {cpu: int(self.now.running[cpu]) for cpu in cpus if cpu < len(self.now.running)}
        who = [
            f"CPU {cpu} runs {self.actors.name(thread) or 'another thread'}"
            for cpu, thread in running.items()
            if thread
        ]
        return f", whose sibling {' and '.join(who)}" if who else ""


def _seen(interval: Interval) -> _Seen | None:
    now = interval.after.scheduling
    if now is None:
        return None
    if "scheduling" not in interval.memo:
        before = interval.before.scheduling if interval.before else None
        if before and (before.since_ns, before.pid) != (now.since_ns, now.pid):
            before = None  # that was another look
        seconds = max(interval.after.time_ns - max(interval.start_ns, now.since_ns), 1) / 1e9
        actors = Actors(interval.after, now)
        interval.memo["scheduling"] = _Seen(
            interval.after, now, _charges(before, now), _latencies(before, now), seconds, actors
        )
    found: _Seen = interval.memo["scheduling"]
    return found


_KEY = ("id", "kind", "by", "who", "call", "stack")
_TASK = ("comm", "kernel", "cgroup")


def _charges(before: Scheduling | None, now: Scheduling) -> Array:
    """What the interval has of each key, by thread."""
    rows, over = now.charges.copy(), now.charges[:0]
    if before is not None:
        at = find(now.charge_ids, before.charge_ids)
        then, at = before.charges[at >= 0], at[at >= 0]
        rows["count"][at] -= then["count"]
        # The time of a sleep that was open is in the row of who has ended it, or in its own still.
        still = (then["kind"] == BLOCKED) & (then["by"] == UNKNOWN) & (then["count"] == 0)
        rows["ns"][at[~still]] -= then["ns"][~still]
        over = then[still]
    rows = rows[(rows["ns"] != 0) | (rows["count"] != 0)]
    rows = rows[np.lexsort([rows[name] for name in reversed(_KEY)])]
    first = np.flatnonzero(np.concatenate([[True], np.any([np.diff(rows[name]) != 0 for name in _KEY], axis=0)]))
    found = rows[first[: len(rows)]]
    for name, add in (("ns", np.add), ("count", np.add), ("max", np.maximum)) if len(rows) else ():
        found[name] = add.reduceat(rows[name], first)
    _introduce(found, now.charges)
    for row in over:
        _take(found, row, int(row["ns"]))
    for row in found[found["ns"] < 0]:
        _take(found, row, -int(row["ns"]))
    told: Array = found[(found["ns"] > 0) | (found["count"] > 0)]
    told["ns"] = np.maximum(told["ns"], 0)
    return told


def _introduce(found: Array, rows: Array) -> None:
    """Name tasks whose row does not, since it was made while they were elsewhere, as another row of theirs does."""
    known = rows[(rows["by"] == TASK) & (rows["comm"] != b"")]
    _, first = np.unique(known["who"], return_index=True)
    known = known[first]
    nameless = np.flatnonzero((found["by"] == TASK) & (found["comm"] == b""))
    at = find(known["who"], found["who"][nameless])
    for name in _TASK:
        found[name][nameless[at >= 0]] = known[name][at[at >= 0]]


def _take(found: Array, row: np.void, ns: int) -> None:
    """Take so much from others of a row's thread and kind: first from what has ended, and from what is like it."""
    mine = np.flatnonzero((found["id"] == row["id"]) & (found["kind"] == row["kind"]) & (found["ns"] > 0))
    alike = (found["stack"][mine] == row["stack"]) & (found["call"][mine] == row["call"])
    for other in mine[np.lexsort((-found["ns"][mine], ~alike, found["count"][mine] == 0))].tolist():
        part = min(ns, int(found["ns"][other]))
        found["ns"][other] -= part
        ns -= part


def _latencies(before: Scheduling | None, now: Scheduling) -> Array:
    rows = now.latencies.copy()
    if before is not None:
        at = find(now.latencies["id"], before.latencies["id"])
        new, old = at[at >= 0], before.latencies[at >= 0]
        same = old["count"] <= rows["count"][new]  # not another thread of the same number
        new, old = new[same], old[same]
        for name in ("count", "total", "hist"):
            rows[name][new] -= old[name]
    return rows
