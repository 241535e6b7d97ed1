"""A CPU quota, and waits for a CPU: for whom, and why there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import units
from ...host.placement import cpus
from ...model.keys import pack
from ...model.reasons import PAUSE, basic
from ...model.scheduling import Placement
from ...model.scope import Scope
from .. import blame
from ..actors import Actor
from ..finding import LIKELY, Finding
from ..scheduling import Culprit, culprits, may_run_on
from ..vcpus import VcpuRow
from .rule import SCHED, Remedy, Rule, View, who
from .states import more_of, over, worst

PAUSE_TIME = 0.02  # of a vCPU's second, with Limits.wait of it and of another of its VM
MOST_CPUS = 4  # that are named
MOST_OF_IT = 0.5  # of a wait, from which it is somebody's


def _quota(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "throttled", view.limits.throttled):
        vm = view.interval.after.vms.get(vcpu.scope.pid or 0)
        whose, _, much = (vm.quota if vm else "").rpartition(": ")
        quota = f"the CPU quota of {whose}, {much}," if whose else "the CPU quota of its cgroup"
        yield Finding(
            f"{who(vcpu)} is throttled {units.percent(vcpu.share('throttled'))} of its time: {quota} is used up",
            short=f"{vcpu.vm} {vcpu.name} is throttled",
            **over(view, vcpu, "throttled"),
        )


def _waits(vcpu: VcpuRow) -> str:
    return f"{who(vcpu)} waits for a CPU {units.percent(vcpu.share('wait'))} of its time"


def _about_wait(view: View, vcpu: VcpuRow) -> dict[str, Any]:
    return {
        "short": f"{vcpu.vm} {vcpu.name} waits",
        "more": more_of(view.interval, vcpu),
        **over(view, vcpu, "wait"),
    }


def _lock_holder(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "wait", view.limits.wait):
        siblings = [one for one in view.vcpus if one.scope.pid == vcpu.scope.pid and one is not vcpu]
        holders = worst(siblings, "wait", view.limits.wait)  # who may hold the lock that it spins for
        mine = view.session.lines(view.interval, vcpu.scope) if holders else []
        ns = sum(line.reason.time for line in mine if basic(*line.reason.key) in PAUSE)
        if (pause := ns / (view.interval.seconds * 1e9)) < PAUSE_TIME or not holders:
            continue
        behind = blame.behind(view.interval, vcpu.scope, vcpu.share("wait"))
        yield Finding(
            f"{_waits(vcpu)} and spends {units.percent(pause)} in PAUSE exits, {holders[0].name} waits"
            f" {units.percent(holders[0].share('wait'))}: lock-holder preemption{behind and f'; it waits {behind}'}",
            **_about_wait(view, vcpu),
        )


def _waiting(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "wait", view.limits.wait):
        behind = blame.behind(view.interval, vcpu.scope, vcpu.share("wait"))
        if more_of(view.interval, vcpu):
            behind = blame.nobody_looks("throttled" in view.interval.after.told)
        yield Finding(f"{_waits(vcpu)}{behind and f': {behind}'}", **_about_wait(view, vcpu))


def _held_by(view: View, vcpu: VcpuRow) -> tuple[list[Culprit], list[Culprit]]:
    """Behind whom it waits: threads of its own VM, and others."""
    found = [one for one in culprits(view.interval, vcpu.scope) or [] if one.actor.kind not in ("unknown", "idle")]
    own = [one for one in found if one.actor.pid == vcpu.scope.pid and one.actor.kind in ("vcpu", "vm thread")]
    return own, [one for one in found if one not in own]


def _neighbour(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "wait", view.limits.wait):
        _, others = _held_by(view, vcpu)
        if sum(one.share for one in others) > MOST_OF_IT:
            behind = blame.behind(view.interval, vcpu.scope, vcpu.share("wait"))
            yield Finding(f"{_waits(vcpu)}: {behind}", **_about_wait(view, vcpu))


def _held(view: View, vcpu: VcpuRow) -> tuple[Placement | None, str]:
    """Where a vCPU may run, if not everywhere, and which other CPUs were idle, in words: "" if none was, or if one was
    on which it may run: then it is not its place that holds it up."""
    may, idle = blame.placement(view.interval, vcpu.number), blame.idle(view.interval)
    if not may or may.all:
        return None, ""
    free = sorted(cpu for cpu, part in idle.items() if part >= blame.IDLE)
    if not free or not cpus(may.allowed).isdisjoint(free):
        return may, ""
    least = units.percent(min(idle[cpu] for cpu in free))
    if len(free) == 1:
        return may, f"CPU {free[0]} was idle {least} of the time"
    named = ", ".join(map(str, free[:MOST_CPUS])) + (f" and {len(free) - MOST_CPUS} more" * (len(free) > MOST_CPUS))
    return may, f"CPUs {named} were idle {least} of the time or more"


def _same_cpu(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "wait", view.limits.wait):
        may, free = _held(view, vcpu)
        _, others = _held_by(view, vcpu) if may and free else ([], [])
        alike = [one for one in others if may and _is_held(view, one, may)]
        share = sum(one.share for one in alike)
        if not may or share <= MOST_OF_IT:
            continue
        most, wait = alike[0].actor, units.percent(vcpu.share("wait"))
        behind, where = units.percent(share * vcpu.share("wait")), may_run_on(may.allowed)
        about, other = _about_wait(view, vcpu), None
        if len(alike) == 1:
            other = _scope_of(view, most)
            waits = blame.waited(view.interval, other) if other else None
            text = (
                f"{who(vcpu)} and {most.text} may both run on {where}: the one waits for a CPU {wait} of its time,"
                f" {behind} behind the other{'' if waits is None else f', which waits {units.percent(waits)}'}; {free}"
            )
            about["cost"] += waits or 0.0
        else:
            text = (
                f"{who(vcpu)} may run on {where}, as may {most.text} and {len(alike) - 1} more vCPUs of other VMs: it"
                f" waits for a CPU {wait} of its time, {behind} behind these; {free}"
            )
        about |= {
            "short": f"{vcpu.vm} {vcpu.name} shares its CPU{'s' * (len(cpus(may.allowed)) > 1)}",
            "other": other,
            "evidence": (
                f"their threads: {vcpu.number} and {', '.join(str(one.actor.tid) for one in alike[:MOST_CPUS])}",
                f"waits: {wait}, {behind} of it behind them",
                free,
            ),
        }
        yield Finding(text, **about)


def _is_held(view: View, culprit: Culprit, may: Placement) -> bool:
    """Whether it is a vCPU that may run on the same CPUs."""
    theirs = blame.placement(view.interval, culprit.actor.tid) if culprit.actor.kind == "vcpu" else None
    return theirs is not None and cpus(theirs.allowed) == cpus(may.allowed)


def _scope_of(view: View, actor: Actor) -> Scope | None:
    """A vCPU's; None where it is not among those that are shown."""
    after = view.interval.after
    found = after.thread_ids[after.threads["id"] == pack(actor.pid or 0, actor.tid or 0)]
    return Scope(actor.pid, int(found[0])) if len(found) else None


