"""Where a closer look is worthwhile, by the counters alone: what to look at in turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..host.placement import has_siblings, several_nodes
from ..model.reasons import APIC, HLT, IO
from ..model.vocabulary import MOST_PIDS, SVM, VMX, DetailRequest
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
    """What to look at, in words; kinds, SCHED and STACKS of it. cost: vCPUs' time a second that it may tell of in
    the VM that has most."""

    words: str
    kinds: frozenset[str]
    request: DetailRequest
    cost: float = 0.0


def looks(view: View) -> list[Look]:
    """What to look at, one after the other, where most time is first; none where nothing asks for it."""
    return sorted(_looks(view), key=lambda look: -look.cost)


def _looks(view: View) -> Iterator[Look]:
    vms = [vm for vm in view.vms if not vm.ended]
    rip = frozenset({"rip"})
    if asked := {vm.number: kinds for vm in vms if (kinds := dict(_kinds(view, vm)))}:
        wanted = frozenset(kind for kinds in asked.values() for kind in kinds)
        words = ", ".join(kind for kind in EXITS_OF | {"user": ()} if kind in wanted)
        wanted |= POLLING if "poll" in wanted else frozenset()
        cost = max(cost for kinds in asked.values() for cost in kinds.values())
        yield Look(f"{words}{_whose(view, asked)}", wanted, DetailRequest(wanted, pids=_few(asked)), cost)
    found = {vm.number: storm for vm in vms if (storm := view.exits(vm, STORMS | MSR))}
    storm = max(found.values(), key=lambda one: one.cost, default=None)
    if storm and storm.cost >= PART * view.limits.cause:
        key, name = storm.key, view.interval.after.names.name(*storm.key)
        mine = [pid for pid, one in found.items() if one.key == key and one.cost >= PART * view.limits.cause]
        yield Look(
            f"guest code of {name}{_whose(view, mine)}", rip, DetailRequest(rip, key, pids=_few(mine)), storm.cost
        )
    placed = several_nodes() or has_siblings()  # it matters where a vCPU is
    if held := [vcpu for vcpu in view.vcpus if _held(vcpu, placed)]:
        mine = list(_of(held))
        request = DetailRequest(sched=mine[0] if len(mine) == 1 else 0, numa=True)
        yield Look("the scheduler", frozenset({SCHED}), request, _cost(held, "wait", "blocked"))
    kernel = [
        vcpu
        for vcpu in view.vcpus
        if vcpu.share("kernel") >= PART * view.limits.kernel or vcpu.share("blocked") >= HELD
    ]
    if kernel:
        mine = list(_of(kernel))
        request = DetailRequest(stacks=True, pids=_few(mine))
        cost = _cost(kernel, "kernel", "blocked")
        yield Look(f"the kernel's stacks{_whose(view, mine)}", frozenset({STACKS}), request, cost)
    if guest := [vcpu for vcpu in view.vcpus if _in_guest(vcpu)]:
        mine = list(_of(guest))
        yield Look(f"guest code{_whose(view, mine)}", rip, DetailRequest(rip, pids=_few(mine)))


def _cost(vcpus: Iterable[VcpuRow], *states: str) -> float:
    """The most that vCPUs of one VM spend in these states."""
    sums: dict[int | None, float] = {}
    for vcpu in vcpus:
        sums[vcpu.scope.pid] = sums.get(vcpu.scope.pid, 0.0) + sum(map(vcpu.share, states))
    return max(sums.values())


def _of(vcpus: Iterable[VcpuRow]) -> dict[int, None]:
    """Their VMs, in their order."""
    return dict.fromkeys(vcpu.scope.pid or 0 for vcpu in vcpus)


def _few(pids: Collection[int]) -> frozenset[int]:
    """These VMs for a request, which can name a few; else all."""
    return frozenset(pids if len(pids) <= MOST_PIDS else ())


def _whose(view: View, pids: Collection[int]) -> str:
    """Of which VMs, in words; nothing where it is all of them."""
    names = [vm.vm for vm in view.vms if vm.number in pids]
    if len(names) == len(view.interval.after.vms) or len(names) > MOST_PIDS:
        return ""
    return f" of {names[0] if len(names) == 1 else f'{len(names)} VMs'}"


def _held(vcpu: VcpuRow, placed: bool) -> bool:
    """Whether it waits or sleeps, or works and may have its memory on another node, or half a core."""
    return max(vcpu.share("wait"), vcpu.share("blocked")) >= HELD or (placed and vcpu.share("guest") >= FAR)


def _in_guest(vcpu: VcpuRow) -> bool:
    """Whether it is there nearly all of the time that it has a CPU."""
    free = 1 - vcpu.share("wait") - vcpu.share("throttled")
    return vcpu.share("guest") >= IN_GUEST * free > 0


def _kinds(view: View, vm: VcpuRow) -> Iterator[tuple[str, float]]:
    """Kinds to look at in a VM, with the time that they may tell of."""
    for kind, codes in EXITS_OF.items():
        found = view.exits(vm, codes)
        timer = kind in ("msr", "apic", "poll") and found and found.rate >= TIMER
        if found and (found.cost >= PART * view.limits.cause or timer):
            yield kind, found.cost
    if (share := view.share(vm, "user") + view.share(vm, "blocked")) >= PART * view.limits.cause:
        yield "user", share
