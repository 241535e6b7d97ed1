"""What is wrong with a VM or vCPU as a whole: it stands still, is stuck, or exits are missing from the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ... import units
from .. import blame
from ..finding import LIKELY, SCHEDULER, Finding, Since
from ..scheduling import looked_at
from ..vcpus import STUCK_NS
from .rule import SCHED, Remedy, Rule, View, who


def _lost(view: View) -> Iterator[Finding]:
    if view.interval.lost:
        text = f"{view.interval.lost} exits of this interval are missing from all figures: a map was full"
        yield Finding(text, short="exits are missing", cost=0.0)


def _still(how: str, words: str, traced: bool = False) -> Callable[[View], Iterator[Finding]]:
    """VMs that stand still in this way; words: with room for how long, where that is known. traced: by a debugger."""

    def find(view: View) -> Iterator[Finding]:
        after = view.interval.after
        for vm in view.vms:
            one = after.vms[vm.number]
            unseen = getattr(one, how) and not vm.seen  # since before kvmtop started, or was the VM
            if one.traced == traced and not one.ended and (unseen or (vm.outside and vm.outside.where == how)):
                lasted = f", for {units.duration(vm.outside.ns)}" if vm.outside else ""
                yield Finding(
                    f"{vm.vm} {words.format(lasted)}",
                    short=f"{vm.vm} is {how}",
                    scope=vm.scope,
                    state="blocked",
                    figures=frozenset({"bar", "state"}),
                    since=Since(after.time_ns - vm.outside.ns) if vm.outside else None,
                    cost=float(max(vm.alive, 1)),
                )

    return find


def _silent(view: View) -> Iterator[Finding]:
    """VMs none of whose vCPUs has been seen, though they were there before the interval: a halted one is seen."""
    after, before = view.interval.after, view.interval.before
    ns = after.time_ns - after.start_ns
    for vm in view.vms if before and ns >= STUCK_NS else ():
        one = after.vms[vm.number]
        if not (vm.seen or vm.ended or one.paused or one.stopped) and before and vm.number in before.vms:
            yield Finding(
                f"no vCPU of {vm.vm} has entered or left its guest, nor halted, in the {units.duration(ns)} since"
                " kvmtop started: it was paused or stopped before, or its VMM has not started it",
                short=f"{vm.vm} does nothing",
                scope=vm.scope,
                state="blocked",
                since=Since(after.start_ns, longer=True),
                cost=1.0,
            )


def _unstarted(view: View) -> Iterator[Finding]:
    for vm in view.vms:
        numbers = view.interval.after.vms[vm.number].unstarted
        if numbers and not vm.ended and not vm.outside:
            which = f"vCPU {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} vCPUs"
            verb = "waits" if len(numbers) == 1 else "wait"
            yield Finding(
                f"{which} of {vm.vm} {verb} to be started by its guest",
                short=f"{vm.vm}: {which} not started",
                scope=vm.scope,
                state="idle",
                figures=frozenset({"bar", "state"}),
                evidence=(f"numbers: {', '.join(map(str, numbers[:8]))}{' …' * (len(numbers) > 8)}",),
            )


def _stuck(view: View) -> Iterator[Finding]:
    interval, after = view.interval, view.interval.after
    for vcpu in view.vcpus:
        if vcpu.stuck and vcpu.outside:
            (thread,) = after.threads[after.thread_ids == vcpu.scope.thread]
            where, within = vcpu.outside.where, ""
            if thread["exit_ns"]:
                within = f", in an exit for {after.names.name(int(thread['isa']), int(thread['reason']))}"
            slept = blame.slept_on(interval, vcpu.scope) if where == "blocked" else ""
            yield Finding(
                f"{who(vcpu)} has not run guest code for a while: {_doing(where, thread)}"
                f" {units.duration(vcpu.outside.ns)}{within}{slept and f'; {slept}'}",
                more=SCHEDULER if where in ("wait", "blocked") and not looked_at(interval, vcpu.scope) else "",
                short=f"{vcpu.vm} {vcpu.name} is stuck",
                scope=vcpu.scope,
                reason=(int(thread["isa"]), int(thread["reason"])) if within else None,
                state=where,
                figures=frozenset({"bar", "state", "time"}),
                since=Since(after.time_ns - vcpu.outside.ns),
                cost=1.0,
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


LOST = Rule(
    "lost",
    "kvmtop has not counted all exits",
    "lost > 0",
    _lost,
    "none: where exits are lost, every figure is too small",
    Remedy(host="start kvmtop again, which makes its maps as large as the host's VMs need"),
    see="kvmtop doctor",
)
STOPPED = Rule(
    "stopped",
    "a signal has stopped the VMM",
    "/proc says of all of its threads that they are stopped, and of none that it is traced",
    _still("stopped", "is stopped by a signal{}"),
    "a VM that its monitor has paused still has threads that run",
    Remedy(host="kill -CONT PID"),
    explains=frozenset({"blocked", "stuck"}),
    see="kvmtop --vm {vm}",
)
DEBUGGER = Rule(
    "debugger",
    "a debugger has stopped the VMM",
    "/proc says of all of its threads that they are stopped, and of one at least that it is traced",
    _still("stopped", "is stopped by a debugger{}", traced=True),
    "strace stops threads too, but for no time that is worth a word",
    Remedy(host="end the debugger, or let it go on: TracerPid in /proc/PID/status says which process it is"),
    explains=frozenset({"blocked", "stuck"}),
    see="kvmtop --vm {vm}",
)
PAUSED = Rule(
    "paused",
    "its VMM has paused the VM",
    "all of a VM's vCPUs are blocked outside KVM_RUN",
    _still("paused", "is paused{}: all of its vCPUs sleep in the VMM"),
    "a VM whose vCPUs all wait for devices, which is seen by what they exited for",
    Remedy(vm="virsh resume NAME, or cont in QEMU's monitor; info status says why it was paused"),
    explains=frozenset({"blocked", "stuck"}),
    see="kvmtop --vm {vm}",
)
SILENT = Rule(
    "silent",
    "a VM whose vCPUs do nothing",
    f"none of its vCPUs was seen in {STUCK_NS // 10**9} s or more, since kvmtop started",
    _silent,
    "a guest that spins on a CPU without a timer tick (nohz_full) never leaves; top shows its threads busy then",
    Remedy(host="virsh domstate --reason NAME; ps -o stat,wchan -L -p PID", vm="virsh resume NAME"),
    confidence=LIKELY,
    see="kvmtop --vm {vm}",
)
UNSTARTED = Rule(
    "unstarted",
    "a vCPU that its guest has not started",
    "its thread is a minute old, and sleeps in kvm_vcpu_block without a halt (Linux 5.17)",
    _unstarted,
    "a guest that was told to leave CPUs alone (maxcpus=, nr_cpus=, nosmp), or still boots",
    Remedy(
        guest="dmesg | grep -i smp says why it gave up on a CPU; echo 1 > /sys/devices/system/cpu/cpuN/online",
        vm="fewer <vcpu>, or those that are not needed offline: <vcpu current=…>",
    ),
    confidence=LIKELY,
    see="kvmtop --vm {vm}",
)
STUCK = Rule(
    "stuck",
    "a vCPU has not run its guest for seconds",
    f"in one state for {STUCK_NS // 10**9} s, neither guest nor idle",
    _stuck,
    "a VM that stands still as a whole is paused or stopped",
    Remedy(host="see what it sleeps on or waits for: s in the dashboard, or --event sched"),
    more=frozenset({SCHED}),
    explains=frozenset({"blocked", "waits", "vmm", "kvm", "quota"}),
    see="kvmtop --vm {vm} --event sched",
)
