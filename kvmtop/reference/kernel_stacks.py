"""What the kernel does, by the functions in its stack, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .waits import held_up


class Doing(NamedTuple):
    """what: a few words; why: a sentence's part that says more, or ""; function: by which it was told."""

    what: str
    why: str
    function: str


_USERFAULT = ("userfaultfd", "a post-copy migration or another handler brings the page")
_FUSE = ("FUSE", "the daemon of a FUSE file system has to answer")
_SWAP = ("swap-in", "the page was swapped out")
_COMPACTION = ("compaction", "pages are moved to make room for a huge one")
_RECLAIM = ("reclaim", "there is no free memory, so other pages have to go first")
_CGROUP = ("reclaim of its cgroup", "memory.high or memory.max of its cgroup is reached")
_HUGE = ("making a huge page", "its memory was touched for the first time")
_SPLIT = ("splitting a huge page", "a part of it goes to swap, KSM, or another node, or is given back")
_MOVED = ("a page that is being moved", "by NUMA balancing, compaction or khugepaged")
_NUMA = ("NUMA balancing", "a page is looked at, or moved to the node that uses it")
_COPY = ("copying a shared page", "it was merged by KSM, or shared since a fork")
_WRITE = ("a first write to a page", "it was shared: with the page of zeros, by KSM, or since a fork")
_DIRTY = ("dirty logging", "a live migration or another reader of the dirty log runs")
_SPLIT_LOCK = ("a split lock", "the guest locked data across cache lines, for which this host makes it wait")
_MMU_LOCK = ("mmu_lock", "another vCPU or the VMM changes the VM's page tables")
_MMAP_LOCK = ("mmap_lock", "another thread of the VMM changes its memory, or another lock of this kind is held")
_TIMER = ("its timer", "the guest arms the APIC's timer")
_APIC = ("its APIC", "emulated by KVM: end of interrupt, or an interrupt to another vCPU")
_IOEVENTFD = ("an ioeventfd", "a queue of virtio or vhost is kicked")
_IRQFD = ("an irqfd", "vhost or VFIO injects an interrupt")
_POLL = ("halt polling", "halt_poll_ns: it waits for the guest's next work without giving the CPU away")
_HALT = ("halt", "the guest has nothing to do")
_DEVICE = ("a device in KVM", "the PIC, IOAPIC or PIT, emulated by KVM")
_ZERO = ("zeroing new memory", "it was touched for the first time")
_FLUSH = ("flushing TLBs", "all CPUs that ran the VM must answer")
_EMULATOR = ("KVM's instruction emulator", "")
_RCU = ("the kernel's RCU", "all CPUs must have passed a quiet moment")
_XSAVE = ("saving and loading registers", "FPU and vector registers, MSRs")

