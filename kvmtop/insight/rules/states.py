"""Where vCPUs' time goes: of each VM, the vCPU that spends most of its time in a state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import units
from ...host.placement import cpus
from ...model.exit_stats import Reason
from ...model.interval import Interval
from ...model.nesting import nested, nesting
from ...model.reasons import DEVICE, PAUSE, basic
from ...model.vocabulary import STATES
from .. import blame
from ..accesses import TOUCHED, accesses
from ..finding import LIKELY, SCHEDULER, Finding
from ..own_cost import own_share
from ..scheduling import Culprit, culprits, looked_at
from ..since import in_state
from ..vcpus import VcpuRow
from .rule import SCHED, STACKS, Remedy, Rule, View, who

PAUSE_TIME = 0.02  # of a vCPU's second, with Limits.wait of it and of another of its VM
OWN = 0.01  # of a vCPU's time, from which kvmtop's own part is said
MOST_OF_IT = 0.5  # of a wait, from which it is somebody's


def worst(vcpus: Sequence[VcpuRow], state: str, least: float) -> list[VcpuRow]:
    """The one with the most of a state, if it is enough to be worth a sentence."""
    most = max(vcpus, key=lambda one: one.share(state), default=None)
    return [most] if most and most.share(state) > least else []


def over(view: View, vcpu: VcpuRow, state: str, reason: Reason | None = None) -> dict[str, Any]:
    """What a finding is about that rests on a vCPU's share of a state. reason: for whose exits most of it is."""
    limit = getattr(view.limits, state)
    others = [one for one in view.vcpus if one.scope.pid == vcpu.scope.pid and one is not vcpu]
    evidence = [f"{who(vcpu)}: {units.percent(vcpu.share(state))} {state}"]
    if others:
        rest = max(one.share(state) for one in others)
        evidence.append(f"the other vCPUs of {vcpu.vm}: {units.percent(rest)} at most")
    if reason:
        evidence.append(f"exits of {who(vcpu)} for {reason.name}: {units.rate(reason.rate)}/s")
    return {
        "scope": vcpu.scope,
        "reason": reason and reason.key,
        "state": state,
        "figures": frozenset({"bar", "where", "time", *({"user"} & {state})}),
        "since": in_state(view.session, view.interval, vcpu.scope, state, limit),
        "cost": sum(one.share(state) for one in (vcpu, *others)),
        "evidence": tuple(evidence),
    }


# ---- throttled, and waiting for a CPU


def _quota(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "throttled", view.limits.throttled):
        vm = view.interval.after.vms.get(vcpu.scope.pid or 0)
        which = f" ({vm.quota})" if vm and vm.quota else ""
        yield Finding(
            f"{who(vcpu)} is throttled {units.percent(vcpu.share('throttled'))} of its time: the CPU quota of its"
            f" cgroup is used up{which}",
            short=f"{vcpu.vm} {vcpu.name} is throttled",
            **over(view, vcpu, "throttled"),
        )


def _more(interval: Interval, vcpu: VcpuRow) -> str:
    return "" if looked_at(interval, vcpu.scope) else SCHEDULER


def _waits(vcpu: VcpuRow) -> str:
    return f"{who(vcpu)} waits for a CPU {units.percent(vcpu.share('wait'))} of its time"


