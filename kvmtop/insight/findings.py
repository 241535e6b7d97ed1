"""Plain sentences that follow from the numbers, each with the rule and the numbers it rests on.

Few, and none without a number: what no rule covers is left to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np

from .. import units
from ..model.arrays import find
from ..model.exit_stats import Reason, tops
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.reasons import DEVICE, PAUSE, basic, is_one_of
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..model.vocabulary import STATES, Key
from ..reference import ports
from ..reference.labels import Labels
from . import blame
from .accesses import TOUCHED, Access, accesses
from .halt_polling import Verdict, polling
from .other_threads import stand_out
from .scheduling import looked_at
from .vcpus import STUCK_NS, VcpuRow

MOST = 5  # sentences
SCHEDULER = "scheduler"  # what it does with a vCPU, of which somebody may ask to be told

USER_SHARE = 0.20  # of a vCPU's second on a CPU in the VMM
BLOCKED_SHARE = 0.20  # asleep, not halted
WAIT_SHARE = 0.20  # runnable, but not running
THROTTLED_SHARE = 0.20  # runnable, but a quota is used up
KERNEL_SHARE = 0.40
PAUSE_TIME = 0.02  # of a vCPU's second, with WAIT_SHARE of it and of another of its VM
RISE = 4.0  # of a p99 against its median over the minute before
RISE_EXITS = 100  # that both need
RISE_SAMPLES = 10
MOST_RISING = 20  # that are looked at closely
WASTED_POLLING = 0.05  # of a CPU


@dataclass(frozen=True)
class Finding:
    """A sentence about what the numbers say. rule: what had to be so for it to be said; more: where more of it can be
    seen, which each output words for itself: SCHEDULER, or ""."""

    text: str
    rule: str
    more: str = ""


def findings(session: Session, interval: Interval, rows: Sequence[VcpuRow], labels: Labels) -> list[Finding]:
    """What stands out in an interval, gravest first, at most MOST. rows: vcpu_rows() of the same interval."""
    found: list[Finding] = []
    vms = [vm for vm in rows if vm.scope.thread is None]
    still = {vm.scope.pid for vm in vms if vm.outside}
    vcpus = [vcpu for vcpu in rows if vcpu.scope.thread is not None and not vcpu.ended]
    # Of those that stand still or are stuck, more is said than that they are blocked.
    others = [vcpu for vcpu in vcpus if not vcpu.stuck and vcpu.scope.pid not in still]
    rules: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _lost(interval),
        lambda: _still(vms),
        lambda: _stuck(interval, vcpus),
        lambda: _throttled(interval, vcpus),
        lambda: _waiting(interval, vcpus),
        lambda: (Finding(*one) for one in stand_out(interval)),
        lambda: _blocked(session, interval, others, labels),
        lambda: _user(session, interval, vcpus, labels),
        lambda: _kernel(session, interval, vcpus),
        lambda: _rising(session, interval),
        lambda: _polling(interval),
    )
    for rule in rules:
        found += islice(rule(), MOST)
    return found[:MOST]


def _who(vcpu: VcpuRow) -> str:
    return f"{vcpu.name} of {vcpu.vm}"


def _share(vcpu: VcpuRow, state: str) -> float:
    return (vcpu.shares or {}).get(state, 0.0)


def _worst(vcpus: list[VcpuRow], state: str, least: float) -> list[VcpuRow]:
    """The one vCPU with the most of a state, if it is enough to be worth a sentence."""
    return sorted((m for m in vcpus if _share(m, state) > least), key=lambda m: -_share(m, state))[:1]


def _lost(interval: Interval) -> Iterator[Finding]:
    if interval.lost:
        yield Finding(
            f"{interval.lost} exits of this interval are missing from all figures: a map was full", "lost > 0"
        )


_STILL = {
    "stopped": ("is stopped by a signal, for {}", "/proc says of all of its threads that they are stopped"),
    "paused": (
        "is paused, for {}: all of its vCPUs sleep in the VMM",
        "all of a VM's vCPUs are blocked outside KVM_RUN",
    ),
}


def _still(vms: list[VcpuRow]) -> Iterator[Finding]:
    for vm in vms:
        if vm.outside:
            how, rule = _STILL[vm.outside.where]
            yield Finding(f"{vm.vm} {how.format(units.duration(vm.outside.ns))}", rule)


def _stuck(interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    after = interval.after
    for vcpu in vcpus:
        if vcpu.stuck and vcpu.outside:
            (thread,) = after.threads[after.thread_ids == vcpu.scope.thread]
            where, within = vcpu.outside.where, ""
            if thread["exit_ns"]:
                within = f", in an exit for {after.names.name(int(thread['isa']), int(thread['reason']))}"
            slept = blame.slept_on(interval, vcpu.scope) if where == "blocked" else ""
            yield Finding(
                f"{_who(vcpu)} has not run guest code for a while: {_doing(where, thread)}"
                f" {units.duration(vcpu.outside.ns)}{within}{slept and f'; {slept}'}",
                f"in one state for {STUCK_NS // 10**9} s, neither guest nor idle",
                _more(interval, vcpu) if where in ("wait", "blocked") else "",
            )


_DOING = {
    "kernel": "on a CPU in the kernel",
    "user": "on a CPU in the VMM",
    "blocked": "blocked",
    "wait": "runnable but not scheduled",
    "throttled": "throttled by a CPU quota",
}


def _doing(where: str, thread: np.void) -> str:
    """What a stuck vCPU does, in words; thread: a row of dtype THREAD."""
    if where == "blocked" and thread["exit_ns"]:
        return "blocked in the VMM" if thread["in_vmm"] else "blocked in the kernel"
    return _DOING[where]


def _throttled(interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "throttled", THROTTLED_SHARE):
        vm = interval.after.vms.get(vcpu.scope.pid or 0)
        which = f" ({vm.quota})" if vm and vm.quota else ""
        yield Finding(
            f"{_who(vcpu)} may not run {units.percent(_share(vcpu, 'throttled'))} of its time: the CPU quota of its"
            f" cgroup is used up{which}",
            f"throttled > {THROTTLED_SHARE:.0%} of a vCPU's time",
        )


def _more(interval: Interval, vcpu: VcpuRow) -> str:
    return "" if looked_at(interval, vcpu.scope) else SCHEDULER


def _waiting(interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    rows = interval.rows[interval.rows["thread"] >= 0]
    for vcpu in _worst(vcpus, "wait", WAIT_SHARE):
        waits = f"{_who(vcpu)} waits for a CPU {units.percent(_share(vcpu, 'wait'))} of its time"
        mine = rows[interval.after.thread_ids[rows["thread"]] == vcpu.scope.thread]
        pause = float(mine["time"][is_one_of(mine, PAUSE)].sum()) / (interval.seconds * 1e9)
        siblings = [one for one in vcpus if one.scope.pid == vcpu.scope.pid and one is not vcpu]
        holders = _worst(siblings, "wait", WAIT_SHARE)  # who may hold the lock that it spins for
        more, behind = _more(interval, vcpu), blame.behind(interval, vcpu.scope, _share(vcpu, "wait"))
        if holders and pause >= PAUSE_TIME:
            whom = f"; it waits {behind}" if behind else ""
            yield Finding(
                f"{waits} and spends {units.percent(pause)} in PAUSE exits, {holders[0].name} waits"
                f" {units.percent(_share(holders[0], 'wait'))}: lock-holder preemption{whom}",
                f"wait > {WAIT_SHARE:.0%} of the time of two vCPUs of a VM, and PAUSE ≥ {PAUSE_TIME:.0%}",
                more,
            )
            continue
        if more:
            behind = blame.nobody_looks("throttled" in interval.after.told)
        yield Finding(f"{waits}{behind and f': {behind}'}", f"wait > {WAIT_SHARE:.0%} of a vCPU's time", more)


def _blocked(session: Session, interval: Interval, vcpus: list[VcpuRow], labels: Labels) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "blocked", BLOCKED_SHARE):
        where = ""
        top = _top(session, interval, vcpu, "blocked")
        if top and not top.parts["user"]:
            (thread,) = interval.after.threads[interval.after.thread_ids == vcpu.scope.thread]
            where = "" if thread["in_vmm"] else " in the kernel"
        slept = blame.slept_on(interval, vcpu.scope)
        yield Finding(
            f"{_who(vcpu)} is blocked{where} {units.percent(_share(vcpu, 'blocked'))} of its time"
            f"{_spent(interval, vcpu, 'blocked', top, labels)}{slept and f'; {slept}'}",
            f"blocked > {BLOCKED_SHARE:.0%} of a vCPU's time",
            _more(interval, vcpu),
        )


def _user(session: Session, interval: Interval, vcpus: list[VcpuRow], labels: Labels) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "user", USER_SHARE):
        top = _top(session, interval, vcpu, "user")
        yield Finding(
            f"{_who(vcpu)} spends {units.percent(_share(vcpu, 'user'))} of its time in user space"
            f"{_spent(interval, vcpu, 'user', top, labels)}",
            f"user > {USER_SHARE:.0%} of a vCPU's time",
        )


def _kernel(session: Session, interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "kernel", KERNEL_SHARE):
        yield Finding(
            f"KVM works {units.percent(_share(vcpu, 'kernel'))} of the time for {_who(vcpu)}"
            f"{_of_it(interval, vcpu, 'kernel', _top(session, interval, vcpu, 'kernel'))}",
            f"kernel > {KERNEL_SHARE:.0%} of a vCPU's time",
        )


def _top(session: Session, interval: Interval, vcpu: VcpuRow, state: str) -> Reason | None:
    """The reason for whose exits a vCPU was longest in a state."""
    reasons = [line.reason for line in session.lines(interval, vcpu.scope) if line.reason.parts[state] > 0]
    return max(reasons, key=lambda reason: reason.parts[state], default=None)


def _ns(interval: Interval, vcpu: VcpuRow, state: str) -> int:
    mine = interval.after.thread_ids == vcpu.scope.thread
    return int(interval.budget[mine, STATES.index(state)].sum())


def _of_it(interval: Interval, vcpu: VcpuRow, state: str, top: Reason | None) -> str:
    """How much of a vCPU's time in a state was for a reason, in words."""
    spent = _ns(interval, vcpu, state)
    if not top or spent <= 0:
        return ""
    share = top.parts[state] / spent
    return f", {'all' if share >= 0.9995 else units.percent(share)} of it for {top.name}"


