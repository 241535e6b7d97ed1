"""Plain sentences that follow from the numbers, each with the rule and the numbers it rests on.

Few, and none without a number: what no rule covers is left to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import units
from ..model.exit_stats import Reason, by_reason
from ..model.interval import Interval
from ..model.nesting import nested, nesting
from ..model.reasons import DEVICE, HLT, PAUSE, basic, is_one_of
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..model.vocabulary import STATES
from ..reference import ports
from ..reference.labels import Labels
from . import blame
from .accesses import TOUCHED, Access, accesses
from .apic import apic
from .dirty_log import dirty_log
from .finding import USUAL, Finding, Limits, Since
from .guest_profile import spinning
from .halt_polling import Verdict, polling
from .other_threads import stand_out
from .rising import rising
from .scheduling import looked_at
from .since import in_state
from .vcpus import STUCK_NS, VcpuRow

MOST = 5  # sentences
SCHEDULER = "scheduler"  # what it does with a vCPU, of which somebody may ask to be told

PAUSE_TIME = 0.02  # of a vCPU's second, with Limits.wait of it and of another of its VM


def findings(
    session: Session,
    interval: Interval,
    rows: Sequence[VcpuRow],
    labels: Labels,
    limits: Limits = USUAL,
    scope: Scope = ALL,
) -> list[Finding]:
    """What stands out of a scope in an interval, gravest first, at most MOST. rows: its vcpu_rows()."""
    found: list[Finding] = []
    if scope != ALL:
        rows = [row for row in rows if scope.covers(row.scope) or row.scope.covers(scope)]
    vms = [vm for vm in rows if vm.scope.thread is None]
    still = {vm.scope.pid for vm in vms if vm.outside}
    vcpus = [vcpu for vcpu in rows if vcpu.scope.thread is not None and not vcpu.ended]
    # Of those that stand still or are stuck, more is said than that they are blocked.
    others = [vcpu for vcpu in vcpus if not vcpu.stuck and vcpu.scope.pid not in still]
    rules: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _lost(interval),
        lambda: _still(interval, vms),
        lambda: _stuck(interval, vcpus),
        lambda: _throttled(session, interval, vcpus, limits),
        lambda: _waiting(session, interval, vcpus, limits),
        lambda: stand_out(interval, scope),
        lambda: _blocked(session, interval, others, labels, limits),
        lambda: _user(session, interval, vcpus, labels, limits),
        lambda: _kernel(session, interval, vcpus, limits),
        lambda: _nesting(interval, vcpus, limits),
        lambda: rising(session, interval, limits.rise, scope),
        lambda: _polling(interval, limits, scope),
        lambda: spinning(interval, vcpus, labels),
        lambda: apic(interval, vms),
        lambda: dirty_log(interval, vms),
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
    shares = [one.shares.get(state, 0.0) if one.shares else 0.0 for one in vcpus]
    most = max(shares, default=0.0)
    return [vcpus[shares.index(most)]] if most > least else []


def _over(
    session: Session, interval: Interval, vcpu: VcpuRow, state: str, limits: Limits, reason: Reason | None = None
) -> dict[str, Any]:
    """What a finding is about that rests on a vCPU's share of a state. reason: for whose exits most of it is."""
    return {
        "scope": vcpu.scope,
        "reason": reason and reason.key,
        "state": state,
        "figures": frozenset({"bar", "where", "time", *({"user"} & {state})}),
        "since": in_state(session, interval, vcpu.scope, state, getattr(limits, state)),
    }


def _lost(interval: Interval) -> Iterator[Finding]:
    if interval.lost:
        text = f"{interval.lost} exits of this interval are missing from all figures: a map was full"
        yield Finding(text, "lost > 0", short="exits are missing")


_STILL = {
    "stopped": ("is stopped by a signal, for {}", "/proc says of all of its threads that they are stopped"),
    "paused": (
        "is paused, for {}: all of its vCPUs sleep in the VMM",
        "all of a VM's vCPUs are blocked outside KVM_RUN",
    ),
}


def _still(interval: Interval, vms: list[VcpuRow]) -> Iterator[Finding]:
    for vm in vms:
        if vm.outside:
            how, rule = _STILL[vm.outside.where]
            yield Finding(
                f"{vm.vm} {how.format(units.duration(vm.outside.ns))}",
                rule,
                short=f"{vm.vm} is {vm.outside.where}",
                scope=vm.scope,
                state="blocked",
                figures=frozenset({"bar", "state"}),
                since=Since(interval.after.time_ns - vm.outside.ns),
            )


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
                short=f"{vcpu.vm} {vcpu.name} is stuck",
                scope=vcpu.scope,
                reason=(int(thread["isa"]), int(thread["reason"])) if within else None,
                state=where,
                figures=frozenset({"bar", "state", "time"}),
                since=Since(after.time_ns - vcpu.outside.ns),
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


def _throttled(session: Session, interval: Interval, vcpus: list[VcpuRow], limits: Limits) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "throttled", limits.throttled):
        vm = interval.after.vms.get(vcpu.scope.pid or 0)
        which = f" ({vm.quota})" if vm and vm.quota else ""
        yield Finding(
            f"{_who(vcpu)} is throttled {units.percent(_share(vcpu, 'throttled'))} of its time: the CPU quota of its"
            f" cgroup is used up{which}",
            f"throttled > {limits.throttled:.0%} of a vCPU's time",
            short=f"{vcpu.vm} {vcpu.name} is throttled",
            **_over(session, interval, vcpu, "throttled", limits),
        )


def _more(interval: Interval, vcpu: VcpuRow) -> str:
    return "" if looked_at(interval, vcpu.scope) else SCHEDULER


