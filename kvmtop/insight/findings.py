"""Plain sentences that follow from the numbers, each with the rule and the numbers it rests on.

Few, and none without a number: what no rule covers is left to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from .. import units
from ..model.interval import Interval
from ..model.reasons import DEVICE, PAUSE, basic, is_one_of
from ..model.scope import ALL
from ..model.session import Session
from ..reference import ports
from ..reference.labels import Labels
from .accesses import TOUCHED, Access, accesses
from .halt_polling import Verdict, polling
from .vcpus import STUCK_NS, VcpuRow

MOST = 5  # sentences

USER_SHARE = 0.20  # of a vCPU's second in user space
WAIT_SHARE = 0.20  # of a vCPU's second waiting for a CPU
KERNEL_SHARE = 0.40
PAUSE_TIME = 0.02  # of a vCPU's second, with WAIT_SHARE
RISE = 4.0  # of a p99 against its median over the minute before
RISE_EXITS = 100  # that both need
RISE_SAMPLES = 10
WASTED_POLLING = 0.05  # of a CPU


@dataclass(frozen=True)
class Finding:
    """A sentence about what the numbers say. rule: what had to be so for it to be said."""

    text: str
    rule: str


def findings(session: Session, interval: Interval, rows: Sequence[VcpuRow], labels: Labels) -> list[Finding]:
    """What stands out in an interval, gravest first, at most MOST. rows: vcpu_rows() of the same interval."""
    found: list[Finding] = []
    vcpus = [vcpu for vcpu in rows if vcpu.scope.thread is not None and not vcpu.ended]
    rules: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _lost(interval),
        lambda: _stuck(vcpus),
        lambda: _waiting(interval, vcpus),
        lambda: _user(session, interval, vcpus, labels),
        lambda: _kernel(session, interval, vcpus),
        lambda: _rising(session, interval),
        lambda: _polling(interval),
    )
    for rule in rules:
        found += rule()
    return found[:MOST]


def _who(vcpu: VcpuRow) -> str:
    return f"{vcpu.name} of {vcpu.vm}"


def _share(vcpu: VcpuRow, part: str) -> float:
    return (vcpu.shares or {}).get(part, 0.0)


def _lost(interval: Interval) -> Iterator[Finding]:
    if interval.lost:
        yield Finding(
            f"{interval.lost} exits of this interval are missing from all figures: a map was full", "lost > 0"
        )


def _stuck(vcpus: list[VcpuRow]) -> Iterator[Finding]:
    for vcpu in vcpus:
        if vcpu.stuck and vcpu.outside:
            where, lasted = vcpu.outside.where, units.duration(vcpu.outside.ns)
            yield Finding(
                f"{_who(vcpu)} has not run guest code for a while: {where} {lasted}",
                f"outside the guest for {STUCK_NS // 10**9} s, not idle",
            )


def _waiting(interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    rows = interval.rows[interval.rows["thread"] >= 0]
    for vcpu in _worst(vcpus, "wait", WAIT_SHARE):
        wait = _share(vcpu, "wait")
        mine = rows[interval.after.thread_ids[rows["thread"]] == vcpu.scope.thread]
        pause = float(mine["time"][is_one_of(mine, PAUSE)].sum()) / (interval.seconds * 1e9)
        if pause >= PAUSE_TIME:
            yield Finding(
                f"{_who(vcpu)} waits for a CPU {units.percent(wait)} of its time and spends {units.percent(pause)}"
                " in PAUSE exits: lock-holder preemption, the host has too few CPUs for its vCPUs",
                f"wait > {WAIT_SHARE:.0%} and PAUSE > {PAUSE_TIME:.0%} of a vCPU's time",
            )
        else:
            yield Finding(
                f"{_who(vcpu)} waits for a CPU {units.percent(wait)} of its time: its host CPU runs something else",
                f"wait > {WAIT_SHARE:.0%} of a vCPU's time",
            )


def _worst(vcpus: list[VcpuRow], part: str, least: float) -> list[VcpuRow]:
    """The one vCPU with the most of a part, if it is enough to be worth a sentence."""
    return sorted((m for m in vcpus if _share(m, part) > least), key=lambda m: -_share(m, part))[:1]


def _user(session: Session, interval: Interval, vcpus: list[VcpuRow], labels: Labels) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "user", USER_SHARE):
        lines = sorted(session.lines(interval, vcpu.scope), key=lambda line: -line.reason.user)
        if not lines or not lines[0].reason.user:
            continue
        reason, all_user = lines[0].reason, sum(line.reason.user for line in lines)
        share = reason.user / all_user
        where = f", {'all' if share >= 0.9995 else units.percent(share)} of it for {reason.name}"
        keys = [one for one in accesses(interval, vcpu.scope, TOUCHED - {"user"}) if one.user]
        key = max(keys, key=lambda one: one.user, default=None)
        device = f", most on {labels.what(key.kind, key.value, key.extra)}" if key else ""
        if key:
            advice = _device(key)
        elif basic(*reason.key) in DEVICE:
            advice = "an emulated device is busy"
        elif reason.idle:  # as with kernel-irqchip=off
            advice = "the VMM halts vCPUs itself, or was stopped or interrupted (a pause, a debugger, signals)"
        else:
            advice = "no device needs that, the VMM was stopped or interrupted (a pause, a debugger, signals)"
        yield Finding(
            f"{_who(vcpu)} spends {units.percent(_share(vcpu, 'user'))} of its time in user space{where}{device}:"
            f" {advice}",
            f"user > {USER_SHARE:.0%} of a vCPU's time",
        )


def _device(key: Access) -> str:
    if key.kind == "io" and key.value in ports.SERIAL:
        return "a serial console is chatty"
    if key.kind == "io" and key.value in ports.IDE:
        return "the guest uses an emulated IDE disk; virtio costs far fewer exits"
    return "an emulated device is busy"


def _kernel(session: Session, interval: Interval, vcpus: list[VcpuRow]) -> Iterator[Finding]:
    for vcpu in _worst(vcpus, "kernel", KERNEL_SHARE):
        busy = [line.reason for line in session.lines(interval, vcpu.scope) if not line.reason.idle]
        top = max(busy, key=lambda reason: reason.time - reason.user, default=None)
        why = f", most of it for {top.name}" if top else ""
        yield Finding(
            f"KVM works {units.percent(_share(vcpu, 'kernel'))} of the time for {_who(vcpu)}{why}",
            f"kernel > {KERNEL_SHARE:.0%} of a vCPU's time",
        )


def _rising(session: Session, interval: Interval) -> Iterator[Finding]:
    """A reason whose p99 is RISE times what it was in the minute before."""
    now_ns = interval.after.time_ns  # the reader's thread may append to the history meanwhile: of a copy
    past = [sample for sample in list(session.history) if now_ns - 60_000_000_000 < sample.time_ns < now_ns]
    for line in session.lines(interval):
        now = line.reason.percentile(0.99)
        if line.reason.idle or line.reason.count < RISE_EXITS or not now or len(past) < RISE_SAMPLES:
            continue
        key = line.reason.key
        many = [sample for sample in past if sample.by_reason(ALL).get(key, (0, 0))[0] >= RISE_EXITS]
        before = [p for sample in many if (p := sample.p99(ALL, key))]
        if len(before) >= RISE_SAMPLES and now >= RISE * median(before):
            yield Finding(
                f"p99 of {line.reason.name} rose {now / median(before):.0f}×, from {units.duration(median(before))} to"
                f" {units.duration(now)}",
                f"p99 ≥ {RISE:g}× its median over the minute before, {RISE_EXITS} exits each",
            )
            return


def _polling(interval: Interval) -> Iterator[Finding]:
    wasteful = [one for one in polling(interval, ALL) if one.verdict is Verdict.WASTEFUL]
    burnt = sum(one.burnt for one in wasteful)
    if burnt > WASTED_POLLING:
        yield Finding(
            f"halt polling burns {units.percent(burnt)} of a CPU for {len(wasteful)}"
            f" vCPU{'s' * (len(wasteful) != 1)}, and most polls miss: lower halt_poll_ns of the module kvm",
            f"polling > {WASTED_POLLING:.0%} of a CPU, fewer than half of the polls hit",
        )
