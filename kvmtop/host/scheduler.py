"""What the scheduler does with vCPUs, while somebody looks: the probes' figures with the names that /proc has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..bpf.collector import Collector
from ..bpf.probes import Probe
from ..bpf.run_time import Runs
from ..bpf.scheduling import SchedulingProbes
from ..model.keys import unpack
from ..model.scheduling import BEHIND, TASK, Placement, Scheduling
from ..model.snapshot import Snapshot
from ..model.vocabulary import DetailRequest
from .actors import Actors
from .placement import Memory, Placements, idle

MOST_PLACED = 1000  # threads whose places are looked up at a reading, 15 µs each


class Scheduler:
    """The probes are loaded when somebody looks first."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._probes: SchedulingProbes | None = None
        self._actors, self._placements, self._memory = Actors(), Placements(), Memory()
        self._numa = False

    def look(self, wish: DetailRequest | None) -> None:
        """Tell of the vCPUs of one VM, of all, or of none any more. Raises KvmtopError where this kernel cannot."""
        pid = wish.sched if wish else None
        self._numa = bool(wish and wish.numa)
        if pid is not None and not self._probes:
            one = self._collector
            self._probes = SchedulingProbes(one.sched_flags, one.threads, one.shared())
        if self._probes:
            self._probes.look(pid)

    def sample(self, slots: int) -> None:
        """To be called in the middle of the collector's reading: copy the counters of so many slots."""
        if self._probes:
            self._probes.sample(slots)

    def read(self, snapshot: Snapshot) -> Scheduling | None:
        """The counters at the instant of a snapshot just taken, without names; None while nobody looks."""
        return self._probes.read(snapshot) if self._probes else None

    def named(self, found: Scheduling, snapshot: Snapshot) -> Scheduling:
        """The same with names, and with the places of its VMs' threads and memory; snapshot: with VMs and others."""
        pids = [pid for pid, vm in snapshot.vms.items() if not vm.ended and found.pid in (0, pid)]
        memory = {pid: known for pid in pids if self._numa and (known := self._memory.of(pid)) is not None}
        found = self._actors.named(found, snapshot.vms.values())
        placed, cores = self._placed(pids, snapshot, found), self._placements.cores()
        return replace(found, idle=idle(), placements=placed, memory=memory, cores=cores)

    def _placed(self, pids: list[int], snapshot: Snapshot, found: Scheduling) -> dict[int, Placement]:
        """By tid: of these VMs' threads, and of other VMs' vCPUs that have their CPUs."""
        tids: dict[int, int] = {}
        before = found.charges["who"][(found.charges["kind"] == BEHIND) & (found.charges["by"] == TASK)]
        for rows in (snapshot.threads[snapshot.threads["end_ns"] == 0], snapshot.others):
            wanted = np.isin(unpack(rows["id"])[0], pids) | np.isin(rows["id"], before)
            mine = rows[wanted][: MOST_PLACED - len(tids)]
            tids |= zip(unpack(mine["id"])[1].tolist(), mine["cpu"].tolist(), strict=True)
        return self._placements.of(tids)

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs() if self._probes else {}

    def close(self) -> None:
        """Detach, and free all."""
        if self._probes:
            self._probes.close()
