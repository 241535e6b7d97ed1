"""Guests that must share their CPU, or wait for somebody, and with whom or for whom is known."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .culprits_truth import Actor
from .scenarios import HOG, ON_CPU, Running, alone, process, quota, vm

# It sends to itself; what the kernel does with its datagrams, of which it makes 40 at a time, is a softirq's work.
FLOOD = """
import socket
to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to.bind(("127.0.0.1", 0))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
while True:
    s.sendto(bytes(40_000), to.getsockname())
"""
NET_RX = 3
MOSTLY = 0.8
# Threads that hand each other eight things all around, and do nothing else.
RING = """
import queue, threading
threading.stack_size(65536)
queues = [queue.SimpleQueue() for _ in range(1000)]
def run(mine, next):
    while True:
        next.put(mine.get())
for pair in zip(queues, queues[1:] + queues[:1]):
    threading.Thread(target=run, args=pair, daemon=True).start()
print("ready", flush=True)
for first in queues[::125]:
    first.put(None)
threading.Event().wait()
"""
KSM = Path("/sys/kernel/mm/ksm")
# 32 MB that ksmd reads over and over, since no two pages of it are the same.
MERGEABLE = """
import mmap, time
memory = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_MERGEABLE)
for at in range(0, 32 << 20, 4096):
    memory[at:at + 8] = at.to_bytes(8, "little")
print("ready", flush=True)
time.sleep(1000)
"""


@dataclass
class Contested(Running):
    """named: by a vCPU's thread, whom it waits behind for at least MOSTLY of all that it waits, together."""

    named: Callable[[], Mapping[int, set[Actor]]] = dict


Begin = Callable[[], contextlib.AbstractContextManager[Running]]


@dataclass(frozen=True)
class Contest:
    """One reason to wait."""

    name: str
    begin: Begin
    long: bool = True
    allowed: str | None = None  # CPUs that its vCPUs may run on; None: all


def hogged(*how: str, on: list[str] = ON_CPU) -> Begin:
    """A busy VM, and a hog on its CPU."""

    @contextlib.contextmanager
    def begin() -> Iterator[Running]:
        with vm("busy", before=on) as guest, process([*on, *how, *HOG]) as hog:
            yield Contested(guest.tids, named=lambda: {tid: {("task", hog.pid)} for tid in guest.tids() if on})

    return begin


@contextlib.contextmanager
def two() -> Iterator[Running]:
    """VMs on one CPU."""
    with vm("busy", before=ON_CPU) as one, vm("busy", before=ON_CPU) as other:

        def named() -> dict[int, set[Actor]]:
            (a,), (b,) = one.tids(), other.tids()
            return {a: {("task", b)}, b: {("task", a)}}

        yield Contested(lambda: one.tids() | other.tids(), named=named)


def kernel_thread(name: str) -> int:
    """Its pid."""
    return next(int(p.parent.name) for p in Path("/proc").glob("[0-9]*/comm") if p.read_text() == f"{name}\n")


@contextlib.contextmanager
def ksmd() -> Iterator[Running]:
    """A kernel thread that is at work all the time: the one that looks for memory pages which are the same."""
    pid = kernel_thread("ksmd")
    settings = {"pages_to_scan": "100000", "sleep_millisecs": "0", "smart_scan": "0", "run": "1"}
    before = {name: (KSM / name).read_text() for name in settings if (KSM / name).exists()}
    cpus, nice = os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid)
    with vm("busy", before=ON_CPU) as guest, process([sys.executable, "-c", MERGEABLE], says="ready"):
        try:
            os.sched_setaffinity(pid, {1})
            os.setpriority(os.PRIO_PROCESS, pid, 0)
            for name in before:
                (KSM / name).write_text(settings[name])
            yield Contested(guest.tids, named=lambda: {tid: {("task", pid)} for tid in guest.tids()})
        finally:
            for name, text in before.items():
                (KSM / name).write_text(text)
            os.setpriority(os.PRIO_PROCESS, pid, nice)
            os.sched_setaffinity(pid, cpus)


@contextlib.contextmanager
def flooded() -> Iterator[Running]:
    """A load that is a softirq's in part, in the sender or, when it is too much, in ksoftirqd."""
    with vm("busy", before=ON_CPU) as guest, process([*ON_CPU, sys.executable, "-c", FLOOD]) as sender:
        they: set[Actor] = {("softirq", NET_RX), ("task", kernel_thread("ksoftirqd/1")), ("task", sender.pid)}
        yield Contested(guest.tids, named=lambda: dict.fromkeys(guest.tids(), they))


@contextlib.contextmanager
def ring() -> Iterator[Running]:
    """1,000 threads that switch all the time."""
    with vm("busy", before=ON_CPU) as guest, process([*ON_CPU, sys.executable, "-c", RING], says="ready"):
        yield Running(guest.tids)


CONTESTS = [
    Contest("hog, nice 0", hogged(), long=False, allowed="1"),
    Contest("hog, nice -5", hogged("nice", "-n", "-5"), allowed="1"),
    Contest("hog, FIFO", hogged("chrt", "-f", "1"), allowed="1"),
    Contest("two VMs", two, long=False, allowed="1"),
    Contest("hog, not pinned", hogged(on=[])),
    Contest("three vCPUs on two CPUs", alone("busy", "--vcpus", "3")),
    Contest("a kernel thread", ksmd, long=False, allowed="1"),
    Contest("a softirq", flooded, long=False, allowed="1"),
    Contest("1,000 threads", ring, allowed="1"),
    Contest("cpu.max 50 %, hog", quota(50, "busy", hog=True), allowed="0"),
]
