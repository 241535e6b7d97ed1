"""The running kernel as a Source: the collector's counters with what /proc knows of its VMs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..bpf.collector import Collector
from ..bpf.detail import Detail
from ..bpf.stacks import StackProbes
from ..bpf.timeline import TimelineProbes
from ..errors import KvmtopError
from ..model.arrays import Array
from ..model.keys import unpack
from ..model.provenance import HERE
from ..model.snapshot import SLOW, Snapshot
from ..model.vocabulary import DetailRequest, Vm
from . import processes
from .apicv import Apics
from .machine import facts
from .other_threads import OtherThreads
from .prices import Measured, Prices
from .quota import Quotas
from .scheduler import Scheduler
from .sleepers import sleepers
from .standstill import CLOSED, PAUSED, STOPPED, TRACED, Standstill
from .stretches import Stretches
from .unstarted import Unstarted

SPARE_THREADS = 192  # room for VMs that start later, and a quarter of those that run
LOADING = "loading probes …"
MOST_THREADS = 20_000  # 520 MB of kernel memory; what does not fit is counted as lost


class Live:
    """Counts from construction on."""

    trouble: str | None = None
    busy = ""

    def __init__(self, pids: Sequence[int] = (), flags: Iterable[str] = (), look: DetailRequest | None = None) -> None:
        """pids: the VMs to watch, none for all. look: what to look at from the start. Raises KvmtopError."""
        if why := processes.namespace():
            raise KvmtopError(why)
        self.origin = replace(HERE, facts=facts())
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
        self._standstill = Standstill()
        self._quotas = Quotas()
        self._unstarted = Unstarted()
        self._others = OtherThreads()
        self._pids = pids
        self._detail: Detail | None = None
        self._stacks: StackProbes | None = None
        self._rings: TimelineProbes | None = None
        self._stretches: Stretches | None = None
        self._wish = look
        self._applied: DetailRequest | None = None
        self._collector = Collector(pids, threads=room(sum(vcpus.values())), flags=flags)
        self._scheduler = Scheduler(self._collector)
        self._prices = Prices()
        try:
            self._collector.seed(sleepers(pid for pid, count in vcpus.items() if count))
            self._apply()
            self._measure()
        except KvmtopError:
            self._close_looks()
            self._collector.close()
            raise
        self._apics = Apics()

    def look(self, look: DetailRequest | None) -> None:
        """From the next reading on, tell these details, or none. From any thread."""
        self._wish = look

    def read(self) -> Snapshot:
        """The counters now, and what is looked at. Raises KvmtopError."""
        self._prices.take(self._programs())  # before the collector's own may change
        counted = self._collector.read(self._sample)
        scheduling = self._scheduler.read(counted)
        snapshot = self._with_names(counted)
        if scheduling:
            scheduling = self._scheduler.named(scheduling, snapshot)
        details, price = self._detail.read() if self._detail else None, self._prices.price
        stacks = self._stacks.read(counted) if self._stacks else None
        timeline = self._stretches.read(snapshot) if self._stretches else None
        try:
            self.busy = LOADING if self._wish and self._wish != self._applied else ""
            self._apply()
        except KvmtopError as error:  # counting goes on
            self.trouble = str(error)
        finally:
            self.busy = ""
        self._measure()
        told = replace(snapshot, details=details, scheduling=scheduling, stacks=stacks, timeline=timeline)
        return replace(told, price=price)

    def _programs(self) -> dict[str, Measured]:
        """All that have programs, by what they are for."""
        looking = {"details": self._detail, "sched": self._scheduler, "stacks": self._stacks, "timeline": self._rings}
        return {"counting": self._collector, **{name: one for name, one in looking.items() if one}}

    def _measure(self) -> None:
        """Have the kernel measure the programs, where somebody looks or asks."""
        wish = self._applied
        self._prices.watch(self._programs(), bool(wish and wish != DetailRequest()))

    def _sample(self, slots: int) -> None:
        """What must be of the same instant as the counters of so many slots."""
        self._scheduler.sample(slots)
        if self._stacks:
            self._stacks.sample(slots)

    def _apply(self) -> None:
        wish = self._wish
        if wish == self._applied:
            return
        self._applied, self.trouble = wish, None
        others: dict[str, Any] = {"sched": None, "numa": False, "stacks": False, "timeline": None, "price": False}
        of_exits = replace(wish, **others) if wish and wish.of_exits else None
        if of_exits and not self._detail:
            self._detail = Detail(self._pids, self._collector.shared())
        if self._detail:
            self._detail.look(of_exits)
        self._scheduler.look(wish)
        one = self._collector
        if wish and wish.stacks and not self._stacks:
            self._stacks = StackProbes(one.sched_flags, one.threads, one.shared())
        if self._stacks:
            self._stacks.look(wish, one.read)
        try:
            self._follow(wish.timeline if wish else None)
        except KvmtopError:
            if not of_exits:  # the page of slow exits does without
                raise

    def _follow(self, wish: tuple[int, int] | None) -> None:
        """Every single exit, of one VM or of all, or none any more. Raises KvmtopError where this kernel cannot."""
        if wish and not self._stretches:
            self._rings = self.timeline()
            self._stretches = Stretches(self._rings)
        if self._stretches and wish:
            self._stretches.look(*wish)
            if not self._stretches.running:
                self._stretches.start(self._collector.read)
        elif self._stretches:
            self._stretches.stop()

    def slow(self) -> Array:
        """The slow exits since the last call or reading, for whoever cannot wait for it; dtype SLOW."""
        return self._detail.slow() if self._detail else np.zeros(0, SLOW)

    def timeline(self) -> TimelineProbes:
        """The rings of single exits, to be started and closed by whoever asked, before this. Raises KvmtopError."""
        one = self._collector
        return TimelineProbes(one.sched_flags, one.threads, one.shared())

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""
        stacks = self._stacks.read(self._collector.read(self._stacks.sample)) if self._stacks else None
        self._close_looks()
        final = self._with_names(self._collector.close())
        self._apics.close()
        return replace(final, stacks=stacks)

    def _close_looks(self) -> None:
        self._prices.stop()
        if self._stretches:
            self._stretches.stop()
        for probes in (self._detail, self._scheduler, self._stacks, self._rings):
            if probes:
                probes.close()

    def _with_names(self, snapshot: Snapshot) -> Snapshot:
        threads = snapshot.threads
        alive = threads[["id", "cpu"]][threads["end_ns"] == 0]
        cpus = dict(zip(unpack(alive["id"])[1].tolist(), alive["cpu"].tolist(), strict=True))
        vms = self._states(snapshot, self._watch.update(np.unique(unpack(threads["id"])[0]).tolist()))
        wall_ns = time.time_ns() - (time.monotonic_ns() - snapshot.time_ns)
        others = self._others.update(snapshot, vms, self._watch.processes)
        apic = self._apics.update([pid for pid, vm in vms.items() if not vm.ended], snapshot.time_ns)
        return replace(snapshot, vms=vms, cpus=cpus, others=others, apic=apic, wall_ns=wall_ns)

    def _states(self, snapshot: Snapshot, vms: dict[int, Vm]) -> dict[int, Vm]:
        """The VMs with what holds them up as a whole."""
        still = self._standstill.update(snapshot, [pid for pid, vm in vms.items() if not vm.ended])
        for pid, state in still.items():
            if state == CLOSED:
                vms[pid] = self._watch.closed(pid)
            else:
                stopped, traced = state in (STOPPED, TRACED), state == TRACED
                vms[pid] = replace(vms[pid], stopped=stopped, traced=traced, paused=state == PAUSED)
        quotas = {pid: {"quota": str(quota)} for pid, quota in self._quotas.update(snapshot).items()}
        unstarted = {pid: {"unstarted": vcpus} for pid, vcpus in self._unstarted.update(snapshot).items()}
        for found in (quotas, unstarted):
            vms |= {pid: replace(vms[pid], **told) for pid, told in found.items() if pid in vms}
        return vms


def room(vcpus: int) -> int:
    """How many vCPU threads the maps shall hold where so many run (26 KB of kernel memory each)."""
    return min(vcpus + vcpus // 4 + SPARE_THREADS, max(MOST_THREADS, vcpus))
