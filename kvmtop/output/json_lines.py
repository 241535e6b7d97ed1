"""Each interval for programs: a line of JSON, which schema.json describes.

A section of the object is one function of SECTIONS or DETAILS; keys may be added under the same SCHEMA, their meaning
never changes. Times are ns where the name ends in _ns, shares are of 1, and what is unknown is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ..insight import apic
from ..insight import findings as rules
from ..insight.accesses import POLLING, accesses
from ..insight.apic import ApicExits
from ..insight.guest_profile import profiles
from ..insight.halt_polling import polling as polled
from ..insight.other_threads import OtherThread, other_threads
from ..insight.own_cost import own_share
from ..insight.slow_exits import read
from ..insight.vcpus import VcpuRow, shares, vcpu_rows
from ..model.exit_stats import tops
from ..model.interval import Interval, open_ns
from ..model.keys import unpack
from ..model.nesting import nested, nesting
from ..model.provenance import HERE, Origin
from ..model.scope import ALL, Scope
from ..model.session import Line, Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import NESTED, OUTSIDE, REFLECTED, STATES, UNKNOWN, isa_name, looks_at, vendor
from ..reference.labels import Labels
from ..sanitize import clean
from ..tables.halt_polling import verdict
from ..tables.row_choice import RowChoice
from . import json_scheduling, summary
from .stream import Output

SCHEMA = 2
SENTENCE = 2000  # characters of one, at most
MOST_CODE = 20  # functions of a vCPU
PERCENTILES = {"p50_ns": 0.5, "p99_ns": 0.99, "p99_9_ns": 0.999}
Object = dict[str, Any]


def _isa(isa: int) -> str | None:
    return isa_name(isa) if isa != UNKNOWN else None


def nested_word(isa: int) -> str | None:
    """Whether exits are a nested guest's, and who dealt with them: KVM here, or the hypervisor in the VM."""
    return {NESTED: "here", NESTED | REFLECTED: "reflected"}.get(isa - vendor(isa))


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _budget(found: Mapping[str, float] | None) -> Object | None:
    return {state: _rounded(found.get(state)) for state in STATES} if found else None


def _parts(found: Mapping[str, int], told: Collection[str] = OUTSIDE) -> Object:
    """What a time is divided into, in ns."""
    return {f"{state}_ns": found.get(state) if state in told else None for state in OUTSIDE}


def head(kind: str, snapshot: Snapshot, seconds: float, origin: Origin) -> Object:
    """What every object begins with; `seconds` is the measured length of what it speaks of."""
    return {
        "schema": SCHEMA,
        "type": kind,
        "time": datetime.fromtimestamp(origin.wall(snapshot), UTC).isoformat(timespec="milliseconds"),
        "elapsed": round((snapshot.time_ns - snapshot.start_ns) / 1e9, 6),
        "length": round(seconds, 9),
        "kvmtop": origin.version,
        "host": origin.host,
        "kernel": origin.kernel,
        "recording": origin.recording,
        "isa": _isa(snapshot.isa),
    }


def totals(session: Session, interval: Interval) -> Object:
    """All VMs together."""
    after, exits = interval.after, int(interval.rows["count"].sum())
    return {
        "vms": sum(not vm.ended for vm in after.vms.values()),
        "vcpus": int((after.threads["end_ns"] == 0).sum()),
        "exits": exits,
        "rate": round(exits / interval.seconds, 3),
    }


def budget(session: Session, interval: Interval) -> Object | None:
    """Where the vCPUs' time went, in shares that add up to 1; None before the first exit."""
    return _budget(shares(interval, ALL))


def reason(line: Line) -> Object:
    """One exit reason of a scope: its figures in the interval, and how many exits there were since the start."""
    r = line.reason
    return {
        "isa": _isa(r.isa),
        "code": r.code,
        "name": clean(r.name),
        "nested": nested_word(r.isa),
        "idle": r.idle if "idle" in r.parts else None,
        "count": r.count,
        "rate": round(r.rate, 3),
        "share": _rounded(line.share),
        "time_ns": r.time,
        "time_share": _rounded(line.time_share),
        **_parts(r.parts),
        "avg_ns": _rounded(r.avg, 1),
        **{name: _rounded(r.percentile(share), 1) for name, share in PERCENTILES.items()},
        "max_ns": r.max,
        "min_ns": r.min,
        "total": line.total,
    }