# As Debian's 6.1 and 6.12 have them; the innermost counts.
_KNOWN = {
    "handle_userfault": _USERFAULT,
    **dict.fromkeys(("request_wait_answer", "__fuse_request_send", "fuse_simple_request", "fuse_send_one"), _FUSE),
    **dict.fromkeys(("fuse_read_folio", "fuse_readpage", "fuse_readahead", "__fuse_simple_request"), _FUSE),
    **dict.fromkeys(("do_swap_page", "swap_readpage", "swap_read_folio", "shmem_swapin_folio"), _SWAP),
    **dict.fromkeys(("compact_zone", "try_to_compact_pages", "__alloc_pages_direct_compact"), _COMPACTION),
    **dict.fromkeys(("try_to_free_pages", "shrink_node", "reclaim_throttle"), _RECLAIM),
    **dict.fromkeys(("try_to_free_mem_cgroup_pages", "mem_cgroup_handle_over_high"), _CGROUP),
    **dict.fromkeys(("do_huge_pmd_anonymous_page", "clear_huge_page", "folio_zero_user"), _HUGE),
    **dict.fromkeys(("split_huge_page_to_list", "split_huge_page_to_list_to_order", "__split_huge_pmd"), _SPLIT),
    **dict.fromkeys(("migration_entry_wait", "migration_entry_wait_on_locked", "pmd_migration_entry_wait"), _MOVED),
    **dict.fromkeys(("do_numa_page", "do_huge_pmd_numa_page", "migrate_misplaced_page"), _NUMA),
    **dict.fromkeys(("migrate_misplaced_folio", "task_numa_fault"), _NUMA),
    **dict.fromkeys(("copy_page", "copy_mc_to_kernel", "copy_mc_enhanced_fast_string", "copy_mc_fragile"), _COPY),
    **dict.fromkeys(("__wp_page_copy_user", "cow_user_page", "copy_user_highpage", "break_ksm"), _COPY),
    **dict.fromkeys(("do_wp_page", "wp_page_copy", "do_huge_pmd_wp_page"), _WRITE),
    **dict.fromkeys(("mark_page_dirty_in_slot", "kvm_dirty_ring_push", "vmx_flush_pml_buffer"), _DIRTY),
    **dict.fromkeys(("handle_guest_split_lock", "split_lock_warn"), _SPLIT_LOCK),
    **dict.fromkeys(("rwsem_down_read_slowpath", "rwsem_down_write_slowpath"), _MMAP_LOCK),
    **dict.fromkeys(("start_apic_timer", "start_hv_timer", "kvm_set_lapic_tscdeadline_msr"), _TIMER),
    **dict.fromkeys(("apic_timer_expired", "__kvm_wait_lapic_expire", "restart_apic_timer"), _TIMER),
    **dict.fromkeys(("kvm_lapic_reg_write", "kvm_apic_send_ipi", "kvm_irq_delivery_to_apic"), _APIC),
    **dict.fromkeys(
        ("kvm_irq_delivery_to_apic_fast", "apic_set_eoi", "kvm_x2apic_msr_write", "apic_mmio_write"), _APIC
    ),
    "ioeventfd_write": _IOEVENTFD,
    **dict.fromkeys(("irqfd_wakeup", "irqfd_inject"), _IRQFD),
    **dict.fromkeys(("kvm_vcpu_block", "kvm_emulate_halt_noskip"), _HALT),
    **dict.fromkeys(("kvm_vcpu_halt", "kvm_vcpu_check_block"), _POLL),
    **dict.fromkeys(("pit_ioport_write", "pit_ioport_read", "ioapic_mmio_write", "picdev_write"), _DEVICE),
    **dict.fromkeys(("clear_page_rep", "clear_page_erms", "clear_page_orig"), _ZERO),
    **dict.fromkeys(("smp_call_function_many_cond", "kvm_flush_remote_tlbs", "flush_tlb_mm_range"), _FLUSH),
    "x86_emulate_instruction": _EMULATOR,
    **dict.fromkeys(("__synchronize_srcu", "synchronize_rcu", "synchronize_rcu_expedited"), _RCU),
    **dict.fromkeys(("fpu_swap_kvm_fpstate", "kvm_load_guest_xsave_state", "kvm_load_host_xsave_state"), _XSAVE),
}
# KVM's only lock of this kind is mmu_lock, a spinlock before 5.13 (531810caa9f4).
_LOCKS = ("queued_read_lock_slowpath", "queued_write_lock_slowpath", "_raw_read_lock", "_raw_write_lock")


def function(frame: str) -> str:
    """A frame's function without its module and what a compiler adds (.isra.0, .constprop.0 …)."""
    return frame.partition(" ")[0].partition(".")[0]


def doing(frames: Sequence[str], sleeps: bool) -> Doing | None:
    """What a thread does with this stack, the innermost function first; None where no function tells.

    frames: "name" or "name [module]"; sleeps: whether it sleeps there, so that anything tells a little.
    """
    for at, frame in enumerate(frames):
        name = function(frame)
        if name in _LOCKS and frames[at + 1 : at + 2] and frames[at + 1].endswith(" [kvm]"):
            return Doing(*_MMU_LOCK, name)
        if name in _KNOWN:
            what, why = _KNOWN[name]
            if name == "kvm_vcpu_block" and not sleeps:
                what, why = _POLL
            return Doing(what, why, name)
    if not frames or not sleeps:
        return None
    return Doing(held_up(None, [function(frame) for frame in frames], lambda _: ""), "", function(frames[0]))
