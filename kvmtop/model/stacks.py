"""Where in the kernel exits spent their time, while somebody looked: the stacks of vCPUs' threads."""

from __future__ import annotations

from typing import NamedTuple

FREQUENCY = 99  # samples a second on each CPU that is not idle: not in step with timers of 100 or 1,000 Hz


class Stack(NamedTuple):
    """What a thread of a vCPU did or slept in, while an exit was open.

    state: idle, blocked or wait, off the CPU (of a wait, frames are not known: it was preempted); kernel (KVM_RUN) or
    user (the VMM), on it. frames: kernel functions, "name [module]", the innermost first; none: user space's own
    code, or not known.
    """

    thread: int  # tgid and tid, packed
    isa: int
    code: int
    state: str
    frames: tuple[str, ...]


class Off(NamedTuple):
    """Times that a thread was off the CPU, to the ns: how often it came back, for how long, how much of that it was
    ready to run or throttled, and the longest. One that has not come back is in ns."""

    times: int
    ns: int
    waited: int
    longest: int
