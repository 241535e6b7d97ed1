"""What the VMs' other threads have used and missed, as counters for Prometheus.

Main, I/O and vhost threads have series of their own; workers and others, which come and go, share one by name. At most
MOST_SERIES of a VM; what comes later is counted under the name "(others)". Each counts from when it was seen first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..model.arrays import Array
from ..model.keys import unpack
from ..model.scheduling import ROLES
from ..sanitize import clean

MOST_SERIES = 32
OTHERS = "(others)"
LASTING = ("main", "io", "vhost")

_Labels = tuple[str, str, str]  # role, name, tid


@dataclass
class _Sum:
    """ns; None where it was never known."""

    cpu: int = 0
    wait: int = 0
    throttled: int | None = None


@dataclass(frozen=True)
class _Read:
    cpu: int
    wait: int
    throttled: int  # negative: not known


class ThreadTimes:
    """The counters of one VM's threads, or of those of several VMs: they only grow."""

    def __init__(self) -> None:
        self._before: dict[int, _Read] = {}  # by id
        self._sums: dict[_Labels, _Sum] = {}

    def add(self, others: Array) -> None:
        """Its rows of Snapshot.others. A thread's first row is where it counts from."""
        now: dict[int, _Read] = {}
        kept: set[_Labels] = set()
        for id, role, comm, *ns in others[["id", "role", "comm", "cpu_ns", "wait_ns", "throttled_ns"]].tolist():
            now[id] = read = _Read(*ns)
            name, tid = clean(comm.decode(errors="replace")), unpack(id)[1]
            labels = (ROLES[role], name, str(tid) if ROLES[role] in LASTING else "")
            if labels not in self._sums and len(self._sums) >= MOST_SERIES:
                labels = ("other", OTHERS, "")
            kept.add(labels)
            _grow(self._sums.setdefault(labels, _Sum()), self._before.get(id, read), read)
        self._before = now
        # One that has ended goes; a sum of several stays, since it would begin anew with the next.
        self._sums = {labels: one for labels, one in self._sums.items() if labels in kept or not labels[2]}

    def collect(self) -> Iterator[tuple[_Labels, _Sum]]:
        """Sorted by role and name."""
        return iter(sorted(self._sums.items()))


def _grow(total: _Sum, before: _Read, now: _Read) -> None:
    if now.cpu < before.cpu or now.wait < before.wait:  # another thread has its id now
        return
    withheld = 0
    if min(before.throttled, now.throttled) >= 0:
        withheld = max(now.throttled - before.throttled, 0)
        total.throttled = (total.throttled or 0) + withheld
    total.cpu += now.cpu - before.cpu
    total.wait += max(now.wait - before.wait - withheld, 0)


NAMES = ["role", "name", "tid"]


def counters(vms: Iterable[tuple[list[str], ThreadTimes]]) -> list[tuple[str, str, list[tuple[list[str], float]]]]:
    """Name, help, and seconds by labels. vms: a VM's labels, which come before NAMES, and its counters."""
    sums = [([*labels, *key], one) for labels, times in vms for key, one in times.collect()]
    return [
        (
            "kvmtop_thread_cpu_seconds",
            "Time on a CPU of the VMs' threads that are no vCPUs.",
            [(labels, one.cpu / 1e9) for labels, one in sums],
        ),
        (
            "kvmtop_thread_wait_seconds",
            "Time for which they were ready to run, but not running; with throttled where that is unknown.",
            [(labels, one.wait / 1e9) for labels, one in sums],
        ),
        (
            "kvmtop_thread_throttled_seconds",
            "Time that their cgroup's CPU quota has withheld from them, where they share it with no others.",
            [(labels, one.throttled / 1e9) for labels, one in sums if one.throttled is not None],
        ),
    ]
