"""Whom a vCPU waits for, in words for findings: as far as somebody looks at what the scheduler does."""

from __future__ import annotations

from collections.abc import Iterable

from .. import units
from ..host.placement import cpus
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scheduling import Placement
from ..model.scope import Scope
from ..model.vocabulary import STATES
from .actors import Actor
from .scheduling import culprits, holdups, may_run_on

MOST = 3  # that are named
LEAST = 0.05  # of the wait, or of the time blocked
WAIT = STATES.index("wait")
IDLE = 0.5  # of an interval, from which a CPU is worth a word to who waits for another


def behind(interval: Interval, scope: Scope, share: float) -> str:
    """Who had the CPU: "52.0% behind vCPU 0 of web01, …; it may run on CPU 1 only"; "" where nobody can be named.

    scope: a vCPU's; share: how much of its time it waits.
    """
    parts: dict[str, float] = {}
    for one in culprits(interval, scope) or []:
        if one.actor.kind != "unknown":  # the processes of one name and service are one, however many
            parts[behind_whom(one.actor)] = parts.get(behind_whom(one.actor), 0) + one.share
    named = _named(parts.items(), share)
    if not named and sum(parts.values()) > 0.5:
        named = f"behind many, none of them for {LEAST:.0%} of that"
    return named and named + _elsewhere(interval, scope)


def behind_whom(actor: Actor) -> str:
    """With the word that goes before it: a CPU that nobody has is no one to wait behind."""
    return f"{'for' if actor.kind == 'idle' else 'behind'} {actor.text}"


def nobody_looks(throttled: bool) -> str:
    """Why a thread waits for a CPU, as far as that is known without a look; throttled: whether that is told apart."""
    return f"its host CPU runs something else or is waking up{'' if throttled else ', or its CPU quota is used up'}"


def slept_on(interval: Interval, scope: Scope) -> str:
    """What held it up: "52.0% on a lock or event (futex), woken by vCPU 1 of web01"; "" if not known."""
    found = holdups(interval, scope) or []
    known = int(interval.known[scope.mask(interval.after)].sum())
    blocked = sum(one.ns for one in found)
    if not known or not blocked:
        return ""
    parts: dict[str, float] = {}
    for one in found:
        if one.what != "not known":
            who = f", woken by {one.actor.text}" if one.actor and one.actor.kind != "unknown" else ""
            words = f"on {one.what}{who}"
            parts[words] = parts.get(words, 0) + one.ns / blocked
    return _named(parts.items(), min(blocked / known, 1))


def _named(parts: Iterable[tuple[str, float]], whole: float) -> str:
    most = sorted(((share, words) for words, share in parts if share >= LEAST), key=lambda one: -one[0])[:MOST]
    return ", ".join(f"{units.percent(share * whole)} {words}" for share, words in most)


def _elsewhere(interval: Interval, scope: Scope) -> str:
    """Whether it may run on other CPUs, and whether one of those was idle."""
    threads = interval.after.threads["id"][scope.mask(interval.after)]
    may = placement(interval, unpack(int(threads[0]))[1]) if len(threads) else None
    if may is None:
        return ""
    words = ", though it may run on any CPU" if may.all else f"; it may run on {may_run_on(may.allowed)}"
    free = {cpu: share for cpu, share in idle(interval).items() if cpu in cpus(may.allowed) and share >= IDLE}
    if not free:
        return words
    cpu = max(free, key=lambda one: free[one])
    return f"{words}, and CPU {cpu} was idle {units.percent(free[cpu])} of the time"


def placement(interval: Interval, tid: int | None) -> Placement | None:
    """Where a thread may run; None where that was not looked at."""
    scheduling = interval.after.scheduling
    return scheduling.placements.get(tid or 0) if scheduling else None


def waited(interval: Interval, scope: Scope) -> float | None:
    """Of a vCPU's time in an interval, the share in which it waited for a CPU; None where nothing is known of it."""
    mask = scope.mask(interval.after)
    known = int(interval.known[mask].sum())
    return float(interval.budget[mask, WAIT].sum()) / known if known else None


def idle(interval: Interval) -> dict[int, float]:
    """By host CPU, the share of the interval in which it had nobody to run."""
    before, after = interval.before and interval.before.scheduling, interval.after.scheduling
    if not before or not after:
        return {}
    ns = interval.seconds * 1e9
    return {cpu: min((now - before.idle[cpu]) / ns, 1) for cpu, now in after.idle.items() if cpu in before.idle}
