from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvmtop import bounded
from kvmtop.host.sleepers import sleepers
from kvmtop.model.vocabulary import Sleeper

from ..support.proc import Proc

HALTED = "kvm_vcpu_block kvm_arch_vcpu_ioctl_run kvm_vcpu_ioctl"
FAULT = "handle_userfault do_anonymous_page kvm_vcpu_ioctl"


def kvm_run(fd: int) -> str:
    return f"16 0x{fd:x} 0xae80 0x0 0x0 0x0 0x0 0x7f 0x7f"


def test_who_sleeps_in_kvm_run(proc: Proc) -> None:
    proc.add(7, vcpus=20)
    proc.thread(7, 7, "7 0x1 0x2", "do_poll")
    proc.thread(7, 8, kvm_run(3), HALTED)
    proc.thread(7, 9, kvm_run(20), f"kvm_vcpu_block_old {FAULT}")  # vCPU 17; its descriptor is written in hexadecimal
    proc.thread(7, 10, "running")
    proc.thread(7, 11, "202 0x5 0xae80", "futex_wait")
    proc.thread(7, 12, kvm_run(1), HALTED)  # no vCPU's descriptor
    proc.thread(7, 13, kvm_run(99), HALTED)
    (proc.path / "7/fd/98").symlink_to("anon_inode:kvm-vcpu")  # which one, is not known
    proc.thread(7, 14, kvm_run(98), HALTED)
    proc.add(50, vcpus=1)
    proc.thread(50, 50, kvm_run(3), "kvm_vcpu_halt")
    assert list(sleepers([7, 50, 99])) == [Sleeper(7, 8, 0, True), Sleeper(7, 9, 17, False), Sleeper(50, 50, 0, True)]


@pytest.mark.parametrize(
    ("stack", "wchan", "halted"),
    [
        (None, "kvm_vcpu_block", True),
        ("", "kvm_vcpu_block", True),
        (FAULT, "kvm_vcpu_block", False),  # the stack knows better
        (None, "handle_userfault", False),
        (None, "0", None),
        (None, None, None),
    ],
)
def test_without_a_stack(proc: Proc, stack: str | None, wchan: str | None, halted: bool | None) -> None:
    proc.add(7, vcpus=1)
    proc.thread(7, 7, kvm_run(3), stack)
    if wchan is not None:
        (proc.path / "7/wchan").write_text(wchan)
    assert [one.halted for one in sleepers([7])] == ([] if halted is None else [halted])


def test_one_that_slept_anew_meanwhile(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(7, vcpus=1)
    proc.thread(7, 7, kvm_run(3), HALTED)
    short = bounded.short

    def reading(name: str) -> bytes:
        found, path = short(name), Path(name)
        if path.name == "stack":
            status = path.with_name("status")
            status.write_text(status.read_text().replace("ctxt_switches:\t7", "ctxt_switches:\t8"))
        return found

    monkeypatch.setattr(bounded, "short", reading)
    assert list(sleepers([7])) == []


@pytest.mark.parametrize("last", ["status", "stack", "syscall"])
def test_one_that_vanishes_meanwhile(last: str, proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(7, vcpus=1)
    proc.thread(7, 7, kvm_run(3), HALTED)
    short = bounded.short

    def reading(name: str) -> bytes:
        found, path = short(name), Path(name)
        if path.name == last and path.exists():
            proc.remove(7)
        return found

    monkeypatch.setattr(bounded, "short", reading)
    assert list(sleepers([7])) == []


def test_a_real_process_that_sleeps_in_something_else() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert list(sleepers([process.pid, os.getpid()])) == []
        process.kill()
