"""What the scheduler does with vCPUs, while somebody looks: the probes' figures with the names that /proc has."""

from __future__ import annotations

from ..bpf.collector import Collector
from ..bpf.scheduling import SchedulingProbes
from ..model.scheduling import Scheduling
from ..model.snapshot import Snapshot
from ..model.vocabulary import DetailRequest
from .actors import Actors


class Scheduler:
    """The probes are loaded when somebody looks first."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._probes: SchedulingProbes | None = None
        self._actors = Actors()

    def look(self, wish: DetailRequest | None) -> None:
        """Tell of the vCPUs of one VM, of all, or of none any more. Raises KvmtopError where this kernel cannot."""
        pid = wish.sched if wish else None
        if pid is not None and not self._probes:
            one = self._collector
            self._probes = SchedulingProbes(one.sched_flags, one.threads, one.shared())
        if self._probes:
            self._probes.look(pid)

    def read(self, snapshot: Snapshot) -> Scheduling | None:
        """The counters at the instant of a snapshot just taken, without names; None while nobody looks."""
        return self._probes.read(snapshot) if self._probes else None

    def named(self, found: Scheduling, snapshot: Snapshot) -> Scheduling:
        """The same with names, those of its VMs apart."""
        return self._actors.named(found, snapshot.vms.values())

    def close(self) -> None:
        """Detach, and free all."""
        if self._probes:
            self._probes.close()
