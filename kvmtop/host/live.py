"""The running kernel as a Source: the collector's counters with /proc's names and scheduler figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..bpf.collector import Collector
from ..bpf.detail import Detail
from ..errors import KvmtopError
from ..model.arrays import Array
from ..model.keys import unpack
from ..model.provenance import HERE
from ..model.reasons import HLT
from ..model.snapshot import SLOW, Snapshot
from ..model.vocabulary import DetailRequest
from . import processes
from .schedstat import Delays

SPARE_THREADS = 192  # room for VMs that start later, and a quarter of those that run
MOST_THREADS = 20_000  # 520 MB of kernel memory; what does not fit is counted as lost


class Live:
    """Counts from construction on."""

    origin, trouble = HERE, None

    def __init__(self, pids: Sequence[int] = (), flags: Iterable[str] = (), look: DetailRequest | None = None) -> None:
        """pids: the VMs to watch, none for all. look: what to look at from the start. Raises KvmtopError."""
        if why := processes.namespace():
            raise KvmtopError(why)
        for pid in pids:
            if not processes.is_process(pid):
                raise KvmtopError(f"there is no process {pid}; `kvmtop list` names the VMs that run here", 2)
        vcpus = {pid: processes.vcpu_count(pid) for pid in (pids or processes.pids())}
        for pid in pids:
            if not vcpus[pid]:
                comm = processes.vm(pid).comm
                if not processes.may_see(pid):
                    raise KvmtopError(
                        f"process {pid} ({comm}) is another user's: whether it is a VM can be seen with CAP_SYS_PTRACE,"
                        " or as root"
                    )
                raise KvmtopError(f"process {pid} ({comm}) has no vCPUs; `kvmtop list` names the VMs that run here", 2)
        self._watch = processes.Watch(pids)
        # What the threads had waited before; later ones start from nothing.
        tids = [tid for pid, count in vcpus.items() if count for tid in processes.threads(pid)]
        self._delays = Delays({tid: processes.schedstat(tid) or 0 for tid in tids})
        self._pids = pids
        self._detail: Detail | None = None
        self._wish = look
        self._collector = Collector(pids, threads=room(sum(vcpus.values())), flags=flags)
        try:
            self._apply()
        except KvmtopError:
            self._collector.close()
            raise

    def look(self, look: DetailRequest | None) -> None:
        """From the next reading on, tell these details, or none. From any thread."""
        self._wish = look

    def read(self) -> Snapshot:
        """The counters now, and what is looked at. Raises KvmtopError."""
        snapshot = self._with_names(self._collector.read())
        details = self._detail.read() if self._detail else None
        self._apply()
        return replace(snapshot, details=details)

    def _apply(self) -> None:
        wish = self._wish
        if wish and not self._detail:
            self._detail = Detail(self._pids, HLT)
        if self._detail:
            self._detail.look(wish)

    def slow(self) -> Array:
        """The slow exits since the last call or reading, for whoever cannot wait for it; dtype SLOW."""
        return self._detail.slow() if self._detail else np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""
        if self._detail:
            self._detail.close()
        final = self._with_names(self._collector.close())
        self._delays.close()
        return final

    def _with_names(self, snapshot: Snapshot) -> Snapshot:
        threads = snapshot.threads
        alive = threads[["id", "cpu"]][threads["end_ns"] == 0]
        tids = unpack(alive["id"])[1].tolist()
        seen = np.unique(unpack(threads["id"])[0]).tolist()
        cpus = dict(zip(tids, alive["cpu"].tolist(), strict=True))
        return replace(snapshot, vms=self._watch.update(seen), run_delay=self._delays.read(tids), cpus=cpus)


def room(vcpus: int) -> int:
    """How many vCPU threads the maps shall hold where so many run (26 KB of kernel memory each)."""
    return min(vcpus + vcpus // 4 + SPARE_THREADS, max(MOST_THREADS, vcpus))
