"""What was counted up to one instant.

A Snapshot is cumulative and immutable. Whoever wants rates takes two of them to interval.diff().
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .apic import NOT_RECORDED, Apic
from .arrays import U16, U64, Array
from .histogram import BUCKETS
from .keys import pack
from .price import Price
from .scheduling import OTHER, Scheduling
from .stacks import Off, Stack
from .timeline import Timeline
from .vocabulary import OUTSIDE, STATES, DetailRequest, Key, Names, Vm, looks_at, vendor

# Times are CLOCK_MONOTONIC in ns. What is open counts up to the Snapshot's instant, or to the thread's end.
THREAD = np.dtype(
    [
        ("id", "u8"),  # tgid and tid, packed, as the host counts them
        ("first_ns", "u8"),  # first event seen
        ("end_ns", "u8"),  # the thread has exited; 0 while it lives
        ("exit_ns", "u8"),  # when the open exit began; 0 in the guest, and where it was not seen
        ("since_ns", "u8"),  # when the state began that it is in
        ("states", "u8", (len(STATES),)),  # ns in each of STATES since first_ns: their sum is all of that time
        ("open", "u8", (len(OUTSIDE),)),  # ns of the open exit in each of OUTSIDE: their sum is all of it
        ("unpaired", "u8"),  # entries without an exit before them
        ("overwritten", "u8"),  # exits followed by another exit
        ("pairs", "u8"),  # exits that its cells hold
        # From exits of its nested guest that the hypervisor in the VM was given, to the exits in which that entered it
        # again: ns, but for halts and waits for a CPU; and what is so far of the one that has no end yet.
        ("nested_ns", "u8"),
        ("out_ns", "u8"),
        ("reason", "u4"),  # of the open exit
        ("isa", "u4"),  # with NESTED and REFLECTED
        ("vcpu", "u4"),
        ("cpu", "u4"),  # of the host, that it left or entered the guest on last
        ("state", "u4"),  # that it is in, of STATES; of an ended one, that it was in
        ("in_vmm", "u4"),  # whether it is outside KVM_RUN, as far as exits to user space and KVM_RUN's start tell
    ]
)

# A structure of bpf/collector.bpf.c, byte for byte.
CELL = np.dtype(
    [
        ("reason", "u4"),
        ("isa", "u4"),  # with NESTED and REFLECTED, as a key of its own
        ("thread", "u4"),  # index into the threads
        ("next", "u4"),
        ("count", "u8"),
        ("total", "u8"),  # ns, all of OUTSIDE; the kernel's part is what the others leave
        *((state, "u8") for state in OUTSIDE[1:]),
        ("min", "u8"),
        ("max", "u8"),
        ("hist", "u8", (BUCKETS,)),
    ]
)

HEAD = np.dtype(CELL.descr[:-1])  # a cell without its histogram

# Structures of bpf/detail.bpf.c, byte for byte.
TOUCH = np.dtype(
    [
        ("id", "u8"),  # tgid and tid, packed
        ("value", "u8"),  # port, MSR, address, leaf …
        ("kind", "u4"),
        ("extra", "u4"),  # bit 0: a write; bits 15:8: bytes; of "fault" and "rip" see vocabulary.py
        ("count", "u8"),  # events
        ("exits", "u8"),  # exits that had such an event and have ended
        ("total", "u8"),  # ns: their durations; of "poll" what was spent polling
        *((state, "u8") for state in OUTSIDE[1:]),  # ns of it
        ("max", "u8"),  # ns; of "window" the window
        ("hist", "u4", (BUCKETS,)),
    ]
)

NO_INFO = (1 << 64) - 1
SLOW = np.dtype(
    [
        ("number", "u8"),
        ("time_ns", "u8"),  # CLOCK_MONOTONIC, when it ended
        ("id", "u8"),  # tgid and tid, packed
        ("ns", "u8"),
        *((state, "u8") for state in OUTSIDE[1:]),  # ns of it
        ("rip", "u8"),  # guest's, when it left; 0: not known
        ("info1", "u8"),  # VMX: exit qualification; SVM: EXITINFO1; NO_INFO: not known, nor is info2
        ("info2", "u8"),
        ("value", "u8"),  # what it touched first, as in TOUCH; kind 0: nothing known
        ("kind", "u4"),
        ("extra", "u4"),
        ("vcpu", "u4"),
        ("reason", "u4"),
        ("isa", "u4"),
        ("cpu", "u4"),
    ]
)


@dataclass(frozen=True)
class Details:
    """What was seen since a DetailRequest began. touched: dtype TOUCH, cumulative; touched_ids name its rows."""

    since_ns: int  # CLOCK_MONOTONIC
    look: DetailRequest
    touched: Array
    touched_ids: U64
    dropped: Mapping[str, int]  # kind → events of keys for which there was no room
    slow: Array  # dtype SLOW: since the Snapshot before, oldest first
    undelivered: int = 0  # slow exits since the start that came too fast to be handed over

    def has_slow(self, pid: int | None) -> bool:
        """Whether slow exits of a VM are among them, by its pid; None: of all."""
        return self.look.slow_ns is not None and looks_at(self.look.pids, pid)


@dataclass(frozen=True)
class Stacks:
    """Where in the kernel exits spent their time since a look began: cumulative. samples: of what was on the CPU."""

    base: Snapshot  # the counters when it began
    only: Key | None  # this reason alone
    pids: frozenset[int] = frozenset()  # of these VMs; none: of all
    off: Mapping[Stack, Off] = field(default_factory=dict)
    samples: Mapping[Stack, int] = field(default_factory=dict)
    lost: int = 0  # samples that were not fetched in time
    dropped: int = 0  # times off the CPU that had no room,
    dropped_ns: int = 0
    unnamed: str = ""  # why functions have no names, in a sentence


@dataclass(frozen=True)
class Snapshot:
    """All counters at one instant, since the source began.

    threads: dtype THREAD, one row a vCPU thread; cells: dtype CELL, one row a (thread, isa, reason), its
    `thread` a row of `threads`. cell_ids and thread_ids name the same row in every Snapshot of a source;
    a cell id 0 marks what threads that ended long ago have left (one row a reason, thread meaningless).
    """

    time_ns: int  # CLOCK_MONOTONIC
    threads: Array
    cells: Array
    thread_ids: U64
    cell_ids: U64
    names: Names
    start_ns: int = 0  # when counting began
    vms: Mapping[int, Vm] = field(default_factory=dict)  # by pid
    cpus: Mapping[int, int] = field(default_factory=dict)  # tid → host CPU it ran on last
    told: tuple[str, ...] = STATES  # whose figures are known; the others are zeros that say nothing
    counted_by: str | None = None  # the kernel event that tells of exits, and why it is that one; None: not known
    lost: int = 0  # exits not counted: a map was full
    userspace: int = 0  # kvm_userspace_exit events, of any VM
    unpaired: int = 0
    overwritten: int = 0
    ended_threads: int = 0
    details: Details | None = None  # while somebody looks
    scheduling: Scheduling | None = None  # the same
    apic: Apic = NOT_RECORDED  # whether the hardware emulates the VMs' APICs
    stacks: Stacks | None = None  # the same
    timeline: Timeline | None = None  # the same
    others: Array = field(default_factory=lambda: np.zeros(0, OTHER))  # the VMs' other threads
    price: Price | None = None  # what kvmtop's own programs take, while somebody looks or asks
    base: Snapshot | None = (
        None  # of the first of a run's Snapshots that there are: what it counts from, if that is known
    )
    wall_ns: int = 0  # CLOCK_REALTIME at time_ns; it may be stepped while CLOCK_MONOTONIC goes on. 0: not known

    @property
    def caveats(self) -> dict[str, int]:
        """What was not counted or did not pair since the start, by the names that all outputs have for it."""
        return {
            "lost": self.lost,
            "unpaired": self.unpaired,
            "overwritten": self.overwritten,
            "expired": self.ended_threads,  # the last exit of a thread has no entry after it
        }

    @property
    def silent(self) -> bool:
        """Whether no vCPU has been seen to leave or enter its guest; some may be known to be halted."""
        threads = self.threads
        return not (len(self.cells) or threads["exit_ns"].any() or threads["states"][:, 0].any())

    @property
    def isa(self) -> int:
        """The isa of the exits seen; UNKNOWN before the first."""
        return vendor(int(self.heads["isa"].max(initial=0)) or int(self.threads["isa"].max(initial=0)))

    @cached_property
    def heads(self) -> Array:
        """The cells without their histograms, dtype HEAD: 88 bytes of 1,112, side by side."""
        words = HEAD.itemsize // 8
        whole = np.ascontiguousarray(self.cells).view("u8").reshape(len(self.cells), CELL.itemsize // 8)
        return whole[:, :words].copy().view(HEAD).reshape(len(self.cells))

    @cached_property
    def reasons(self) -> tuple[U64, U16]:
        """The reasons seen, packed (isa, code) in ascending order, and for each cell which of them it is."""
        keys = pack(self.heads["isa"], self.heads["reason"])
        distinct = np.unique(keys)
        return distinct, np.searchsorted(distinct, keys).astype("u2")
