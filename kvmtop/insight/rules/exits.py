"""Instructions that a guest executes so often that their exits cost it: told by their reasons alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ... import units
from ...model.keys import unpack
from ...model.reasons import CPUID, PAUSE
from ...model.vocabulary import KINDS, SVM, VMX, Key
from ...reference.guest_symbols import KERNEL_HALF
from ..finding import CERTAIN, LIKELY, Finding
from ..vcpus import VcpuRow
from .rule import Remedy, Rule, View

LEAST = 100.0  # exits a second: rarer ones are slow, not many
RDTSC = {(VMX, 16), (VMX, 51), (SVM, 0x6E), (SVM, 0x87)}  # and RDTSCP
RDPMC = {(VMX, 15), (SVM, 0x6F)}
MWAIT = {(VMX, 36), (VMX, 39), (SVM, 0x8A), (SVM, 0x8B), (SVM, 0x8C)}  # and MONITOR
BUS_LOCK = {(VMX, 74), (SVM, 0xA5)}
DEBUG = {(VMX, 29), *((SVM, code) for code in range(0x20, 0x40))}  # MOV DR
WBINVD = {(VMX, 54), (SVM, 0x89)}
STORMS = CPUID | RDTSC | RDPMC | MWAIT | BUS_LOCK | DEBUG | WBINVD


def _storm(codes: set[Key], what: str, after: str = "") -> Callable[[View], Iterator[Finding]]:
    """VMs that exit so often for these reasons. what: "executes CPUID"; after: what else is to be said."""
    wanted = frozenset(codes)  # whose hash is kept

    def find(view: View) -> Iterator[Finding]:
        for vm in view.vms:
            found = view.exits(vm, wanted)
            if found and found.rate >= LEAST and found.cost >= view.limits.cause:
                yield Finding(
                    f"{vm.vm} {what} {units.rate(found.rate)} times a second ({units.percent(found.cost)}"
                    f" of a vCPU's time){code_of(view, vm, found.key)}{after}",
                    short=f"{vm.vm} {what}",
                    scope=vm.scope,
                    reason=found.key,
                    state="kernel",
                    figures=frozenset({"rate", "time", "where"}),
                    cost=found.cost,
                    evidence=(
                        f"exits for {view.interval.after.names.name(*found.key)}: {units.rate(found.rate)}/s",
                        f"their own time: {units.duration(found.cost / found.rate * 1e9)} each, without waits",
                    ),
                )

    return find


def code_of(view: View, vm: VcpuRow, key: Key) -> str:
    """From which guest code the exits of a reason come, where somebody looks at that: ", most from …"."""
    details = view.interval.after.details
    if not details or details.look.only != key or "rip" not in details.look.kinds:
        return ""
    rows = view.touched[view.touched["kind"] == KINDS.index("rip")]
    rows = rows[unpack(rows["id"])[0] == vm.number]
    whole = int(rows["count"].sum())
    if not whole:
        return ""
    in_kernel = int(rows["count"][rows["value"] >= np.uint64(KERNEL_HALF)].sum()) / whole
    half = "the guest's kernel" if in_kernel >= 0.5 else "a program in the guest's user space"
    places, which = np.unique(rows["value"], return_inverse=True)
    counts = np.bincount(which, rows["count"])
    most = int(counts.argmax())
    place = view.labels.what("rip", int(places[most]), 0)
    return f", {units.percent(max(in_kernel, 1 - in_kernel))} of it in {half}, most at {place}"


_CODE = frozenset({"rip"})
_SEE = "kvmtop --vm {vm} --event rip"

CPUID_STORM = Rule(
    "cpuid",
    "CPUID in a loop",
    "exits for CPUID ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(CPUID, "executes CPUID"),
    "a boot executes thousands of them, once",
    Remedy(guest="find the program (the guest code says whether it is one): some use CPUID to serialize or to time"),
    more=_CODE | {"cpuid"},
    explains=frozenset({"kvm"}),
    see=_SEE,
)
RDTSC_STORM = Rule(
    "rdtsc",
    "reading the clock leaves the guest",
    "exits for RDTSC or RDTSCP ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(RDTSC, "reads the TSC, which is intercepted,"),
    "RDTSC does not exit where the TSC is neither scaled by software nor a nested hypervisor's to intercept",
    Remedy(
        host="a CPU with TSC scaling, or guests that were not migrated between hosts of different frequency",
        vm="<clock>: no <timer name='tsc' mode='emulate'/>; without -cpu …,tsc-frequency=",
    ),
    more=_CODE,
    explains=frozenset({"kvm"}),
    see=_SEE,
)
RDPMC_STORM = Rule(
    "rdpmc",
    "reading performance counters leaves the guest",
    "exits for RDPMC ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(RDPMC, "executes RDPMC"),
    "KVM emulates every RDPMC: there is no cheap one",
    Remedy(guest="end the profiler, or let it sample more seldom", vm="<pmu state='off'/>: then tools do without"),
    more=_CODE,
    explains=frozenset({"kvm"}),
    see=_SEE,
)
MWAIT_EXITS = Rule(
    "mwait",
    "MONITOR and MWAIT leave the guest",
    "exits for MONITOR or MWAIT ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(MWAIT, "executes MONITOR or MWAIT", ": KVM takes them for a NOP, so the guest idles by spinning"),
    "with -overcommit cpu-pm=on they do not exit at all",
    Remedy(
        guest="idle=halt, or intel_idle.max_cstate=0",
        vm="do not offer MONITOR (-cpu …,-monitor), or -overcommit cpu-pm=on where its CPUs are its own",
    ),
    more=_CODE,
    explains=frozenset({"kvm"}),
    see=_SEE,
)
PAUSE_EXITS = Rule(
    "pause",
    "vCPUs spin for locks",
    "exits for PAUSE ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(PAUSE, "spins with PAUSE, which leaves the guest"),
    "two vCPUs of the VM that wait for a CPU: then the holder may be one that does not run",
    Remedy(
        host="ple_gap=0 of kvm_intel or pause_filter_count=0 of kvm_amd where each vCPU has a CPU of its own",
        guest="what contends for the lock: perf lock, or the guest code that exits",
        vm="fewer <vcpu>, <feature policy='require' name='kvm-hint-dedicated'/> where each has a CPU of its own",
    ),
    more=_CODE,
    explains=frozenset({"kvm"}),
    see=_SEE,
)
BUS_LOCKS = Rule(
    "bus-lock",
    "locked accesses across cache lines",
    "exits for BUS_LOCK ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(BUS_LOCK, "locks the bus", "; each of them holds up all CPUs of the host"),
    "only where KVM was asked to tell of them",
    Remedy(
        guest="find the program that locks unaligned data: the guest code that exits",
        vm="QEMU's -machine bus-lock-ratelimit= bounds what it does to others",
    ),
    more=_CODE,
    see=_SEE,
)
DEBUGGED = Rule(
    "debug-registers",
    "debug registers in use",
    "exits for MOV DR ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(DEBUG, "reads or writes debug registers"),
    "KVM lets a guest have them from its first access until it is scheduled anew, so few exits mean many accesses",
    Remedy(guest="end the debugger, or perf with hardware breakpoints (perf record -e mem:…)"),
    more=_CODE,
    explains=frozenset({"kvm"}),
    confidence=LIKELY,
    see=_SEE,
)
WBINVD_STORM = Rule(
    "wbinvd",
    "the guest flushes caches",
    "exits for WBINVD ≥ 100/s that take ≥ {cause} of a vCPU's time",
    _storm(WBINVD, "executes WBINVD or INVD"),
    "it exits only where devices are passed through whose DMA does not snoop",
    Remedy(guest="find the driver: the guest code that exits"),
    more=_CODE,
    explains=frozenset({"kvm"}),
    confidence=CERTAIN,
    see=_SEE,
)
