"""What the host's memory management and locks take of exits: by what vCPUs sleep on, and by the kernel's stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ... import units
from ...model.scope import Scope
from ..finding import CERTAIN, LIKELY, Finding
from ..scheduling import HoldUp, holdups
from ..stacks import Cause, causes, spent
from ..vcpus import VcpuRow
from .rule import SCHED, STACKS, Remedy, Rule, View

LOCK = "a lock or event (futex)"  # as reference/waits.py calls it
MINE = 0.5  # of a vCPU's sleep on locks, that its own VMM's threads have ended


def _causes(view: View, vm: VcpuRow) -> list[Cause]:
    """What the kernel did for a VM since somebody looks at its stacks, of all of its reasons."""
    memo, key = view.interval.memo, ("causes", vm.number)
    if key not in memo:
        memo[key] = [cause for one in spent(view.interval.after, Scope(vm.number)) for cause in causes(one)]
    found: list[Cause] = memo[key]
    return found


def _sleeps(view: View, vm: VcpuRow) -> list[HoldUp]:
    return holdups(view.interval, Scope(vm.number)) or []


def _seen(view: View, vm: VcpuRow, slept: str, done: str) -> tuple[float, str, str]:
    """vCPUs' time a second of what is called so among what is slept on, or among what the kernel does; for which of
    that; and by which function it was told."""
    stacks = view.interval.after.stacks
    if stacks and done:
        mine = [one for one in _causes(view, vm) if one.what == done]
        seconds = max(view.interval.after.time_ns - stacks.base.time_ns, 1)
        if mine:
            return sum(one.ns for one in mine) / seconds, "of its exits' time in the kernel", mine[0].function
    found = [one for one in _sleeps(view, vm) if slept and slept in one.what] if view.looks_at(SCHED, vm) else []
    if found:
        function = next((frame for one in found for frame in one.stack), "")
        return sum(one.ns for one in found) / (view.interval.seconds * 1e9), "of its vCPUs' sleep", function
    return 0.0, "", ""


def _hold_up(slept: str, done: str, what: str) -> Callable[[View], Iterator[Finding]]:
    """VMs whose vCPUs are held up by this. slept, done: what waits.py and kernel_stacks.py call it."""

    def find(view: View) -> Iterator[Finding]:
        for vm in view.vms:
            cost, of, function = _seen(view, vm, slept, done)
            if cost and cost >= view.limits.cause:
                yield Finding(
                    f"{what} takes {units.percent(cost)} of a vCPU's time in {vm.vm}",
                    short=f"{vm.vm}: {what.lower()}",
                    scope=vm.scope,
                    state="blocked",
                    figures=frozenset({"bar"}),
                    cost=cost,
                    evidence=(f"{units.percent(cost)} of a vCPU {of}", *([f"told by {function}"] if function else [])),
                )

    return find


def _big_lock(view: View) -> Iterator[Finding]:
    """VMs whose vCPUs sleep on locks that their own VMM's threads give back."""
    for vm in view.vms:
        sleeps = _sleeps(view, vm) if view.looks_at(SCHED, vm) else []
        locks = [one for one in sleeps if one.what == LOCK and one.actor]
        whole = sum(one.ns for one in locks)
        mine = [one for one in locks if one.actor and one.actor.pid == vm.number]
        cost = sum(one.ns for one in mine) / (view.interval.seconds * 1e9)
        if mine and cost >= view.limits.cause and cost >= MINE * whole / (view.interval.seconds * 1e9):
            by: dict[str, int] = {}
            for one in mine:
                assert one.actor
                by[one.actor.text] = by.get(one.actor.text, 0) + one.ns
            most = max(by, key=lambda name: by[name])
            yield Finding(
                f"vCPUs of {vm.vm} sleep {units.percent(cost)} of a vCPU's time on locks of their own VMM, most of it"
                f" until {most} lets go: in QEMU that is its big lock, as a rule",
                short=f"{vm.vm}: locks of its VMM",
                scope=vm.scope,
                state="blocked",
                figures=frozenset({"bar"}),
                cost=cost,
                evidence=(
                    f"{sum(one.count for one in mine):,} sleeps on futexes, the longest"
                    f" {units.duration(max(one.max for one in mine))}",
                    f"until {most} lets go: {units.percent(by[most] / (view.interval.seconds * 1e9))} of a vCPU's time",
                ),
            )


def _rule(
    name: str, title: str, slept: str, done: str, what: str, unless: str, remedy: Remedy, confidence: str = CERTAIN
) -> Rule:
    looks = frozenset({SCHED} if slept else ()) | frozenset({STACKS} if done else ())
    return Rule(
        name,
        title,
        "it takes ≥ {cause} of a vCPU's time",
        _hold_up(slept, done, what),
        unless,
        remedy,
        looks,
        explains=frozenset({"blocked", "kvm"}),
        confidence=confidence,
        see="kvmtop --vm {vm} --stacks" if done else "kvmtop --vm {vm} --event sched",
    )


