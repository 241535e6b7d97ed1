"""Loads and reads scheduling.bpf.c: who ran while vCPUs waited, who woke them, what they slept in."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import U64, Array, find
from ..model.histogram import BUCKETS
from ..model.scheduling import BEHIND, BLOCKED, CHARGE, IDLE, LATENCY, SOFTIRQ, TASK, UNKNOWN, Scheduling
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES
from . import btf, kallsyms, syscalls
from .btf import FUNCTION, TYPEDEF
from .keyed_rows import KeyedRows
from .probes import Probe, Probes
from .run_time import Runs
from .tracepoint import Tracefs

HERE = Path(__file__).parent
ROWS = 16384  # vCPUs times those they waited behind, or were woken by: 2 MB of kernel memory
MOST_OPEN = 4096  # rows of what is not over yet that are kept when it is
TRIES = 5  # readings for one that fits together
DEEPEST = 127  # PERF_MAX_STACK_DEPTH
SLEEPING = frozenset({"__schedule", "schedule", "schedule_timeout", "schedule_hrtimeout_range", "io_schedule"})

WAITER = np.dtype(
    [
        *((name, "u8") for name in ("id", "mark", "begin_ns", "end_ns", "last", "last_by")),
        *((name, "u8") for name in ("withheld", "waking_ns", "woken_ns", "asleep_ns", "call")),
        *(("stack", "i4"), ("cpu", "u4"), ("waker", "u8"), ("waker_by", "u8")),
        *((name, "u8") for name in ("count", "total", "max")),
        ("hist", "u4", (BUCKETS,)),
    ]
)
CONFIG = np.dtype([("pid", "u8"), ("since_ns", "u8")])
# Where the kernel's structures have what scheduling.bpf.c reads beside what bpf/sched.py knows already.
_OFFSETS = (
    ("TASK_CPU", "task_struct", ("thread_info.cpu", "cpu")),  # since and before 5.16 (bcf9033e5449)
    ("TASK_FLAGS", "task_struct", ("flags",)),
)
_REGISTERS = (("REGS_CALL", "pt_regs", ("orig_ax",)), ("REGS_ARGUMENT", "pt_regs", ("di",)))
_TYPED = (
    ("sched_switch", "on_switch"),
    ("sched_waking", "on_waking"),
    ("sched_wakeup", "on_wake"),
    ("sched_migrate_task", "on_migrate"),
)
# Interrupts, where the kernel has the tracepoints.
_RAW = (
    ("irq", "irq_handler_entry", "on_irq"),
    ("irq", "irq_handler_exit", "on_hard_end"),
    ("irq", "softirq_entry", "on_softirq"),
    ("irq", "softirq_exit", "on_softirq_end"),
    ("irq_vectors", "local_timer_entry", "on_timer"),
    ("irq_vectors", "local_timer_exit", "on_hard_end"),
    *(
        ("irq_vectors", f"{name}_{end}", function)
        for name in ("reschedule", "call_function", "call_function_single", "irq_work")
        for end, function in (("entry", "on_vector"), ("exit", "on_hard_end"))
    ),
)
_CANNOT = "who has the CPU cannot be told on this kernel: that takes its types (CONFIG_DEBUG_INFO_BTF, and Linux 5.5)"


def _runner(words: int) -> np.dtype[Any]:
    return np.dtype(
        [
            *(("task", "u8"), ("base", "u8")),
            *((name, "u4") for name in ("hard", "soft", "waiting", "top")),
            *(("known", "u8"), ("bits", "u8", (words,)), ("left", "u8", (2,)), ("next", "u4", (2,))),
        ]
    )


class SchedulingProbes:
    """Loaded at construction, attached while look() asks for something."""

    def __init__(self, flags: Sequence[str], threads: int, shared: Mapping[str, int], use_mmap: bool = True) -> None:
        """flags, threads, shared: the collector's own, of its scheduler's events, its slots and its maps.

        Raises KvmtopError.
        """
        self._tracefs = Tracefs()
        mapped = use_mmap and syscalls.mmapable()
        cpus, words = syscalls.possible_cpus(), -(-threads // 64)
        sizes = {"rows": ROWS, "waiters": threads, "runners": cpus, "configs": 1}
        found, typed = typed_events(flags, [name for name, _ in _TYPED])
        probes = [
            *(Probe("sched", name, function, "typed", typed[name]) for name, function in _TYPED),
            *(Probe(*one, kind="raw") for one in _RAW if self._tracefs.format(*one[:2])),
        ]
        self._probes = Probes(
            HERE / "scheduling.bpf.c",
            [
                *(flag for flag in flags if flag.startswith(("-DTYPED", "-DTASK_", "-DCFS_", "-DRQ_"))),
                *found,
                *(f"-D{name}={size}" for name, size in (("THREADS", threads), ("WORDS", words), ("CPUS", cpus))),
                f"-DROWS={ROWS}",
                f"-DMAP_FLAGS={syscalls.MMAPABLE if mapped else 0}",
            ],
            probes,
            [*sizes, "free_rows", "places", "stacks"],
            shared,
        )
        dtypes = {"rows": CHARGE, "waiters": WAITER, "runners": _runner(words), "configs": CONFIG}
        self._maps = {
            name: syscalls.BpfArray(self._probes.maps[name], dtypes[name], size, mapped) for name, size in sizes.items()
        }
        self._rows = KeyedRows(self._maps["rows"], self._probes.maps, ROWS, lambda row: row.tobytes()[:36] + bytes(4))
        self._pid: int | None = None
        self._since = 0
        self._number = itertools.count()
        self._open: dict[bytes, tuple[int, Array]] = {}  # what was not over at some reading: its number, its row
        self._stacks: dict[int, tuple[str, ...]] = {}
        self._sample: tuple[Array, Array, Array] | None = None  # rows, waiters, runners

    def look(self, pid: int | None) -> None:
        """Attach the probes for the vCPUs of a process, or of all (0); detach them (None). Raises KvmtopError."""
        if pid == self._pid:
            return
        self._probes.detach()
        self._pid = self._sample = None
        if pid is None:
            return
        self._rows.forget()
        for name in ("waiters", "runners"):
            self._maps[name].clear(range(len(self._maps[name].read())))
        self._open.clear()
        self._since = time.monotonic_ns()
        config = np.zeros(1, CONFIG)
        config["pid"], config["since_ns"] = pid, self._since
        self._maps["configs"].write([0], config)
        self._probes.attach(self._tracefs)
        self._pid = pid  # not before: where it fails, nobody looks

    def sample(self, slots: int) -> None:
        """Copy the counters of so many slots: between those of the threads, in the same reading of the collector."""
        if self._pid is None:
            return
        waiters, runners = self._maps["waiters"].read(slots), self._maps["runners"].read()
        for _ in range(TRIES):
            before = waiters
            rows = self._maps["rows"].read(int(runners["top"].max()) + 1)
            waiters, runners = self._maps["waiters"].read(slots), self._maps["runners"].read()
            if (before["mark"] == waiters["mark"]).all():  # or what was charged meanwhile would be in neither
                break
        self._sample = rows, waiters, runners

    def read(self, snapshot: Snapshot) -> Scheduling | None:
        """What was seen from the look's beginning to the last sample(); snapshot: the threads of that reading.

        None while nobody looks. Names of processes and files are left to who knows /proc.
        """
        if self._pid is None or self._sample is None:
            return None
        copied, waiters, runners = self._sample
        rows, ids, _ = self._rows.read(copied)
        waiters = waiters[waiters["id"] > 0]
        running = runners["task"] * (runners["known"] > 0)
        still, numbers = self._still(waiters, runners, snapshot)
        latencies = np.zeros(int((waiters["count"] > 0).sum()), LATENCY)
        for name in LATENCY.names or ():
            latencies[name] = waiters[waiters["count"] > 0][name]
        charges = np.concatenate([rows, still])
        return Scheduling(
            since_ns=self._since,
            pid=self._pid,
            charges=charges,
            charge_ids=np.concatenate([ids, numbers]),
            latencies=latencies,
            running=running,
            stacks=self._named(charges["stack"][charges["kind"] == BLOCKED]),
            unnamed=kallsyms.functions().unnamed if self._stacks else "",
        )

    def _still(self, waiters: Array, runners: Array, snapshot: Snapshot) -> tuple[Array, U64]:
        """What of waits and sleeps is not charged yet, or charged too far: threads are read a moment earlier.

        It has rows of its own that stay, and are 0 when they have nothing to tell. So they add up with the rows of what
        is charged, from any reading to any other.
        """
        for _, row in self._open.values():
            row["ns"] = row["max"] = 0
        threads = snapshot.threads[snapshot.threads["end_ns"] == 0]
        at = find(threads["id"], waiters["id"])
        known, mine = waiters[at >= 0], threads[at[at >= 0]]
        instants = (mine["first_ns"] + mine["states"].sum(axis=1)).astype("i8")
        mark, asleep = known["mark"].astype("i8"), known["asleep_ns"].astype("i8")
        waits = (mine["state"] == STATES.index("wait")) & (mark > 0) & (mark <= instants)
        sleeps = (mine["state"] == STATES.index("blocked")) & (mark == 0) & (asleep > 0) & (asleep < instants)
        charged = np.where(mark > 0, mark, known["end_ns"].astype("i8"))
        further = charged - np.maximum(instants, known["begin_ns"].astype("i8"))
        further[mine["state"] == STATES.index("throttled")] = 0
        for index in np.flatnonzero(waits | sleeps | (further > 0)).tolist():
            waiter, row = known[index], np.zeros(1, CHARGE)
            row["id"], row["kind"], row["stack"] = waiter["id"], BEHIND, -1
            if sleeps[index]:
                row["kind"], row["call"], row["stack"] = BLOCKED, waiter["call"], waiter["stack"]
                ns = instants[index] - asleep[index]
            elif waits[index]:
                row["who"], row["by"] = _actor(runners[waiter["cpu"]]) if waiter["cpu"] < len(runners) else (0, UNKNOWN)
                ns = instants[index] - mark[index]
            else:
                row["who"], row["by"] = waiter["last"], waiter["last_by"]
                ns = -further[index]
            _, kept = self._open.setdefault(row.tobytes(), (1 << 63 | next(self._number), row.copy()))
            kept["ns"], kept["max"] = ns, max(ns, 0)
        rows = [row for _, row in self._open.values()]
        numbers = np.array([number for number, _ in self._open.values()], "u8")
        found = np.concatenate(rows) if rows else np.zeros(0, CHARGE)
        if len(self._open) > MOST_OPEN:
            self._open = {key: one for key, one in self._open.items() if one[1]["ns"]}
        return found, numbers

    def _named(self, stacks: Any) -> dict[int, tuple[str, ...]]:
        """The kernel's stacks by their numbers."""
        for number in np.unique(stacks[stacks >= 0]).tolist():
            if number not in self._stacks:
                words = syscalls.lookup(self._probes.maps["stacks"], number, 8 * DEEPEST)
                addresses = np.frombuffer(words, "u8")
                names = (kallsyms.functions().name(int(at)) for at in addresses[addresses > 0])
                self._stacks[number] = tuple(below([name for name in names if name]))
        return dict(self._stacks)

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs()

    def close(self) -> None:
        """Detach, and free all."""
        self._pid = self._sample = None
        self._maps.clear()
        del self._rows  # it has one of them
        self._probes.close()


