"""Where a closer look is worthwhile, by the counters alone: what to look at in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..host.placement import has_siblings, several_nodes
from ..model.reasons import APIC, HLT, IO
from ..model.vocabulary import SVM, VMX, DetailRequest
from .accesses import POLLING
from .guest_profile import IN_GUEST
from .rules.exits import STORMS
from .rules.rule import SCHED, STACKS, View
from .vcpus import VcpuRow

MSR = {(VMX, 31), (VMX, 32), (SVM, 0x7C)}
HYPERCALL = {(VMX, 18), (SVM, 0x81)}
MEMORY = {(VMX, 48), (VMX, 49), (SVM, 0x400)}  # EPT_VIOLATION, EPT_MISCONFIG, NPF
# Of which exits a kind tells.
EXITS_OF = {
    "io": IO,
    "msr": MSR,
    "mmio": MEMORY,
    "apic": APIC | MSR | MEMORY,  # by memory where it is an xAPIC that nothing accelerates
    "hypercall": HYPERCALL,
    "hyperv": HYPERCALL,
    "fault": MEMORY,
    "poll": HLT,
}
PART = 0.5  # of a limit, from which a look is worthwhile: what is looked at closer may turn out to be more
TIMER = 80.0  # exits a second that may be a timer's, from which they are looked at whatever they cost
FAR = 0.5  # of a vCPU's time in its guest, from which it matters on which node its memory is
HELD = 0.1  # of a vCPU's time that it waits for a CPU, or sleeps


@dataclass(frozen=True)
class Look:
    """What to look at, in words; kinds, SCHED and STACKS of it."""

    words: str
    kinds: frozenset[str]
    request: DetailRequest


def looks(view: View) -> list[Look]:
    """What to look at, one after the other; none where nothing asks for it."""
    return list(_looks(view))


def _looks(view: View) -> Iterator[Look]:
    vms = [vm for vm in view.vms if not vm.ended]
    rip = frozenset({"rip"})
    if kinds := {kind for vm in vms for kind in _kinds(view, vm)}:
        wanted = frozenset(kinds) | (POLLING if "poll" in kinds else frozenset())
        words = ", ".join(kind for kind in EXITS_OF | {"user": ()} if kind in kinds)
        yield Look(words, wanted, DetailRequest(wanted))
    found = [storm for vm in vms if (storm := view.exits(vm, STORMS | MSR))]
    storm = max(found, key=lambda one: one.cost, default=None)
    if storm and storm.cost >= PART * view.limits.cause:
        name = view.interval.after.names.name(*storm.key)
        yield Look(f"guest code of {name}", rip, DetailRequest(rip, only=storm.key))
    placed = several_nodes() or has_siblings()  # it matters where a vCPU is
    if held := {vcpu.scope.pid or 0 for vcpu in view.vcpus if _held(vcpu, placed)}:
        pid = next(iter(held)) if len(held) == 1 else 0
        yield Look("the scheduler", frozenset({SCHED}), DetailRequest(sched=pid, numa=True))
    if any(vcpu.share("kernel") >= PART * view.limits.kernel or vcpu.share("blocked") >= HELD for vcpu in view.vcpus):
        yield Look("the kernel's stacks", frozenset({STACKS}), DetailRequest(stacks=True))
    if any(_in_guest(vcpu) for vcpu in view.vcpus):
        yield Look("guest code", rip, DetailRequest(rip))


def _held(vcpu: VcpuRow, placed: bool) -> bool:
    """Whether it waits or sleeps, or works and may have its memory on another node, or half a core."""
    return max(vcpu.share("wait"), vcpu.share("blocked")) >= HELD or (placed and vcpu.share("guest") >= FAR)


def _in_guest(vcpu: VcpuRow) -> bool:
    """Whether it is there nearly all of the time that it has a CPU."""
    free = 1 - vcpu.share("wait") - vcpu.share("throttled")
    return vcpu.share("guest") >= IN_GUEST * free > 0


def _kinds(view: View, vm: VcpuRow) -> Iterator[str]:
    for kind, codes in EXITS_OF.items():
        found = view.exits(vm, codes)
        timer = kind in ("msr", "apic", "poll") and found and found.rate >= TIMER
        if found and (found.cost >= PART * view.limits.cause or timer):
            yield kind
    if view.share(vm, "user") + view.share(vm, "blocked") >= PART * view.limits.cause:
        yield "user"