USERFAULT = _rule(
    "userfault",
    "memory that comes by userfaultfd",
    "userfaultfd",
    "userfaultfd",
    "Waiting for memory that a handler of userfaultfd brings",
    "none: the kernel tells in which function it sleeps",
    Remedy(
        host="a post-copy migration ends by itself: its bandwidth decides; or the handler is slow",
        vm="virsh migrate --postcopy-bandwidth",
    ),
)
SWAP_IN = _rule(
    "swap-in",
    "its memory was swapped out",
    "swap-in",
    "swap-in",
    "Swap-in",
    "none: the kernel tells in which function it sleeps",
    Remedy(
        host="free memory, or less vm.swappiness; memory.swap.max=0 of its cgroup",
        vm="<memoryBacking><locked/></memoryBacking>, or hugepages",
    ),
)
FUSE = _rule(
    "fuse",
    "its memory or disk is behind a FUSE daemon",
    "a FUSE file system",
    "FUSE",
    "A FUSE daemon's answers",
    "none: the kernel tells in which function it sleeps",
    Remedy(host="the daemon's own load: it may wait for a network or a disk"),
)
RECLAIM = _rule(
    "reclaim",
    "the host has no free memory",
    "memory that has to be reclaimed",
    "reclaim",
    "Reclaim of memory",
    "page cache that is given back costs little",
    Remedy(
        host="fewer or smaller VMs, or more memory; vm.min_free_kbytes higher", vm="<memballoon> or smaller <memory>"
    ),
)
CGROUP_RECLAIM = _rule(
    "memory-limit",
    "its cgroup's memory is used up",
    "memory.high of its cgroup",
    "reclaim of its cgroup",
    "Reclaim in its cgroup",
    "none: the kernel tells in which function it is",
    Remedy(host="memory.high and memory.max of its cgroup higher", vm="<memtune><hard_limit> higher, or without"),
)
COMPACTION = _rule(
    "compaction",
    "the host makes room for huge pages",
    "",
    "compaction",
    "Compaction",
    "khugepaged compacts by itself, which holds no vCPU up",
    Remedy(host="echo defer > /sys/kernel/mm/transparent_hugepage/defrag", vm="<memoryBacking><hugepages/>"),
)
HUGE_SPLIT = _rule(
    "huge-split",
    "huge pages are split",
    "",
    "splitting a huge page",
    "Splitting huge pages",
    "one split at a time, as when a page is mapped anew",
    Remedy(host="no KSM, no swap and no balloon for this VM", vm="<memoryBacking><hugepages/><nosharepages/>"),
)
KSM = _rule(
    "ksm",
    "shared pages are copied at each first write",
    "",
    "copying a shared page",
    "Copying shared pages",
    "a fork of the VMM, as for a snapshot, makes the kernel copy as well",
    Remedy(host="echo 0 > /sys/kernel/mm/ksm/run (2 undoes merges)", vm="<memoryBacking><nosharepages/>"),
    confidence=LIKELY,
)
NUMA_BALANCING = _rule(
    "numa-balancing",
    "pages are moved between NUMA nodes",
    "a page that is being moved",
    "NUMA balancing",
    "NUMA balancing",
    "a VM that was just moved: it settles by itself",
    Remedy(host="sysctl kernel.numa_balancing=0", vm="<numatune><memory mode='strict' nodeset=…/> with <vcpupin>"),
)
SPLIT_LOCK = _rule(
    "split-lock",
    "locked accesses across cache lines, for which this host makes the guest wait",
    "a split lock",
    "a split lock",
    "Waiting because of split locks",
    "none: the kernel tells in which function it sleeps",
    Remedy(
        host="sysctl kernel.split_lock_mitigate=0, which lets its neighbours suffer instead",
        guest="find the program that locks unaligned data: dmesg of the host names QEMU's thread and the address",
    ),
)
MMAP_LOCK = _rule(
    "mmap-lock",
    "another thread changes the VMM's memory",
    "mmap_lock",
    "mmap_lock",
    "Waiting for mmap_lock",
    "a lock of the kernel of the same kind, which the stack does not tell apart",
    Remedy(host="what maps or unmaps in QEMU: hotplug, balloon, khugepaged; see who lets go: --event sched"),
    confidence=LIKELY,
)
BIG_LOCK = Rule(
    "big-lock",
    "locks of its own VMM",
    "sleep on futexes that threads of the same VMM end ≥ {cause} of a vCPU's time, and half of all such sleep",
    _big_lock,
    "a futex may be an event that another thread has brought about, not a lock",
    Remedy(
        host="see what the thread that is named does: perf trace -p TID",
        vm="devices on I/O threads: <iothreads>, <driver iothread='1'/>; no emulated devices that are used much",
    ),
    frozenset({SCHED}),
    explains=frozenset({"blocked"}),
    confidence=LIKELY,
    see="kvmtop --vm {vm} --event sched",
)
