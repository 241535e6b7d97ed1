"""Every single exit of a moment, and in what other states vCPUs' threads were meanwhile. Times: ns, CLOCK_MONOTONIC."""

from __future__ import annotations

import numpy as np

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
