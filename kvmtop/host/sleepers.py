"""vCPUs that were asleep in KVM_RUN before anybody watched: the events say nothing of them until they wake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..model.vocabulary import Sleeper
from . import processes

# Where a halted vCPU sleeps; kvm_vcpu_halt (since Linux 5.17) calls the other. /proc/TID/stack has the innermost first.
_HALTED = re.compile(rb"\bkvm_vcpu_(?:block|halt)\b")
_SWITCHES = re.compile(rb"^voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


def sleepers(pids: Iterable[int]) -> Iterator[Sleeper]:
    """Those of these processes' threads that are asleep in KVM_RUN, and were all the while that they were looked at.

    Call it when the events are already watched: who wakes later is then seen. Never raises.
    """
    for pid in pids:
        for tid in processes.threads(pid):
            if sleeper := _sleeper(pid, tid):
                yield sleeper


def _sleeper(pid: int, tid: int) -> Sleeper | None:
    """Its files are read one after the other. They agree if it sleeps at last, and has not gone to sleep meanwhile."""
    before = _switches(tid)
    halted = _halted(tid)
    call = processes.system_call(tid)
    if before is None or halted is None or not processes.in_kvm_run(call) or _switches(tid) != before:
        return None
    vcpu = processes.vcpu_number(f"{processes.PROC}/{tid}/fd/{int(call[1], 16)}")
    return None if vcpu is None or vcpu < 0 else Sleeper(pid, tid, vcpu, halted)


def _switches(tid: int) -> bytes | None:
    """How often a thread has gone to sleep, in digits."""
    found = _SWITCHES.search(processes.of_thread(tid, "status"))
    return found[1] if found else None


def _halted(tid: int) -> bool | None:
    """Whether KVM has put a sleeping thread to sleep for want of work; None if the kernel does not say."""
    # A stack needs CAP_SYS_ADMIN, and CONFIG_STACKTRACE.
    where = processes.of_thread(tid, "stack") or processes.of_thread(tid, "wchan")
    return None if where in (b"", b"0") else bool(_HALTED.search(where))
