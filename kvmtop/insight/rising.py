"""A reason that takes longer than it did: its p99 in a VM against the minute before."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from .. import units
from ..model.arrays import find
from ..model.exit_stats import tops
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..model.vocabulary import Key
from .finding import Finding
from .since import since

EXITS = 100  # that both need
SAMPLES = 10
MOST = 20  # that are looked at closely
MINUTE_NS = 60_000_000_000


def rising(session: Session, interval: Interval, rise: float, scope: Scope = ALL) -> Iterator[Finding]:
    """A reason whose p99 in a VM is `rise` times what it was in the minute before, of exits of the same vCPUs."""
    now_ns = interval.after.time_ns
    history = list(session.history)  # the reader's thread may append to it meanwhile
    minute = [one for one in history if now_ns - MINUTE_NS < one.time_ns <= now_ns and one.whole]
    if not minute or minute[-1].time_ns != now_ns:
        return
    *past, now = minute
    now.of_vms  # noqa: B018  (it stays known when the histograms are forgotten)
    if len(past) < SAMPLES:
        return
    for pid, key in _candidates(interval, past, now, rise):
        if scope.pid not in (None, pid):
            continue
        threads, (_, p99) = now.threads_with(Scope(pid), key), now.of_vm(pid, key)
        like = [one for one in past if one.threads_with(Scope(pid), key) == threads]
        before = [was for count, was in (one.of_vm(pid, key) for one in like) if count >= EXITS]
        if len(before) >= SAMPLES and p99 >= rise * (usual := median(before)):
            vm, reason = interval.after.vms.get(pid), interval.after.names.name(*key)
            name = vm.name if vm else f"pid {pid}"
            yield Finding(
                f"p99 of {reason} rose {p99 / usual:.0f}× in {name}, from {units.duration(usual)} to"
                f" {units.duration(p99)}",
                f"p99 ≥ {rise:g}× its median over the minute before, {EXITS} exits each, of the same vCPUs",
                short=f"{name}: p99 of {reason} rose",
                scope=Scope(pid),
                reason=key,
                state="kernel",
                figures=frozenset({"p99"}),
                since=since(
                    session,
                    interval,
                    lambda one: one.whole and one.of_vm(pid, key)[1] >= rise * usual,  # noqa: B023
                ),
            )
            return


def _candidates(interval: Interval, past: list[Sample], now: Sample, rise: float) -> list[tuple[int, Key]]:
    """VMs, by pid, and reasons whose p99 is so many times their lowest in the past, the steepest first."""
    pids, counts, p99s = now.of_vms
    lowest = np.full(p99s.shape, np.inf)
    for sample in (one for one in past if one.of_vms[1].size):
        vm, key = find(sample.of_vms[0].astype("u8"), pids.astype("u8")), find(sample.distinct, now.distinct)
        there = (vm >= 0)[:, None] & (key >= 0) & (sample.of_vms[1][vm][:, key] >= EXITS)
        lowest = np.where(there, np.fmin(lowest, sample.of_vms[2][vm][:, key]), lowest)
    rows, top = interval.rows, tops(interval)
    mine = rows["thread"] >= 0
    group = top.vm[rows["thread"][mine]] * len(now.distinct) + interval.reasons[1][mine]
    asleep = np.bincount(group, (2 * rows["idle"] - rows["time"])[mine], p99s.size).reshape(p99s.shape) > 0
    steep = np.where((counts >= EXITS) & ~asleep, p99s / lowest, 0)
    best = np.argsort(-steep, axis=None, kind="stable")[:MOST]
    return [
        (int(pids[at // len(now.distinct)]), unpack(int(now.distinct[at % len(now.distinct)])))
        for at in best.tolist()
        if steep.flat[at] >= rise
    ]