def _pinned(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "wait", view.limits.wait):
        own, _ = _held_by(view, vcpu)
        _, free = _held(view, vcpu)
        if free and sum(one.share for one in own) > MOST_OF_IT:
            behind = blame.behind(view.interval, vcpu.scope, vcpu.share("wait"))
            yield Finding(f"{_waits(vcpu)}: {behind}; {free}", **_about_wait(view, vcpu))


QUOTA = Rule(
    "quota",
    "a CPU quota holds it back",
    "throttled > {throttled} of a vCPU's time",
    _quota,
    "a vCPU that waits although its quota is not used up is in the state wait",
    Remedy(
        host="raise cpu.max of the cgroup that is named (systemctl set-property UNIT CPUQuota=)",
        vm="<cputune>: <vcpu_quota>, <emulator_quota> or <global_quota> higher, or without them",
    ),
    see="kvmtop --vm {vm}",
)
LOCK_HOLDER = Rule(
    "lock-holder",
    "vCPUs spin for locks whose holders wait for a CPU",
    "wait > {wait} of the time of two vCPUs of a VM, and PAUSE ≥ 2%",
    _lock_holder,
    "PAUSE exits without waits: the guest's locks are contended, and no host can help that",
    Remedy(host="fewer vCPUs for each CPU, or CPUs of their own for this VM", vm="fewer <vcpu>; <vcpupin>"),
    more=frozenset({SCHED}),
    explains=frozenset({"waits", "pause"}),
    confidence=LIKELY,
    see="kvmtop --vm {vm} --event sched",
)
NEIGHBOUR = Rule(
    "neighbour",
    "somebody else has its CPU",
    "wait > {wait} of a vCPU's time, and more than half of that behind others than its own VM",
    _neighbour,
    "a vCPU whose own siblings have its CPU waits for these",
    Remedy(
        host="move who is named to another CPU (virsh vcpupin DOMAIN VCPU CPUS --live; taskset -pc CPUS TID), or"
        " limit it (CPUWeight= of its unit)",
        vm="<vcpupin> to CPUs that nobody else uses; else <shares> of <cputune> higher",
    ),
    needs=frozenset({SCHED}),
    explains=frozenset({"waits"}),
    see="kvmtop --vm {vm} --event sched",
)
SAME_CPU = Rule(
    "same-cpu",
    "VMs are held on the same CPUs",
    "wait > {wait} of a vCPU's time, more than half of that behind other VMs' vCPUs that may run on its CPUs alone, as"
    " it may; these are busy, and others are idle",
    _same_cpu,
    "where all CPUs are busy, other places help nobody",
    Remedy(
        host="virsh vcpupin DOMAIN VCPU CPUS --live for one of them; without libvirt taskset -pc CPUS TID",
        vm="<vcpupin> of one of the VMs to CPUs that are idle",
    ),
    needs=frozenset({SCHED}),
    explains=frozenset({"waits", "neighbour", "lock-holder"}),
    see="kvmtop --vm {vm} --event sched",
)
PINNED = Rule(
    "pinned",
    "threads of one VM are held on the same CPU",
    "wait > {wait} of a vCPU's time, more than half of that behind its own VM, and a CPU that it may not use is idle",
    _pinned,
    "more vCPUs than the host has CPUs: then none is idle",
    Remedy(host="taskset -pc CPUS TID", vm="<vcpupin> each vCPU to a CPU of its own, <emulatorpin> to another"),
    needs=frozenset({SCHED}),
    explains=frozenset({"waits", "lock-holder", "neighbour"}),
    see="kvmtop --vm {vm} --event sched",
)
WAITS = Rule(
    "waits",
    "a vCPU waits for a CPU",
    "wait > {wait} of a vCPU's time",
    _waiting,
    "throttled is not wait: a quota is named by itself",
    Remedy(host="fewer vCPUs for each CPU; see who has the CPU", vm="<vcpupin> to CPUs that nobody else uses"),
    more=frozenset({SCHED}),
    see="kvmtop --vm {vm} --event sched",
)
