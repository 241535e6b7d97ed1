"""Guests that spend their time in each of the ways that kvmtop must tell apart."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..hosts import qemu

ON_CPU = ["taskset", "-c", "1"]  # the reader is on another
HOG = [sys.executable, "-c", "while True: pass"]
# Where the scheduler's clock goes on: on a CPU without a tick (nohz_full) it stands still with an unstable TSC, as the
# emulated hosts', while one task runs; then cpu.stat, too, says that little was throttled.
TICKING = ["taskset", "-c", "0"]
CPUS = len(os.sched_getaffinity(0))


@dataclass
class Running:
    """A scenario at work."""

    tids: Callable[[], set[int]]  # of all of its vCPUs so far
    # What happens in the middle of which interval.
    acts: Mapping[int, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """One way to spend time."""

    name: str
    begin: Callable[[], contextlib.AbstractContextManager[Running]]
    long: bool = True
    merged: tuple[str, ...] = ()  # states that are told only in sum: it leaves for user space at high rates
    cpus: int = 2  # that it needs
    gone: bool = False  # its vCPUs come and go
    seeded: bool = False  # kvmtop starts when it is there


class Vm:
    """A process that runs tests.on_host.vmm, or another such module."""

    def __init__(self, *arguments: str, before: Sequence[str] | None = None, module: str = "tests.on_host.vmm") -> None:
        """before: what runs it."""
        argv = [*(before or []), sys.executable, "-m", module, *arguments]
        self._said = os.memfd_create("vmm")
        self.process = subprocess.Popen(argv, stdout=self._said, process_group=0)

    def said(self) -> str:
        size = os.fstat(self._said).st_size
        return os.pread(self._said, size, 0).decode()

    def tids(self) -> set[int]:
        return set(map(int, re.findall(r"^vcpu (\d+)$", self.said(), re.MULTILINE)))

    def ready(self) -> Vm:
        """Wait for it. Raises AssertionError if it ends, or says nothing for a minute."""
        self.says("ready")
        return self

    def says(self, word: str) -> None:
        """Wait for that. Raises as ready()."""
        end = time.monotonic() + 60
        while word not in self.said():
            assert self.process.poll() is None and time.monotonic() < end, self.process.returncode
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._said)


def until_stopped(pid: int) -> None:
    """Wait until SIGSTOP has reached all threads of a process."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)


@contextlib.contextmanager
def vm(*arguments: str, before: list[str] | None = None) -> Iterator[Vm]:
    vm = Vm(*arguments, before=before)
    try:
        yield vm.ready()
    finally:
        vm.close()


