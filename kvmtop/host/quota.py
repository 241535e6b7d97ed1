"""Which CPU quota holds a thread back: cpu.max of its cgroup and those above it, or cpu.cfs_quota_us in cgroup v1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from .. import bounded
from ..model.arrays import find
from ..model.keys import unpack
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES
from ..sanitize import clean
from . import processes


@dataclass(frozen=True)
class Quota:
    """A cgroup (its path under the mount point), and the µs of CPU time that it may have in each period."""

    group: str
    quota_us: int
    period_us: int
    directory: Path

    def __str__(self) -> str:
        return f"{clean(self.group)}: {self.quota_us / 1000:g} ms of {self.period_us / 1000:g} ms"


class Quotas:
    """Asked at each reading; remembers how much threads and groups were throttled."""

    def __init__(self) -> None:
        self._ids, self._ns = np.zeros(0, "u8"), np.zeros(0, "i8")  # of the reading before
        self._throttled: dict[Path, int] = {}

    def update(self, snapshot: Snapshot) -> dict[int, Quota]:
        """By pid, what has held a VM back since the last reading: the quota of that of its threads which lost most."""
        ns = snapshot.threads["states"][:, STATES.index("throttled")].astype("i8")
        at = find(snapshot.thread_ids, self._ids)
        grown = ns.copy()
        grown[at[at >= 0]] -= self._ns[at >= 0]
        self._ids, self._ns = snapshot.thread_ids, ns
        order = np.argsort(grown)
        pids, tids = (part.tolist() for part in unpack(snapshot.threads["id"][order[grown[order] > 0]]))
        most = dict(zip(pids, tids, strict=True))
        found = self.of(most.values()) if most else {}
        return {pid: found[tid] for pid, tid in most.items() if tid in found}

    def of(self, tids: Iterable[int]) -> dict[int, Quota]:
        """The quota that holds each of these threads back, where it has one.

        Of several, up the tree, that of a group throttled since it was asked about last; of such, the tightest.
        """
        points = mounts()
        found = {tid: list(_quotas(tid, points)) for tid in tids}
        several = {one.directory for quotas in found.values() if len(quotas) > 1 for one in quotas}
        before, self._throttled = self._throttled, {directory: _throttled(directory) for directory in several}
        grown = {one for one, count in self._throttled.items() if count > before.get(one, count)}
        return {
            tid: min([one for one in quotas if one.directory in grown] or quotas, key=_tightness)
            for tid, quotas in found.items()
            if quotas
        }


def _tightness(quota: Quota) -> float:
    return quota.quota_us / quota.period_us


Mounts = dict[str, tuple[str, Path]]


def mounts() -> Mounts:
    """Where the CPU controller's groups are, by the name that /proc/TID/cgroup has for it ("" is v2's): the group that
    is mounted there, and the mount point."""
    found: Mounts = {}
    for line in read(processes.PROC / "self/mountinfo").splitlines():
        fields, _, kind = (part.split() for part in line.partition(" - "))
        if len(fields) > 4 and len(kind) > 2:
            if kind[0] == "cgroup2":
                found.setdefault("", (fields[3], Path(fields[4])))
            elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
                found.setdefault("cpu", (fields[3], Path(fields[4])))
    return found


def groups(text: str, points: Mounts) -> tuple[list[tuple[str, Path]], bool]:
    """The groups whose quotas count for a thread, by path and directory, its own first; whether these are all.

    text: its /proc/TID/cgroup.
    """
    found: list[tuple[str, Path]] = []
    whole: dict[str, bool] = {}
    for line in text.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        name = "cpu" if "cpu" in controllers.split(",") else controllers
        whole[name] = False
        if name not in points:
            continue
        root, point = points[name]
        place = PurePosixPath(path)
        if ".." in place.parts or not place.is_relative_to(root):  # outside this cgroup namespace, or not mounted
            continue
        group = place.relative_to(root)
        found += [(str(one), point / one) for one in (group, *group.parents) if one.name]
        whole[name] = root == "/"
    return found, whole.get("cpu", whole.get("", False))


def membership(tid: int) -> str:
    """A thread's /proc/TID/cgroup; empty if it has gone."""
    return processes.of_thread(tid, "cgroup").decode(errors="replace")


def _quotas(tid: int, points: Mounts) -> Iterator[Quota]:
    """All quotas that count for a thread, its own group's first."""
    for group, directory in groups(membership(tid), points)[0]:
        if found := limit(directory):
            yield Quota(group, *found, directory)


def limit(directory: Path) -> tuple[int, int] | None:
    """µs of CPU time, and of the period; None for no limit."""
    text = read(directory / "cpu.max") or " ".join(
        read(directory / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    match text.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
            return int(quota), int(period)
    return None


def throttled_ns(directory: Path) -> int | None:
    """For how long a group has been throttled, added up over CPUs; None where that is not known."""
    for line in read(directory / "cpu.stat").splitlines():
        match line.split():
            case ["throttled_usec", us] if us.isdecimal():
                return int(us) * 1000
            case ["throttled_time", ns] if ns.isdecimal():  # cgroup v1
                return int(ns)
    return None


def _throttled(directory: Path) -> int:
    """In how many periods a group has been throttled."""
    for line in read(directory / "cpu.stat").splitlines():
        match line.split():
            case ["nr_throttled", count]:
                return int(count)
    return 0


def read(path: Path) -> str:
    """A file that may not be there, or vanish: empty then."""
    try:
        return bounded.text(path)
    except OSError:
        return ""
