"""The kernel's own record of what vCPU threads do: an ftrace instance, independent of BPF.

Its events stay enabled as long as the Recorder is open, since each enabling patches the kernel's code (see
tests/hosts/held.py); what is recorded is only what happens between start() and stop().
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TRACING = Path("/sys/kernel/tracing")
KVM_RUN = 0xAE80
EVENTS = (
    *(f"kvm/{name}" for name in ("kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_fpu")),
    *(f"sched/sched_{name}" for name in ("switch", "waking", "wakeup", "migrate_task", "process_exit")),
    *(f"syscalls/sys_{way}_ioctl" for way in ("enter", "exit")),
)
# What else has a CPU, where it is to be told: with these, each event has its context.
INTERRUPTS = (
    *(f"irq/{name}_{way}" for name in ("irq_handler", "softirq") for way in ("entry", "exit")),
    *(
        f"irq_vectors/{name}_{way}"
        for name in ("local_timer", "reschedule", "call_function", "call_function_single", "irq_work")
        for way in ("entry", "exit")
    ),
)
# Where the tracepoints say nothing: is a sleep that of a halted vCPU, and has a CPU's share of a quota gone?
PROBES = (
    "p:truth/block kvm_vcpu_block",
    "r100:truth/unblock kvm_vcpu_block",  # so many may sleep in it at once
    "p:truth/throttle throttle_cfs_rq queue=%di",
    "r:truth/throttled throttle_cfs_rq yes=$retval:u8",  # no: it found some time left
    "p:truth/unthrottle unthrottle_cfs_rq queue=%di",
)


class Event(NamedTuple):
    """One line of the trace."""

    ns: int  # CLOCK_MONOTONIC, to the microsecond
    cpu: int
    tid: int  # of the thread that ran
    name: str
    text: str
    context: str = ""  # "h": in an interrupt's handler, "s": in a softirq; "H": a handler in one; "" unknown or neither


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a trace file, which has them in the order of their times. Raises RuntimeError if some were lost."""
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        if "[LOST" in line[:40]:
            raise RuntimeError(f"ftrace's buffer was too small: {line.strip()}")
        # "       CPU 0/KVM-1234    [001]   123.456789: kvm_entry: vcpu 0": the command may hold anything, but is
        # padded or cut to 16 characters. With irq-info "d.h1." follows the CPU.
        tid, cpu, stamp, rest = line[17:].split(None, 3)
        context = ""
        if not stamp.endswith(":"):
            context = stamp[2].strip(".")
            stamp, rest = rest.split(None, 1)
        name, *text = rest.split(None, 1)
        if name.startswith("sys_ioctl"):  # "sys_ioctl(fd: 5, cmd: ae80, arg: 0)", and "sys_ioctl -> 0x0"
            name = "sys_enter_ioctl:" if "(" in name else "sys_exit_ioctl:"
        ns = int(stamp[:-1].replace(".", "")) * 1000
        yield Event(ns, int(cpu[1:-1]), int(tid), name[:-1], text[0].rstrip() if text else "", context)


class Recorder:
    """Records from start() to stop(), any number of times."""

    def __init__(
        self,
        name: str = "truth",
        kilobytes: int = 49152,
        interrupts: bool = False,
        instead: Mapping[str, str] | None = None,
    ) -> None:
        """kilobytes: of the buffer, for each CPU; interrupts: also INTERRUPTS, and each event's context; instead: other
        events, with their filters."""
        self._at = TRACING / "instances" / name
        self._undo = contextlib.ExitStack()
        if instead is None:
            for probe in PROBES:
                self._append("kprobe_events", probe)
            self._undo.callback(self._forget_probes)
            events = dict.fromkeys((*EVENTS, "truth", *(INTERRUPTS if interrupts else ())), "")
            instead = events | {"syscalls/sys_enter_ioctl": f"cmd == {KVM_RUN}"}
        self._at.mkdir()
        self._undo.callback(self._at.rmdir)
        self._write("tracing_on", "0")
        self._write("trace_clock", "mono")
        self._write("buffer_size_kb", str(kilobytes))
        self._write("options/irq-info", str(int(interrupts)))
        for event, which in instead.items():
            if which:
                self._write(f"events/{event}/filter", which)
            self._write(f"events/{event}/enable", "1")
            self._undo.callback(self._write, f"events/{event}/enable", "0")

    def start(self) -> None:
        """From here on."""
        self._write("trace", "")
        self._write("tracing_on", "1")

    def pause(self) -> None:
        """Up to here; stop() then has what was recorded."""
        self._write("tracing_on", "0")

    def stop(self) -> list[Event]:
        """All since start(). Raises RuntimeError if some were lost."""
        self._write("tracing_on", "0")
        for stats in self._at.glob("per_cpu/cpu*/stats"):
            lost = dict(line.split(": ", 1) for line in stats.read_text().splitlines())
            if int(lost["overrun"]) or int(lost["dropped events"]):
                raise RuntimeError(f"ftrace's buffer was too small: {stats}: {lost}")
        with (self._at / "trace").open(errors="replace") as lines:
            return list(parse(lines))

    def close(self) -> None:
        """Take it all away."""
        self._undo.close()

    def _write(self, name: str, text: str) -> None:
        (self._at / name).write_text(text)

    def _append(self, name: str, text: str) -> None:
        fd = os.open(TRACING / name, os.O_WRONLY | os.O_APPEND)  # open(name, "a") would seek, which it cannot
        try:
            os.write(fd, text.encode() + b"\n")
        finally:
            os.close(fd)

    def _forget_probes(self) -> None:
        for probe in PROBES:
            self._append("kprobe_events", "-:" + probe.split()[0].partition(":")[2])


def asleep(tids: Iterable[int]) -> list[Event]:
    """What vCPU threads sleep in now, as an event "asleep" each: of one that does not wake, the trace tells nothing.

    Its text is "halted" or "otherwise". Those that run, or have ended, have none.
    """
    found = []
    for tid in tids:
        proc = Path("/proc") / str(tid)
        for _ in range(20):  # it may have been woken for a moment
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stack = (proc / "stack").read_text()
                state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
                if state in "SDTt":
                    how = "halted" if "kvm_vcpu_block" in stack and state == "S" else "otherwise"
                    found.append(Event(time.monotonic_ns(), -1, tid, "asleep", how))
                    break
            time.sleep(0.02)
    return found
