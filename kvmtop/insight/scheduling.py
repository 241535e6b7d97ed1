"""Who had the CPU while vCPUs waited, who woke them, and what held them up, in an Interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model.interval import Interval
from ..model.scope import Scope


@dataclass(frozen=True)
class Actor:
    """Who ran, or woke somebody: kinds are "vcpu", "vm thread", "kernel thread", "process", "idle", "interrupt",
    "softirq", "timer", "unknown"."""

    kind: str
    text: str  # "vCPU 0 of web01", "IO iothread1 of web01", "ksoftirqd/3", "tar (backup.service)", "timer interrupt"
    pid: int | None = None  # tgid of a task
    tid: int | None = None
    cgroup: str = ""


@dataclass(frozen=True)
class Culprit:
    """Somebody behind whom vCPUs of a scope waited in the interval."""

    actor: Actor
    ns: int
    share: float  # of what the scope's vCPUs waited, as Interval.budget has it
    count: int


@dataclass(frozen=True)
class Waker:
    """Somebody who woke vCPUs of a scope."""

    actor: Actor
    count: int
    rate: float  # a second


@dataclass(frozen=True)
class Latency:
    """From being woken to running, ns; None is unknown."""

    count: int
    p50: float | None
    p99: float | None
    max: int | None
    hist: tuple[int, ...]


@dataclass(frozen=True)
class HoldUp:
    """What vCPUs of a scope were blocked on, and who let them go on (None while nobody has)."""

    what: str  # "futex: a lock of the VMM", "read of /dev/vda", "userfaultfd", "page fault: swap in" …
    stack: tuple[str, ...]
    actor: Actor | None
    count: int
    ns: int
    max: int


def culprits(interval: Interval, scope: Scope) -> list[Culprit] | None:
    """Most time first; None while nobody looks. They add up to the wait of those vCPUs that are looked at."""
    raise NotImplementedError


def wakers(interval: Interval, scope: Scope) -> list[Waker] | None:
    """Most often first; None while nobody looks."""
    raise NotImplementedError


def latency(interval: Interval, scope: Scope) -> Latency | None:
    """None while nobody looks."""
    raise NotImplementedError


def holdups(interval: Interval, scope: Scope) -> list[HoldUp] | None:
    """Most time first; None while nobody looks."""
    raise NotImplementedError


def placement_words(interval: Interval, scope: Scope) -> Mapping[int, str]:
    """By tid of vCPUs: "may run on CPUs 0-3; on CPU 2 (node 0), whose sibling CPU 3 runs vCPU 1 of web01"."""
    raise NotImplementedError