def reasons(session: Session, interval: Interval) -> list[Object]:
    """All reasons seen so far, by code."""
    return [reason(line) for line in session.lines(interval)]


def vms(session: Session, interval: Interval) -> list[Object]:
    """The VMs with their vCPUs and other threads. One that had ended before the interval began is left out."""
    after = interval.after
    lasted = open_ns(after).tolist()
    rows = {thread: row for row, thread in enumerate(after.thread_ids.tolist())}
    top = tops(interval, waiting=True)
    cost = nesting(interval) if nested(interval) else None
    most = dict(zip(top.pids.tolist(), top.of_vm.tolist(), strict=True))

    def member(m: VcpuRow) -> Object:
        key = most.get(m.number, -1) if m.scope.thread is None else int(top.of_thread[rows[m.scope.thread]])
        return {
            "rate": round(m.rate, 3),
            "budget": _budget(m.shares),
            "top": clean(after.names.name(*unpack(int(top.keys[key])))) if key >= 0 else None,
            "stuck": bool(m.stuck),
            "ended": m.ended,
        }

    def vcpu(m: VcpuRow) -> Object:
        row = rows[m.scope.thread or 0]
        thread = after.threads[row]
        opened = None
        if lasted[row] and not m.ended:
            name = clean(after.names.name(int(thread["isa"]), int(thread["reason"])))
            parts = _parts(dict(zip(OUTSIDE, thread["open"].tolist(), strict=True)), after.told)
            opened = {"reason": name, "ns": lasted[row], **parts}
        state, since = STATES[thread["state"]], int(thread["since_ns"])
        told = since and state in after.told and not m.ended
        now = {"state": state if told else None, "state_ns": max(after.time_ns - since, 0) if told else None}
        where = {"vcpu": int(thread["vcpu"]), "tid": m.number, "cpu": after.cpus.get(m.number)}
        now["nesting_ns"] = int(cost[row]) if cost is not None else None
        return {**where, **member(m), **now, "open": opened}

    apic_exits = apic.apic_exits(interval)
    threads: dict[int, list[Object]] = {}  # one that runs has a main thread at least
    for one in other_threads(interval):
        threads.setdefault(one.pid, []).append(_thread(one))
    found: list[Object] = []
    for m in vcpu_rows(session, interval, ended_before(interval), trend=0):
        if m.scope.thread is None:
            name = {"name": clean(m.vm) or f"pid {m.number}", "pid": m.number, "alive": m.alive}
            vm = after.vms[m.number]
            still = {"stopped": vm.stopped, "paused": vm.paused, "quota": clean(vm.quota) or None}
            more = {
                "apic": _apic(interval, m.number, apic_exits.get(m.number)),
                "vcpus": [],
                "threads": threads.get(m.number),
            }
            found.append({**name, **member(m), **still, **more})
        elif not m.ended or m.shares is not None:
            found[-1]["vcpus"].append(vcpu(m))
    return found


def _apic(interval: Interval, pid: int, exits: ApicExits | None) -> Object:
    """Whether the hardware emulates a VM's APIC, and how many exits are for it, as far as that is known."""
    known = apic.verdict(interval, pid)
    return {
        "accelerated": known.on,
        "inhibits": None if known.inhibits is None else [clean(name) for name in known.inhibits],
        "text": clean(known.words),
        "advice": known.advice or None,
        "exits": exits and {"rate": round(exits.rate, 3), "what": exits.what, "whole": exits.whole},
    }


def _thread(one: OtherThread) -> Object:
    """A VM's thread that is no vCPU."""
    shares = {name: _rounded(getattr(one, name)) for name in ("busy", "wait", "throttled")}
    return {"tid": one.tid, "role": one.role, "name": one.name, "cpu": one.cpu, **shares}


