"""/proc: which processes are VMs, what they are called, and what their threads sleep in."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .. import bounded
from ..model.vocabulary import MOST_ALIASES, Vm
from ..sanitize import clean
from .vm_names import names_of

PROC = Path("/proc")
VCPU = "anon_inode:kvm-vcpu"
IOCTL, KVM_RUN = b"16", b"0xae80"  # of x86-64
FLAGS, CPU = 6, 36  # fields of stat, from the one behind the name
PF_KTHREAD = 0x00200000  # include/linux/sched.h
INITIAL_PIDS = 0xEFFFFFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h


def _read(path: Path) -> str:
    """A file of /proc, which may vanish at any moment: empty then."""
    try:
        return bounded.text(path)
    except OSError:
        return ""


def of_thread(tid: int | str, name: str) -> bytes:
    """A short file of a thread, by its id or its path in /proc; it may vanish at any moment: empty then."""
    try:
        return bounded.short(f"{PROC}/{tid}/{name}")
    except OSError:
        return b""


def stat(tid: int | str) -> tuple[bytes, list[bytes]] | None:
    """A thread's name, which may have brackets and blanks, too, and what stat says behind it; None if it has gone."""
    head, found, tail = of_thread(tid, "stat").rpartition(b") ")
    fields = tail.split()
    return (head.partition(b" (")[2], fields) if found and len(fields) > CPU else None


def is_kernels(fields: Sequence[bytes]) -> bool:
    """Whether a thread of which stat() has these is the kernel's own."""
    return bool(int(fields[FLAGS]) & PF_KTHREAD)


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
    count, numbered = 0, set[int]()
    for _, number in _vcpu_files(pid):
        # One may be open twice; the number, which kernels before 4.19 do not give, tells.
        count += 1
        if number >= 0:
            numbered.add(number)
    return len(numbered) or count


def _vcpu_files(pid: int) -> Iterator[tuple[str, int]]:
    """Its descriptors of vCPUs, with their numbers; none where that cannot be known."""
    with contextlib.suppress(OSError), os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:  # no list of them all: a process may have millions open
            if (number := vcpu_number(entry.path)) is not None:
                yield entry.path, number


def vcpu_number(path: str | Path) -> int | None:
    """The number of the vCPU that a descriptor stands for, -1 on kernels before 4.19, which give none; else None."""
    with contextlib.suppress(OSError):
        link = os.readlink(path)
        if link.startswith(VCPU):
            number = link[len(VCPU) + 1 :]
            return int(number) if number.isdecimal() else -1
    return None


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


def is_traced(tid: int) -> bool:
    """Whether a debugger has stopped a thread."""
    return of_thread(tid, "stat").rpartition(b") ")[2][:1] == b"t"


def is_stopped(tid: int) -> bool:
    """Whether a thread is stopped by a signal, or by a debugger."""
    return of_thread(tid, "stat").rpartition(b") ")[2][:1] in (b"T", b"t")  # its name may have a bracket, too


def system_call(tid: int) -> list[bytes]:
    """What a thread is asleep in: the number of its system call, in decimal (-1 for none), then its arguments, in
    hexadecimal; [b"running"] for one that is awake; nothing where the kernel or this user's rights do not tell.
    """
    return of_thread(tid, "syscall").split()


def in_kvm_run(call: Sequence[bytes]) -> bool:
    """Whether a system call as system_call() tells it is KVM_RUN."""
    return call[:1] == [IOCTL] and call[2:3] == [KVM_RUN]


def vcpu_file(pid: int) -> str | None:
    """The path of a descriptor by which a process has a vCPU open; None if it has none, or nobody may know."""
    return next((path for path, _ in _vcpu_files(pid)), None)


class Watch:
    """The VMs of this host, looked up once each."""

    def __init__(self, only: Iterable[int] = ()) -> None:
        self._only = set(only)
        self._others: set[int] = set()  # processes that are no VMs
        self.vms: dict[int, Vm] = {}
        self.processes: set[int] = set()  # all, when it was updated last

    def update(self, seen: Iterable[int]) -> dict[int, Vm]:
        """All VMs known: those that `seen` (pids with exits) adds, and processes that opened a vCPU since.

        One whose process has ended, or has closed the VM, stays, marked so, for as long as it is seen.
        """
        current, seen = set(pids()), set(seen)
        self.processes = current
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

    def closed(self, pid: int) -> Vm:
        """It lives on without its VM; it may open another, which its exits will tell."""
        self.vms[pid] = replace(self.vms[pid], ended=True)
        return self.vms[pid]

    def _running(self) -> set[int]:
        return {pid for pid, known in self.vms.items() if not known.ended}
