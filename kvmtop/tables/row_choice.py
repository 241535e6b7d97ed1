"""Which reasons a table has, and in which order: the same for text, JSON, CSV and comparisons."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import KvmtopError
from ..model.exit_stats import Reason
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.session import Line, Session
from . import columns
from .columns import falling, sortable
from .exit_reasons import LOGGED, WHOLE, by_name, ordered

MOST_PATTERN = 200  # characters
SORTS = tuple(column.key for column in LOGGED)


Idle = Literal["last", "in", "out"]  # idle reasons: after the others; among them; not at all


@dataclass(frozen=True)
class RowChoice:
    """reason: what names have in them; top: so many rows only; idle: what becomes of idle reasons."""

    reason: re.Pattern[str] | None = None
    sort: str = "time"
    top: int | None = None
    idle: Idle = "last"

    @classmethod
    def of(
        cls, reason: str | None = None, sort: str = "time", top: int | None = None, idle: Idle = "last"
    ) -> RowChoice:
        """The choice in a user's words. Raises KvmtopError."""
        sortable(sort, SORTS)
        if top is not None and top < 1:
            raise KvmtopError(f"{top} is no number of rows: give 1 or more", 2)
        return cls(_pattern(reason) if reason is not None else None, sort, top, idle)

    def keeps(self, reason: Reason) -> bool:
        """Whether there may be a row of this reason."""
        return (self.idle != "out" or not reason.idle) and (
            self.reason is None or bool(self.reason.search(reason.name))
        )

    def choose(self, lines: Iterable[Line]) -> list[Line]:
        """The rows of a table, in order; the highest first, names from A to Z. Shares stay what they were."""
        return ordered(self._kept(lines), self.sort, falling(self.sort))[: self.top]

    def for_programs(self, session: Session, interval: Interval, scope: Scope = ALL) -> list[Line]:
        """The rows of an interval for programs, which know of no idle reasons that come last: by whole times."""
        lines = session.lines(interval, scope, idle=True)
        return columns.ordered(by_name(self._kept(lines)), WHOLE[self.sort], falling(self.sort))[: self.top]

    def _kept(self, lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if self.keeps(line.reason)]


def _pattern(text: str) -> re.Pattern[str]:
    """A regular expression as the dashboard's filter reads one: anywhere in the name, in any case."""
    if len(text) > MOST_PATTERN:
        raise KvmtopError(f"the pattern {text[:40]!r}… has more than {MOST_PATTERN} characters", 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Python may read in another way one day
            return re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise KvmtopError(f"{text!r} is no regular expression: {error}", 2) from None


def matcher(text: str) -> Callable[[str], bool]:
    """What a filter that is being typed matches, in any case: a regular expression if it is one, else the text."""
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):  # of a{99999999999}, and of many parentheses
        pattern = re.compile(re.escape(text), re.IGNORECASE)
    return lambda name: bool(pattern.search(name))