def below(names: Sequence[str]) -> Sequence[str]:
    """A sleeper's stack without the scheduler, whose tracepoint it was taken at."""
    at = max((at for at, name in enumerate(names) if name in SLEEPING), default=-1)
    return names[at + 1 :]


def _actor(runner: np.void) -> tuple[int, int]:
    """What has a CPU, as actor_of() in scheduling.bpf.c has it: who, and what that is."""
    hard, soft = int(runner["hard"]), int(runner["soft"])
    if hard or soft:
        return (hard & 0xFFFFFFF, hard >> 28) if hard else (soft - 1, SOFTIRQ)
    who = int(runner["task"])
    return who, (TASK if who else IDLE) if runner["known"] else UNKNOWN


def typed_events(flags: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The flags of what this kernel has, and these tracepoints' types. Raises KvmtopError where it has too little.

    flags: the collector's, of the scheduler's events.
    """
    if "-DTYPED" not in flags or not syscalls.may_read_kernel():
        raise KvmtopError(_CANNOT)
    with btf.load() as types:
        offsets = btf.offsets(types, _OFFSETS) if types else None
        typed = {name: types.id(f"btf_trace_{name}", TYPEDEF) or 0 for name in names} if types else {}
        if not types or offsets is None or not all(typed.values()):
            raise KvmtopError(_CANNOT)
        registers = btf.offsets(types, _REGISTERS)
        if registers and types.id("bpf_task_pt_regs", FUNCTION):  # Linux 5.15 (dd6e10fbd9fb)
            offsets += ["-DREGS", *registers]
        nested = types.offset("pcpu_hot", "preempt_count") or 0  # 6.2 to 6.14
    places = kallsyms.addresses(("__per_cpu_offset", "__preempt_count", "pcpu_hot"))
    at = places["pcpu_hot"] + nested if "pcpu_hot" in places else places.get("__preempt_count")
    if at and "__per_cpu_offset" in places:
        offsets += [f"-DPREEMPT_COUNT={at}ULL", f"-DCPU_OFFSETS={places['__per_cpu_offset']}ULL"]
    return offsets, typed


assert CHARGE.itemsize == 40 + 48