def _spent(interval: Interval, vcpu: VcpuRow, state: str, top: Reason | None, labels: Labels) -> str:
    """What a vCPU's time in the VMM, on a CPU or blocked, was for, and what follows from that, in words.

    That a device is busy follows where most of the time was spent on accesses to devices that the VMM answered.
    """
    text = _of_it(interval, vcpu, state, top)
    half = _ns(interval, vcpu, state) / 2
    keys = [one for one in accesses(interval, vcpu.scope, TOUCHED - {"user"}) if one.parts["user"]]
    key = max(keys, key=lambda one: one.parts[state], default=None)
    if key and key.parts[state] > half:
        text += f", most on {labels.what(key.kind, key.value, key.extra)}"
        return f"{text}: {_device(key, state)}" if key.kind in _DEVICES else text
    of_devices = sum(one.parts[state] for one in keys if one.kind in _DEVICES)
    if top and top.parts["user"] and basic(*top.key) in DEVICE:
        of_devices = max(of_devices, top.parts[state])
    return f"{text}: {_busy(state)}" if of_devices > half else text


_DEVICES = ("io", "mmio")


def _device(key: Access, state: str) -> str:
    if key.kind == "io" and key.value in ports.SERIAL:
        return "a serial console is chatty"
    if key.kind == "io" and key.value in ports.IDE:
        return "the guest uses an emulated IDE disk; virtio costs far fewer exits"
    return _busy(state)


