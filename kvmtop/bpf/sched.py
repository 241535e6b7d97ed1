"""How the scheduler's events reach collector.bpf.c on this kernel, and what they can tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..model.vocabulary import STATES
from . import btf, kallsyms, syscalls
from .btf import TYPEDEF, Btf
from .probes import Probe
from .tracepoint import Tracefs

# Where the kernel's structures have what collector.bpf.c reads: flag, structure, member; several: any of these.
_TASK = (
    ("TASK_PID", "task_struct", ("pid",)),
    ("TASK_TGID", "task_struct", ("tgid",)),
    ("TASK_STATE", "task_struct", ("__state", "state")),  # since and before 5.14 (2f064a59a11f)
)
_NOTE = (("TASK_NOTES", "task_struct", ("preempt_notifiers.first",)),)
# What the CPU quota withholds, newest first: since 6.6 (677ea015f231), since 5.19 (64eaf50731ac), before.
_QUOTA = (("TASK_CFS", "task_struct", ("se.cfs_rq",)), ("CFS_RQ", "cfs_rq", ("rq",)))
_WITHHELD = (
    (
        ("CFS_SUM", "cfs_rq", ("throttled_clock_self_time",)),
        ("CFS_SINCE", "cfs_rq", ("throttled_clock_self",)),
        ("RQ_CLOCK", "rq", ("clock",)),
    ),
    (
        ("CFS_SUM", "cfs_rq", ("throttled_clock_pelt_time",)),
        ("CFS_SINCE", "cfs_rq", ("throttled_clock_pelt",)),
        ("CFS_COUNT", "cfs_rq", ("throttle_count",)),
        ("RQ_CLOCK", "rq", ("clock_pelt",)),
        ("RQ_LOST", "rq", ("lost_idle_time",)),
    ),
    (
        ("CFS_SUM", "cfs_rq", ("throttled_clock_task_time",)),
        ("CFS_SINCE", "cfs_rq", ("throttled_clock_task",)),
        ("CFS_COUNT", "cfs_rq", ("throttle_count",)),
        ("RQ_CLOCK", "rq", ("clock_task",)),
    ),
)


@dataclass(frozen=True)
class Sched:
    """flags: -D flags; probes: what to attach; told: the states that are known; how: in words."""

    flags: tuple[str, ...]
    probes: tuple[Probe, ...]
    told: tuple[str, ...]
    how: str


def sched(tracefs: Tracefs, types: Btf | None) -> Sched:
    """The best way that this kernel has, with its types or without. Raises KvmtopError."""
    return (_typed(types, syscalls.may_read_kernel()) if types else None) or _classic(tracefs)


def _typed(types: Btf, reads: bool) -> Sched | None:
    """reads: whether a program may read what the verifier has no type for."""
    switch, wake = (types.id(f"btf_trace_{name}", TYPEDEF) for name in ("sched_switch", "sched_wakeup"))
    task = btf.offsets(types, _TASK)
    if task is None or not switch or not wake:
        return None
    flags, how = ["-DTYPED", *task], "events with the kernel's types"
    note, link = btf.offsets(types, _NOTE), types.offset("kvm_vcpu", "preempt_notifier.link")
    waiting, vcpu = types.offset("kvm_vcpu", "wait.task"), types.offset("kvm_vcpu", "vcpu_id")
    if reads and note and link is not None and waiting is not None and vcpu is not None:
        flags += [*note, f"-DNOTE_TASK={waiting - link}", f"-DNOTE_VCPU=({vcpu - link})"]
    elif stack := _block():
        flags += stack
        how += ", halts by the kernel's stack"
    else:
        return None
    told: tuple[str, ...] = STATES[:-1]
    quota = btf.offsets(types, _QUOTA)
    withheld = next(filter(None, (btf.offsets(types, way) for way in _WITHHELD)), None)
    if reads and quota and withheld and syscalls.can_run():  # of a wait that is open, on_peek must ask
        flags += quota + withheld
        told = STATES
    probes = (
        Probe("sched", "sched_switch", "on_switch", "typed", switch),
        Probe("sched", "sched_wakeup", "on_wake", "typed", wake),
    )
    return Sched((*flags,), probes, told, how)


def _classic(tracefs: Tracefs) -> Sched:
    """Without types: the events' records, and a halt by the kernel's stack. Nothing is told where one is missing."""
    switch, wake = (tracefs.format("sched", name) for name in ("sched_switch", "sched_wakeup"))
    flags = [*(_block() or ())]
    for flag, parsed, name in (
        ("SWITCH_PREV", switch, "prev_pid"),
        ("SWITCH_STATE", switch, "prev_state"),
        ("SWITCH_NEXT", switch, "next_pid"),
        ("WAKE_PID", wake, "pid"),
    ):
        if not flags or not parsed or name not in parsed.fields:
            return Sched((), (), ("guest",), "no scheduler events")
        flags.append(f"-D{flag}={parsed.fields[name].offset}")
    probes = (Probe("sched", "sched_switch", "on_switch"), Probe("sched", "sched_wakeup", "on_wake"))
    return Sched((*flags,), probes, STATES[:-1], "events without types, halts by the kernel's stack")


def _block(symbols: Path = kallsyms.PATH) -> list[str] | None:
    """Where kvm_vcpu_block lies, as flags; None where the kernel does not say (kernel.kptr_restrict)."""
    bounds = kallsyms.bounds("kvm_vcpu_block", symbols)
    if not bounds or bounds[1] - bounds[0] > 1 << 16:
        return None
    return [f"-DBLOCK_AT={bounds[0]}ULL", f"-DBLOCK_SIZE={bounds[1] - bounds[0]}"]