def _about_wait(view: View, vcpu: VcpuRow) -> dict[str, Any]:
    return {
        "short": f"{vcpu.vm} {vcpu.name} waits",
        "more": _more(view.interval, vcpu),
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
        if _more(view.interval, vcpu):
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


def _pinned(view: View) -> Iterator[Finding]:
    scheduling = view.interval.after.scheduling
    for vcpu in worst(view.vcpus, "wait", view.limits.wait) if scheduling else []:
        own, _ = _held_by(view, vcpu)
        may = scheduling.placements.get(vcpu.number) if scheduling else None
        if not may or may.all or sum(one.share for one in own) <= MOST_OF_IT:
            continue
        idle = blame.idle(view.interval)
        free = [cpu for cpu, part in idle.items() if part >= blame.IDLE and cpu not in cpus(may.allowed)]
        if free:
            cpu = max(free, key=lambda one: idle[one])
            yield Finding(
                f"{_waits(vcpu)}: {blame.behind(view.interval, vcpu.scope, vcpu.share('wait'))}; CPU {cpu}, on which"
                f" it may not run, was idle {units.percent(idle[cpu])} of the time",
                **_about_wait(view, vcpu),
            )


# ---- blocked, in the VMM, in KVM


def _blocked(view: View) -> Iterator[Finding]:
    still = {vm.scope.pid for vm in view.vms if vm.outside}
    # Of those that stand still or are stuck, more is said than that they are blocked.
    others = [one for one in view.vcpus if not one.stuck and one.scope.pid not in still]
    for vcpu in worst(others, "blocked", view.limits.blocked):
        where, top = "", _top(view, vcpu, "blocked")
        if top and not top.parts["user"]:
            after = view.interval.after
            (thread,) = after.threads[after.thread_ids == vcpu.scope.thread]
            where = "" if thread["in_vmm"] else " in the kernel"
        slept = blame.slept_on(view.interval, vcpu.scope)
        yield Finding(
            f"{who(vcpu)} is blocked{where} {units.percent(vcpu.share('blocked'))} of its time"
            f"{_spent(view, vcpu, 'blocked', top)}{slept and f'; {slept}'}",
            more=_more(view.interval, vcpu),
            short=f"{vcpu.vm} {vcpu.name} is blocked",
            **over(view, vcpu, "blocked", top),
        )


def _user(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "user", view.limits.user):
        top = _top(view, vcpu, "user")
        yield Finding(
            f"{who(vcpu)} spends {units.percent(vcpu.share('user'))} of its time in user space"
            f"{_spent(view, vcpu, 'user', top)}",
            short=f"{vcpu.vm} {vcpu.name} is in the VMM",
            **over(view, vcpu, "user", top),
        )


def _kernel(view: View) -> Iterator[Finding]:
    for vcpu in worst(view.vcpus, "kernel", view.limits.kernel):
        top, own = _top(view, vcpu, "kernel"), own_share(view.interval, vcpu.scope) or 0.0
        if vcpu.share("kernel") - own <= view.limits.kernel:
            continue
        ours = f"; kvmtop's own probes take {units.percent(own)} or more" if own >= OWN else ""
        yield Finding(
            f"KVM works {units.percent(vcpu.share('kernel'))} of the time for {who(vcpu)}"
            f"{_of_it(view, vcpu, 'kernel', top)}{ours}",
            short=f"{vcpu.vm} {vcpu.name} is in KVM",
            **over(view, vcpu, "kernel", top),
        )


def _top(view: View, vcpu: VcpuRow, state: str) -> Reason | None:
    """The reason for whose exits a vCPU was longest in a state."""
    reasons = [line.reason for line in view.session.lines(view.interval, vcpu.scope) if line.reason.parts[state] > 0]
    return max(reasons, key=lambda reason: reason.parts[state], default=None)


def _ns(view: View, vcpu: VcpuRow, state: str) -> int:
    mine = view.interval.after.thread_ids == vcpu.scope.thread
    return int(view.interval.budget[mine, STATES.index(state)].sum())


def _of_it(view: View, vcpu: VcpuRow, state: str, top: Reason | None) -> str:
    """How much of a vCPU's time in a state was for a reason, in words."""
    spent = _ns(view, vcpu, state)
    if not top or spent <= 0:
        return ""
    part = top.parts[state] / spent
    return f", {'all' if part >= 0.9995 else units.percent(part)} of it for {top.name}"


def _spent(view: View, vcpu: VcpuRow, state: str, top: Reason | None) -> str:
    """What a vCPU's time in the VMM, on a CPU or blocked, was for, and what follows from that, in words.

    That a device is busy follows where most of the time was spent on accesses to devices that the VMM answered.
    """
    text = _of_it(view, vcpu, state, top)
    half = _ns(view, vcpu, state) / 2
    keys = [one for one in accesses(view.interval, vcpu.scope, TOUCHED - {"user"}) if one.parts["user"]]
    key = max(keys, key=lambda one: one.parts[state], default=None)
    if key and key.parts[state] > half:
        text += f", most on {view.labels.what(key.kind, key.value, key.extra)}"
        return f"{text}: {_busy(state)}" if key.kind in _DEVICES else text
    of_devices = sum(one.parts[state] for one in keys if one.kind in _DEVICES)
    if top and top.parts["user"] and basic(*top.key) in DEVICE:
        of_devices = max(of_devices, top.parts[state])
    return f"{text}: {_busy(state)}" if of_devices > half else text


_DEVICES = ("io", "mmio")


def _busy(state: str) -> str:
    return "the VMM sleeps before it answers an emulated device" if state == "blocked" else "an emulated device is busy"


def _nesting(view: View) -> Iterator[Finding]:
    interval = view.interval
    if not nested(interval) or not view.vcpus:
        return
    shares = nesting(interval) / interval.known.clip(1)
    spent = dict(zip(interval.after.thread_ids.tolist(), shares.tolist(), strict=True))
    vcpu = max(view.vcpus, key=lambda one: spent[one.scope.thread or 0])
    if (part := spent[vcpu.scope.thread or 0]) > view.limits.nesting:
        yield Finding(
            f"nesting takes {units.percent(part)} of the time of {who(vcpu)}: it has a guest of its own, and between"
            " that one's exits and entries its hypervisor works, or what else it runs, and KVM for it",
            short=f"{vcpu.vm} {vcpu.name} nests",
            scope=vcpu.scope,
            figures=frozenset({"bar"}),
            cost=sum(spent[one.scope.thread or 0] for one in view.vcpus if one.scope.pid == vcpu.scope.pid),
        )


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
        host="move or limit who is named (taskset, CPUWeight= of its unit), or give this VM CPUs of its own",
        vm="<vcpupin> to CPUs that nobody else uses; <shares> of <cputune> higher",
    ),
    needs=frozenset({SCHED}),
    explains=frozenset({"waits"}),
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
BLOCKED = Rule(
    "blocked",
    "a vCPU sleeps, though its guest has not halted",
    "blocked > {blocked} of a vCPU's time",
    _blocked,
    "a halted vCPU is idle, not blocked",
    Remedy(host="see what it sleeps on and who lets it go on: s in the dashboard, or --event sched"),
    more=frozenset({SCHED, "io", "mmio"}),
    see="kvmtop --vm {vm} --event sched,io,mmio",
)
VMM = Rule(
    "vmm",
    "the VMM works for a vCPU",
    "user > {user} of a vCPU's time",
    _user,
    "a VMM that polls for its own sake does so in other threads",
    Remedy(vm="virtio devices in place of emulated ones; see what is touched: --event io,mmio,msr"),
    more=frozenset({"io", "mmio", "msr"}),
    see="kvmtop --vm {vm} --event io,mmio,msr",
)
KVM = Rule(
    "kvm",
    "KVM works for a vCPU",
    "kernel > {kernel} of a vCPU's time",
    _kernel,
    "what kvmtop's own probes are known to take does not count",
    Remedy(host="see what KVM does: --stacks, or the kernel's page in the dashboard"),
    more=frozenset({STACKS}),
    see="kvmtop --vm {vm} --stacks",
)
NESTING = Rule(
    "nesting",
    "a guest in the guest",
    "nesting > {nesting} of a vCPU's time, without halts and waits for a CPU",
    _nesting,
    "a hypervisor in the VM whose guests do not exit takes next to nothing",
    Remedy(guest="what runs in its guests decides: fewer exits there, as by virtio", vm="run that VM on this host"),
    explains=frozenset({"kvm"}),
    see="kvmtop --vm {vm}",
)
