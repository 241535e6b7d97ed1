"""Every single exit of a moment, and in what other states vCPUs' threads were meanwhile. Times: ns, CLOCK_MONOTONIC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Array
from .vocabulary import STATES

RAN = len(STATES)  # a span's state where it is a CPU's: a task had it
NO_REASON = 0xFFFFFFFF  # of an exit: out of the guest without an exit that was seen
NOBODY, A_TASK, AN_INTERRUPT = range(3)  # that woke a thread; NOBODY: not known

# Structures of bpf/timeline.bpf.c, byte for byte.
EXIT = np.dtype(
    [
        ("number", "u8"),  # of its ring, from 1
        ("guest_ns", "u8"),  # since when the thread was in the guest before; 0: not known
        ("begin_ns", "u8"),  # 0: before somebody looked
        ("end_ns", "u8"),
        ("idle_ns", "u8"),  # of it
        ("id", "u8"),  # tgid and tid, packed
        ("rip", "u8"),  # guest's, when it left; 0: not known
        ("value", "u8"),  # what it touched first, as in TOUCH; kind 0: nothing known
        *((name, "u4") for name in ("kind", "extra", "reason", "isa", "vcpu", "cpu")),
    ]
)
SPAN = np.dtype(
    [
        ("number", "u8"),
        ("begin_ns", "u8"),
        ("end_ns", "u8"),
        ("id", "u8"),  # tgid and tid, packed
        ("withheld", "u8"),  # of a wait, by its group's quota
        ("waker", "u8"),  # of a wait after a sleep, a task's tgid and tid; 0: the idle one
        ("comm", "S16"),  # the waker's; of RAN its own
        ("state", "u2"),  # of STATES, from "user" on; or RAN
        ("by", "u2"),
        ("cpu", "u4"),
    ]
)
OPEN = np.dtype(
    [
        ("id", "u8"),
        ("first_ns", "u8"),  # its first event since somebody looks
        ("begin_ns", "u8"),  # of the exit; 0: in the guest, or since before somebody looked
        *((name, "u8") for name in ("guest_ns", "since_ns", "woken_ns", "withheld", "waker")),
        ("comm", "S16"),
        *((name, "u8") for name in ("rip", "value")),
        *((name, "u4") for name in ("kind", "extra", "state", "by", "unseen", "reason", "isa", "pad")),
    ]
)


@dataclass(frozen=True)
class Stretch:
    """What one VM's vCPUs did from start_ns to stop_ns. Nobody changes the arrays.

    exits, spans: dtypes EXIT and SPAN, of its threads; and who ran (RAN) on the CPUs that those had. They may begin
    before and end after. A record whose number is 0 had not ended when it was taken, or nobody saw how it began.
    """

    pid: int
    start_ns: int
    stop_ns: int
    exits: Array
    spans: Array
    slow: tuple[int, int, int] | None = None  # what it is around of: thread, begin, end; None: the last moments
    lost: int = 0  # records of any VM that were overwritten in it before they were read


@dataclass(frozen=True)
class Timeline:
    """What is kept of single exits while somebody looks."""

    since_ns: int  # when this look began: of what was before, nothing is known
    pid: int  # whose last moments are told; 0: nobody's
    slow_ns: int  # an exit that lasts so long has its surroundings kept
    recent: Stretch | None = None
    around: tuple[Stretch, ...] = ()  # slow exits, by their beginning
    lost: int = 0  # since then
