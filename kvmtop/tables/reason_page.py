"""A reason's page: its figures, how they spread and change, what it means, and who has it."""

from __future__ import annotations

import numpy as np

from .. import units
from ..model.exit_stats import Reason
from ..model.histogram import BUCKETS, bucket_bounds
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import Scope
from ..model.session import Session
from ..model.vocabulary import OUTSIDE, Key
from ..reference import exit_reasons
from .columns import Column
from .page import Page
from .rows import Cell, Lazy, Row, Rows
from .spread import span
from .states import bar, shares_of

BAR = 12  # characters


def meaning(isa: int, code: int) -> str:
    """What a reason means, in a few lines for its page; empty for one that nobody has described."""
    found = exit_reasons.meaning(isa, code)
    if not found:
        return ""
    return f"{found.what}\nUsual causes: {found.causes}\nWhat to try: {found.advice}"


_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


def page(session: Session, interval: Interval, scope: Scope, key: Key, points: int = 120) -> Page:
    """The page of one reason in a scope."""
    line = next((line for line in session.lines(interval, scope) if line.reason.key == key), None)
    samples: list[Sample] = list(session.history)[-points:]
    name = interval.after.names.name(*key)
    hists = [sample.hist(scope, key) for sample in samples]
    hist = list(line.reason.hist) if line else [0] * BUCKETS
    shown = span(hist, *hists)
    low_octave, high_octave = shown.first // 4, shown.last // 4

    marks, facts = [], ["no such exit in this interval"]
    if line and (line.reason.count or line.reason.time):
        reason = line.reason
        values = [(label, reason.percentile(share)) for label, share in _PERCENTILES] + [("max", reason.max)]
        marks = [(label, shown.mark(value)) for label, value in values if value is not None]
        facts = [
            f"{units.rate(reason.rate)} exits/s",
            f"{units.duration(reason.time_rate)}/s",
            *(f"{state} {units.percent(share)}" for state, share in _shares(reason).items() if share >= 0.0005),
            f"min {units.duration(reason.min)}",
            f"avg {units.duration(reason.avg)}",
            *(f"{label} {units.duration(value)}" for label, value in values),
            f"{units.number(line.total)} in all",
        ]
    return Page(
        name=name,
        meaning=meaning(*key),
        facts=" · ".join(facts),
        hist=hist[shown.first : shown.last + 1],
        marks=marks,
        decades=shown.decades,
        rates=[sample.rate(scope, key) for sample in samples],
        p99s=[sample.p99(scope, key) for sample in samples],
        heat=[h.reshape(-1, 4).sum(axis=1)[low_octave : high_octave + 1].tolist() for h in hists],
        octaves=[units.duration(bucket_bounds(4 * octave)[0]) for octave in range(low_octave, high_octave + 1)],
        who=_who(interval, scope, key),
        span=f"-{units.duration(sum(sample.seconds for sample in samples) * 1e9)}",
    )


def _shares(reason: Reason) -> dict[str, float]:
    return shares_of(reason.parts, reason.time) or {}


def _who(interval: Interval, scope: Scope, key: Key) -> Rows:
    """Which vCPUs have the reason, most time first."""
    after, rows, told = interval.after, interval.rows, interval.after.told
    mine = rows[(rows["thread"] >= 0) & (rows["isa"] == key[0]) & (rows["reason"] == key[1])]
    mask = scope.mask(after)
    count = np.bincount(mine["thread"], mine["count"], len(after.threads))
    time = np.bincount(mine["thread"], mine["time"], len(after.threads))
    parts = {state: np.bincount(mine["thread"], mine[state], len(after.threads)) for state in OUTSIDE if state in told}
    total = max(float(time.sum() if mask is None else time[mask].sum()), 1.0)
    has = (count != 0) | (time != 0) if mask is None else mask & ((count != 0) | (time != 0))
    order = np.argsort(-time)
    order = order[has[order]]
    pids = unpack(after.threads["id"][order])[0].tolist()
    keys = [Scope(pid, thread) for pid, thread in zip(pids, after.thread_ids[order].tolist(), strict=True)]

    def where(at: int) -> Cell:
        spent = {state: int(ns[order[at]]) for state, ns in parts.items()}
        return bar(shares_of(spent, int(time[order[at]])), BAR)

    vms, vcpus = after.vms, after.threads["vcpu"][order]
    columns: list[Column[int]] = [  # of positions in `order`
        Column("vm", "VM", 14, lambda at: vms[pids[at]].name if pids[at] in vms else f"pid {pids[at]}", left=True),
        Column("vcpu", "VCPU", 8, lambda at: f"vCPU {vcpus[at]}", left=True),
        Column("rate", "EXITS/S", 7, lambda at: float(count[order[at]]) / interval.seconds, units.rate),
        Column("time", "TIME/S", 7, lambda at: float(time[order[at]]) / interval.seconds, units.duration),
        Column("share", "TIME%", 6, lambda at: float(time[order[at]]) / total, units.percent),
        Column("where", "WHERE", BAR, where, lambda cell: cell, left=True),
    ]
    rows_of = Lazy(keys, lambda at: Row(keys[at], [column.cell(at) for column in columns]))
    return [column.heading() for column in columns], rows_of
