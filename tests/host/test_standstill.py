"""VMs that stand still: 4000 with two vCPUs, 4001 and 4002, as the events have them and as /proc has them."""

from __future__ import annotations

import pytest

from kvmtop.host import processes
from kvmtop.host.standstill import CLOSED, EVERY, PAUSED, STOPPED, TRACED, Standstill
from kvmtop.model.vocabulary import SVM, VMX

from ..support.fake import SECOND, Host
from ..support.proc import Proc

INTERRUPT, HLT, IO, NPF = 0x60, 0x78, 0x7B, 0x400
RUN, FUTEX, POLL = "16 0x3 0xae80 0x0", "202 0x7f 0x80", "7 0x7f 0x4"


class Vm:
    """Both sides of it."""

    def __init__(self, proc: Proc) -> None:
        self.proc, self.host, self.standstill = proc, Host(), Standstill()
        self.host.add(4000, "web01", 2)
        proc.add(4000, vcpus=2)
        proc.thread(4000, 4000, POLL)
        self.both("guest")
        self.threads("running")

    def both(self, state: str) -> None:
        for tid in (4001, 4002):
            self.host.turn(tid, state)

    def leave(self, *reasons: int, state: str = "kernel") -> None:
        for tid, reason in zip((4001, 4002), reasons, strict=True):
            self.host.leave(tid, reason, state)

    def threads(self, call: str, state: str = "S") -> None:
        for tid in (4001, 4002):
            self.proc.thread(4000, tid, call, state=state)

    def pause(self, *reasons: int) -> None:
        """Between two readings the VMM takes its vCPUs out of KVM_RUN; or it holds them up otherwise."""
        self.host.now += SECOND // 10
        self.leave(*(reasons or (INTERRUPT, INTERRUPT)))
        self.both("blocked")
        self.threads(FUTEX)

    def read(self, seconds: float = 1) -> str:
        self.host.now += int(seconds * SECOND)
        return self.standstill.update(self.host.read(), [4000]).get(4000, "")


@pytest.fixture
def vm(proc: Proc) -> Vm:
    vm = Vm(proc)
    assert vm.read() == ""
    return vm


def test_one_that_runs_or_is_halted(vm: Vm) -> None:
    assert [vm.read() for _ in range(5)] == [""] * 5
    vm.leave(HLT, HLT, state="idle")
    vm.threads(RUN)
    assert [vm.read() for _ in range(5)] == [""] * 5


