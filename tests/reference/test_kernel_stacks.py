"""The kernel's stacks in words."""

from __future__ import annotations

import pytest

from kvmtop.reference.kernel_stacks import doing

RUN = ("kvm_mmu_page_fault [kvm]", "kvm_arch_vcpu_ioctl_run [kvm]", "kvm_vcpu_ioctl [kvm]")


@pytest.mark.parametrize(
    ("frames", "sleeps", "what", "function"),
    [
        (("handle_userfault", "handle_mm_fault", *RUN), True, "userfaultfd", "handle_userfault"),
        (("request_wait_answer", "fuse_simple_request [fuse]", *RUN), True, "FUSE", "request_wait_answer"),
        # The innermost counts: a huge page was wanted, and to have one pages are moved.
        (("compact_zone", "do_huge_pmd_anonymous_page", *RUN), False, "compaction", "compact_zone"),
        (("clear_huge_page", "do_huge_pmd_anonymous_page", *RUN), False, "making a huge page", "clear_huge_page"),
        # mmu_lock is KVM's only rwlock; others have such locks, too.
        (("queued_read_lock_slowpath", "kvm_tdp_mmu_map [kvm]"), False, "mmu_lock", "queued_read_lock_slowpath"),
        (("queued_read_lock_slowpath", "do_wait"), False, None, ""),
        (("kvm_vcpu_block [kvm]", "kvm_vcpu_halt [kvm]"), True, "halt", "kvm_vcpu_block"),
        (("kvm_vcpu_check_block [kvm]", "kvm_vcpu_halt [kvm]"), False, "halt polling", "kvm_vcpu_check_block"),
        (("kvm_vcpu_block [kvm]",), False, "halt polling", "kvm_vcpu_block"),
        # What a compiler adds to a name.
        (("kvm_apic_send_ipi.constprop.0 [kvm]",), False, "its APIC", "kvm_apic_send_ipi"),
        # What the Scheduler page knows of who sleeps.
        (("futex_wait_queue", "futex_wait"), True, "a lock or event (futex)", "futex_wait_queue"),
        (("svm_handle_exit [kvm_amd]",), False, None, ""),
        (("something_new", "kvm_vcpu_run"), True, "the kernel (something_new)", "something_new"),
        ((), True, None, ""),
    ],
)
def test_what_it_does(frames: tuple[str, ...], sleeps: bool, what: str | None, function: str) -> None:
    found = doing(frames, sleeps)
    assert (found and (found.what, found.function)) == (what and (what, function))
