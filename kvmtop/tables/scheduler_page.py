"""The Scheduler page: who has the CPU instead of vCPUs, who wakes them, what holds them up, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import units
from ..insight import scheduling
from ..insight.actors import NOBODY_KNOWN
from ..insight.blame import behind_whom
from ..insight.other_threads import other_threads
from ..insight.scheduling import Culprit, HoldUp, Latency, Waker
from ..insight.vcpus import VcpuRow
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.vocabulary import STATES
from .other_threads import thread_table
from .page import Note, SchedulerView
from .rows import Key, Rows
from .scheduling import culprit_table, holdup_key, holdup_table, placed_table, waker_table
from .spread import Held, span

NAMED = 3  # culprits in the headline
_UNKNOWN = {NOBODY_KNOWN: "not explained"}
HARDLY = 0.01  # of the vCPUs' time: what is less is no wait to speak of


def covers(interval: Interval, scope: Scope) -> bool:
    """Whether somebody looked at the vCPUs of a scope in it."""
    told = interval.after.scheduling
    return told is not None and told.pid in (0, scope.pid)


Memory = Mapping[int, Mapping[int, int]]  # by pid: NUMA node → bytes


@dataclass(frozen=True)
class Told:
    """What insight says of a scope; None where nobody looked."""

    culprits: Sequence[Culprit] | None = None
    wakers: Sequence[Waker] | None = None
    holdups: Sequence[HoldUp] | None = None
    latency: Latency | None = None


def told(interval: Interval, scope: Scope) -> Told:
    """It takes long with thousands of vCPUs, so it is made once."""
    if not covers(interval, scope):
        return Told()
    key = ("told", scope)
    if key not in interval.memo:
        interval.memo[key] = Told(
            scheduling.culprits(interval, scope),
            scheduling.wakers(interval, scope),
            scheduling.holdups(interval, scope),
            scheduling.latency(interval, scope),
        )
    found: Told = interval.memo[key]
    return found


def page(
    interval: Interval,
    scope: Scope,
    rows: Sequence[VcpuRow],
    widths: Mapping[str, int],
    memory: Memory,
    hint: str = "",
    scale: Held | None = None,
) -> SchedulerView:
    """All of it. rows: vcpu_rows() of the interval; widths: characters of the tables, by pane.

    memory: on which nodes it is; hint: what to say where that is not known; scale: that of the intervals before.
    """
    seconds = interval.seconds
    vms = interval.after.vms if scope.pid is None else None
    tables: dict[str, Rows] = {
        "vcpus": placed_table(rows, scope, widths["vcpus"]),
        "others": thread_table(other_threads(interval, scope), widths["others"] - 1, vms),
    }
    notes: dict[str, Note] = {"vcpus": _placer(interval, rows, memory, hint)}
    found = told(interval, scope)
    if found.culprits is not None:
        tables["culprits"] = culprit_table(found.culprits, seconds, widths["culprits"])
    if found.wakers is not None:
        tables["waking"] = waker_table(found.wakers, widths["waking"])
    if found.holdups is not None:
        tables["blocked"] = holdup_table(found.holdups, seconds, widths["blocked"])
        unnamed = interval.after.scheduling.unnamed if interval.after.scheduling else ""
        notes["blocked"] = {holdup_key(one): stack_line(one.stack, unnamed) for one in found.holdups}.get
    return SchedulerView(
        headline=headline(interval, scope, found.culprits),
        tables=tables,
        notes=notes,
        **_waking(found.latency, interval, scope, scale or Held()),
    )


def who(interval: Interval, scope: Scope) -> str:
    """The vCPUs of a scope as the object of a sentence: vCPU 1 of db02, db02, "" for everything."""
    after = interval.after
    vm = after.vms.get(scope.pid) if scope.pid is not None else None
    name = vm.name if vm else f"pid {scope.pid}" if scope.pid is not None else ""
    if scope.thread is None:
        return name
    rows = np.flatnonzero(after.thread_ids == scope.thread)
    return f"vCPU {after.threads['vcpu'][rows[0]]} of {name}" if len(rows) else f"a vCPU of {name} that has ended"


def _time(interval: Interval, scope: Scope, state: str) -> int:
    """ns of the scope's vCPUs in a state."""
    mask = scope.mask(interval.after)
    spent = interval.budget[:, STATES.index(state)]
    return int((spent if mask is None else spent[mask]).sum())