@contextlib.contextmanager
def process(argv: list[str], says: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """It runs until the end; says: the line that tells that it has begun."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if says else None) as process:
        try:
            if says:
                assert process.stdout and process.stdout.readline().decode().strip() == says
            yield process
        finally:
            process.kill()


def busy(*arguments: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A known guest that executes CPUID in what time the CPUs have left: kvmtop need not share them with it."""
    return process(["nice", "-n", "19", sys.executable, "-m", "kvmtop.host.selftest_guest", *arguments, "cpuid:0"])


def alone(*arguments: str, before: list[str] | None = None) -> Callable[[], contextlib.AbstractContextManager[Running]]:
    """A VM, there before kvmtop."""

    @contextlib.contextmanager
    def begin() -> Iterator[Running]:
        with vm(*arguments, before=before) as guest:
            yield Running(guest.tids)

    return begin


def hogged(*how: str) -> Callable[[], contextlib.AbstractContextManager[Running]]:
    """A busy VM, and from the first interval to the fifth a hog on its CPU."""

    @contextlib.contextmanager
    def begin() -> Iterator[Running]:
        with vm("busy", before=ON_CPU) as guest, contextlib.ExitStack() as hogs:
            yield Running(guest.tids, {0: lambda: hogs.enter_context(process([*ON_CPU, *how, *HOG])), 4: hogs.close})

    return begin


@contextlib.contextmanager
def later() -> Iterator[Running]:
    """A VM that starts when kvmtop runs, with a vCPU that is never started."""
    with contextlib.ExitStack() as stack:
        vms: list[Vm] = []
        yield Running(
            lambda: {tid for vm in vms for tid in vm.tids()},
            {0: lambda: vms.append(stack.enter_context(vm("busy", "--irqchip", "--vcpus", "2", "--unstarted", "1")))},
        )


@contextlib.contextmanager
def stopped() -> Iterator[Running]:
    """SIGSTOP and SIGCONT in turn."""
    with vm("busy") as guest:
        stop, resume = (lambda: guest.signal(signal.SIGSTOP)), (lambda: guest.signal(signal.SIGCONT))
        yield Running(guest.tids, {0: stop, 2: resume, 4: stop})


def _vcpus(pid: int) -> set[int]:
    """By the names that QEMU gives them."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        if re.fullmatch(r"CPU \d+/KVM", (task / "comm").read_text().strip()):
            found.add(int(task.name))
    return found


def linux(acts: Mapping[int, str] | None = None) -> Callable[[], contextlib.AbstractContextManager[Running]]:
    """A real QEMU with Linux that idles with some work; acts: what is said to its monitor."""

    @contextlib.contextmanager
    def begin() -> Iterator[Running]:
        with qemu.guest("web01", 2) as process:
            qemu.wait_until_up(process, 180)
            tids = _vcpus(process.pid)
            assert len(tids) == 2
            said = {at: _to_monitor(process, word) for at, word in (acts or {}).items()}
            yield Running(lambda: tids, said)

    return begin


def _to_monitor(process: subprocess.Popen[bytes], word: str) -> Callable[[], object]:
    return lambda: qemu.monitor(process, word)


def cgroups() -> Path:
    """Where cgroup v2 is mounted, by us if it is not."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if found is None:
        found = Path("/sys/fs/cgroup")
        subprocess.run(["mount", "-t", "cgroup2", "none", found], check=True)
    if "cpu" not in (found / "cgroup.subtree_control").read_text().split():
        (found / "cgroup.subtree_control").write_text("+cpu")
    return found


def quota(
    percent: int, *arguments: str, parent: bool = False, hog: bool = False, before: list[str] = TICKING
) -> Callable[[], contextlib.AbstractContextManager[Running]]:
    """A VM in a cgroup that may have so much of a CPU; parent: the one above it may, and hog: there is another load."""

    @contextlib.contextmanager
    def begin() -> Iterator[Running]:
        above = cgroups() / "kvmtop-test"
        group = above / "vm"
        above.mkdir()
        try:
            (above / "cgroup.subtree_control").write_text("+cpu")
            group.mkdir()
            with contextlib.ExitStack() as stack:
                guest = stack.enter_context(vm(*arguments, before=before))
                (group / "cgroup.procs").write_text(str(guest.process.pid))
                ((above if parent else group) / "cpu.max").write_text(f"{percent * 1000} 100000")
                if hog:
                    stack.enter_context(process([*TICKING, *HOG]))
                yield Running(guest.tids)
        finally:
            for folder in (group, above):
                with contextlib.suppress(FileNotFoundError):
                    remove(folder)

    return begin


def remove(group: Path) -> None:
    """A cgroup, soon."""
    end = time.monotonic() + 5
    while True:  # what was in it may still be ending
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def churn() -> Iterator[Running]:
    """VMs that start and end in mid-interval, about two of them at a time."""
    vm = Vm("busy", "--churn", "0.7")
    try:
        vm.ready()
        yield Running(vm.tids)
    finally:
        vm.close()


SCENARIOS = [
    Scenario("busy alone", alone("busy", before=ON_CPU), seeded=True),
    Scenario("hog, nice 0", hogged(), long=False),
    Scenario("hog, nice 5", hogged("nice", "-n", "5")),
    Scenario("hog, FIFO", hogged("chrt", "-f", "1")),
    Scenario("halted", alone("hlt", "--irqchip"), seeded=True, cpus=1),
    Scenario("halted, kicked", alone("hlt", "--irqchip", "--kick", "1.7"), long=False, cpus=1),
    Scenario(
        "never started, before",
        alone("busy", "--irqchip", "--vcpus", "2", "--unstarted", "1"),
        long=False,
        seeded=True,
        cpus=1,
    ),
    Scenario("never started, after", later, cpus=1),
    Scenario("SIGSTOP", stopped, long=False, cpus=1),
    Scenario("QEMU", linux()),
    Scenario("QEMU's stop", linux(acts={0: "stop", 2: "cont", 4: "stop"})),
    Scenario("kernel-irqchip=off", alone("hlt"), merged=("kernel", "user"), cpus=1),
    Scenario("MWAIT", alone("mwait"), cpus=1),
    Scenario("RDMSR left to the VMM", alone("rdmsr"), merged=("kernel", "user"), cpus=1),
    Scenario("OUT", alone("out"), merged=("kernel", "user"), cpus=1),
    Scenario("userfaultfd", alone("fault"), cpus=1),
    Scenario("cpu.max 20 %", quota(20, "busy")),
    Scenario("cpu.max 20 %, hog", quota(20, "busy", hog=True)),
    Scenario("cpu.max 50 %", quota(50, "busy")),
    Scenario("cpu.max 50 %, hog", quota(50, "busy", hog=True), long=False),
    Scenario("cpu.max 50 % of the parent", quota(50, "busy", parent=True)),
    Scenario("cpu.max 50 % of the parent, hog", quota(50, "busy", parent=True, hog=True)),
    Scenario("cpu.max, four vCPUs", quota(100, "busy", "--vcpus", "4", before=[])),
    Scenario("cpu.max, four vCPUs, hog", quota(100, "busy", "--vcpus", "4", before=[], hog=True)),
    Scenario("VMs start and end", churn, gone=True),
    Scenario("3 vCPUs on 2 CPUs", alone("busy", "--vcpus", "3")),
]