def test_nobody_asks_proc_of_vms_that_run_or_are_halted(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("threads", "system_call", "is_stopped", "vcpu_file", "vcpu_number"):
        monkeypatch.setattr(processes, name, lambda *_: pytest.fail("asked"))
    vm.read(), vm.read()
    for _ in range(3):
        vm.host.now += SECOND // 10
        vm.leave(IO, IO, state="user")
        vm.read()
        vm.both("guest")
    vm.leave(HLT, HLT, state="idle")
    assert [vm.read() for _ in range(5)] == [""] * 5


def test_paused(vm: Vm) -> None:
    vm.pause()
    assert [vm.read(), vm.read(), vm.read()] == ["", PAUSED, PAUSED]  # only after an interval without an exit
    vm.leave(INTERRUPT, INTERRUPT)
    vm.both("guest")
    vm.threads("running")
    assert vm.read() == ""


def test_paused_for_a_moment(vm: Vm) -> None:
    for _ in range(3):
        vm.pause()
        found = [vm.read(0.1) for _ in range(8)]
        vm.both("guest")
        assert [*found, vm.read()] == [""] * 9


def test_paused_and_woken_by_a_monitor(vm: Vm) -> None:
    vm.pause()
    vm.read(), vm.read()
    vm.host.turn(4001, "user")
    vm.proc.thread(4000, 4001, "running")
    assert vm.read() == PAUSED
    vm.host.turn(4001, "blocked")
    vm.proc.thread(4000, 4001, FUTEX)
    assert vm.read() == PAUSED
    vm.both("user")  # and back in KVM_RUN, halted as before: no exit tells
    vm.threads(RUN)
    vm.both("idle")
    assert vm.read() == ""


def test_paused_out_of_a_halt(vm: Vm) -> None:
    vm.leave(HLT, HLT, state="idle")
    vm.threads(RUN)
    vm.read()
    vm.both("blocked")
    vm.threads(FUTEX)
    assert vm.read() == PAUSED


def test_halted_by_the_vmm_itself_is_not_paused(vm: Vm) -> None:
    """kernel-irqchip=off."""
    vm.pause(HLT, HLT)
    assert [vm.read() for _ in range(6)] == [""] * 6


@pytest.mark.parametrize("reason", [IO, NPF, 0x7C])
def test_a_device_that_takes_its_time_is_not_a_pause(vm: Vm, reason: int) -> None:
    vm.pause(reason, reason)
    assert [vm.read() for _ in range(6)] == [""] * 6
    vm.host.enter(4002)
    vm.host.leave(4002, INTERRUPT, "blocked")  # but that no vCPU may go on is one
    assert vm.read() == PAUSED


def test_a_device_on_intel(proc: Proc) -> None:
    vm = Vm(proc)
    vm.host.isa = VMX
    vm.read()
    vm.pause(30, 1 << 31 | 49)
    assert [vm.read() for _ in range(3)] == [""] * 3
    assert vm.host.isa != SVM


def test_blocked_in_kvm_run_is_not_paused(vm: Vm) -> None:
    """A page fault that userfaultfd answers."""
    vm.pause()
    vm.proc.thread(4000, 4002, RUN)
    assert [vm.read() for _ in range(6)] == [""] * 6


def test_what_proc_does_not_tell_is_not_a_pause(vm: Vm) -> None:
    vm.pause()
    (vm.proc.path / "4002/syscall").unlink()
    assert [vm.read() for _ in range(6)] == [""] * 6


def test_paused_since_before_the_start(proc: Proc) -> None:
    vm = Vm(proc)
    vm.host.vcpus.clear()
    vm.threads(FUTEX)
    assert [vm.read(), vm.read(), vm.read()] == [""] * 3  # it may just be starting
    assert vm.read(EVERY / SECOND) == PAUSED
    vm.proc.thread(4000, 4001, "running")  # in the guest, for ever: no event tells
    assert vm.read(EVERY / SECOND) == PAUSED
    vm.proc.thread(4000, 4001, RUN)
    assert vm.read(EVERY / SECOND) == ""
    vm.proc.thread(4000, 4001, "running")
    assert vm.read(EVERY / SECOND) == ""


def test_stopped(vm: Vm) -> None:
    vm.leave(INTERRUPT, INTERRUPT, state="blocked")
    vm.threads(RUN, "T")
    vm.read()
    assert vm.read() == ""  # its first thread is not
    vm.proc.thread(4000, 4000, POLL, state="T")
    assert vm.read(EVERY / SECOND) == STOPPED
    assert vm.read() == STOPPED
    vm.proc.thread(4000, 4000, POLL, state="t")  # gdb has come
    assert vm.read(EVERY / SECOND) == TRACED
    vm.both("guest")
    assert vm.read() == ""


def test_stopped_while_paused(vm: Vm) -> None:
    vm.pause()
    assert [vm.read(), vm.read()] == ["", PAUSED]
    vm.both("wait")
    vm.both("blocked")
    vm.threads(FUTEX, "T")
    vm.proc.thread(4000, 4000, POLL, state="T")
    vm.read()
    assert vm.read() == STOPPED
    vm.threads(FUTEX, "S")
    vm.proc.thread(4000, 4000, POLL)
    assert vm.read(EVERY / SECOND) == PAUSED


@pytest.mark.parametrize("state", ["user", "blocked", ""])
def test_closed(vm: Vm, state: str) -> None:
    """What its threads do meanwhile, or that they have ended, does not matter."""
    vm.leave(IO, IO)
    vm.both(state or "guest")
    if not state:
        vm.host.end(4000)
    for fd in (3, 4):
        assert vm.read(EVERY / SECOND) == ""
        (vm.proc.path / f"4000/fd/{fd}").unlink()
    assert vm.read(EVERY / SECOND) == CLOSED


def test_closed_is_not_said_of_what_may_not_be_seen(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    vm.leave(IO, IO, state="blocked")
    for file in (vm.proc.path / "4000/fd").iterdir():
        file.unlink()
    monkeypatch.setattr(processes, "may_see", lambda pid: False)
    assert [vm.read(), vm.read()] == ["", ""]
    monkeypatch.undo()


def test_proc_is_asked_seldom(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    threads = processes.threads
    monkeypatch.setattr(processes, "threads", lambda pid: asked.append(pid) or threads(pid))  # type: ignore[func-returns-value]
    vm.pause()
    for _ in range(2 * EVERY // SECOND * 10):
        vm.read(0.1)
    assert 2 <= len(asked) <= 3
