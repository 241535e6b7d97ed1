"""From a Session to what widgets show: plain rows, words and shares."""

from __future__ import annotations

import bisect
import platform
import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from .. import units
from ..insight.accesses import Touched
from ..insight.halt_polling import Polling
from ..insight.slow_exits import Slow
from ..insight.vcpus import VcpuRow
from ..model.histogram import BUCKETS, bucket_bounds
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import Scope
from ..model.session import Line, Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import PARTS, Key, Vm, isa_name
from ..reference import exit_reasons
from ..reference.labels import Labels
from . import vcpus
from .columns import Column, fitting
from .halt_polling import verdict
from .page import Page
from .rows import Heading, Lazy, Row, Ticks


def matcher(text: str) -> Callable[[str], bool]:
    """What a filter matches, in any case: a regular expression if it is one, else the text itself."""
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):  # of a{99999999999}, and of many parentheses
        pattern = re.compile(re.escape(text), re.IGNORECASE)
    return lambda name: bool(pattern.search(name))


def reason_table(lines: Sequence[Line], width: int) -> tuple[list[Heading], list[Row]]:
    """The reasons table in so many characters, in the order of the lines."""
    columns = fitting(width)
    spare = width - sum(column.width + 1 for column in columns)
    headings = [Heading(c.key, c.title, _width(c, spare), c.left, c.key == "trend") for c in columns]
    rows = [
        Row(
            line.reason.key,
            [column.format(line) for column in columns],
            fill=line.time_share or 0.0,
            dim=not line.reason.count and not line.reason.time,
        )
        for line in lines
    ]
    return headings, rows


def _width(column: Column, spare: int) -> int:
    return column.width + max(min(spare, 8), 0) if column.left else column.width


BAR = 8
_MEMBER_HEADINGS = (
    (Heading("name", "VM / VCPU", 14, True), 0),
    (Heading("number", "PID/TID", 7), 6),
    (Heading("cpu", "CPU", 4), 5),
    (Heading("rate", "EXITS/S", 7), 0),
    (Heading("guest", "GUEST%", 6), 2),
    (Heading("kernel", "KERN%", 5), 8),
    (Heading("user", "USER%", 5), 8),
    (Heading("idle", "IDLE%", 5), 8),
    (Heading("wait", "WAIT%", 5), 8),
    (Heading("bar", "WHERE", BAR, True), 3),
    (Heading("top", "TOP REASON", 12, True), 4),
    (Heading("state", "STATE", 12, True), 1),
    (Heading("trend", "TREND", 8, trend=True), 7),
)


def member_table(
    found: Sequence[VcpuRow], scope: Scope, width: int, bar: Callable[..., object]
) -> tuple[list[Heading], Sequence[Row]]:
    """The list of VMs and vCPUs in so many characters; the scope that is looked at is marked."""
    chosen = list(_MEMBER_HEADINGS)
    for level in sorted({drop for _, drop in chosen}, reverse=True):  # those that belong together go together
        if sum(heading.width + 1 for heading, _ in chosen) <= width or not level:
            break
        chosen = [item for item in chosen if item[1] != level]
    spare = width - sum(heading.width + 1 for heading, _ in chosen)
    headings = [
        Heading(h.key, h.title, h.width + (max(min(spare, 16), 0) if h.key == "name" else 0), h.left, h.trend)
        for h, _ in chosen
    ]

    def row(at: int) -> Row:
        member = found[at]
        indent = "  " if member.scope.thread is not None else ""
        here = "›" if member.scope == scope else " "
        cells = {
            "name": f"{here}{indent}{member.name}",
            "number": str(member.number),
            "cpu": vcpus.cpu(member),
            "rate": units.rate(member.rate),
            **{name: units.percent((member.shares or {}).get(name)) for name in PARTS},
            "bar": bar(member.shares, BAR),
            "top": member.top,
            "state": vcpus.state(member),
            "trend": units.sparkline(member.trend, 8),
        }
        return Row(member.scope, [cells[h.key] for h in headings], dim=member.ended, mark=bool(member.stuck))  # type: ignore[misc]

    rows = Lazy([member.scope for member in found], row)
    return headings, rows


