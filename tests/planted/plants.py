"""Problems to plant, one for each rule that an emulated host can show: what is done to the VM `SHOP`, and what must be
found first. Beside it there is a healthy VM, `MAIL`, of which nothing may be said."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from ..hosts import qemu
from ..on_host import contests, scenarios
from ..on_host.contests import kernel_thread
from ..on_host.scenarios import HOG, process
from . import linux
from .guests import GUESTS
from .linux import disk, guest

SHOP, MAIL, BATCH = "shop01", "mail01", "batch01"
ON = ["taskset", "-c", "1"]
TICKING = ["taskset", "-c", "0"]  # scenarios.py says why a quota needs it
KVM = Path("/sys/module/kvm/parameters")
_ATTACH, _DETACH, _WALL = 16, 17, 0x40000000  # of ptrace(2), and waitpid(2)
Begin = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Plant:
    """A problem. rule: what must be found first, of SHOP; begin: may give options for kvmtop; also: what else is true of SHOP then."""

    rule: str
    what: str
    begin: Begin
    also: Set[str] = frozenset()


def vmm(guest: str, *options: str, name: str = SHOP, before: Sequence[str] = (), module: str = "") -> Begin:
    """A VM of guests.py, or of tests/on_host/vmm.py."""

    @contextlib.contextmanager
    def begin() -> Iterator[scenarios.Vm]:
        with running(guest, *options, name=name, before=before, module=module) as found:
            yield found

    return begin


@contextlib.contextmanager
def running(
    guest: str, *options: str, name: str = SHOP, before: Sequence[str] = (), module: str = ""
) -> Iterator[scenarios.Vm]:
    """The same, at once."""
    one = scenarios.Vm(
        *(guest, "-name", f"guest={name}", *options), before=list(before), module=module or "tests.planted.guests"
    )
    try:
        yield one.ready()
    finally:
        one.close()


def plain(guest: str, *options: str, before: Sequence[str] = ()) -> Begin:
    """A VM of tests/on_host/vmm.py."""
    return vmm(guest, *options, before=before, module="tests.on_host.vmm")


def booted(work: str, *extra: str, **how: object) -> Begin:
    """A Linux guest at work."""
    return lambda: guest(SHOP, work, *extra, **how)  # type: ignore[arg-type]


@contextlib.contextmanager
def beside(begin: Begin, *others: contextlib.AbstractContextManager[object]) -> Iterator[object]:
    """All of these at once, the others first."""
    with contextlib.ExitStack() as stack:
        for other in others:
            stack.enter_context(other)
        yield stack.enter_context(begin())


@contextlib.contextmanager
def written(values: Mapping[Path, str]) -> Iterator[None]:
    """Settings of the host, for a while."""
    before = {path: path.read_text() for path in values}
    try:
        for path, text in values.items():
            path.write_text(text)
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    with running("busy") as vm:
        vm.signal(signal.SIGSTOP)
        yield


@contextlib.contextmanager
def debugged() -> Iterator[None]:
    """All threads of its VMM are stopped by a debugger."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    with running("busy") as vm:
        tids = [int(name) for name in os.listdir(f"/proc/{vm.process.pid}/task")]
        for tid in tids:
            if ptrace(_ATTACH, tid, 0, 0):
                raise OSError(ctypes.get_errno(), "ptrace")
            os.waitpid(tid, _WALL)
        try:
            yield
        finally:
            for tid in tids:
                ptrace(_DETACH, tid, 0, 0)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    with guest(SHOP, qemu.IDLE) as process:
        qemu.monitor(process, "stop")
        yield


