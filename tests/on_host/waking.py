"""The kernel's own count of who wakes whom, by a histogram trigger: independent of BPF."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from .culprits_truth import Story

EVENT = Path("/sys/kernel/tracing/events/sched/sched_waking")
# of common_flags, include/linux/trace_events.h
HARD, SOFT = 0x48, 0x10
_LINE = re.compile(r"pid:\s+(\d+), common_pid:\s+(\d+), common_flags:\s+(\d+) } hitcount:\s+(\d+)")

# The woken one's tid; in what its waker was, and of a task its tid, else 0. Which interrupt it was the trigger cannot tell.
Waking = tuple[int, str, int]


@contextlib.contextmanager
def counting(tids: Collection[int]) -> Iterator[Counter[Waking]]:
    """Counts while the block runs, of these threads; the figures are there after it."""
    found: Counter[Waking] = Counter()
    which = " || ".join(f"pid == {tid}" for tid in tids)
    trigger = f"hist:keys=pid,common_pid,common_flags if {which}"
    (EVENT / "trigger").write_text(trigger)
    try:
        yield found
        text = (EVENT / "hist").read_text()
        assert re.search(r"Dropped: 0\b", text), text
        for match in _LINE.finditer(text):
            tid, waker, flags, count = map(int, match.groups())
            soft = flags & SOFT and not _comm(waker).startswith("ksoftirqd/")  # for which it is its task's work
            word = "interrupt" if flags & HARD else "softirq" if soft else "task" if waker else "idle"
            found[tid, word, waker if word == "task" else 0] += count
    finally:
        (EVENT / "trigger").write_text(f"!{trigger}")


def _comm(tid: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{tid}/comm").read_text()
    return ""


def of_stories(stories: dict[int, Story]) -> Counter[Waking]:
    """The same by the replay."""
    found: Counter[Waking] = Counter()
    for tid, story in stories.items():
        for wake in story.wakes:
            word, number = wake.actor
            word = "interrupt" if word in ("timer", "other") else word
            found[tid, word, number if word == "task" else 0] += 1
    return found