def _waiting(session: Session, interval: Interval, vcpus: list[VcpuRow], limits: Limits) -> Iterator[Finding]:
    rows = interval.rows[interval.rows["thread"] >= 0]
    for vcpu in _worst(vcpus, "wait", limits.wait):
        about = {"short": f"{vcpu.vm} {vcpu.name} waits", **_over(session, interval, vcpu, "wait", limits)}
        waits = f"{_who(vcpu)} waits for a CPU {units.percent(_share(vcpu, 'wait'))} of its time"
        mine = rows[interval.after.thread_ids[rows["thread"]] == vcpu.scope.thread]
        pause = float(mine["time"][is_one_of(mine, PAUSE)].sum()) / (interval.seconds * 1e9)
        siblings = [one for one in vcpus if one.scope.pid == vcpu.scope.pid and one is not vcpu]
        holders = _worst(siblings, "wait", limits.wait)  # who may hold the lock that it spins for
        more, behind = _more(interval, vcpu), blame.behind(interval, vcpu.scope, _share(vcpu, "wait"))
        if holders and pause >= PAUSE_TIME:
            whom = f"; it waits {behind}" if behind else ""
            yield Finding(
                f"{waits} and spends {units.percent(pause)} in PAUSE exits, {holders[0].name} waits"
                f" {units.percent(_share(holders[0], 'wait'))}: lock-holder preemption{whom}",
                f"wait > {limits.wait:.0%} of the time of two vCPUs of a VM, and PAUSE ≥ {PAUSE_TIME:.0%}",
                more,
                **about,
            )
            continue
        if more:
            behind = blame.nobody_looks("throttled" in interval.after.told)
        yield Finding(f"{waits}{behind and f': {behind}'}", f"wait > {limits.wait:.0%} of a vCPU's time", more, **about)


def _blocked(
    session: Session, interval: Interval, vcpus: list[VcpuRow], labels: Labels, limits: Limits
) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "blocked", limits.blocked):
        where = ""
        top = _top(session, interval, vcpu, "blocked")
        if top and not top.parts["user"]:
            (thread,) = interval.after.threads[interval.after.thread_ids == vcpu.scope.thread]
            where = "" if thread["in_vmm"] else " in the kernel"
        slept = blame.slept_on(interval, vcpu.scope)
        yield Finding(
            f"{_who(vcpu)} is blocked{where} {units.percent(_share(vcpu, 'blocked'))} of its time"
            f"{_spent(interval, vcpu, 'blocked', top, labels)}{slept and f'; {slept}'}",
            f"blocked > {limits.blocked:.0%} of a vCPU's time",
            _more(interval, vcpu),
            short=f"{vcpu.vm} {vcpu.name} is blocked",
            **_over(session, interval, vcpu, "blocked", limits, top),
        )


def _user(
    session: Session, interval: Interval, vcpus: list[VcpuRow], labels: Labels, limits: Limits
) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "user", limits.user):
        top = _top(session, interval, vcpu, "user")
        yield Finding(
            f"{_who(vcpu)} spends {units.percent(_share(vcpu, 'user'))} of its time in user space"
            f"{_spent(interval, vcpu, 'user', top, labels)}",
            f"user > {limits.user:.0%} of a vCPU's time",
            short=f"{vcpu.vm} {vcpu.name} is in the VMM",
            **_over(session, interval, vcpu, "user", limits, top),
        )


def _kernel(session: Session, interval: Interval, vcpus: list[VcpuRow], limits: Limits) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "kernel", limits.kernel):
        top = _top(session, interval, vcpu, "kernel")
        yield Finding(
            f"KVM works {units.percent(_share(vcpu, 'kernel'))} of the time for {_who(vcpu)}"
            f"{_of_it(interval, vcpu, 'kernel', top)}",
            f"kernel > {limits.kernel:.0%} of a vCPU's time",
            short=f"{vcpu.vm} {vcpu.name} is in KVM",
            **_over(session, interval, vcpu, "kernel", limits, top),
        )


def _nesting(interval: Interval, vcpus: list[VcpuRow], limits: Limits) -> Iterator[Finding]:
    if not nested(interval) or not vcpus:
        return
    shares = nesting(interval) / interval.known.clip(1)
    spent = dict(zip(interval.after.thread_ids.tolist(), shares.tolist(), strict=True))
    vcpu = max(vcpus, key=lambda one: spent[one.scope.thread or 0])
    if (share := spent[vcpu.scope.thread or 0]) > limits.nesting:
        yield Finding(
            f"nesting takes {units.percent(share)} of the time of {_who(vcpu)}: it has a guest of its own, and between"
            " that one's exits and entries its hypervisor works, or what else it runs, and KVM for it",
            f"nesting > {limits.nesting:.0%} of a vCPU's time, without halts and waits for a CPU",
            short=f"{vcpu.vm} {vcpu.name} nests",
            scope=vcpu.scope,
            figures=frozenset({"bar"}),
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


def _polling(interval: Interval, limits: Limits, scope: Scope) -> Iterator[Finding]:
    wasteful = [one for one in polling(interval, scope) if one.verdict is Verdict.WASTEFUL]
    burnt = sum(one.burnt for one in wasteful)
    if burnt > limits.polling:
        yield Finding(
            f"halt polling burns {units.percent(burnt)} of a CPU for {len(wasteful)}"
            f" vCPU{'s' * (len(wasteful) != 1)}, and most polls miss: lower halt_poll_ns of the module kvm",
            f"polling > {limits.polling:.0%} of a CPU, fewer than half of the polls hit",
            short="halt polling",
            scope=scope,
            reason=next((one.key for one in by_reason(interval) if basic(*one.key) in HLT), None),
            state="kernel",
            figures=frozenset({"where", "time"}),
        )