def header(interval: Interval, paused: bool, width: int) -> str:
    """The top line: what matters most first, since the end may be cut off."""
    after = interval.after
    alive = int((after.threads["end_ns"] == 0).sum())
    running = sum(not vm.ended for vm in after.vms.values())
    rate = int(interval.rows["count"].sum()) / interval.seconds
    minutes, seconds = divmod((after.time_ns - after.start_ns) // 1_000_000_000, 60)
    parts = [
        "kvmtop",
        *(["PAUSED"] if paused else []),
        f"{units.rate(rate)} exits/s",
        f"{running} VM{'s' * (running != 1)}",
        f"{alive} vCPU{'s' * (alive != 1)}",
        *([f"LOST {after.lost}"] if after.lost else []),
        f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
        isa_name(after.isa),
        platform.node(),
        platform.release(),
    ]
    while len(" · ".join(parts)) > width and len(parts) > 4:
        parts.pop()
    return " · ".join(parts)


def caveats(snapshot: Snapshot) -> str:
    """What was not counted or did not pair, in words; empty where there is nothing to confess."""
    words = []
    if snapshot.lost:
        words.append(f"{snapshot.lost} exits lost (a map was full)")
    if snapshot.unpaired:
        words.append(f"{snapshot.unpaired} entries without an exit")
    if snapshot.overwritten:
        words.append(f"{snapshot.overwritten} exits without an entry")
    if snapshot.expired:
        words.append(f"{snapshot.expired} vCPU thread{'s' * (snapshot.expired != 1)} ended")
    return ", ".join(words)


Place = tuple[Scope, Key | None]  # what is looked at: a scope, or a reason in it


def trail(scope: Scope, snapshot: Snapshot | None, reason: Key | None) -> list[tuple[str, Place]]:
    """Where one is: names from the whole host downwards, each with the place that it leads to."""
    steps: list[tuple[str, Place]] = [("All VMs", (Scope(), None))]
    if scope.pid is not None:
        vm = (snapshot.vms if snapshot else {}).get(scope.pid) or Vm(scope.pid, f"pid {scope.pid}")
        steps.append((vm.name + (" (ended)" if vm.ended else ""), (Scope(scope.pid), None)))
    if scope.thread is not None and snapshot is not None:
        rows = np.flatnonzero(snapshot.thread_ids == scope.thread)
        steps.append((f"vCPU {snapshot.threads['vcpu'][rows[0]]}" if len(rows) else "vCPU (gone)", (scope, None)))
    if reason and snapshot is not None:
        steps.append((snapshot.names.name(*reason), (scope, reason)))
    return steps


def meaning(isa: int, code: int) -> str:
    """What a reason means, in a few lines for its page; empty for one that nobody has described."""
    found = exit_reasons.meaning(isa, code)
    if not found:
        return ""
    return f"{found.what}\nUsual causes: {found.causes}\nWhat to try: {found.advice}"


_TOUCH_HEADINGS = (
    Heading("rate", "COUNT/S", 7), Heading("time", "TIME/S", 7), Heading("share", "TIME%", 6), Heading("avg", "AVG", 6),
    Heading("p99", "P99", 6), Heading("max", "MAX", 6), Heading("trend", "TREND", 8, trend=True),
)  # fmt: skip
_LEAST_LABEL = 28


def touch_table(found: Sequence[Touched], width: int, labels: Labels) -> tuple[list[Heading], list[Row]]:
    """What exits touched, in so many characters."""
    chosen = list(_TOUCH_HEADINGS)
    for dropped in ("max", "trend", "share", "avg"):
        if sum(heading.width + 1 for heading in chosen) + _LEAST_LABEL > width:
            chosen = [heading for heading in chosen if heading.key != dropped]
    room = width - sum(heading.width + 1 for heading in chosen) - 2
    headings = [Heading("what", "WHAT", max(min(room, 60), 8), True), *chosen]
    rows = []
    for one in found:
        cells = {
            "what": labels.what(one.kind, one.value, one.extra),
            "rate": units.rate(one.rate),
            "time": units.duration(one.total / one.seconds),
            "share": units.percent(one.share),
            "avg": units.duration(one.avg),
            "p99": units.duration(one.percentile(0.99)),
            "max": units.duration(one.max),
            "trend": units.sparkline(list(one.trend), 8),
        }
        rows.append(
            Row((one.kind, one.value, one.extra), [cells[heading.key] for heading in headings], fill=one.share or 0.0)
        )
    return headings, rows


_SLOW_HEADINGS = (
    (Heading("time", "TIME", 12, True), 4),
    (Heading("vm", "VM", 12, True), 0),
    (Heading("vcpu", "VCPU", 4), 0),
    (Heading("reason", "REASON", 14, True), 0),
    (Heading("ns", "LASTED", 6), 0),
    (Heading("kernel", "KERNEL", 6), 3),
    (Heading("user", "USER", 6), 0),
    (Heading("idle", "IDLE", 6), 3),
    (Heading("cpu", "CPU", 3), 2),
    (Heading("what", "TOUCHED", 28, True), 1),
    (Heading("rip", "GUEST CODE", 34, True), 5),
)


def slow_table(found: Sequence[Slow], width: int, labels: Labels) -> tuple[list[Heading], list[Row]]:
    """Slow exits in so many characters, in their order."""
    chosen = list(_SLOW_HEADINGS)
    for level in (5, 4, 3, 2, 1):
        if sum(heading.width + 1 for heading, _ in chosen) <= width:
            break
        chosen = [item for item in chosen if item[1] != level]
    headings = [heading for heading, _ in chosen]
    rows = []
    for one in found:
        cells = {
            "time": f"{time.strftime('%H:%M:%S', time.localtime(one.time))}.{int(one.time % 1 * 1000):03d}",
            "vm": one.vm, "vcpu": str(one.vcpu), "reason": one.name, "ns": units.duration(one.ns),
            "kernel": units.duration(one.kernel), "user": units.duration(one.user), "idle": units.duration(one.idle),
            "cpu": str(one.cpu), "what": labels.what(one.kind, one.value, one.extra) if one.kind else units.DASH,
            "rip": labels.what("rip", one.rip, 0),
        }  # fmt: skip
        rows.append(Row((one.time, one.tid), [cells[heading.key] for heading in headings]))
    return headings, rows


_POLLING_HEADINGS = [
    Heading("who", "VM / VCPU", 20, True), Heading("hits", "HITS", 6), Heading("wasted", "WASTED", 6),
    Heading("ns", "POLLING", 9), Heading("window", "WINDOW", 6), Heading("verdict", "VERDICT", 60, True),
]  # fmt: skip


def polling_table(found: Sequence[Polling], interval: Interval) -> tuple[list[Heading], list[Row]]:
    """How each vCPU's halts were polled, and the verdict."""
    numbers = dict(zip(interval.after.threads["id"].tolist(), interval.after.threads["vcpu"].tolist(), strict=True))
    rows = []
    for one in found:
        pid, _ = unpack(one.id)
        vm = interval.after.vms.get(pid)
        who = f"{vm.name if vm else pid} vCPU {numbers.get(one.id, units.DASH)}"
        spent = f"{units.duration(one.ns / one.seconds)}/s"
        cells = [who, str(one.hits), str(one.wasted), spent, units.duration(one.window), verdict(one)]
        rows.append(Row(one.id, cells))
    return _POLLING_HEADINGS, rows


_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


def page(session: Session, interval: Interval, scope: Scope, key: Key, points: int = 120) -> Page:
    """The page of one reason in a scope."""
    line = next((line for line in session.lines(interval, scope) if line.reason.key == key), None)
    samples: list[Sample] = list(session.history)[-points:]
    name = interval.after.names.name(*key)
    hists = [sample.hist(scope, key) for sample in samples]
    hist = list(line.reason.hist) if line else [0] * BUCKETS
    seen = np.flatnonzero(np.sum(np.array([hist, *hists]), axis=0))
    first, last = (max(int(seen[0]) - 2, 0), min(int(seen[-1]) + 2, BUCKETS - 1)) if len(seen) else (12, 60)
    low_octave, high_octave = first // 4, last // 4

    marks, facts = [], ["no such exit in this interval"]
    if line and line.reason.count:
        reason = line.reason
        values = [(label, reason.percentile(share)) for label, share in _PERCENTILES] + [("max", reason.max)]
        marks = [(label, bucket_of(value) - first) for label, value in values if value is not None]
        facts = [
            f"{units.rate(reason.rate)} exits/s",
            f"{units.duration(reason.time_rate)}/s",
            f"user {units.percent(reason.user / reason.time) if reason.time else units.DASH}",
            f"min {units.duration(reason.min)}",
            f"avg {units.duration(reason.avg)}",
            *(f"{label} {units.duration(value)}" for label, value in values),
            f"{units.number(line.total)} in all",
        ]
    decades = [(bucket_of(10**power) - first, units.duration(10**power)) for power in range(2, 12)]
    decades = [(x, text) for x, text in decades if 0 <= x <= last - first]
    return Page(
        name=name,
        meaning=meaning(*key),
        facts=" · ".join(facts),
        hist=hist[first : last + 1],
        marks=marks,
        decades=Ticks([x for x, _ in decades], [text for _, text in decades]),
        rates=[sample.rate(scope, key) for sample in samples],
        p99s=[sample.p99(scope, key) for sample in samples],
        heat=[h.reshape(-1, 4).sum(axis=1)[low_octave : high_octave + 1].tolist() for h in hists],
        octaves=[units.duration(bucket_bounds(4 * octave)[0]) for octave in range(low_octave, high_octave + 1)],
        who=_who(interval, scope, key),
        span=f"-{units.duration(sum(sample.seconds for sample in samples) * 1e9)}",
    )


_ENDS = [bucket_bounds(index)[1] for index in range(BUCKETS)]


def bucket_of(ns: float) -> int:
    """The histogram's bucket of a duration."""
    return min(bisect.bisect_right(_ENDS, ns), BUCKETS - 1)


def _who(interval: Interval, scope: Scope, key: Key) -> Lazy[Row]:
    """Which vCPUs have the reason: name, vCPU, exits/s, time/s, share of its time; most time first."""
    after, rows = interval.after, interval.rows
    mine = rows[(rows["thread"] >= 0) & (rows["isa"] == key[0]) & (rows["reason"] == key[1])]
    mask = scope.mask(after)
    count = np.bincount(mine["thread"], mine["count"], len(after.threads))
    time = np.bincount(mine["thread"], mine["time"], len(after.threads))
    total = max(float(time.sum() if mask is None else time[mask].sum()), 1.0)
    has = (count != 0) | (time != 0) if mask is None else mask & ((count != 0) | (time != 0))
    order = np.argsort(-time)
    order = order[has[order]]
    pids = unpack(after.threads["id"][order])[0].tolist()
    keys = [Scope(pid, thread) for pid, thread in zip(pids, after.thread_ids[order].tolist(), strict=True)]

    def who(at: int) -> Row:
        row, pid = order[at], pids[at]
        vm = after.vms.get(pid)
        cells = [
            vm.name if vm else f"pid {pid}",
            f"vCPU {after.threads['vcpu'][row]}",
            units.rate(float(count[row]) / interval.seconds),
            units.duration(float(time[row]) / interval.seconds),
            units.percent(float(time[row]) / total),
        ]
        return Row(keys[at], cells)

    return Lazy(keys, who)
