"""A sentence that follows from the numbers, with what it is about; and the bounds of the rules."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.scope import ALL, Scope
from ..model.vocabulary import Key


@dataclass(frozen=True)
class Limits:
    """From where on something is said; shares of 1, of a vCPU's time but for polling, which is of a CPU."""

    user: float = 0.20
    blocked: float = 0.20
    wait: float = 0.20
    throttled: float = 0.20
    kernel: float = 0.40
    nesting: float = 0.20
    polling: float = 0.05
    cause: float = 0.05  # what one thing takes that a guest does, such as reading a clock


USUAL = Limits()

SCHEDULER = "scheduler"  # what it does with a vCPU, of which somebody may ask to be told
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"  # what the figures imply; what else fits them; much else


@dataclass(frozen=True)
class Since:
    """From when on something has held in each interval; longer: it may have done so before, which is forgotten."""

    ns: int  # CLOCK_MONOTONIC
    longer: bool = False


@dataclass(frozen=True)
class Began:
    """s since 1970. held: it did so at this moment, and at each later one that was looked at; before: the latest moment
    of those before at which it did not; None: the recording is not older. moments: how many were looked at."""

    held: float
    before: float | None
    moments: int


@dataclass(frozen=True)
class Finding:
    """A sentence about what the numbers say. more: where more of it can be seen, which each output words for itself:
    SCHEDULER, or ""."""

    text: str
    rule: str = ""  # what had to be so for it to be said
    more: str = ""
    short: str = ""  # the same in a few words
    scope: Scope = ALL  # whom it is about
    reason: Key | None = None  # for whose exits, where it is about those of one
    state: str = ""  # of STATES, whose share it rests on
    figures: frozenset[str] = frozenset()  # columns of the reason's row, or of the scope's, that it rests on
    since: Since | None = None
    cost: float | None = None  # vCPUs' time that it takes, a second; 1 is a whole vCPU. None: not known
    evidence: tuple[str, ...] = ()  # figures that it rests on, beside those of the sentence
    name: str = ""  # its rule's
    other: Scope | None = None  # of another VM, of whom the same may be said the other way round

    @property
    def key(self) -> tuple[str, Scope, str]:
        """What makes it the same one in another interval."""
        return self.name or self.rule, self.scope, self.short
