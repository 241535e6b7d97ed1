"""What it adds to each exit when details are looked at, so that whoever asks for them all the time knows."""

from __future__ import annotations

from collections.abc import Collection

from .arguments import SCHEDULER

# Instructions for an exit by docs/cost.md on Linux 6.1: without details, with any, and with those that cost more.
COUNTING, LOOKING = 637, 1_971
MORE = {"rip": 2_426, "cpuid": 2_776}


def of(kinds: Collection[str], slow_ns: int | None) -> str | None:
    """A sentence; None where nothing is looked at."""
    kinds = set(kinds)
    told = []
    if kinds - {SCHEDULER} or slow_ns:
        most = max(MORE.get(kind, LOOKING) for kind in kinds | {""})
        told.append(f"adds some {most:,} instructions to each exit, instead of {COUNTING} without")
    if SCHEDULER in kinds:
        told.append("adds some 450 instructions to each switch of any thread on this host")
    return f"what is looked at all the time {' and '.join(told)} (docs/cost.md)" if told else None
