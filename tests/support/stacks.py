"""Made-up stacks of a Host's vCPUs, as bpf/stacks.py would tell them."""

from __future__ import annotations

from kvmtop.model.keys import pack
from kvmtop.model.snapshot import Snapshot, Stacks
from kvmtop.model.stacks import Off, Stack
from kvmtop.model.vocabulary import SVM, Key

from .fake import Host

RUN = ("kvm_arch_vcpu_ioctl_run [kvm]", "kvm_vcpu_ioctl [kvm]", "__x64_sys_ioctl", "do_syscall_64")
FAULT = ("handle_mm_fault", "hva_to_pfn [kvm]", "kvm_mmu_page_fault [kvm]", *RUN)
USERFAULT = ("handle_userfault", *FAULT)
COMPACTION = ("compact_zone", "do_huge_pmd_anonymous_page", *FAULT)
MMU_LOCK = ("queued_write_lock_slowpath", "kvm_tdp_mmu_map [kvm]", "kvm_mmu_page_fault [kvm]", *RUN)


class Seen:
    """What somebody has seen since it was made."""

    def __init__(self, host: Host, only: Key | None = None, base: Snapshot | None = None) -> None:
        """base: the counters now, where a reading of the host would be more than that."""
        self._host, self._base, self._only = host, base or host.read(), only
        self.pids = frozenset[int]()  # of which VMs alone
        self.off: dict[Stack, Off] = {}
        self.samples: dict[Stack, int] = {}
        self.lost = self.dropped = 0

    def _stack(self, tid: int, code: int, state: str, frames: tuple[str, ...]) -> Stack:
        return Stack(pack(self._host.vcpus[tid].pid, tid), SVM, code, state, frames)

    def slept(
        self, tid: int, code: int, frames: tuple[str, ...], *times: int, state: str = "blocked", waited: int = 0
    ) -> None:
        """So long each time, ns; waited: of all of it."""
        self.off[self._stack(tid, code, state, frames)] = Off(len(times), sum(times), waited, max(times))
        self.tell()

    def ran(self, tid: int, code: int, frames: tuple[str, ...], samples: int, state: str = "kernel") -> None:
        self.samples[self._stack(tid, code, state, frames)] = samples
        self.tell()

    def tell(self) -> None:
        self._host.stacks = Stacks(
            self._base, self._only, self.pids, dict(self.off), dict(self.samples), self.lost, self.dropped
        )
