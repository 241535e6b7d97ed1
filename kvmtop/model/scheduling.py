"""What the scheduler did with vCPUs while somebody looked (who ran instead, who woke them, what held them up), and the
other threads of their VMs, which are always told.

Times are ns. A vCPU, and any other thread, is named by its tgid and tid, packed (keys.pack).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .arrays import U64, Array
from .histogram import BUCKETS

# Who runs on a CPU, or wakes somebody: bpf/scheduling.bpf.c numbers them so.
UNKNOWN, TASK, IDLE, INTERRUPT, SOFTIRQ, TIMER, OTHER_INTERRUPT = range(7)

# What a row of charges is about.
BEHIND, WOKEN, BLOCKED = 1, 2, 3

# A structure of bpf/scheduling.bpf.c, byte for byte.
CHARGE = np.dtype(
    [
        ("id", "u8"),  # the vCPU's thread
        ("who", "u8"),  # of a TASK its thread; INTERRUPT: its number; SOFTIRQ: its vector; else 0
        ("call", "u8"),  # of BLOCKED: the system call it sleeps in, number and first argument, packed; else 0
        ("kind", "u4"),  # BEHIND: it waited for a CPU while `who` ran; WOKEN by `who`; BLOCKED until `who` woke it
        ("by", "u4"),  # what `who` is: TASK …
        ("stack", "i4"),  # of BLOCKED: where it slept, a key of Scheduling.stacks; negative: not known
        ("kernel", "u4"),  # the task is a kernel thread
        ("cgroup", "u8"),  # the task's, by its id in cgroup v2 (the inode of its directory); 0: not known
        ("comm", "S16"),  # the task's, untrusted; from outside, so to be cleaned before it is shown
        ("count", "u8"),  # BEHIND: how often it had the CPU meanwhile; WOKEN: wake-ups; BLOCKED: sleeps that ended
        # BEHIND, BLOCKED: for how long, what is still open too; WOKEN: 0. Rows of what is open are apart, and may be
        # below 0 (what was charged after the Snapshot's instant): only sums by kind, by and who are meaningful.
        ("ns", "i8"),
        ("max", "i8"),  # the longest at a time
    ]
)

# The same: how long vCPUs took from being woken to running.
LATENCY = np.dtype(
    [
        ("id", "u8"),
        ("count", "u8"),
        ("total", "u8"),
        ("max", "u8"),
        ("hist", "u4", (BUCKETS,)),
    ]
)

ROLES = ("main", "io", "worker", "vhost", "other")  # main: QEMU calls it emulator

# A VM's thread that is no vCPU, as /proc/TID/schedstat and stat have it.
OTHER = np.dtype(
    [
        ("id", "u8"),  # the VM's pid and the tid; a vhost kernel thread is its VM's, though it is of no process
        ("time_ns", "u8"),  # CLOCK_MONOTONIC, when it was read: not all are at each reading
        ("cpu_ns", "u8"),  # on a CPU since it began
        ("wait_ns", "u8"),  # ready to run, but not running; what it waits at this moment is not in it
        ("throttled_ns", "i8"),  # of that, for its cgroup's CPU quota, since it was seen first; -1: not known
        ("cpu", "i4"),  # of the host, on which it ran last; -1: not known
        ("role", "u4"),  # of ROLES
        ("comm", "S16"),  # untrusted
    ]
)


@dataclass(frozen=True)
class Process:
    """What a tgid is called: by its comm, and its cgroup's path ("" where that is not known). vm: its name, of a VM
    that the Snapshot does not have, since others are asked for. All clean."""

    name: str
    cgroup: str = ""
    vm: str = ""


@dataclass(frozen=True)
class Placement:
    """Where a thread may run. allowed: host CPUs as the kernel writes them ("0-3,8"), all: whether that is every CPU;
    siblings: the other hardware threads of the core of the CPU that it ran on last; node: that CPU's NUMA node."""

    allowed: str
    all: bool
    siblings: tuple[int, ...] = ()
    node: int | None = None


@dataclass(frozen=True)
class Scheduling:
    """What was seen since somebody began to look. All counters are cumulative since since_ns."""

    since_ns: int  # CLOCK_MONOTONIC
    pid: int  # only the vCPUs of this VM; 0: of all
    charges: Array  # dtype CHARGE
    charge_ids: U64  # names of its rows, the same in every Snapshot
    latencies: Array  # dtype LATENCY, a row a vCPU that was woken
    running: U64  # by host CPU, the thread that has it at this instant; 0: idle, or not known
    stacks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # kernel functions, the innermost first
    processes: Mapping[int, Process] = field(default_factory=dict)  # by tgid, those in charges that are not in vms
    cgroups: Mapping[int, str] = field(default_factory=dict)  # path by id, those in charges
    placements: Mapping[int, Placement] = field(default_factory=dict)  # by tid, of vCPUs and other threads
    memory: Mapping[int, Mapping[int, int]] = field(default_factory=dict)  # by pid: NUMA node → bytes; on demand
    calls: Mapping[tuple[int, int], str] = field(default_factory=dict)  # (pid, fd) → file that a call in charges is of
    vcpus: Mapping[int, int] = field(default_factory=dict)  # by thread, numbers of vCPUs that are not in threads
    idle: Mapping[int, int] = field(default_factory=dict)  # by host CPU, ns that it has been idle, in steps of 10 ms
    cores: Mapping[int, int] = field(default_factory=dict)  # by host CPU the first of its core, where one has several
    unnamed: str = ""  # why the functions in stacks have no names, in a sentence
