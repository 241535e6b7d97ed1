"""collector.bpf.c in this machine's kernel without KVM: its KVM events are system calls that hardly anybody uses, the
scheduler's are real, and a Player makes them as a vCPU's thread would."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvmtop.bpf import btf, collector, privileges, probes, sched, thread_rows
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.kvm_exit import KvmExit
from kvmtop.bpf.tracepoint import Tracefs, Tracepoint
from kvmtop.model.arrays import Array
from kvmtop.model.vocabulary import OUTSIDE, STATES

from ..support.formats import parsed

# What fails at once, and nobody but a Player calls: number, tracepoint. Arguments are at 16, 24 and 32 of its record.
EXIT, ENTRY, USER, FPU = 223, 226, 244, 241
NESTED_EXIT, INJECT, NESTED_ENTRY = 224, 225, 245
_EVENTS = {
    "kvm_exit": "timer_settime",
    "kvm_entry": "timer_delete",
    "kvm_userspace_exit": "mq_notify",
    "kvm_fpu": "mq_unlink",
    "kvm_nested_vmexit": "timer_gettime",
    "kvm_nested_vmexit_inject": "timer_getoverrun",
    "kvm_nested_vmenter": "mq_getsetattr",
}
_FIELDS = {
    **{"EXIT_REASON": 16, "EXIT_ISA": 24, "EXIT_VCPU": 32},
    **{"USER_REASON": 16, "USER_ERRNO": 24, "FPU_LOAD": 16, "INJECT_REASON": 16},
}
SYSCALLS = Path("/sys/kernel/tracing/events/syscalls")
# Where kvm_exit is to be a raw tracepoint, too, setitimer(2) makes it: itimer_state(which, value, expires) is as
# kvm_exit(exit_reason, vcpu, isa) was before 5.16, the interval's seconds, at the head of `value`, the vCPU's number.
_TIMER = "itimer_state"
_TIMER_FIELDS = {"EXIT_REASON": "which", "EXIT_ISA": "expires", "EXIT_VCPU": "interval_sec"}
# notes: a halt by the task's preempt notifiers, which nobody here has; stack: nanosleep is what halts; classic: that,
# by classic tracepoints.
WAYS = ("notes", "stack", "classic")
HALT = "do_nanosleep"
needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: whoever hogs it hogs the test, too")
PLAYED: list[int] = []  # every Player's pid
_libc = ctypes.CDLL(None, use_errno=True)


class _OnSystemCalls(probes.Probes):
    """The collector's programs, those of KVM's tracepoints on system calls instead."""

    def __init__(self, source: Path, flags: Sequence[str], wanted: Sequence[Any], *rest: Any, **more: Any) -> None:
        moved = [self._moved(one) if one.category == "kvm" else one for one in wanted]
        super().__init__(source, [flag for flag in flags if flag != "-DRAW"], moved, *rest, **more)

    def _moved(self, one: Any) -> Any:
        return replace(one, category="syscalls", name=f"sys_enter_{_EVENTS[one.name]}", kind="classic")


class _OnTimers(_OnSystemCalls):
    """The same, but for kvm_exit."""

    def _moved(self, one: Any) -> Any:
        return replace(one, category="timer", name=_TIMER) if one.name == "kvm_exit" else super()._moved(one)


def _kallsyms(folder: Path) -> Path:
    """Where HALT is, as if it were kvm_vcpu_block."""
    text = Path("/proc/kallsyms").read_text().replace(" kvm_vcpu_block\n", " it\n")
    made = folder / "kallsyms"
    made.write_text(re.sub(rf" {HALT}$", " kvm_vcpu_block", text, flags=re.M))
    return made


@contextlib.contextmanager
def machine(folder: Path, way: str, raw: Sequence[str] = (), **options: Any) -> Iterator[Collector]:
    """A Collector in one of WAYS. raw: flags of the programs on raw kvm_exit, which setitimer(2) makes then.

    Skips the test where this machine cannot do it.
    """
    if os.geteuid() != 0 or not privileges.may_load_bpf():
        pytest.skip("only root loads BPF programs")
    Tracefs()  # mounts it
    if not (SYSCALLS / "sys_enter_mq_notify").exists():
        pytest.skip("this kernel has no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)")
    real, offset, block = Tracefs.format, btf.Btf.offset, sched._block
    fields = dict(_FIELDS)
    if raw:
        if not (timer := Tracefs().format("timer", _TIMER)):
            pytest.skip("this kernel does not tell of setitimer(2)")
        fields |= {flag: timer.fields[name].offset for flag, name in _TIMER_FIELDS.items()}

    def formats(self: Tracefs, category: str, name: str) -> Tracepoint | None:
        return replace(parsed("6.18", "kvm_exit"), name=name) if category == "kvm" else real(self, category, name)

    def offsets(self: btf.Btf, structure: str, path: str) -> int | None:
        if structure != "kvm_vcpu":
            return offset(self, structure, path)
        return (offset(self, structure, path) or 64) if way == "notes" else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracefs, "format", formats)
        patch.setattr(btf.Btf, "offset", offsets)
        patch.setattr(collector, "Probes", _OnTimers if raw else _OnSystemCalls)
        patch.setattr(collector, "kvm_exit", lambda record, types: KvmExit((*raw,), "" if raw else "a system call"))
        patch.setattr(collector, "_offsets", lambda formats: [f"-D{name}={at}" for name, at in fields.items()])
        if way != "notes":
            symbols = _kallsyms(folder)
            patch.setattr(sched, "_block", lambda: block(symbols))
        one = Collector(use_btf=way != "classic", **options)
    try:
        yield one
    finally:
        one.close()


@dataclass(frozen=True)
class Mark:
    """What the thread's own clocks said: all in ns."""

    now: int
    cpu: int  # on a CPU so far
    delay: int  # waited for one so far

    @classmethod
    def take(cls, schedstat: int) -> Mark:
        """Its clocks, read within 100 µs: nobody else ran meanwhile."""
        while True:
            found = cls(time.monotonic_ns(), time.thread_time_ns(), int(os.pread(schedstat, 99, 0).split()[1]))
            if time.monotonic_ns() - found.now < 100_000:
                return found


