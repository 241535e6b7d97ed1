"""What the scheduler did with vCPUs, for programs: the section "scheduling" of the JSON."""

from __future__ import annotations

from typing import Any

from ..insight.actors import Actor
from ..insight.scheduling import culprits, holdups, latency, looked_at, wakers
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scheduling import Scheduling
from ..model.scope import Scope
from ..model.vocabulary import STATES

Object = dict[str, Any]


def scheduling(interval: Interval) -> list[Object] | None:
    """An object for each vCPU that is looked at, and lived in the interval; None while nobody looks."""
    told, threads = interval.after.scheduling, interval.after.threads
    if told is None:
        return None
    wait = interval.budget[:, STATES.index("wait")].tolist() if "wait" in interval.after.told else None
    rows = zip(threads["id"].tolist(), interval.after.thread_ids.tolist(), threads["vcpu"].tolist(), strict=True)
    known, ended = interval.known.tolist(), threads["end_ns"].tolist()
    found = []
    for at, (id, thread, number) in enumerate(rows):
        pid, tid = unpack(id)
        if looked_at(interval, Scope(pid, thread)) and (known[at] or not ended[at]):
            who = {"pid": pid, "tid": tid, "vcpu": number, "wait_ns": wait and wait[at]}
            found.append(
                {**who, **_vcpu(interval, told, Scope(pid, thread)), "placement": _placement(interval, told, tid)}
            )
    return found


def _vcpu(interval: Interval, told: Scheduling, scope: Scope) -> Object:
    waking = latency(interval, scope)
    return {
        "culprits": [
            {**_actor(one.actor), "cgroup": one.actor.cgroup or None, "ns": one.ns, "count": one.count}
            for one in culprits(interval, scope) or []
        ],
        "woken": [{**_actor(one.actor), "count": one.count} for one in wakers(interval, scope) or []],
        "latency": waking and {"count": waking.count, "p50_ns": waking.p50, "p99_ns": waking.p99, "max_ns": waking.max},
        "blocked": [
            {
                "what": one.what,
                "stack": list(one.stack) if one.stack or not told.unnamed else None,
                "by": one.actor and _actor(one.actor),
                "count": one.count,
                "ns": one.ns,
                "max_ns": one.max,
            }
            for one in holdups(interval, scope) or []
        ],
    }


def _actor(actor: Actor) -> Object:
    return {"kind": actor.kind, "text": actor.text, "pid": actor.pid, "tid": actor.tid}


def _placement(interval: Interval, told: Scheduling, tid: int) -> Object | None:
    place = told.placements.get(tid)
    if place is None:
        return None
    cpus = {"cpu": interval.after.cpus.get(tid), "siblings": list(place.siblings), "node": place.node}
    return {"allowed": place.allowed, "all": place.all, **cpus}