@contextlib.contextmanager
def stuck() -> Iterator[None]:
    """One of two vCPUs, and it was not when somebody began to watch: what was so before is not known."""

    def stick() -> None:
        while not over.wait(1):
            if _counted():
                time.sleep(2)
                vm.signal(signal.SIGUSR2)
                return

    over = threading.Event()
    with running("out", "--vcpus", "2", "--stick", "600") as vm:
        thread = threading.Thread(target=stick)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _counted() -> bool:
    """Whether a kvmtop has its probes attached."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"\0kvmtop\0diagnose\0" in line.read_bytes():
                files = [os.readlink(fd) for fd in (line.parent / "fd").iterdir()]
                return any("perf_event" in file for file in files)
    return False


@contextlib.contextmanager
def quota() -> Iterator[None]:
    """20 % of a CPU."""
    group = scenarios.cgroups() / "shop"
    group.mkdir()
    try:
        with running("busy", before=TICKING) as vm:
            (group / "cgroup.procs").write_text(str(vm.process.pid))
            (group / "cpu.max").write_text("20000 100000")
            yield
    finally:
        scenarios.remove(group)


@contextlib.contextmanager
def unstarted() -> Iterator[None]:
    """One of two vCPUs, in a VM that is old enough to have started it."""
    with running("busy", "--vcpus", "2", "--unstarted", "1"):
        time.sleep(60)
        yield


KSMD = {"pages_to_scan": "100000", "sleep_millisecs": "0", "smart_scan": "0", "run": "1"}


@contextlib.contextmanager
def ksmd(on: int) -> Iterator[None]:
    """It is at work all the time, on that CPU."""
    pid = kernel_thread("ksmd")
    cpus, nice = os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid)
    values = {contests.KSM / name: text for name, text in KSMD.items() if (contests.KSM / name).exists()}
    with process([sys.executable, "-c", contests.MERGEABLE], says="ready"), written(values):
        try:
            os.sched_setaffinity(pid, {on})
            os.setpriority(os.PRIO_PROCESS, pid, 0)
            yield
        finally:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
            os.sched_setaffinity(pid, cpus)


@contextlib.contextmanager
def ide() -> Iterator[None]:
    """A Linux guest that reads from a disk of the 1990s."""
    reads = "while :; do dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null; done"
    with (
        disk() as image,
        guest(SHOP, reads, "-drive", f"file={image},format=raw,if=ide", modules=linux.IDE_DISK),
    ):
        yield


@contextlib.contextmanager
def nic() -> Iterator[list[str]]:
    """A Linux guest that reads registers of an e1000: cloud kernels have no driver for it."""
    found = "dev=$(grep -l 0x100e /sys/bus/pci/devices/*/device); dev=${dev%/device}; echo 1 > $dev/enable"
    work = f"{found}; read bar rest < $dev/resource; /program device $bar"
    with (
        guest(SHOP, work, "-device", "e1000,netdev=n", "-netdev", "user,id=n") as process,
        tempfile.NamedTemporaryFile("w") as file,
    ):
        file.write(qemu.monitor(process, "info mtree -f"))
        file.flush()
        yield ["--memory-map", file.name]


@contextlib.contextmanager
def idle_poll() -> Iterator[list[str]]:
    """A Linux guest that idles by polling; its kernel's symbols are the host's, where that is the same one."""
    with (
        guest(SHOP, "sleep 100000", boot="idle=poll nokaslr"),
        tempfile.NamedTemporaryFile("w") as file,
    ):
        file.write(Path("/proc/kallsyms").read_text())
        file.flush()
        yield ["--guest-kallsyms", file.name]


@contextlib.contextmanager
def nested() -> Iterator[None]:
    """SHOP has a guest that executes CPUID, and each such exit is first KVM's, then SHOP's."""
    loop = GUESTS["cpuid"].loop
    files = {
        "vmm": linux.compiled(Path(scenarios.__file__).with_name("nested_vmm.c")),
        "code": loop + b"\xe9" + struct.pack("<h", -len(loop) - 3),
    }
    modules = ("irqbypass", "kvm", "kvm-amd")
    with guest(SHOP, "/vmm /code", modules=modules, files=files) as process:
        qemu.wait_for(process, "begun", linux.UP)
        yield


# It polls 2 ms, and its halts are a little longer: nothing is gained, and nothing changes that.
POLLING = {KVM / "halt_poll_ns": "10000000", KVM / "halt_poll_ns_grow": "1", KVM / "halt_poll_ns_grow_start": "2000000"}

# Guests of raw code have no x2APIC, which they might as well be told, and no emulated host has AVIC.
XAPIC = {"xapic", "apic-off"}

PLANTS = [
    Plant("stopped", "SIGSTOP", stopped),
    Plant("debugger", "ptrace", debugged),
    Plant("paused", "stop in QEMU's monitor", paused),
    Plant("stuck", "one of two vCPUs sleeps in the VMM", stuck, {"vmm"}),
    Plant("quota", "20 % of a CPU", quota),
    Plant(
        "same-cpu",
        "another VM is held on its CPU",
        lambda: beside(vmm("busy", before=ON), running("busy", name=BATCH, before=ON)),
    ),
    Plant("neighbour", "a hog on its CPU", lambda: beside(vmm("busy", before=ON), process([*ON, *HOG]))),
    Plant("pinned", "two vCPUs on one CPU", vmm("busy", "--vcpus", "2", before=ON)),
    Plant("blocked", "the VMM sleeps before it answers", vmm("out", "--sleep", "0.02")),
    Plant("vmm", "the VMM works for 2 ms", vmm("out", "--spin", "0.002")),
    Plant("kvm", "its memory is taken away, and given anew", vmm("dropped")),
    Plant("nesting", "its guest executes CPUID", nested, {"kvm", "cpuid", "msr"}),
    Plant("thread-busy", "an I/O thread never sleeps", vmm("mostly-halted", "--io-thread", "any")),
    Plant(
        "thread-waits",
        "an I/O thread and a hog",
        lambda: beside(vmm("mostly-halted", "--io-thread", "1"), process([*ON, *HOG])),
    ),
    Plant(
        "halt-polling",
        "polls end just before the wake-up",
        lambda: beside(vmm("short-halts"), written(POLLING)),
        XAPIC,
    ),
    Plant("spins", "jmp to itself", vmm("spins")),
    Plant("dirty-log", "as in a migration", plain("dirty", "--rounds", "1000000")),
    Plant("unstarted", "one of two vCPUs", unstarted),
    Plant("user-irqchip", "HLT goes to the VMM", vmm("halts", "--no-irqchip"), {"vmm"}),
    Plant("serial-console", "it prints all the time", booted("while :; do dmesg; done")),
    Plant("pm-timer", "clocksource=acpi_pm", booted("/program clocks", boot="clocksource=acpi_pm")),
    Plant("hpet", "clocksource=hpet", booted("/program clocks", boot="clocksource=hpet")),
    Plant("pit", "port 0x40", vmm("pit", "--pit")),
    Plant("rtc", "ports 0x70, 0x71", vmm("rtc")),
    Plant("ide", "dd from an IDE disk", ide),
    Plant("vga", "0xa0000, port 0x3c4", vmm("vga")),
    Plant("emulated-nic", "registers of an e1000", nic),
    Plant("cpuid", "by a program", booted("/program cpuid")),
    Plant("cpuid", "by the kernel", vmm("cpuid")),
    Plant("rdpmc", "RDPMC", vmm("rdpmc")),
    Plant("wbinvd", "WBINVD", vmm("wbinvd")),
    Plant("msr", "RDMSR", vmm("msr")),
    Plant("pmu", "event selects", vmm("pmu")),
    Plant("mwait", "MONITOR, MWAIT", vmm("mwait")),
    Plant("debug-registers", "reads DR7", vmm("debug-registers"), {"kvm"}),
    Plant("ticks", "nohz=off", booted("sleep 100000", boot="nohz=off")),
    Plant("high-hz", "its timer, set anew after 0.25 ms", vmm("high-hz"), {"apic-off"}),
    Plant("ipis", "each vCPU to all others", vmm("ipis", "--vcpus", "2"), {"apic-off"}),
    Plant("ipis", "mprotect beside a thread", booted("/program tlb", cpus=2), {"apic-off"}),
    Plant("xapic", "its APIC by MMIO", vmm("eois"), {"apic-off"}),
    Plant("idle-poll", "idle=poll", idle_poll),
    Plant("big-lock", "the main loop holds it 20 ms", vmm("out", "--big-lock")),
    Plant("userfault", "pages take 20 ms", plain("fault", "--fault", "0.02")),
    Plant("fuse", "pages from a FUSE file take 20 ms", plain("fault", "--fault", "0.02", "--fuse")),
    Plant("neighbour", "ksmd has its CPU", lambda: beside(vmm("busy", before=ON), ksmd(on=1))),
]
