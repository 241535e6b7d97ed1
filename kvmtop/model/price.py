"""What kvmtop's own BPF programs take of the host, as the kernel has measured their runs.

It is their run time on average, over the exits of the moments in which the kernel measured: without what a tracepoint
costs around them (calling them, copying its record), and with about one reading of the clock for each run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Taken:
    """ns that programs ran, in the moments that were measured: at KVM's events, at switches and wake-ups of any thread,
    and at others (interrupts, samples)."""

    exit_ns: int = 0
    switch_ns: int = 0
    other_ns: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.exit_ns + other.exit_ns, self.switch_ns + other.switch_ns, self.other_ns + other.other_ns)


@dataclass(frozen=True)
class Price:
    """exits, switches: how many of the host's were measured. counting: what the programs took that are always there;
    looking: the others, by what is looked at (details, sched, stacks, timeline)."""

    exits: int = 0
    switches: int = 0
    counting: Taken = Taken()
    looking: Mapping[str, Taken] = field(default_factory=dict)
    missed: int = 0  # runs that the kernel left out, since one of the same program went on: they took nothing
    why: str = ""  # why nothing is known; "" where it is, or will be with the first exits

    @property
    def added(self) -> Taken:
        """By all that is looked at."""
        return sum(self.looking.values(), Taken())

    @property
    def counting_exit_ns(self) -> float | None:
        """What counting takes of an exit."""
        return self.counting.exit_ns / self.exits if self.exits else None

    @property
    def added_exit_ns(self) -> float | None:
        """What looking adds to an exit."""
        return self.added.exit_ns / self.exits if self.exits else None

    @property
    def added_switch_ns(self) -> float | None:
        """What looking adds to a switch of any thread on the host, with the wake-ups before it."""
        return self.added.switch_ns / self.switches if self.switches else None
