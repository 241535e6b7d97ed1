"""The rules, one small object each, gravest first."""

from __future__ import annotations

from ...reference.word import Word
from ..finding import USUAL
from . import devices, exits, halts, machine, memory, states, vms, waits
from .rule import Rule

RULES: tuple[Rule, ...] = (
    vms.LOST,
    vms.STOPPED,
    vms.DEBUGGER,
    vms.PAUSED,
    vms.SILENT,
    vms.STUCK,
    waits.QUOTA,
    waits.LOCK_HOLDER,
    waits.PINNED,
    waits.SAME_CPU,
    waits.NEIGHBOUR,
    waits.WAITS,
    machine.THREAD_BUSY,
    machine.THREAD_WAITS,
    memory.USERFAULT,
    memory.SWAP_IN,
    memory.FUSE,
    memory.RECLAIM,
    memory.CGROUP_RECLAIM,
    memory.COMPACTION,
    memory.HUGE_SPLIT,
    memory.KSM,
    memory.NUMA_BALANCING,
    memory.MMAP_LOCK,
    memory.SPLIT_LOCK,
    memory.BIG_LOCK,
    devices.SERIAL,
    devices.PM_TIMER,
    devices.HPET,
    devices.PIT,
    devices.RTC,
    devices.IDE,
    devices.VGA,
    devices.NIC,
    devices.USER_IRQCHIP,
    devices.SPLIT_IRQCHIP,
    devices.PMU,
    devices.XAPIC,
    devices.IPI_STORM,
    devices.HV_FLUSHES,
    devices.HIGH_HZ,
    devices.MSR,
    exits.CPUID_STORM,
    exits.RDTSC_STORM,
    exits.RDPMC_STORM,
    exits.MWAIT_EXITS,
    exits.PAUSE_EXITS,
    exits.BUS_LOCKS,
    exits.DEBUGGED,
    exits.WBINVD_STORM,
    states.BLOCKED,
    states.VMM,
    states.KVM,
    states.NESTING,
    halts.HALT_POLLING,
    halts.IDLE_POLL,
    halts.SPINS,
    machine.PIT_REINJECTION,
    machine.APIC_OFF,
    machine.DIRTY_LOG,
    machine.NUMA,
    machine.SMT,
    vms.UNSTARTED,
    devices.TICKS,
    halts.NO_POLLING,
)
BY_NAME = {rule.name: rule for rule in RULES}


def _word(rule: Rule) -> Word:
    """For kvmtop explain."""
    told = "".join(f" Try {words}." for words in rule.remedy.words)
    text = f"{rule.title}. Told where {rule.holds(USUAL)}. Mind: {rule.unless}.{told}"
    return Word(rule.name, "finding", text, see=tuple(sorted(rule.explains)))


WORDS = tuple(map(_word, RULES))