def call(number: int, *arguments: int) -> None:
    _libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))


def leave(reason: int, vcpu: int = 0, isa: int = 2) -> None:
    """kvm_exit."""
    call(EXIT, reason, isa, vcpu)


def leave_raw(reason: int, vcpu: int) -> None:
    """kvm_exit where it is a raw tracepoint, too: reason 0 to 2, a timer that is not set and would go every `vcpu` s."""
    signal.setitimer(reason, 0, vcpu)


def enter() -> None:
    """kvm_entry."""
    call(ENTRY)


def to_user(reason: int = 2, error: int = 0) -> None:
    """kvm_userspace_exit."""
    call(USER, reason, error)


def run() -> None:
    """KVM_RUN: kvm_fpu loads the guest's."""
    call(FPU, 1)


def spin(ms: float) -> None:
    """So long on a CPU."""
    end = time.thread_time_ns() + int(ms * 1e6)
    while time.thread_time_ns() < end:
        pass


def nap(ms: float) -> None:
    """Asleep in nanosleep."""
    time.sleep(ms / 1000)


def halted(way: str) -> str:
    """What a nap is in KVM: only by the stack is nanosleep a halt (HALT)."""
    return "blocked" if way == "notes" else "idle"


@contextlib.contextmanager
def hog(cpu: int, seconds: float) -> Iterator[int]:
    """A SCHED_FIFO thread that leaves a CPU to nobody else for so long, from the block's beginning on; its pid."""
    ready, started = os.pipe()
    pid = os.fork()
    if not pid:
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        os.write(started, b".")
        spin(1000 * seconds)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(started)
    try:
        yield pid
    finally:
        os.waitpid(pid, 0)


class Player:
    """A process of one thread that does something and then waits until it is told on; killed at the end."""

    def __init__(self, act: Callable[[Player], None]) -> None:
        """act runs in the child; step() in it lets the test in. What act leaves is the child's end."""
        (self._go, go), (done, self._done) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(go)
                os.close(done)
                act(self)
            finally:
                os._exit(0)
        PLAYED.append(self.pid)
        os.close(self._go)
        os.close(self._done)
        self._go, self._done = go, done
        self._over = False

    def step(self) -> None:
        """In the child: asleep in read(2) until the test goes on."""
        os.write(self._done, b".")
        os.read(self._go, 1)

    def tell(self, text: str) -> None:
        """In the child: a line for the test."""
        os.write(self._done, text.encode() + b"\n")

    def wait(self) -> str:
        """In the test: until the child is at its next step(); what it told before."""
        told = b""
        while not told.endswith(b"."):
            more = os.read(self._done, 65536)
            assert more, f"the player has ended: {told!r}"
            told += more
        asleep(self.pid)
        return told[:-1].decode()

    def go(self) -> None:
        """In the test: let the child go on."""
        os.write(self._go, b".")

    def next(self) -> str:
        """In the test: the child's next step, done."""
        self.go()
        return self.wait()

    def kill(self) -> None:
        """End it, if it has not ended."""
        if not self._over:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._go)
            os.close(self._done)
            self._over = True

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def asleep(pid: int, letters: str = "ST") -> None:
    """Wait until a thread sleeps."""
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in letters:
        assert time.monotonic() < end, "it does not fall asleep"
        time.sleep(0.002)


def row(one: Collector, pid: int) -> tuple[np.void, int]:
    """The thread's row now, dtype THREAD, and its instant; exact: nothing of it was cut off."""
    everything, instants = one._threads(int(one._maps["cpus"].read()["top_slot"].max()) + 1)
    mine = everything["id"] & ~thread_rows.ENDED == pid << 32 | pid
    assert mine.sum() == 1, f"{mine.sum()} rows"
    found = thread_rows.resolve(everything[mine], instants[mine])[0]
    end = int(found["end_ns"]) or int(instants[mine][0])
    assert int(found["states"].sum()) == end - int(found["first_ns"])  # or a state would have been below nothing
    if found["exit_ns"]:
        assert int(found["open"].sum()) == end - int(found["exit_ns"])
    return found, end


def states(found: np.void) -> dict[str, int]:
    """State → ns."""
    return dict(zip(STATES, found["states"].tolist(), strict=True))


def cells(one: Collector, pid: int, tid: int = 0) -> Array:
    """The cells of a process's thread, the first without one."""
    snapshot = one.read()
    owner = snapshot.threads["id"] == pid << 32 | (tid or pid)
    found: Array = snapshot.cells[owner[snapshot.cells["thread"]] & (snapshot.cell_ids != 0)]
    return found


def parts(rows: Array) -> dict[str, int]:
    """State of OUTSIDE → ns of all these cells."""
    found = {state: int(rows[state].sum()) for state in OUTSIDE[1:]}
    return {"kernel": int(rows["total"].sum()) - sum(found.values()), **found}