def ended_before(interval: Interval) -> frozenset[int]:
    """The VMs (pids) that had ended when the interval began."""
    before = interval.before.vms if interval.before else {}
    return frozenset(pid for pid, vm in interval.after.vms.items() if vm.ended and pid in before and before[pid].ended)


def caveats(session: Session, interval: Interval) -> Object:
    """What was not counted or did not pair, since the start."""
    return interval.after.caveats


def counted_by(session: Session, interval: Interval) -> str | None:
    """The kernel event that tells of exits, and why it is that one; None where it is a recording's."""
    return interval.after.counted_by


def probes(session: Session, interval: Interval) -> Object | None:
    """What kvmtop's own programs take, while somebody looks."""
    price = interval.after.price
    if price is None:
        return None
    return {
        "exits": price.exits,
        "switches": price.switches,
        "missed": price.missed,
        "counting_exit_ns": _rounded(price.counting_exit_ns, 1),
        "added_exit_ns": _rounded(price.added_exit_ns, 1),
        "added_switch_ns": _rounded(price.added_switch_ns, 1),
        "share": _rounded(own_share(interval)),
        "why": price.why or None,
    }


# ---- what was looked at (--event, --slow); null while nobody does


def _scopes(interval: Interval) -> list[tuple[Scope, int | None, int | None]]:
    """Everything, each VM and each vCPU, with pid and tid."""
    after = interval.after
    ids = zip(map(unpack, after.threads["id"].tolist()), after.thread_ids.tolist(), strict=True)
    vcpus = [(Scope(pid, thread), pid, tid) for (pid, tid), thread in ids]
    return [(ALL, None, None), *((Scope(pid), pid, None) for pid in sorted({pid for _, pid, _ in vcpus})), *vcpus]


def looked_at(session: Session, interval: Interval, labels: Labels) -> list[int] | None:
    """The VMs that touched, slow, polling and profile are of, by their pids; None: all of them, or nobody looks."""
    details = interval.after.details
    return sorted(details.look.pids) if details and details.look.pids else None


def touched(session: Session, interval: Interval, labels: Labels) -> list[Object] | None:
    """What exits touched: a row for each key, of all VMs (pid and tid null), of each VM, and of each vCPU."""
    details = interval.after.details
    if details is None:
        return None
    return [
        {
            "pid": pid,
            "tid": tid,
            "kind": one.kind,
            "value": one.value,
            "extra": one.extra,
            "what": clean(labels.what(one.kind, one.value, one.extra)),
            "count": one.count,
            "rate": round(one.rate, 3),
            "exits": one.exits,
            "time_ns": one.total,
            **_parts(one.parts, interval.after.told),
            "share": None if one.share is None else round(one.share, 6),
            "avg_ns": None if one.avg is None else round(one.avg, 1),
            "p99_ns": one.percentile(0.99),
            "max_ns": one.max,
        }
        for scope, pid, tid in _scopes(interval)
        if looks_at(details.look.pids, pid)
        for one in accesses(interval, scope, details.look.kinds - POLLING)
    ]


def slow(session: Session, interval: Interval, labels: Labels) -> Object | None:
    """The slow exits, oldest first, and how many since the start came too fast to be told."""
    details = interval.after.details
    if details is None or details.look.slow_ns is None:
        return None
    return {
        "threshold_ns": details.look.slow_ns,
        "undelivered": details.undelivered,
        "exits": [
            {
                "vm": one.vm,
                "pid": one.pid,
                "tid": one.tid,
                "vcpu": one.vcpu,
                "isa": isa_name(one.isa),
                "code": one.code,
                "name": clean(one.name),
                "nested": nested_word(one.isa),
                "ns": one.ns,
                **_parts(one.parts, interval.after.told),
                "cpu": one.cpu,
                "rip": one.rip or None,
                "info": None if one.info is None else list(one.info),
                "what": clean(labels.what(one.kind, one.value, one.extra)) if one.kind else None,
            }
            for one in read(details.slow, interval.after)
        ],
    }


