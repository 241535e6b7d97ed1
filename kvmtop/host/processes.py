"""/proc: which processes are VMs, what they are called, and what the scheduler did with their vCPUs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from .. import bounded
from ..model.vocabulary import MOST_ALIASES, Vm
from ..sanitize import clean
from .vm_names import names_of

PROC = Path("/proc")
SCHEDSTAT = 64  # bytes: three numbers of 64 bits
INITIAL_PIDS = 0xEFFFFFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h


def _read(path: Path) -> str:
    """A file of /proc, which may vanish at any moment: empty then."""
    try:
        return bounded.text(path)
    except OSError:
        return ""


def namespace() -> str | None:
    """Why the process ids here are not those that the kernel's events come with: a container; None if they are."""
    try:
        if os.stat(PROC / "self/ns/pid").st_ino == INITIAL_PIDS:
            return None
    except OSError:  # it has no PID namespaces
        return None
    return (
        "this is a PID namespace of its own, a container: exits come with the host's process ids, which mean nothing"
        " in here; run kvmtop on the host, or give the container the host's (Kubernetes: hostPID: true, docker and"
        " podman: --pid=host)"
    )


def vm(pid: int) -> Vm:
    """The VM of a process: named by its command line, else by its comm, else by its pid. Never raises."""
    argv = _read(PROC / str(pid) / "cmdline").split("\0")
    comm = clean(_read(PROC / str(pid) / "comm"))
    name, *others = dict.fromkeys(filter(None, map(clean, names_of(argv)))) or (comm or f"pid {pid}",)
    return Vm(pid, name, comm, aliases=tuple(others[:MOST_ALIASES]))


def vcpu_count(pid: int) -> int:
    """How many vCPUs a process has open (0 for no VM), by its file descriptors: anon_inode:kvm-vcpu:N."""
    count, numbered = 0, set[str]()  # no list of them all: a process may have millions open
    try:
        with os.scandir(PROC / str(pid) / "fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    link = os.readlink(entry.path)
                    if link.startswith("anon_inode:kvm-vcpu"):
                        # One may be open twice; the number, which kernels before 4.19 do not give, tells.
                        count += 1
                        if link[-1].isdigit():
                            numbered.add(link)
    except OSError:
        return 0
    return len(numbered) or count


def may_see(pid: int) -> bool:
    """Whether this user may see what a process has open: /proc guards its other links the same way."""
    try:
        os.readlink(PROC / str(pid) / "cwd")
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def is_process(pid: int) -> bool:
    """Whether there is such a process; the id of a thread other than its first is none."""
    return bool(re.search(rf"^Tgid:\s+{pid}$", _read(PROC / str(pid) / "status"), re.MULTILINE))


def pids() -> Iterator[int]:
    """All processes."""
    return (int(name) for name in os.listdir(PROC) if name.isdigit())


def threads(pid: int) -> list[int]:
    """The thread ids of a process; none if it has ended."""
    try:
        return [int(name) for name in os.listdir(PROC / str(pid) / "task")]
    except OSError:
        return []


def schedstat(tid: int) -> int | None:
    """ns that a thread has waited for a CPU while it could run; None where the kernel does not say.

    The second number of /proc/TID/schedstat (Documentation/scheduler/sched-stats.rst).
    """
    try:
        with open(PROC / str(tid) / "schedstat", "rb", buffering=0) as file:
            return run_delay(file.read(SCHEDSTAT))
    except OSError:
        return None


def run_delay(schedstat: bytes) -> int | None:
    """The same from what such a file holds."""
    fields = schedstat.split()
    # All 0 is what a kernel writes that does not keep the figures (sched_info_on() in fs/proc/base.c).
    return int(fields[1]) if len(fields) == 3 and set(fields) != {b"0"} else None


class Watch:
    """The VMs of this host, looked up once each."""

    def __init__(self, only: Iterable[int] = ()) -> None:
        self._only = set(only)
        self._others: set[int] = set()  # processes that are no VMs
        self.vms: dict[int, Vm] = {}

    def update(self, seen: Iterable[int]) -> dict[int, Vm]:
        """All VMs known: those that `seen` (pids with exits) adds, and processes that opened a vCPU since.

        One whose process has ended stays, marked so, for as long as it is seen.
        """
        current, seen = set(pids()), set(seen)
        for pid in current & (self._only or current) - self._others - self._running():
            if vcpu_count(pid):
                self.vms[pid] = vm(pid)
            else:  # it may open one later, which its exits will tell
                self._others.add(pid)
        self._others &= current
        for pid in seen - self._running():
            if pid not in self.vms or (pid in current and vcpu_count(pid)):  # its pid is another VM's now
                self.vms[pid] = vm(pid)
        for pid in self._running() - current:
            self.vms[pid] = replace(self.vms[pid], ended=True)
        # Its rows are added up with those of others by then; a host sees many VMs in its days.
        self.vms = {pid: vm for pid, vm in self.vms.items() if pid in seen or not vm.ended}
        return dict(self.vms)

    def _running(self) -> set[int]:
        return {pid for pid, known in self.vms.items() if not known.ended}
