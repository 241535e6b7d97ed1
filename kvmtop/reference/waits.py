"""What a thread waits for, by the system call and the kernel functions that it sleeps in (x86-64)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Kernel functions → what somebody sleeps for who is in it, as Debian's 6.1 and 6.12 have them. The innermost counts.
_TELLING = {
    "handle_userfault": "memory that somebody else brings (userfaultfd)",
    "do_swap_page": "swap-in",
    "swap_readpage": "swap-in",
    "swap_read_folio": "swap-in",
    "migration_entry_wait_on_locked": "a page that is being moved",
    "__mutex_lock": "a mutex of the kernel",
    "rwsem_down_read_slowpath": "mmap_lock or another lock of the kernel",
    "rwsem_down_write_slowpath": "mmap_lock or another lock of the kernel",
    "__synchronize_srcu": "the kernel's RCU",
    "do_signal_stop": "a stop by a signal",
    "ptrace_stop": "a stop by a debugger",
    # arch/x86/kernel/cpu/intel.c: one at a time, after 10 ms each (split_lock_detect=warn, kernel.split_lock_mitigate).
    "handle_guest_split_lock": "a split lock, for which this host makes it wait",
    "split_lock_warn": "a split lock, for which this host makes it wait",
    "__refrigerator": "a freeze",
    "mem_cgroup_handle_over_high": "memory.high of its cgroup",
    "reclaim_throttle": "memory that has to be reclaimed",
    "balance_dirty_pages": "written pages that have to reach the disk",
    "jbd2_log_wait_commit": "the journal of a file system",
    "wait_transaction_locked": "the journal of a file system",
    "request_wait_answer": "a FUSE file system",
    "rpc_wait_bit_killable": "an NFS server",
    "nfs_wait_bit_killable": "an NFS server",
}

# The same, where what called it may say more.
_GENERAL = {
    "futex_wait": "a lock or event (futex)",
    "futex_wait_queue": "a lock or event (futex)",
    "futex_wait_queue_me": "a lock or event (futex)",
    "filemap_fault": "a page from a file",
    "folio_wait_bit": "a page from a file",
    "folio_wait_bit_common": "a page from a file",
    "folio_wait_bit_killable": "a page from a file",
    "blkdev_direct_IO": "a disk",
    "__iomap_dio_rw": "a disk",
    "submit_bio_wait": "a disk",
    "blk_mq_get_tag": "room in a disk's queue",
    "hrtimer_nanosleep": "a sleep of its own",
    "pipe_read": "something in a pipe",
    "eventfd_read": "an eventfd",
    "do_poll": "events",
    "do_sys_poll": "events",
    "do_select": "events",
    "do_epoll_wait": "events",
    "io_cqring_wait": "io_uring",
    "read_events": "asynchronous I/O",
    "get_signal": "a freeze of its cgroup",  # other ways to sleep in it have functions of their own
    "do_wait": "a process of its own",
    "kvm_vcpu_block": "KVM, until its guest may run",
    "wait_for_completion": "something that the kernel does for it",
    "__wait_for_common": "something that the kernel does for it",
}

# How it says that it sleeps: innermost in any stack.
_SLEEPING = ("schedule", "__schedule", "preempt_schedule", "io_schedule")

_OF_FILE = {  # system calls whose first argument is a file descriptor
    **dict.fromkeys((0, 17, 19, 295, 327), "read of {}"),  # read, pread64, readv, preadv, preadv2
    **dict.fromkeys((1, 18, 20, 296, 328), "write to {}"),  # write, pwrite64, writev, pwritev, pwritev2
    **dict.fromkeys((74, 75, 277), "sync of {}"),  # fsync, fdatasync, sync_file_range
    **dict.fromkeys((45, 47), "receiving from {}"),  # recvfrom, recvmsg
    **dict.fromkeys((44, 46), "sending to {}"),  # sendto, sendmsg
    285: "fallocate of {}",
}
IOCTL = 16
_OTHER = {
    **dict.fromkeys((202, 449), "a lock or event (futex)"),  # futex, futex_waitv
    **dict.fromkeys((7, 23, 232, 270, 271, 281, 441), "events"),  # poll, select, epoll_wait and their kind
    **dict.fromkeys((208, 333), "asynchronous I/O"),  # io_getevents, io_pgetevents
    426: "io_uring",
    **dict.fromkeys((35, 230), "a sleep of its own"),  # nanosleep, clock_nanosleep
    **dict.fromkeys((34, 128, 130), "a signal"),  # pause, rt_sigtimedwait, rt_sigsuspend
}


def held_up(call: tuple[int, int] | None, stack: Sequence[str], file: Callable[[int], str]) -> str:
    """What a thread sleeps for, in words; "not known" if nothing tells.

    call: the system call, number and first argument; stack: functions as /proc/kallsyms has them, the innermost first;
    file: what a descriptor is of, or "".
    """
    names = [name.partition(".")[0] for name in stack]  # a compiler adds .isra.0, .constprop.0 …
    telling = next((_TELLING[name] for name in names if name in _TELLING), "")
    calls = _call(call, file) if call else ""
    if calls and telling:
        return f"{calls}: {telling}"
    general = next((_GENERAL[name] for name in names if name in _GENERAL), "")
    inner = next((name for name in names if not name.startswith(_SLEEPING)), "")
    where = "I/O" if "io_schedule" in names or "io_schedule_timeout" in names else "the kernel" if inner else ""
    return telling or calls or general or (f"{where} ({inner})" if inner else where or "not known")


def _call(call: tuple[int, int], file: Callable[[int], str]) -> str:
    number, argument = call
    if number in _OF_FILE:
        return _OF_FILE[number].format(file(argument) or f"file descriptor {argument}")
    if number == IOCTL and (name := file(argument)) and "kvm-vcpu" not in name:  # KVM_RUN is no reason to sleep
        return f"ioctl of {name}"
    return _OTHER.get(number, "")