def _busy(state: str) -> str:
    return "the VMM sleeps before it answers an emulated device" if state == "blocked" else "an emulated device is busy"


def _rising(session: Session, interval: Interval) -> Iterator[Finding]:
    """A reason whose p99 in a VM is RISE times what it was in the minute before, of exits of the same vCPUs."""
    now_ns = interval.after.time_ns
    history = list(session.history)  # the reader's thread may append to it meanwhile
    minute = [one for one in history if now_ns - 60_000_000_000 < one.time_ns <= now_ns and one.whole]
    if not minute or minute[-1].time_ns != now_ns:
        return
    *past, now = minute
    now.of_vms  # noqa: B018  (it stays known when the histograms are forgotten)
    if len(past) < RISE_SAMPLES:
        return
    for pid, key in _candidates(interval, past, now):
        threads, (_, p99) = now.threads_with(Scope(pid), key), now.of_vm(pid, key)
        like = [one for one in past if one.threads_with(Scope(pid), key) == threads]
        before = [was for count, was in (one.of_vm(pid, key) for one in like) if count >= RISE_EXITS]
        if len(before) >= RISE_SAMPLES and p99 >= RISE * (usual := median(before)):
            vm = interval.after.vms.get(pid)
            yield Finding(
                f"p99 of {interval.after.names.name(*key)} rose {p99 / usual:.0f}×"
                f" in {vm.name if vm else f'pid {pid}'}, from {units.duration(usual)} to {units.duration(p99)}",
                f"p99 ≥ {RISE:g}× its median over the minute before, {RISE_EXITS} exits each, of the same vCPUs",
            )
            return


