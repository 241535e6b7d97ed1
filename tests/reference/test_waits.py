"""What threads sleep for, by stacks as kernels 6.1 and 6.12 have them."""

from __future__ import annotations

import pytest

from kvmtop.reference.waits import held_up

FILES = {7: "/dev/vda", 12: "anon_inode:kvm-vcpu:0", 13: "/dev/vhost-net"}
KVM = ("kvm_mmu_page_fault", "vmx_handle_exit", "kvm_arch_vcpu_ioctl_run", "kvm_vcpu_ioctl", "__x64_sys_ioctl")
READ = ("filemap_get_pages", "filemap_read", "vfs_read", "__x64_sys_pread64")


@pytest.mark.parametrize(
    ("call", "stack", "what"),
    [
        (None, (), "not known"),
        ((16, 12), (), "not known"),  # KVM_RUN: in the kernel, and no more is known
        ((16, 12), ("schedule", "kvm_something_new"), "the kernel (kvm_something_new)"),
        (None, ("schedule", "io_schedule"), "I/O"),
        (None, ("schedule", "io_schedule", "bit_wait_io"), "I/O (bit_wait_io)"),
        ((999, 1), ("__schedule", "schedule"), "not known"),
        ((202, 0x1000), (), "a lock or event (futex)"),
        (None, ("futex_wait_queue", "__futex_wait"), "a lock or event (futex)"),
        ((17, 7), ("io_schedule", "folio_wait_bit_common", *READ), "read of /dev/vda"),
        ((17, 99), (), "read of file descriptor 99"),
        ((1, 7), ("balance_dirty_pages",), "write to /dev/vda: written pages that have to reach the disk"),
        ((7, 3), ("schedule", "do_poll.constprop.0", "do_sys_poll"), "events"),
        ((16, 13), ("__mutex_lock.constprop.0",), "ioctl of /dev/vhost-net: a mutex of the kernel"),
        ((16, 12), ("handle_userfault", "do_anonymous_page", *KVM), "memory that somebody else brings (userfaultfd)"),
        ((17, 7), ("handle_userfault", *READ), "read of /dev/vda: memory that somebody else brings (userfaultfd)"),
        ((16, 12), ("io_schedule", "folio_wait_bit_common", "do_swap_page", *KVM), "swap-in"),
        ((16, 12), ("io_schedule", "folio_wait_bit_common", "filemap_fault", *KVM), "a page from a file"),
        ((16, 12), ("schedule", "rwsem_down_read_slowpath", *KVM), "mmap_lock or another lock of the kernel"),
        ((16, 12), ("schedule", "do_signal_stop", "get_signal"), "a stop by a signal"),
        ((16, 12), ("schedule", "get_signal", "arch_do_signal_or_restart"), "a freeze of its cgroup"),
        ((230, 1), ("do_nanosleep", "hrtimer_nanosleep"), "a sleep of its own"),
        ((426, 5), ("io_cqring_wait",), "io_uring"),
    ],
)
def test_what_holds_a_thread_up(call: tuple[int, int] | None, stack: tuple[str, ...], what: str) -> None:
    assert held_up(call, stack, lambda fd: FILES.get(fd, "")) == what


def test_the_innermost_says_it() -> None:
    """A lock that is taken on the way to a swapped page, and a swapped page that a lock's holder needs."""
    assert held_up(None, ("__mutex_lock", "do_swap_page"), lambda fd: "") == "a mutex of the kernel"
    assert held_up(None, ("do_swap_page", "__mutex_lock"), lambda fd: "") == "swap-in"
