"""A reason's page: its figures, how they spread and change, what it means, and who has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import units
from ..model.exit_stats import own_time
from ..model.histogram import BUCKETS
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import Scope
from ..model.session import Session
from ..model.vocabulary import OUTSIDE, Key
from ..reference import exit_reasons
from .columns import Column, cells, fitting, headings
from .exit_reasons import BY_KEY
from .page import Page
from .rows import Cell, Lazy, Row
from .spread import span
from .states import bar, shares_of

BAR = 6  # characters
HOLDERS = 12  # vCPUs by name; of thousands, a screen shows some
_FIGURES = (("rate", "EXITS/S"), ("time", "TIME/S"), ("time_share", "TIME%"), ("user", "USER%"), ("avg", "AVG"))

_PERCENTILES = (("P50", 0.5), ("P90", 0.9), ("P99", 0.99), ("P99.9", 0.999))
_MARKED = ("P50", "P99", "MAX")


def page(session: Session, interval: Interval, scope: Scope, key: Key, points: int = 120, width: int = 60) -> Page:
    """The page of one reason in a scope, with so many intervals of history, and a table of vCPUs in so
    many characters."""
    line = next((line for line in session.lines(interval, scope) if line.reason.key == key), None)
    samples: list[Sample] = list(session.history)[-points:]
    hists = [sample.hist(scope, key) for sample in samples]
    hist = list(line.reason.hist) if line else [0] * BUCKETS
    shown, reason = span(hist, *hists), line.reason if line else None
    figures: list[tuple[str, str]] = []
    marks: list[tuple[str, int]] = []
    if line and reason and (reason.count or reason.time):
        values = [(label, reason.percentile(share)) for label, share in _PERCENTILES] + [("MAX", reason.max)]
        marks = [
            (f"{label.lower()} {units.duration(value)}", shown.mark(value))
            for label, value in values
            if value is not None and label in _MARKED
        ]
        figures = [(title, str(BY_KEY[column].cell(line))) for column, title in _FIGURES]
        figures += [(label, units.duration(value)) for label, value in values]
        figures.append(("IN ALL", units.number(line.total)))
    parts = reason.parts if reason else {}
    told = exit_reasons.meaning(*key)
    return Page(
        name=interval.after.names.name(*key),
        title=told.title if told else "",
        what=told.what if told else "",
        causes=told.causes if told else "",
        advice=told.advice if told else "",
        figures=figures,
        shares=shares_of(parts, reason.time) if reason else None,
        state=max(parts, key=lambda state: parts[state], default="kernel"),
        hist=hist[shown.first : shown.last + 1],
        marks=marks,
        decades=shown.decades,
        rates=[sample.rate(scope, key) for sample in samples],
        p99s=[sample.p99(scope, key) for sample in samples],
        heat=[one[shown.first : shown.last + 1].tolist() for one in hists],
        **_who(interval, scope, key, bool(reason and reason.idle), width),
        seconds=[sample.seconds for sample in samples],
    )


def _who(interval: Interval, scope: Scope, key: Key, idle: bool, width: int) -> dict[str, Any]:
    """Which vCPUs have the reason, most time of its own first: the fields of Page."""
    after, rows, told = interval.after, interval.rows, interval.after.told
    mine = rows[(rows["thread"] >= 0) & (rows["isa"] == key[0]) & (rows["reason"] == key[1])]
    mask = scope.mask(after)
    count = np.bincount(mine["thread"], mine["count"], len(after.threads))
    time = np.bincount(mine["thread"], mine["time"], len(after.threads))
    parts = {state: np.bincount(mine["thread"], mine[state], len(after.threads)) for state in OUTSIDE if state in told}
    own = np.bincount(mine["thread"], own_time(mine, idle), len(after.threads))
    total = max(float(own.sum() if mask is None else own[mask].sum()), 1.0)
    has = (count != 0) | (time != 0) if mask is None else mask & ((count != 0) | (time != 0))
    order = np.argsort(-own)
    order = order[has[order]]
    pids = unpack(after.threads["id"][order])[0].tolist()
    keys = [Scope(pid, thread) for pid, thread in zip(pids, after.thread_ids[order].tolist(), strict=True)]

    def where(at: int) -> Cell:
        spent = {state: int(ns[order[at]]) for state, ns in parts.items()}
        return bar(shares_of(spent, int(time[order[at]])), BAR)

    vms, vcpus = after.vms, after.threads["vcpu"][order]

    def name(at: int) -> str:
        vm = vms[pids[at]].name if pids[at] in vms else f"pid {pids[at]}"
        return f"{vm} vCPU {vcpus[at]}"

    columns: list[Column[int]] = [  # of positions in `order`
        Column("name", "VM · VCPU", 16, name, left=True, cut=True, grow=8, shrink=6),
        Column("rate", "EXITS/S", 7, lambda at: float(count[order[at]]) / interval.seconds, units.rate),
        Column("time", "TIME/S", 7, lambda at: float(own[order[at]]) / interval.seconds, units.duration),
        Column("share", "TIME%", 6, lambda at: float(own[order[at]]) / total, units.percent),
        Column("where", "WHERE", BAR, where, lambda cell: cell, left=True, drop=1),
    ]
    columns = fitting(columns, width)
    heads = headings(columns, width)
    rows_of = Lazy(keys, lambda at: Row(keys[at], cells(at, columns, heads)))
    most = order[:HOLDERS].tolist()
    return {
        "who": (heads, rows_of),
        "holders": [(name(n), float(own[at]) / total) for n, at in enumerate(most)],
        "others": max(len(order) - HOLDERS, 0),
    }
