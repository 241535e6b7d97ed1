"""Where a closer look is worthwhile, by the counters alone: what to look at in turn, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..host.placement import several_nodes
from ..model.reasons import APIC, HLT, IO
from ..model.vocabulary import SVM, VMX, DetailRequest, Key
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
    "apic": APIC | MSR,
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
    """What to look at, in words; kinds, SCHED and STACKS of it; and of which VMs (pids): what made it worthwhile."""

    words: str
    kinds: frozenset[str]
    request: DetailRequest
    pids: frozenset[int]


def looks(view: View) -> list[Look]:
    """What to look at, one after the other; none where nothing asks for it."""
    kinds: dict[str, set[int]] = {}
    storms: dict[Key, tuple[float, int]] = {}
    spinning, held, working = set[int](), set[int](), set[int]()
    for vm in view.vms:
        if vm.ended:
            continue
        for kind in _kinds(view, vm):
            kinds.setdefault(kind, set()).add(vm.number)
        storm = view.exits(vm, STORMS | MSR)
        if storm and storm.cost >= PART * view.limits.cause:
            storms[storm.key] = max(storms.get(storm.key, (0.0, 0)), (storm.cost, vm.number))
    for vcpu in view.vcpus:
        shares, pid = vcpu.shares or {}, vcpu.scope.pid or 0
        free = 1 - shares.get("wait", 0.0) - shares.get("throttled", 0.0)
        if shares.get("guest", 0.0) >= IN_GUEST * free > 0:
            spinning.add(pid)
        if shares.get("guest", 0.0) >= FAR and several_nodes():
            held.add(pid)
        if max(shares.get(state, 0.0) for state in ("wait", "blocked")) >= HELD:
            held.add(pid)
        if shares.get("kernel", 0.0) >= PART * view.limits.kernel or shares.get("blocked", 0.0) >= HELD:
            working.add(pid)
    return list(_looks(kinds, storms, spinning, held, working, view))


def _kinds(view: View, vm: VcpuRow) -> Iterator[str]:
    for kind, codes in EXITS_OF.items():
        found = view.exits(vm, codes)
        timer = kind in ("msr", "apic") and found and found.rate >= TIMER
        if found and (found.cost >= PART * view.limits.cause or timer or (kind == "poll" and found.rate >= TIMER)):
            yield kind
    if view.share(vm, "user") + view.share(vm, "blocked") >= PART * view.limits.cause:
        yield "user"


def _looks(
    kinds: dict[str, set[int]],
    storms: dict[Key, tuple[float, int]],
    spinning: set[int],
    held: set[int],
    working: set[int],
    view: View,
) -> Iterator[Look]:
    if kinds:
        wanted = frozenset(kinds) | (POLLING if "poll" in kinds else frozenset())
        words = ", ".join(kind for kind in EXITS_OF | {"user": ()} if kind in kinds)
        yield Look(words, wanted, DetailRequest(wanted), frozenset().union(*kinds.values()))
    if storms:
        key = max(storms, key=lambda one: storms[one])
        name = view.interval.after.names.name(*key)
        rip = frozenset({"rip"})
        yield Look(f"guest code of {name}", rip, DetailRequest(rip, only=key), frozenset({storms[key][1]}))
    if held:
        pid = next(iter(held)) if len(held) == 1 else 0
        yield Look("the scheduler", frozenset({SCHED}), DetailRequest(sched=pid, numa=True), frozenset(held))
    if working:
        yield Look("the kernel's stacks", frozenset({STACKS}), DetailRequest(stacks=True), frozenset(working))
    if spinning:
        rip = frozenset({"rip"})
        yield Look("guest code", rip, DetailRequest(rip), frozenset(spinning))
