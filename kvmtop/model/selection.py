"""Some VMs by name: the part of Snapshots that is theirs, live and from recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from ..errors import KvmtopError
from ..sanitize import NAME_LENGTH, clean
from .arrays import U64, Array, Mask
from .exit_stats import add_by_reason
from .keys import unpack
from .scheduling import Process, Scheduling
from .snapshot import CELL, SLOW, Details, Snapshot, Stacks
from .source import Source, Wrapper
from .timeline import Timeline
from .vocabulary import Vm

MOST_WAITING = 4096  # slow exits of VMs whose names are not known yet
MOST_TOLD = 8  # names in a sentence


@dataclass(frozen=True)
class Selection:
    """VMs that have one of these names, or a name that fits a shell's pattern (*, ?, [ab]); without any, all VMs."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Selection:
        """Names and patterns as a user writes them. Raises KvmtopError where one can fit no VM."""
        patterns = []
        for text in texts:
            if len(text) > NAME_LENGTH:
                raise KvmtopError(f"{text[:40]!r}… is no VM's name: of those, {NAME_LENGTH} characters are kept", 2)
            if not clean(text):
                raise KvmtopError(f"{text!r} is no VM's name, nor a pattern such as 'web*'", 2)
            patterns.append(clean(text))
        return cls(tuple(patterns))

    def matches(self, vm: Vm) -> bool:
        """Whether a VM is one of them, by any of its names."""
        return not self.patterns or any(
            name == pattern or fnmatchcase(name, pattern)
            for name in (vm.name, *vm.aliases)
            for pattern in self.patterns
        )

    def pids(self, vms: Mapping[int, Vm]) -> frozenset[int]:
        """Those of these VMs that are."""
        return frozenset(pid for pid, vm in vms.items() if self.matches(vm))

    def missing(self, vms: Iterable[Vm]) -> str:
        """That none of these VMs is one of them, in words."""
        names = list(dict.fromkeys(vm.name for vm in vms))
        others = f", and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
        there = f"there are {', '.join(names[:MOST_TOLD])}{others}" if names else "there is none at all"
        return f"no VM is called {' or '.join(self.patterns)}; {there}"


ALL_VMS = Selection()


def only(snapshot: Snapshot, pids: Collection[int]) -> Snapshot:
    """The part of a Snapshot that is of these processes, without what threads that ended long ago have left.

    What is counted for the whole host stays: exits lost, events that did not pair, threads that have ended.
    """
    wanted = _of(snapshot.threads["id"], pids)
    mine = snapshot.cell_ids != 0
    mine[mine] = wanted[snapshot.cells["thread"][mine]]
    cells = snapshot.cells[mine]
    cells["thread"] = (np.cumsum(wanted) - 1)[cells["thread"]]
    tids = set(snapshot.threads["id"][wanted].astype("u4").tolist())
    return replace(
        snapshot,
        threads=snapshot.threads[wanted],
        thread_ids=snapshot.thread_ids[wanted],
        cells=cells,
        cell_ids=snapshot.cell_ids[mine],
        vms={pid: vm for pid, vm in snapshot.vms.items() if pid in pids},
        cpus={tid: cpu for tid, cpu in snapshot.cpus.items() if tid in tids},
        # It tells that no exit at all is seen where guests run (insight/caveats.py), which others' exits disprove.
        userspace=snapshot.userspace if snapshot.silent else 0,
        details=snapshot.details and _details(snapshot.details, pids),
        scheduling=snapshot.scheduling and _scheduling(snapshot.scheduling, snapshot, pids),
        stacks=snapshot.stacks and _stacks(snapshot.stacks, pids),
        timeline=snapshot.timeline and _timeline(snapshot.timeline, pids),
        others=snapshot.others[_of(snapshot.others["id"], pids)],
    )


def _details(details: Details, pids: Collection[int]) -> Details:
    touched = _of(details.touched["id"], pids)
    return replace(
        details,
        touched=details.touched[touched],
        touched_ids=details.touched_ids[touched],
        slow=details.slow[_of(details.slow["id"], pids)],
    )


