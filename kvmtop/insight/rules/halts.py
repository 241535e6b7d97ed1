"""How halts are waited for: polling that burns a CPU for nothing, or is missed; guests that idle without halting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ... import units
from ...model.reasons import HLT, basic
from ...model.scope import Scope
from ...model.vocabulary import KINDS, SAMPLED, Key
from ..finding import LIKELY, POSSIBLE, Finding
from ..guest_profile import IN_GUEST, LEAST, spinning
from ..halt_polling import Verdict, polling
from .rule import Remedy, Rule, View, who

SHORT_NS, OFTEN = 100_000, 1000.0  # of a sleep; halts a second
IDLE_LOOPS = ("poll_idle", "cpu_idle_poll")  # drivers/cpuidle/poll_state.c, kernel/sched/idle.c: without HLT


def _halts(key: Key) -> bool:
    return basic(*key) in HLT


def _wasteful(view: View) -> Iterator[Finding]:
    wasteful = [one for one in polling(view.interval, view.scope) if one.verdict is Verdict.WASTEFUL]
    burnt = sum(one.burnt for one in wasteful)
    if burnt > view.limits.polling:
        halts = [line.reason.key for line in view.session.lines(view.interval, view.scope)]
        number = f"{len(wasteful)} vCPU{'s' * (len(wasteful) != 1)}"
        yield Finding(
            f"halt polling burns {units.percent(burnt)} of a CPU for {number}, and most polls miss: lower halt_poll_ns"
            " of the module kvm",
            short="halt polling",
            scope=view.scope,
            reason=next((key for key in halts if _halts(key)), None),
            state="kernel",
            figures=frozenset({"where", "time"}),
            cost=burnt,
            evidence=(
                f"{sum(one.wasted for one in wasteful):,} polls missed, {sum(one.hits for one in wasteful):,} hit",
                f"{units.duration(sum(one.fail_ns for one in wasteful))} in polls that missed",
            ),
        )


def _missing(view: View) -> Iterator[Finding]:
    """VMs that halt often and shortly, of which none is polled."""
    for vm in view.vms:
        found = view.exits(vm, HLT) if view.looks_at("poll", vm) else None
        if not found or found.rate < OFTEN:
            continue
        halts = [line.reason for line in view.session.lines(view.interval, Scope(vm.number)) if _halts(line.reason.key)]
        count, slept = sum(one.count for one in halts), sum(one.halted for one in halts)
        polled = sum(one.hits + one.wasted for one in polling(view.interval, Scope(vm.number)))
        if count and not polled and slept / count <= SHORT_NS:
            yield Finding(
                f"{vm.vm} halts {units.rate(found.rate)} times a second, for {units.duration(slept / count)} on"
                " average, and none of it is polled: each wake-up takes the way through the scheduler",
                short=f"{vm.vm}: no halt polling",
                scope=vm.scope,
                state="idle",
                figures=frozenset({"time"}),
                evidence=(f"halts: {units.rate(found.rate)}/s", f"slept: {units.duration(slept / count)} on average"),
            )


def _idle_poll(view: View) -> Iterator[Finding]:
    """vCPUs that are in the guest all of the time, nearly always in a function in which kernels idle."""
    rows = view.touched
    rows = rows[(rows["kind"] == KINDS.index("rip")) & (rows["extra"] & SAMPLED > 0)]
    for vcpu in view.vcpus if len(rows) else ():
        mine = rows[rows["id"] == view.id(vcpu)]
        samples, shares = int(mine["count"].sum()), vcpu.shares or {}
        free = 1 - shares.get("wait", 0.0) - shares.get("throttled", 0.0)
        if samples < LEAST or shares.get("guest", 0.0) < IN_GUEST * free:
            continue
        functions = [view.labels.symbols.function(int(at)) or "" for at in mine["value"].tolist()]
        idle = np.array([name.partition(".")[0] in IDLE_LOOPS for name in functions])
        part = int(mine["count"][idle].sum()) / samples if len(mine) else 0.0
        if part >= 0.5:
            yield Finding(
                f"{who(vcpu)} never halts, and {units.percent(part)} of {samples:,} samples are in a function in which"
                " its kernel idles: it idles by polling, and takes a CPU for that",
                short=f"{vcpu.vm} {vcpu.name} idles by polling",
                scope=vcpu.scope,
                state="guest",
                cost=shares.get("guest", 0.0) * part,
                evidence=(f"{units.percent(part)} of {samples:,} samples",),
            )


HALT_POLLING = Rule(
    "halt-polling",
    "halt polling burns CPUs for nothing",
    "polling > {polling} of a CPU, fewer than half of the polls hit",
    _wasteful,
    "a host that has nothing else to do with its CPUs loses nothing but power",
    Remedy(host="echo 0 (or 50000) > /sys/module/kvm/parameters/halt_poll_ns", guest="no cpuidle haltpoll governor"),
    frozenset({"poll"}),
    explains=frozenset({"kvm"}),
    see="kvmtop --vm {vm} --event poll",
)
NO_POLLING = Rule(
    "no-polling",
    "short halts without polling",
    f"halts ≥ {OFTEN:,.0f}/s of {SHORT_NS // 1000} µs or less on average, and none was polled",
    _missing,
    "a host whose CPUs are needed by others: then a sleep is what is wanted",
    Remedy(
        host="echo 200000 > /sys/module/kvm/parameters/halt_poll_ns",
        guest="the cpuidle governor haltpoll (cpuidle_haltpoll), which polls in the guest",
    ),
    frozenset({"poll"}),
    confidence=POSSIBLE,
    see="kvmtop --vm {vm} --event poll",
)
SPINS = Rule(
    "spins",
    "a vCPU stays at one place",
    f"all of {LEAST} samples or more within 16 bytes, guest ≥ {IN_GUEST:.0%} of a vCPU's time but for waits",
    lambda view: spinning(view.interval, view.vcpus, view.labels),
    "a short loop that works, as of a checksum, is interrupted by its kernel's timer, and sampled there, too",
    Remedy(
        guest="see what is there: its symbol (--guest-kallsyms), or gdb on QEMU's gdbstub; a crashed kernel does so"
    ),
    frozenset({"rip"}),
    confidence=LIKELY,
    see="kvmtop --vm {vm} --event rip",
)
IDLE_POLL = Rule(
    "idle-poll",
    "the guest idles by polling",
    f"half of {LEAST} samples or more in an idle function of the kernel, guest ≥ {IN_GUEST:.0%} of a vCPU's time",
    _idle_poll,
    "without the guest's symbols it is seen as a vCPU that spins, or not at all",
    Remedy(guest="no idle=poll; governor menu or teo in place of haltpoll"),
    frozenset({"rip"}),
    explains=frozenset({"spins"}),
    see="kvmtop --vm {vm} --event rip --guest-kallsyms FILE",
)
