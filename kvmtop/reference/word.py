"""A word on the screen, and which groups of them there are."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = {  # what one of each is; in this order everywhere
    "state": "what a vCPU or a VM does",
    "column": "a column",
    "finding": "a finding",
    "kind": "what exits touch (--event)",
    "role": "the role of a VM's other thread",
    "actor": "who has a CPU, or wakes somebody",
    "verdict": "a verdict",
    "page": "a pane or page",
    "inhibit": "why APICv or AVIC is off",
    "word": "a word on the screen",
}


@dataclass(frozen=True)
class Word:
    """One meaning of a name. text: one to four sentences, or a fragment of one, with units and what is not in it."""

    name: str
    group: str  # of GROUPS
    text: str
    see: tuple[str, ...] = ()  # other words, or reasons
    also: tuple[str, ...] = ()  # what else it is called
    where: str = ""  # of a column: in which table
