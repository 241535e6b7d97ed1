"""A vCPU's states for people: a character and a sentence for each, and bars of where time goes."""

from __future__ import annotations

from collections.abc import Mapping

from .. import units

# The character alone tells the state, so that nothing is lost without colour. In the order of STATES.
GLYPHS = {
    "guest": "█",
    "kernel": "▓",
    "user": "▒",
    "idle": "░",
    "blocked": "▞",
    "wait": "╳",
    "throttled": "╱",
}
MEANINGS = {
    "guest": "on a CPU, running guest code",
    "kernel": "on a CPU, in KVM or the host's kernel: it handles an exit, or polls for the end of a halt",
    "user": "on a CPU, in the VMM (QEMU …)",
    "idle": "halted: the guest has nothing to do",
    "blocked": "asleep for anything else: the VMM's locks and files, a page of memory, a signal that stopped it",
    "wait": "ready to run, but not running",
    "throttled": "ready to run, but its cgroup has used up its CPU quota",
}
UNKNOWN = ""  # stands for the state of time that nothing is known of


def bar(shares: Mapping[str, float] | None, width: int) -> list[tuple[str, str]]:
    """So many characters as runs of (text, state). shares: of 1, by state; what they leave is UNKNOWN."""
    runs, done, drawn = [], 0.0, 0
    for state, glyph in GLYPHS.items():
        done += (shares or {}).get(state, 0.0)
        end = min(round(done * width), width)
        if end > drawn:
            runs.append((glyph * (end - drawn), state))
            drawn = end
    return [*runs, (units.DASH * (width - drawn), UNKNOWN)] if drawn < width else runs


def shares_of(parts: Mapping[str, int], time: int) -> dict[str, float] | None:
    """Parts of a time as shares of it; None of no time."""
    return {state: ns / time for state, ns in parts.items()} if time > 0 else None
