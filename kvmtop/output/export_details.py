"""The JSON object's sections on what was looked at; null while nobody does (--event, --slow)."""

from __future__ import annotations

from typing import Any

from ..insight import findings as rules
from ..insight.accesses import POLLING
from ..insight.accesses import touched as touches
from ..insight.halt_polling import polling as polled
from ..insight.slow_exits import read
from ..insight.vcpus import members
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..model.vocabulary import isa_name
from ..reference.labels import Labels
from ..sanitize import clean
from ..tables.halt_polling import verdict

Object = dict[str, Any]


def _scopes(interval: Interval) -> list[tuple[Scope, int | None, int | None]]:
    """Everything, each VM and each vCPU, with pid and tid."""
    after = interval.after
    ids = zip(map(unpack, after.threads["id"].tolist()), after.thread_ids.tolist(), strict=True)
    vcpus = [(Scope(pid, thread), pid, tid) for (pid, tid), thread in ids]
    return [(ALL, None, None), *((Scope(pid), pid, None) for pid in sorted({pid for _, pid, _ in vcpus})), *vcpus]


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
            "user_ns": one.user,
            "share": None if one.share is None else round(one.share, 6),
            "avg_ns": None if one.avg is None else round(one.avg, 1),
            "p99_ns": one.percentile(0.99),
            "max_ns": one.max,
        }
        for scope, pid, tid in _scopes(interval)
        for one in touches(interval, scope, details.look.kinds - POLLING)
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
                "ns": one.ns,
                "kernel_ns": one.kernel,
                "user_ns": one.user,
                "idle_ns": one.idle,
                "cpu": one.cpu,
                "rip": one.rip,
                "info": list(one.info),
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
            "polling_ns": one.ns,
            "window_ns": one.window,
            "verdict": verdict(one),
        }
        for one in polled(interval, ALL)
    ]


def findings(session: Session, interval: Interval, labels: Labels) -> list[Object]:
    """What stands out, each with its rule."""
    rows = members(session, interval, trend=0)
    return [{"text": clean(one.text), "rule": one.rule} for one in rules.findings(session, interval, rows, labels)]