def _scheduling(told: Scheduling, snapshot: Snapshot, pids: Collection[int]) -> Scheduling:
    """What is told of these VMs. Behind whom they wait, and who wakes them, keeps its name."""
    threads = snapshot.threads
    mine, charges, latencies = (_of(rows["id"], pids) for rows in (threads, told.charges, told.latencies))
    neighbours = threads[["id", "vcpu"]][~mine]
    hidden = {pid: Process(vm.comm, vm=vm.name) for pid, vm in snapshot.vms.items() if pid not in pids}
    return replace(
        told,
        charges=told.charges[charges],
        charge_ids=told.charge_ids[charges],
        latencies=told.latencies[latencies],
        processes={**told.processes, **hidden},
        vcpus={**told.vcpus, **dict(zip(neighbours["id"].tolist(), neighbours["vcpu"].tolist(), strict=True))},
        memory={pid: nodes for pid, nodes in told.memory.items() if pid in pids},
    )


def _stacks(stacks: Stacks, pids: Collection[int]) -> Stacks:
    """The counters when the look began need not be: what another VM has in them nobody looks up."""
    return replace(
        stacks,
        off={stack: off for stack, off in stacks.off.items() if unpack(stack.thread)[0] in pids},
        samples={stack: count for stack, count in stacks.samples.items() if unpack(stack.thread)[0] in pids},
    )


def _timeline(told: Timeline, pids: Collection[int]) -> Timeline:
    recent = told.recent if told.recent and told.recent.pid in pids else None
    return replace(told, recent=recent, around=tuple(one for one in told.around if one.pid in pids))


def _of(ids: U64, pids: Collection[int]) -> Mask:
    """Which of these (tgid, tid), packed, are of these processes."""
    return np.isin(unpack(ids)[0], np.array(list(pids), "u8"))


class Selected(Wrapper):
    """A Source that shows the selected VMs alone, those that start later too."""

    def __init__(self, source: Source, selection: Selection) -> None:
        super().__init__(source)
        self._selection = selection
        self._last: Snapshot | None = None
        self._known: Mapping[int, Vm] = {}
        self._earlier = np.zeros(0, CELL)  # what selected threads have left that ended long ago
        self._waiting = np.zeros(0, SLOW)  # slow exits of VMs that the next reading names

    def read(self) -> Snapshot:
        """The selected VMs' counters now. Raises KvmtopError."""
        return self._part(self._source.read())

    def slow(self) -> Array:
        """Their slow exits since the last reading or call; dtype SLOW. A VM's first ones wait for the next reading."""
        rows = self._source.slow()
        waiting = rows[~_of(rows["id"], self._known)]
        self._waiting = np.concatenate([self._waiting, waiting])[-MOST_WAITING:]
        return rows[_of(rows["id"], self._selection.pids(self._known))]

    def close(self) -> Snapshot:
        """Stop counting; their final counters."""
        return self._part(self._source.close())

    def _part(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.details is not None:
            slow = np.concatenate([self._waiting, snapshot.details.slow])
            snapshot = replace(snapshot, details=replace(snapshot.details, slow=slow))
        self._waiting, self._known = self._waiting[:0], snapshot.vms
        part = only(snapshot, self._selection.pids(snapshot.vms))
        if self._last is not None:
            # The source has added them to what all threads that ended long ago have left, of no VM that anybody knows.
            ended = ~np.isin(self._last.thread_ids, part.thread_ids)
            left = self._last.cells[ended[self._last.cells["thread"]]]
            if len(left):
                self._earlier = add_by_reason(np.concatenate([self._earlier, left]))
        self._last = part
        return replace(
            part,
            cells=np.concatenate([part.cells, self._earlier]),
            cell_ids=np.concatenate([part.cell_ids, np.zeros(len(self._earlier), "u8")]),
        )
