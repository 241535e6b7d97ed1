from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from kvmtop.host.unstarted import AGE, Unstarted

from ..support.fake import SECOND, Host
from ..support.proc import Proc

WAITS = "kvm_vcpu_block kvm_arch_vcpu_ioctl_run kvm_vcpu_ioctl"
HALTED = "kvm_vcpu_block kvm_vcpu_halt kvm_arch_vcpu_ioctl_run kvm_vcpu_ioctl"


@pytest.fixture
def host(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Four vCPUs asleep since counting began: two wait to be started, one is halted, one was started and halts."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="6.1.0-1-amd64"))
    monkeypatch.setattr(time, "clock_gettime", lambda _: 1000.0)
    proc.add(100, vcpus=4)
    host = Host()
    host.add(100, "shop", 4)
    for tid, stack in ((101, WAITS), (102, WAITS), (103, HALTED), (104, WAITS)):
        proc.thread(100, tid, "16 0x3 0xae80", stack)
        started(proc, tid, 500)
        host.turn(tid, "idle")
    host.leave(104, 0x78)
    return host


def started(proc: Proc, tid: int, seconds: float) -> None:
    """When its thread was, after the host."""
    ticks = int(seconds * os.sysconf("SC_CLK_TCK"))
    (proc.path / f"{tid}/stat").write_text(f"{tid} (CPU) S {' '.join(['1'] * 18)} {ticks} {' '.join(['0'] * 30)}\n")


def after(host: Host, one: Unstarted, seconds: float) -> dict[int, tuple[int, ...]]:
    host.now += int(seconds * SECOND)
    return one.update(host.read())


def test_who_waits_for_a_sipi(host: Host) -> None:
    one = Unstarted()
    assert after(host, one, 1) == {}
    assert after(host, one, 3) == {100: (0, 1)}
    host.turn(102, "guest")
    assert after(host, one, 1) == {100: (0,)}


def test_one_that_wakes_now_and_then(host: Host) -> None:
    """And that goes on to wait."""
    one = Unstarted()
    for _ in range(4):
        after(host, one, 0.9)
        host.turn(102, "kernel")
        host.now += SECOND // 1000
        host.turn(102, "idle")
    assert after(host, one, 0.01) == {100: (0, 1)}


def test_a_stack_is_read_once_a_sleep(host: Host, proc: Proc) -> None:
    one = Unstarted()
    assert after(host, one, 4) == {100: (0, 1)}
    proc.thread(100, 101, "16 0x3 0xae80", HALTED)
    assert after(host, one, 1) == {100: (0, 1)}


def test_one_that_may_still_boot(host: Host, proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    for tid in (101, 102):
        started(proc, tid, 999)
    one = Unstarted()
    assert after(host, one, 4) == {}
    monkeypatch.setattr(time, "clock_gettime", lambda _: 999.1 + AGE)
    assert after(host, one, 1) == {100: (0, 1)}


def test_before_5_17_both_sleep_in_one_function(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="5.14.0-503.el9.x86_64"))
    assert after(host, Unstarted(), 4) == {}


def test_without_the_right_to_read_a_stack(host: Host, proc: Proc) -> None:
    for tid in (101, 102):
        (proc.path / f"{tid}/stack").unlink()
    assert after(host, Unstarted(), 4) == {}
