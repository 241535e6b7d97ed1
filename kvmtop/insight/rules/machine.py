"""How a VM is built: its APIC, its other threads, what logs its memory, and where that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ... import units
from ...model.reasons import APIC
from ...model.scheduling import Scheduling
from ...model.vocabulary import KINDS
from .. import blame
from ..apic import LEAST, REGISTERS, SHARE, apic, verdict
from ..dirty_log import LEAST as WRITES
from ..dirty_log import dirty_log
from ..finding import LIKELY, Finding
from ..other_threads import BUSY_SHARE, WAIT_SHARE, busy, waiting
from ..vcpus import VcpuRow
from .rule import SCHED, Remedy, Rule, View, who

PIT = "PIT_REINJ"
REMOTE = 0.5  # of a VM's memory
WORKS, FREE = 0.5, 0.9  # of the time: a vCPU or CPU that works, a CPU that does not


def _apic(by_pit: bool) -> Callable[[View], Iterator[Finding]]:
    """VMs whose APIC the hardware does not emulate. by_pit: because of the PIT, or for other reasons."""

    def find(view: View) -> Iterator[Finding]:
        vms = {vm.scope: vm for vm in view.vms}
        for one in apic(view.interval, view.vms):
            inhibits = verdict(view.interval, one.scope.pid or 0).inhibits or ()
            cost = _for_apic(view, vms[one.scope])
            if (PIT in inhibits) == by_pit and cost >= view.limits.cause:
                yield replace(one, cost=cost)

    return find


def _for_apic(view: View, vm: VcpuRow) -> float:
    """vCPUs' time a second of a VM's exits for its APIC: by their reasons, and by what is looked at, as far as either
    tells."""
    by_reason, rows = view.exits(vm, APIC), view.touched
    costs = [by_reason.cost if by_reason else 0.0]
    for kind, registers in REGISTERS.items():
        mine = rows[(rows["kind"] == KINDS.index(kind)) & np.isin(rows["value"], registers)]
        costs.append(view.touches(vm, mine)[1])
    return max(costs)


def _remote(view: View) -> Iterator[Finding]:
    """VMs most of whose memory is on other nodes than the vCPUs that work."""
    scheduling = view.interval.after.scheduling
    for vm in view.vms if scheduling and scheduling.memory else ():
        memory, nodes = (
            (scheduling.memory if scheduling else {}).get(vm.number, {}),
            _nodes(view, vm.number, scheduling),
        )
        whole = sum(memory.values())
        far = whole - sum(memory.get(node, 0) for node in nodes)
        if whole and nodes and far > REMOTE * whole:
            where = max((node for node in memory if node not in nodes), key=lambda node: memory[node])
            on = " and ".join(map(str, sorted(nodes)))
            yield Finding(
                f"{units.percent(far / whole)} of the memory of {vm.vm} is not on node {on}, where its vCPUs run: most"
                f" of that is on node {where}",
                short=f"{vm.vm}: memory on another node",
                scope=vm.scope,
                state="guest",
                figures=frozenset({"bar"}),
                evidence=(
                    "memory: "
                    + ", ".join(f"{size >> 20:,} MiB on node {node}" for node, size in sorted(memory.items())),
                    f"vCPUs: on node {on}",
                ),
            )


def _nodes(view: View, pid: int, scheduling: Scheduling | None) -> set[int]:
    """Where the vCPUs of a VM run that do more than idle."""
    places = scheduling.placements if scheduling else {}
    found = set()
    for vcpu in view.vcpus:
        may = places.get(vcpu.number)
        if vcpu.scope.pid == pid and may and may.node is not None and (vcpu.shares or {}).get("idle", 1.0) < 0.9:
            found.add(may.node)
    return found


def _half_a_core(view: View) -> Iterator[Finding]:
    """The vCPU that works most on a CPU of its own whose core does somebody else's work, though another core has none.
    One that may move could be on either CPU of the core, and be that somebody itself."""
    scheduling, idle = view.interval.after.scheduling, blame.idle(view.interval)
    cores = scheduling.cores if scheduling else {}
    whole: dict[int, list[int]] = {}
    for cpu in sorted(cores.keys() & idle.keys()):
        whole.setdefault(cores[cpu], []).append(cpu)
    free = [core for core in whole.values() if len(core) > 1 and min(idle[cpu] for cpu in core) >= FREE]
    held = [(one.share("guest"), one, cpu) for one in view.vcpus if (cpu := _only_cpu(scheduling, one)) in cores]
    for guest, vcpu, cpu in sorted(held, key=lambda one: -one[0]) if free else ():
        others = [one for one in whole.get(cores[cpu], ()) if one != cpu]
        busy = min(others, key=lambda one: idle[one], default=None)
        if guest < WORKS or busy is None or 1 - idle[busy] < WORKS:
            continue
        by = next((f", by {who(one)}" for _, one, at in held if at == busy and one.share("guest") >= WORKS), "")
        yield Finding(
            f"{who(vcpu)} is held on CPU {cpu}, and the other thread of that core, CPU {busy}, was busy"
            f" {units.percent(1 - idle[busy])} of the time{by}: each has what the other leaves of the core; CPUs"
            f" {' and '.join(map(str, free[0]))}, a core as well, were idle",
            short=f"{vcpu.vm} {vcpu.name} has half a core",
            scope=vcpu.scope,
            state="guest",
            figures=frozenset({"bar"}),
            evidence=(
                f"{who(vcpu)}: {units.percent(guest)} in its guest",
                f"CPU {busy}: idle {units.percent(idle[busy])}",
                f"CPU {free[0][0]}: idle {units.percent(idle[free[0][0]])}",
            ),
        )
        return


def _only_cpu(scheduling: Scheduling | None, vcpu: VcpuRow) -> int:
    """The host CPU that a vCPU is held on; -1: it may run on others."""
    may = scheduling.placements.get(vcpu.number) if scheduling else None
    return int(may.allowed) if may and may.allowed.isdecimal() else -1


_OFF = f"it is off, and exits for the APIC ≥ {LEAST:.0f}/s, ≥ {SHARE:.0%} of all, and ≥ {{cause}} of a vCPU's time"
APIC_OFF = Rule(
    "apic-off",
    "the APIC is emulated by software",
    _OFF,
    _apic(False),
    "a VM with few interrupts gains nothing",
    Remedy(
        host="kvm_intel enable_apicv=1, kvm_amd avic=1, where the CPU has it",
        vm="what the sentence says to try: it depends on why it is off",
    ),
    needs=frozenset({"apic", "msr"}),
    explains=frozenset({"kvm", "msr", "xapic"}),
    see="kvmtop --vm {vm} --event apic,msr",
)
PIT_REINJECTION = Rule(
    "pit-reinjection",
    "the PIT's lost ticks turn AVIC off",
    _OFF + ", because of the PIT",
    _apic(True),
    "on Intel the PIT does not turn APICv off",
    Remedy(vm="<clock><timer name='pit' tickpolicy='discard'/> (QEMU: -global kvm-pit.lost_tick_policy=discard)"),
    needs=frozenset({"apic", "msr"}),
    explains=frozenset({"kvm", "msr", "xapic", "apic-off"}),
    see="kvmtop --vm {vm} --event apic,msr",
)
SMT = Rule(
    "smt",
    "it shares a core, and another one is free",
    f"held on one CPU, guest ≥ {WORKS:.0%}, the core's other thread busy ≥ {WORKS:.0%}, a whole core idle ≥ {FREE:.0%}",
    _half_a_core,
    "vCPUs of one VM that were put on one core on purpose, as its topology says",
    Remedy(vm="<vcpupin> to CPUs of different cores (lscpu -e=CPU,CORE)"),
    frozenset({SCHED}),
    confidence=LIKELY,
    see="kvmtop --vm {vm} --event sched",
)
DIRTY_LOG = Rule(
    "dirty-log",
    "KVM logs what the guest writes",
    f"writes to pages protected by the dirty log ≥ {WRITES:.0f}/s, or exits for PML_FULL",
    lambda view: dirty_log(view.interval, view.vms),
    "a display whose few pages are logged all the time",
    Remedy(
        host="virsh domjobinfo NAME: a migration or backup runs; it ends by itself, or virsh domjobabort",
        vm="virsh migrate --auto-converge or --postcopy, where it does not end",
    ),
    needs=frozenset({"fault"}),  # on AMD, and on Intel without PML, nothing else tells of it
    explains=frozenset({"kvm"}),
    see="kvmtop --vm {vm} --event fault",
)
THREAD_BUSY = Rule(
    "thread-busy",
    "a thread of the VMM is at its limit",
    f"on a CPU ≥ {BUSY_SHARE:.0%} of the time of a thread of the VMM",
    lambda view: busy(view.interval, view.scope),
    "an I/O thread or vhost that polls for work is on a CPU without any",
    Remedy(vm="<iothreads> and <driver iothread=…/> or queues='N', so that more threads share the work"),
    confidence=LIKELY,
    see="kvmtop --vm {vm}",
)
THREAD_WAITS = Rule(
    "thread-waits",
    "a thread of the VMM waits for a CPU",
    f"wait > {WAIT_SHARE:.0%} of the time of a thread of the VMM",
    lambda view: waiting(view.interval, view.scope),
    "a thread that shares its vCPUs' CPUs by <emulatorpin> waits for these",
    Remedy(vm="<emulatorpin>, <iothreadpin> to CPUs that are free"),
    more=frozenset({SCHED}),
    see="kvmtop --vm {vm}",
)
NUMA = Rule(
    "numa",
    "its memory is on another node",
    f"> {REMOTE:.0%} of its memory on other nodes than its vCPUs that work",
    _remote,
    "memory that is not used lies there as well",
    Remedy(
        host="migratepages PID FROM TO",
        vm="<numatune><memory mode='strict' nodeset=…/> with <vcpupin> to CPUs of that node",
    ),
    frozenset({SCHED}),
    confidence=LIKELY,
    see="kvmtop --vm {vm} --event sched",
)
