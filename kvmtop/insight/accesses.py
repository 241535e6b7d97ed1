"""What exits touched in an Interval: ports, MSRs, addresses, guest code …, with their time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..model.arrays import I64, Array
from ..model.exit_stats import NOT_ITS_DOING
from ..model.histogram import BUCKETS, bucket_bounds, percentile
from ..model.interval import Interval
from ..model.scope import Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import KINDS, OUTSIDE
from ..reference.guest_symbols import KERNEL_HALF

POLLING = frozenset({"poll", "window"})
CODE = "rip"
TOUCHED = frozenset(KINDS) - {"", CODE} - POLLING
USER_SPACE = 0  # stands for all of its addresses, which say nothing to anybody
TREND = 8  # intervals
_SUMS = ("count", "exits", "total", *OUTSIDE[1:])
Sample = dict[tuple[int, int, int, int], float]  # (thread's id, kind, value, extra) → events a second


@dataclass(frozen=True)
class Access:
    """One thing that exits touched, over one Interval; None is unknown."""

    kind: str
    value: int
    extra: int
    seconds: float
    count: int  # events
    exits: int  # that ended
    total: int  # ns: their durations
    parts: Mapping[str, int]  # ns of it in each of OUTSIDE
    max: int | None
    share: float | None  # of the time of all of its kind
    hist: tuple[int, ...] = ()
    trend: Sequence[float] = ()  # events a second, oldest first
    own: int = 0  # ns of `total` that are its own doing, as Reason.own
    own_share: float | None = None  # of those of all of its kind

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.count / self.seconds

    @property
    def avg(self) -> float | None:
        """ns."""
        return self.total / self.exits if self.exits else None

    def percentile(self, share: float) -> float | None:
        """Duration in ns, within 12.5 %."""
        return percentile(self.hist, share, None, self.max)


def ids_of(snapshot: Snapshot, scope: Scope) -> Array | None:
    """The threads of a scope, as packed (tgid, tid); None for all."""
    mask = scope.mask(snapshot)
    return None if mask is None else snapshot.threads["id"][mask]


def change(interval: Interval) -> Array | None:
    """Shape and dtype of the later Details' rows: what was added in the interval. None while nobody looks."""
    after = interval.after.details
    if after is None:
        return None
    rows = after.touched.copy()
    before = interval.before.details if interval.before else None
    if before is not None and before.since_ns == after.since_ns:
        _, now, then = np.intersect1d(after.touched_ids, before.touched_ids, return_indices=True)
        for name in (*_SUMS, "hist"):
            rows[name][now] -= before.touched[name][then]
    return rows


def seconds(interval: Interval) -> float:
    """How long of the interval somebody looked."""
    details = interval.after.details
    start = max(interval.start_ns, details.since_ns) if details else interval.start_ns
    return max(interval.after.time_ns - start, 1) / 1e9


def own(rows: Array) -> I64:
    """ns of rows of dtype TOUCH that are their exits' own doing: not halted, and not waiting for a CPU."""
    left: I64 = rows["total"].astype("i8") - sum(rows[state].astype("i8") for state in ("idle", *NOT_ITS_DOING))
    return left


def rates(interval: Interval) -> Sample:
    """Events a second by (thread's id, kind, value, extra): a sample for the trends."""
    rows = change(interval)
    if rows is None:
        return {}
    rows = rows[rows["count"] > 0]
    _fold(rows)
    found: Sample = {}
    keys = zip(*(rows[name].tolist() for name in ("id", "kind", "value", "extra")), strict=True)
    for key, rate in zip(keys, (rows["count"] / seconds(interval)).tolist(), strict=True):
        found[key] = found.get(key, 0.0) + rate
    return found


def _fold(rows: Array) -> None:
    """The guest's user space as one address."""
    rows["value"][(rows["kind"] == KINDS.index(CODE)) & (rows["value"] < KERNEL_HALF)] = USER_SPACE


def accesses(
    interval: Interval,
    scope: Scope,
    kinds: Iterable[str] = TOUCHED,
    history: Sequence[Sample] = (),
    fold: bool = False,
) -> list[Access]:
    """What the exits of a scope touched in the interval, of these kinds; most time first, then most often.

    fold: the code of the guest's user space is one, USER_SPACE, as it is in a history.
    """
    rows = change(interval)
    if rows is None:
        return []
    rows = rows[np.isin(rows["kind"], [KINDS.index(kind) for kind in kinds])]
    ids = ids_of(interval.after, scope)
    rows = rows[rows["count"] > 0] if ids is None else rows[(rows["count"] > 0) & np.isin(rows["id"], ids)]
    if not len(rows):
        return []
    if fold:
        _fold(rows)
    _, first, group = np.unique(rows[["kind", "value", "extra"]], return_index=True, return_inverse=True)
    sums = {name: np.zeros(len(first), "u8") for name in _SUMS}
    for name, sum_ in sums.items():
        np.add.at(sum_, group, rows[name])
    hist, longest = np.zeros((len(first), BUCKETS), "u8"), np.zeros(len(first), "u8")
    np.add.at(hist, group, rows["hist"])
    np.maximum.at(longest, group, rows["max"])
    times = np.bincount(rows["kind"], rows["total"], len(KINDS))
    idle = sums["idle"].astype("i8")
    its = sums["total"].astype("i8") - idle - sum(sums[state].astype("i8") for state in NOT_ITS_DOING)
    its = np.where(2 * idle > sums["total"].astype("i8"), idle, its)
    own_times = np.bincount(rows["kind"][first], its, len(KINDS))
    lookback = list(history)[-TREND:]
    threads = {int(i) for i in ids} if ids is not None else None
    found = []
    for i, at in enumerate(first.tolist()):
        kind, value, extra = (int(rows[name][at]) for name in ("kind", "value", "extra"))
        filled = np.flatnonzero(hist[i])
        whole, total = float(times[kind]), int(sums["total"][i])
        parts = {state: int(sums[state][i]) for state in OUTSIDE[1:]}
        found.append(
            Access(
                kind=KINDS[kind],
                value=value,
                extra=extra,
                seconds=seconds(interval),
                count=int(sums["count"][i]),
                exits=int(sums["exits"][i]),
                total=total,
                parts={"kernel": total - sum(parts.values())} | parts,
                # Since the look began, or what the histogram of the interval allows.
                max=min(int(longest[i]), bucket_bounds(int(filled[-1]))[1]) if len(filled) else None,
                share=total / whole if whole else None,
                hist=tuple(hist[i].tolist()),
                own=int(its[i]),
                own_share=float(its[i] / own_times[kind]) if own_times[kind] > 0 else None,
                trend=[_trend(sample, (kind, value, extra), threads) for sample in lookback],
            )
        )
    return sorted(found, key=lambda one: (-one.total, -one.count, one.kind, one.value, one.extra))


def _trend(sample: Sample, key: tuple[int, int, int], threads: set[int] | None) -> float:
    if threads is not None and len(threads) < len(sample):
        return sum(sample.get((id, *key), 0.0) for id in threads)
    return sum(rate for (id, *its), rate in sample.items() if tuple(its) == key and (threads is None or id in threads))