def _candidates(interval: Interval, past: list[Sample], now: Sample) -> list[tuple[int, Key]]:
    """VMs, by pid, and reasons whose p99 is RISE times their lowest in the past, the steepest first: a few of many."""
    pids, counts, p99s = now.of_vms
    lowest = np.full(p99s.shape, np.inf)
    for sample in (one for one in past if one.of_vms[1].size):
        vm, key = find(sample.of_vms[0].astype("u8"), pids.astype("u8")), find(sample.distinct, now.distinct)
        there = (vm >= 0)[:, None] & (key >= 0) & (sample.of_vms[1][vm][:, key] >= RISE_EXITS)
        lowest = np.where(there, np.fmin(lowest, sample.of_vms[2][vm][:, key]), lowest)
    rows, top = interval.rows, tops(interval)
    mine = rows["thread"] >= 0
    group = top.vm[rows["thread"][mine]] * len(now.distinct) + interval.reasons[1][mine]
    asleep = np.bincount(group, (2 * rows["idle"] - rows["time"])[mine], p99s.size).reshape(p99s.shape) > 0
    rise = np.where((counts >= RISE_EXITS) & ~asleep, p99s / lowest, 0)
    best = np.argsort(-rise, axis=None, kind="stable")[:MOST_RISING]
    return [
        (int(pids[at // len(now.distinct)]), unpack(int(now.distinct[at % len(now.distinct)])))
        for at in best.tolist()
        if rise.flat[at] >= RISE
    ]


def _polling(interval: Interval) -> Iterator[Finding]:
    wasteful = [one for one in polling(interval, ALL) if one.verdict is Verdict.WASTEFUL]
    burnt = sum(one.burnt for one in wasteful)
    if burnt > WASTED_POLLING:
        yield Finding(
            f"halt polling burns {units.percent(burnt)} of a CPU for {len(wasteful)}"
            f" vCPU{'s' * (len(wasteful) != 1)}, and most polls miss: lower halt_poll_ns of the module kvm",
            f"polling > {WASTED_POLLING:.0%} of a CPU, fewer than half of the polls hit",
        )
