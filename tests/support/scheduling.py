"""What the scheduler did, made up: a host where db02 waits behind web01, and what insight would say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from kvmtop.insight import scheduling
from kvmtop.insight.scheduling import Actor, Culprit, HoldUp, Latency, Waker
from kvmtop.model.histogram import BUCKETS
from kvmtop.model.interval import Interval
from kvmtop.model.scheduling import CHARGE, LATENCY, Scheduling
from kvmtop.model.scope import Scope

from .fake import Host

MS = 1_000_000
WEB = Actor("vcpu", "vCPU 0 of web01", 4000, 4001)
SOFTIRQ = Actor("kernel thread", "ksoftirqd/3", 37, 37)
TAR = Actor("process", "tar (backup.service)", 812, 812, "/system.slice/backup.service")
CULPRITS = [
    Culprit(WEB, 520 * MS, 520 / 760, 130),
    Culprit(SOFTIRQ, 110 * MS, 110 / 760, 55),
    Culprit(TAR, 100 * MS, 100 / 760, 40),
    Culprit(Actor("process", "sshd (ssh.service)", 633, 640, "/system.slice/ssh.service"), 20 * MS, 20 / 760, 9),
    Culprit(Actor("interrupt", "interrupt 24"), 10 * MS, 10 / 760, 900),
]
WAKERS = [
    Waker(Actor("timer", "timer interrupt"), 600, 600.0),
    Waker(Actor("vcpu", "vCPU 0 of db02", 4100, 4101), 210, 210.0),
    Waker(Actor("vm thread", "vhost-4100 of db02", 4100, 4190), 30, 30.0),
]
HIST = [0] * BUCKETS
for _bucket, _count in {28: 12, 29: 90, 30: 240, 31: 260, 32: 130, 33: 60, 36: 20, 44: 12, 60: 10, 66: 6}.items():
    HIST[_bucket] = _count
LATENCY_OF_IT = Latency(840, 3_900.0, 1_150_000.0, 4_100_000, tuple(HIST))
HOLDUPS = [
    HoldUp(
        "futex: a lock of the VMM",
        ("futex_wait_queue", "futex_wait", "do_futex", "__x64_sys_futex", "do_syscall_64", "entry_SYSCALL_64"),
        Actor("vm thread", "main thread of db02", 4100, 4100),
        50,
        250 * MS,
        7 * MS,
    ),
    HoldUp("read of /dev/vda", ("io_schedule", "folio_wait_bit"), None, 1, 40 * MS, 40 * MS),
]


def two_vms() -> Host:
    """web01 and db02 with two vCPUs each; db02's vCPU 1 is made to wait by wait()."""
    host = Host()
    host.add(4000, "web01", 2)
    host.add(4100, "db02", 2)
    return host


def wait(host: Host) -> None:
    """In a second vCPU 1 of db02 waits 760 ms, and is blocked for 100 ms."""
    states = host.vcpus[4102].states
    states["wait"] += 760 * MS
    states["blocked"] += 100 * MS
    states["guest"] += 140 * MS


def looked_at(host: Host, pid: int = 4100, memory: Mapping[int, Mapping[int, int]] | None = None) -> None:
    """From the next reading on, somebody has looked for long."""
    host.scheduling = Scheduling(
        host.start,
        pid,
        np.zeros(0, CHARGE),
        np.zeros(0, "u8"),
        np.zeros(0, LATENCY),
        np.zeros(4, "u8"),
        memory=memory or {},
    )


def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let insight say what is above of vCPU 1 of db02, and that nothing happened of all others."""

    def mine(scope: Scope) -> bool:
        return scope.thread == 4102 or (scope.thread is None and scope.pid in (None, 4100))

    def told(interval: Interval) -> bool:
        return interval.after.scheduling is not None

    none = Latency(0, None, None, None, tuple([0] * BUCKETS))
    for name, found, nothing in (
        ("culprits", CULPRITS, []),
        ("wakers", WAKERS, []),
        ("latency", LATENCY_OF_IT, none),
        ("holdups", HOLDUPS, []),
    ):

        def say(interval: Interval, scope: Scope, found: object = found, nothing: object = nothing) -> object:
            return None if not told(interval) else found if mine(scope) else nothing

        monkeypatch.setattr(scheduling, name, say)
    monkeypatch.setattr(
        scheduling,
        "placement_words",
        lambda interval, scope: (
            {
                tid: f"may run on CPUs 0-3; on CPU {tid % 4} (node 0), whose sibling CPU {tid % 4 ^ 1} runs vCPU 0 of web01"
                for tid in (4001, 4002, 4101, 4102)
            }
            if told(interval)
            else {}
        ),
    )


def hostile(actor: Actor) -> Actor:
    """The same with a name that no clean() has seen the end of: wide, long, with markup."""
    return replace(actor, text="[bold red]名前" + "x" * 200, cgroup="/[link]" + "y" * 300)