def polling(session: Session, interval: Interval, labels: Labels) -> list[Object] | None:
    """How each vCPU's halts were polled."""
    details = interval.after.details
    if details is None or "poll" not in details.look.kinds:
        return None
    return [
        {
            "pid": unpack(one.id)[0],
            "tid": unpack(one.id)[1],
            "hits": one.hits,
            "wasted": one.wasted,
            "other": one.other,
            "success_ns": one.success_ns,
            "fail_ns": one.fail_ns,
            "window_ns": one.window,
            "verdict": verdict(one),
        }
        for one in polled(interval, ALL)
    ]


def profile(session: Session, interval: Interval, labels: Labels) -> list[Object] | None:
    """Where each vCPU was in its guest, by samples."""
    details = interval.after.details
    if details is None or "rip" not in details.look.kinds:
        return None
    return [
        {
            "pid": unpack(one.id)[0],
            "tid": unpack(one.id)[1],
            "samples": one.samples,
            "functions": [{"what": clean(what), "samples": count} for what, count in one.functions(labels)[:MOST_CODE]],
        }
        for one in profiles(interval)
    ]


def findings(session: Session, interval: Interval, labels: Labels) -> list[Object]:
    """What stands out, each with its rule."""
    rows = vcpu_rows(session, interval, trend=0)
    tids = {row.scope: row.number for row in rows if row.scope.thread is not None}
    return [
        {
            "name": one.name,
            "pid": one.scope.pid,
            "tid": tids.get(one.scope),
            "text": clean(one.text, SENTENCE),
            "rule": one.rule,
            "cost": _rounded(one.cost),
            "more": one.more or None,
        }
        for one in rules.findings(session, interval, rows, labels)
    ]


def scheduling(session: Session, interval: Interval, labels: Labels) -> list[Object] | None:
    """What the scheduler did with each vCPU."""
    return json_scheduling.scheduling(interval)


SECTIONS: dict[str, Callable[[Session, Interval], Any]] = {
    "totals": totals,
    "budget": budget,
    "reasons": reasons,
    "vms": vms,
    "honesty": caveats,
    "counted_by": counted_by,
    "probes": probes,
}


DETAILS: dict[str, Callable[[Session, Interval, Labels], Any]] = {
    "looked_at": looked_at,
    "touched": touched,
    "slow": slow,
    "polling": polling,
    "profile": profile,
    "scheduling": scheduling,
    "findings": findings,
}


def _dumps(found: Object) -> str:
    # ASCII: whatever the locale, and no name can end a line or a string.
    return json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"


def interval_line(
    session: Session, interval: Interval, labels: Labels, origin: Origin = HERE, choice: RowChoice | None = None
) -> str:
    """One line: the interval's object. choice: of its reasons; without one all, by code."""
    labels = replace(labels, names=interval.after.names)
    sections = {name: section(session, interval) for name, section in SECTIONS.items()}
    sections |= {name: section(session, interval, labels) for name, section in DETAILS.items()}
    if choice:  # shares stay what they are: of all reasons
        sections["reasons"] = [reason(line) for line in choice.for_programs(session, interval)]
    return _dumps({**head("interval", interval.after, interval.seconds, origin), **sections})


def summary_line(final: Snapshot, origin: Origin = HERE) -> str:
    """The last line: what the closing summary says of the whole run, and what was not counted."""
    found = [
        {
            "isa": _isa(row.isa),
            "code": row.code,
            "name": clean(row.name),
            "count": row.count,
            "sum_us": row.sum,
            "min_us": row.min,
            "avg_us": row.avg,
            "max_us": row.max,
        }
        for row in summary.rows(final)
    ]
    seconds = max(final.time_ns - final.start_ns, 1) / 1e9
    return _dumps(
        {
            **head("summary", final, seconds, origin),
            "reasons": found,
            "honesty": final.caveats,
        }
    )


def output(
    file: TextIO, path: Path | None = None, labels: Labels | None = None, choice: RowChoice | None = None
) -> Output:
    """An object each interval, and a last one with the summary. labels: names of what exits touched."""

    def interval(session: Session, interval: Interval, origin: Origin) -> str:
        return interval_line(session, interval, labels or Labels(), origin, choice)

    return Output(file, path, "", interval, summary_line)
