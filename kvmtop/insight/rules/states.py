"""Where vCPUs' time goes: of each VM, the vCPU that spends most of its time in a state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import units
from ...model.exit_stats import Reason
from ...model.interval import Interval
from ...model.nesting import nested, nesting
from ...model.reasons import DEVICE, basic
from ...model.vocabulary import STATES
from .. import blame
from ..accesses import TOUCHED, accesses
from ..finding import SCHEDULER, Finding
from ..own_cost import own_share
from ..scheduling import looked_at
from ..since import in_state
from ..vcpus import VcpuRow
from .rule import SCHED, STACKS, Remedy, Rule, View, who

OWN = 0.01  # of a vCPU's time, from which kvmtop's own part is said


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


def more_of(interval: Interval, vcpu: VcpuRow) -> str:
    """Where more of it can be seen, while nobody looks there."""
    return "" if looked_at(interval, vcpu.scope) else SCHEDULER


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
            more=more_of(view.interval, vcpu),
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
