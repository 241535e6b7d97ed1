"""What an emulated host lacks, or cannot show in time, by an interval that is made up: the rule is tried, the way from a
kernel to its figures is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kvmtop.insight.findings import causes, found_in
from kvmtop.insight.rules.rule import View
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.apic import Apic
from kvmtop.model.scheduling import Placement
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import KINDS, UNPOLLED, DetailRequest, Vm
from kvmtop.reference.labels import Labels

from ..support.fake import SECOND, Host
from ..support.scheduling import Scheduler
from ..support.stacks import FAULT, Seen
from .plants import MAIL, SHOP

MS = 1_000_000
SHOP_PID, MAIL_PID = 100, 200
ONE, TWO, OTHER = 101, 102, 201  # the vCPUs' threads
RDTSC, BUS_LOCK, PAUSE, HLT, MSR, NPF, USER_EOI = 0x6E, 0xA5, 0x77, 0x78, 0x7C, 0x400, 26


class Made:
    """A host in which a second passes: SHOP has two vCPUs, MAIL one that mostly halts."""

    def __init__(self) -> None:
        self.host, self.session = Host(), Session()
        self.host.add(SHOP_PID, SHOP, 2)
        self.host.add(MAIL_PID, MAIL)
        self.host.now += SECOND
        for tid in self.host.vcpus:
            self.host.exits(tid, HLT, 1_000)
        self.host.look(DetailRequest(frozenset(KINDS) - {""}))
        self.seen = Seen(self.host)
        self.host.stacks = None
        self.session.add(self.host.read())

    def spend(self, tid: int, **ms: int) -> None:
        """What a vCPU does beside its exits; the rest in the guest."""
        for state, part in ms.items():
            self.host.vcpus[tid].states[state] += part * MS

    def causes(self) -> list[tuple[str, str | None, float | None]]:
        """The second passes: the causes that all rules name, with the VM and the cost, most cost first."""
        self.host.exits(OTHER, HLT, *[50 * MS] * 19)
        self.host.now += SECOND
        interval = self.session.add(self.host.read())
        rows = vcpu_rows(self.session, interval)
        found = causes(found_in(View.of(self.session, interval, rows, Labels(interval.after.names))))
        found.sort(key=lambda one: -(one.cost if one.cost is not None else -1.0))
        vms = {pid: vm.name for pid, vm in interval.after.vms.items()}
        return [(one.name, vms.get(one.scope.pid or 0), one.cost) for one in found]


@dataclass(frozen=True)
class Constructed:
    """A problem that is made up. lacks: why it is; vm: of whom the cause is."""

    rule: str
    lacks: str
    build: Callable[[Made], object]
    vm: str | None = SHOP


def storm(reason: int, each: int = 100_000, times: int = 2000, **parts: int) -> Callable[[Made], None]:
    """So many exits of vCPU 0."""
    return lambda made: made.host.exits(ONE, reason, *[each] * times, **parts)


def spun(made: Made) -> None:
    """Both vCPUs spin for a lock whose holder waits for a CPU."""
    for tid in (ONE, TWO):
        made.spend(tid, wait=400)
    made.host.exits(ONE, PAUSE, *[20_000] * 2000)


def apic(*inhibits: str) -> Callable[[Made], None]:
    """Its accelerated APIC is off, which costs it exits."""

    def build(made: Made) -> None:
        made.host.apic = Apic({SHOP_PID: inhibits, MAIL_PID: ()}, "")
        made.host.exits(ONE, MSR, *[100_000] * 900)
        made.host.touch(ONE, "apic", 0xB0, 1, *[100_000] * 900)

    return build


def far(made: Made) -> None:
    """Its memory is on node 1, its vCPUs on node 0."""
    scheduler = Scheduler(made.host.now, 0)
    scheduler.placements = {tid: Placement("0-3", False, (), 0) for tid in (ONE, TWO, OTHER)}
    memory = {SHOP_PID: {0: 1 << 20, 1: 1 << 30}, MAIL_PID: {0: 1 << 30}}
    made.host.scheduling = replace(scheduler.read(), memory=memory)


def half(made: Made) -> None:
    """Both vCPUs are held on one core, and work; another core has nothing to do."""
    scheduler = Scheduler(made.host.now, 0)
    scheduler.placements = {ONE: Placement("0", False, (1,)), TWO: Placement("1", False, (0,))}
    scheduler.cores = {0: 0, 1: 0, 2: 2, 3: 2}
    scheduler.idle = dict.fromkeys(range(4), 0)
    made.host.scheduling = scheduler.read()
    made.host.now += SECOND
    made.session.add(made.host.read())
    made.host.scheduling = replace(made.host.scheduling, idle={0: 0, 1: 0, 2: SECOND, 3: SECOND})


def stack(*frames: str) -> Callable[[Made], None]:
    """It takes 200 ms of faults."""

    def build(made: Made) -> None:
        made.host.exits(ONE, NPF, *[20 * MS] * 10, blocked=20 * MS)
        made.seen.slept(ONE, NPF, (*frames, *FAULT), *[20 * MS] * 10)

    return build


def copied(made: Made) -> None:
    """Samples of copies, in faults that take 300 ms."""
    made.host.exits(ONE, NPF, *[30 * MS] * 10)
    made.seen.ran(ONE, NPF, ("copy_page", "wp_page_copy", "__handle_mm_fault", *FAULT), 30)


def flushes(made: Made) -> None:
    made.host.exits(ONE, 0x81, *[50_000] * 4000)
    made.host.touch(ONE, "hyperv", 0x03, 0, *[50_000] * 4000)


def eois(made: Made) -> None:
    made.host.exits(ONE, MSR, *[50_000] * 4000, user=40_000)
    made.host.touch(ONE, "user", USER_EOI, 0, *[50_000] * 4000, user=40_000)


def unpolled(made: Made) -> None:
    made.host.exits(ONE, HLT, *[50_000] * 5000)
    made.host.touch(ONE, "poll", UNPOLLED, 0, *[50_000] * 5000)


def lose(made: Made) -> None:
    made.host.counters["lost"] = 7


def still(made: Made) -> None:
    """A VM of which nothing was seen for seconds, and whose VMM is at work."""
    made.host.vms[300] = Vm(300, STILL, "qemu")
    made.host.now += 4 * SECOND
    made.session.add(made.host.read())


STILL = "still01"
CONSTRUCTED = [
    Constructed("silent", "a VMM that does not run its VM", still, vm=STILL),
    Constructed("lost", "full maps", lose, vm=None),
    Constructed("waits", "nothing; nobody looks", lambda made: made.spend(ONE, wait=500)),
    Constructed("lock-holder", "PAUSE exits", spun),
    Constructed("pause", "PAUSE exits", storm(PAUSE)),
    Constructed("rdtsc", "intercepted TSC", storm(RDTSC)),
    Constructed("bus-lock", "bus lock detection", storm(BUS_LOCK)),
    Constructed("apic-off", "AVIC", apic("NESTED")),
    Constructed("pit-reinjection", "AVIC", apic("PIT_REINJ")),
    Constructed("numa", "NUMA nodes", far),
    Constructed("smt", "cores of two threads", half),
    Constructed("numa-balancing", "NUMA nodes", stack("do_numa_page")),
    Constructed("memory-limit", "groups with a limit", stack("try_to_free_mem_cgroup_pages")),
    Constructed("compaction", "memory in fragments", stack("compact_zone")),
    Constructed("reclaim", "full memory", stack("shrink_node")),
    Constructed("swap-in", "memory that goes out", stack("do_swap_page")),
    Constructed("ksm", "quick page-table locks, behind which its copies are little", copied),
    Constructed("huge-split", "huge pages", stack("__split_huge_pmd")),
    Constructed("mmap-lock", "contention", stack("rwsem_down_read_slowpath")),
    Constructed("split-lock", "split lock detection", stack("split_lock_warn", "handle_guest_split_lock")),
    Constructed("tlb-flush", "Hyper-V's hypercalls", flushes),
    Constructed("split-irqchip", "an IOAPIC of the VMM", eois),
    Constructed("no-polling", "quick exits", unpolled),
]