def headline(interval: Interval, scope: Scope, culprits: Sequence[Culprit] | None) -> str:
    """How long the vCPUs waited, and behind whom; culprits: most time first, None where nobody knows."""
    one, name = scope.thread is not None, who(interval, scope)
    several = f"the vCPUs of {name} together" if name else "all vCPUs together"
    if "wait" not in interval.after.told:
        return "How long vCPUs waited for a CPU cannot be told on this kernel"
    waited = _time(interval, scope, "wait")
    known = int(interval.known[_mask(interval, scope)].sum())
    if known <= 0 and scope != ALL:
        return f"Nothing is known of {name} in this interval"
    if waited <= 0:
        text = f"{name} did not wait for a CPU" if one else f"no vCPU{f' of {name}' if name else ''} waited for a CPU"
        return text + _held_back(interval, scope)
    text = name if one else several
    little = waited < HARDLY * max(known, 1)
    text += " hardly waited" if little else " waited"
    text += f" for a CPU, {_rate(waited, interval)}" if little else f" {_rate(waited, interval)} for a CPU"
    if culprits is not None:
        text += f": {_behind(culprits, interval)}" if culprits else ""
    return text + _held_back(interval, scope)


def _behind(culprits: Sequence[Culprit], interval: Interval) -> str:
    known = [one for one in culprits if one.actor.kind != "unknown"]
    parts = [f"{_part(one.ns, interval)} {behind_whom(one.actor)}" for one in known[:NAMED]]
    if others := known[NAMED:]:
        rest = _part(sum(one.ns for one in others), interval)
        parts.append(f"{rest} behind {len(others)} other{'s' * (len(others) > 1)}")
    unknown = [one for one in culprits if one.actor.kind == "unknown"]
    parts += [f"{_part(one.ns, interval)} {_UNKNOWN.get(one.actor, one.actor.text)}" for one in unknown]
    return ", ".join(parts)


def _mask(interval: Interval, scope: Scope) -> Any:
    mask = scope.mask(interval.after)
    return slice(None) if mask is None else mask


def _part(ns: int, interval: Interval) -> str:
    return units.duration(ns / interval.seconds)


def _rate(ns: int, interval: Interval) -> str:
    return f"{_part(ns, interval)}/s"


def _held_back(interval: Interval, scope: Scope) -> str:
    """What a quota took, as the end of a sentence: who waits for no CPU may be slow for that."""
    taken = _time(interval, scope, "throttled")
    if taken < HARDLY * max(int(interval.known[_mask(interval, scope)].sum()), 1):
        return ""
    vm = interval.after.vms.get(scope.pid) if scope.pid is not None else None
    return f"; a CPU quota took {_rate(taken, interval)}" + (f" ({vm.quota})" if vm and vm.quota else "")


def _waking(latency: Latency | None, interval: Interval, scope: Scope, scale: Held) -> dict[str, Any]:
    """The fields of SchedulerView that are about it."""
    if latency is None:
        return {}
    if not latency.count:
        return {"waking": "no wake-up in this interval"}
    marks: list[tuple[str, float | None]] = [("p50", latency.p50), ("p99", latency.p99), ("max", latency.max)]
    shown = scale.hold(span(latency.hist), scope, interval.after.time_ns)
    words = [f"{label} {units.duration(value)}" for label, value in marks]
    return {
        "waking": ", ".join([f"{units.rate(latency.count / interval.seconds)}/s", *words]),
        "hist": list(latency.hist[shown.first : shown.last + 1]),
        "marks": [(label, shown.mark(value)) for label, value in marks if value is not None],
        "decades": shown.decades,
    }


def stack_line(stack: Sequence[str], unnamed: str = "") -> str:
    """Where it slept, the innermost function first. unnamed: why functions have no names, in a sentence."""
    return " < ".join(stack) if stack else unnamed or "its kernel stack is not known"


def _placer(interval: Interval, rows: Sequence[VcpuRow], memory: Memory, hint: str) -> Note:
    """Tells of a vCPU, by its scope, where it is and may be, and on which nodes the memory of its VM is."""
    tids = {one.scope: one.number for one in rows}

    def place(key: Key) -> str | None:
        if not isinstance(key, Scope) or key not in tids:
            return None
        words = scheduling.placement_words(interval, key).get(tids[key], "")
        return "; ".join(filter(None, [words, _memory(memory.get(key.pid or 0, {})) or hint]))

    return place


def _memory(nodes: Mapping[int, int]) -> str:
    """How much memory of a VM is on which NUMA nodes, most first."""
    most = sorted(nodes.items(), key=lambda one: -one[1])
    parts = [f"{units.size(amount)} on node {node}" for node, amount in most]
    return f"its memory: {', '.join(parts)}" if parts else ""
