"""A vCPU's states for people: a character and a sentence for each, and bars of where time goes."""

from __future__ import annotations

from collections.abc import Mapping

from .. import units

# The character alone tells the state, so that nothing is lost without colour. In the order in which they are stacked.
GLYPHS = {
    "guest": "█",
    "kernel": "▓",
    "user": "▒",
    "blocked": "·",
    "idle": "░",
    "wait": "╳",
    "throttled": "╱",
}
UNKNOWN = ""  # stands for the state of time that nothing is known of
LEAST = 0.03  # a share that has a cell of a bar


def bar(shares: Mapping[str, float] | None, width: int, length: float = 1.0) -> list[tuple[str, str]]:
    """Whole cells as runs of (text, state), in a width of so many. shares: of 1, by state; what they leave is UNKNOWN.

    length: of the bar, 0 to 1; what is there at all has a cell, and so has each share of LEAST or more.
    """
    known = {state: max((shares or {}).get(state, 0.0), 0.0) for state in GLYPHS}
    known[UNKNOWN] = max(1 - sum(known.values()), 0.0)
    cells = min(max(round(length * width), 1), width) if length > 0 else 0
    due = {state: share * cells / sum(known.values()) for state, share in known.items()}
    got = {state: max(int(due[state]), int(share >= LEAST)) for state, share in known.items()}
    while (off := cells - sum(got.values())) > 0:
        got[max(got, key=lambda state: due[state] - got[state])] += 1
    for _ in range(-off):
        got[max(got, key=lambda state: (got[state] > 1, got[state] - due[state], got[state]))] -= 1
    return [((GLYPHS.get(state) or units.DASH) * number, state) for state, number in got.items() if number]


def shares_of(parts: Mapping[str, int], time: int) -> dict[str, float] | None:
    """Parts of a time as shares of it; None of no time."""
    return {state: ns / time for state, ns in parts.items()} if time > 0 else None
