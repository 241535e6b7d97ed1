"""A VM and what came of it in an Interval, and Snapshots in which a thread is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kvmtop.model.arrays import Mask
from kvmtop.model.exit_stats import Reason, add_by_reason, by_reason, tops
from kvmtop.model.interval import Interval
from kvmtop.model.keys import unpack
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import STATES, SVM, Key

from .fake import Busy, Host

MS = 1_000_000
HLT, MSR, IO, INTERRUPT, NPF = 0x78, 0x7C, 0x7B, 0x60, 0x400


def reasons(interval: Interval, threads: Mask | None = None) -> dict[int, Reason]:
    return {reason.code: reason for reason in by_reason(interval, threads)}


def top_reasons(interval: Interval) -> dict[tuple[int, int], Key]:
    """The (isa, code) with the most time, halts aside, of each VM, (pid, -1), and each thread, (pid, its row)."""
    top = tops(interval)
    keys, pids = top.keys.tolist(), top.pids.tolist()
    owners = ([(pid, -1) for pid in pids], [(pids[v], row) for row, v in enumerate(top.vm.tolist())])
    return {
        owner: unpack(keys[best])
        for who, which in zip(owners, (top.of_vm, top.of_thread), strict=True)
        for owner, best in zip(who, which.tolist(), strict=True)
        if best >= 0
    }


def budget(interval: Interval, row: int = 0) -> dict[str, int]:
    return dict(zip(STATES, interval.budget[row].tolist(), strict=True))


def one(vcpus: int = 1, isa: int = SVM) -> Host:
    host = Host(isa=isa)
    host.add(100, "vm", vcpus)
    return host


def without(snapshot: Snapshot, row: int) -> Snapshot:
    """As if a thread had never been."""
    kept, mine = np.arange(len(snapshot.threads)) != row, snapshot.cells["thread"] != row
    cells = snapshot.cells[mine]
    cells["thread"] = (np.cumsum(kept) - 1)[cells["thread"]]
    return replace(
        snapshot,
        threads=snapshot.threads[kept],
        thread_ids=snapshot.thread_ids[kept],
        cells=cells,
        cell_ids=snapshot.cell_ids[mine],
    )


class Forgetful(Busy):
    """VMs come and end, and two readings later nothing of them is left but sums by reason, as after 256 others."""

    def __init__(self) -> None:
        super().__init__(vms=1)
        self.readings, self.gone = 0, dict[int, int]()  # threads that have ended, and at which reading

    def read(self) -> Snapshot:
        n = self.readings = self.readings + 1
        if n % 7 == 2:
            self.add(5000 + n, f"job{n}")
            self.vms = {pid: vm for pid, vm in self.vms.items() if not vm.ended}
        if n % 7 == 4:
            self.end(5000 + n - 2)
            self.gone[5000 + n - 1] = n
        snapshot = super().read()
        for tid, ended in self.gone.items():
            if n >= ended + 2:
                snapshot = folded(snapshot, int(np.flatnonzero(snapshot.threads["id"].astype("u4") == tid)[0]))
        sums = add_by_reason(snapshot.cells[snapshot.cell_ids == 0])
        cells, ids = snapshot.cells[snapshot.cell_ids != 0], snapshot.cell_ids[snapshot.cell_ids != 0]
        return replace(
            snapshot,
            cells=np.concatenate([cells, sums]),
            cell_ids=np.concatenate([ids, np.zeros(len(sums), "u8")]),
            ended_threads=len(self.gone),
        )


def folded(snapshot: Snapshot, row: int, thread: int = 0) -> Snapshot:
    """As after a thread that is long gone: its cells have no ids and the thread's row is meaningless."""
    gone = snapshot.cells[snapshot.cells["thread"] == row]
    gone["thread"] = thread
    left = without(snapshot, row)
    return replace(
        left,
        cells=np.concatenate([gone, left.cells]),
        cell_ids=np.concatenate([np.zeros(len(gone), "u8"), left.cell_ids]),
    )
