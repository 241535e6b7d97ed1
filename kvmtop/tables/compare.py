"""The table of two runs next to each other: what the screen of a comparison, its help and its text follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .. import units
from ..insight.compare import (
    EFFECT,
    EXITS,
    HUNDREDFOLD,
    LEAST,
    LEVEL,
    SHIFT,
    TENFOLD,
    Change,
    RecordingSpan,
    changes,
    growth,
)
from ..model.exit_stats import Reason
from ..reference.column_texts import COMPARED
from . import columns
from .columns import Column, laid_out, logged
from .rows import Cell, Row, Rows
from .text import lines

Pair = tuple[float, float]

CHANCE = (
    f"by {EFFECT - 1:.0%} at least (percentiles: {SHIFT - 1:.0%}) and more than chance (t test of the intervals: p <"
    f" {LEVEL:.1%}), or to x{HUNDREDFOLD:g} in {EXITS} exits"
)


def _pair(
    key: str,
    value: Callable[[Reason], float | None],
    unit: Callable[[float | None], str],
    drop: int = 0,
    missing: float | None = None,
) -> tuple[Column[Change], Column[Change]]:
    """Before and after. missing: what it is of a reason that one of the two has not."""

    def column(letter: str, side: Callable[[Change], Reason | None]) -> Column[Change]:
        def of(change: Change) -> float | None:
            reason = side(change)
            return value(reason) if reason else missing

        title = f"{key.upper()} {letter}"
        return Column(f"{key}_{letter.lower()}", title, 7, of, unit, COMPARED[title], drop=drop)

    return column("A", lambda change: change.before), column("B", lambda change: change.after)


def grown(pair: Pair) -> str:
    """The growth of a pair for people: +50%, x120, new."""
    share = growth(*pair)
    if share is None:
        return "new" if pair[1] else units.DASH
    return f"{100 * share:+.0f}%" if share < 99.995 else f"x{share + 1:.0f}"


def _growth(pair: Pair) -> float | None:
    """What it is sorted by: what is new grew most."""
    return float("inf") if pair[1] and not pair[0] else growth(*pair)


# What a change shows itself in, the plainest first.
_FIGURES: dict[str, Callable[[Reason], float | None]] = {
    "rate": lambda reason: reason.rate,
    "time": lambda reason: reason.time_rate,
    "p99": lambda reason: reason.percentile(0.99),
    "p50": lambda reason: reason.percentile(0.5),
}


def _verdict(change: Change) -> str:
    if not change.changed:
        return "?" if change.changed is None else "noise"
    name = next(name for name in _FIGURES if name in change.changed)
    before, after = (_FIGURES[name](side) or 0 if side else 0 for side in (change.before, change.after))
    words = ("less", "more") if name == "rate" else ("shorter", "longer")
    return words[after > before]


COLUMNS: tuple[Column[Change], ...] = (
    Column("reason", "REASON", 20, lambda c: c.name, help=COMPARED["REASON"], left=True, cut=True, grow=8),
    *_pair("rate", lambda reason: reason.rate, units.rate, missing=0.0),
    Column("rate_change", "CHANGE", 7, lambda c: c.rates, grown, "of the exits a second, from A to B", _growth),
    Column(
        "verdict",
        "VERDICT",
        7,
        lambda change: change,
        _verdict,
        f"more or less: the rate changed {CHANCE}; longer or shorter: the time or the percentiles did; noise: none of"
        f" them; ?: fewer than {LEAST} intervals, and not x{TENFOLD:g} in {EXITS} exits",
        lambda change: {True: 2, None: 1, False: 0}[change.notable],
    ),
    *_pair("time", lambda reason: reason.time_rate, units.duration, 1, 0.0),
    Column("time_change", "CHANGE", 7, lambda c: c.times, grown, "of this time, from A to B", _growth, drop=2),
    *_pair("p50", lambda reason: reason.percentile(0.5), units.duration, 4),
    *_pair("p99", lambda reason: reason.percentile(0.99), units.duration, 3),
)
BY_KEY = {column.key: column for column in COLUMNS}


def _mark(name: str) -> Column[Change]:
    def mark(change: Change) -> str:
        return ("?" if name == "rate" else "") if change.changed is None else "*" * (name in change.changed)

    return Column(f"{name}_mark", "", 1, mark)


LOGGED = logged(
    (*COLUMNS, *map(_mark, _FIGURES)),
    ("reason", "REASON", 20),
    ("rate_a", "EXITS/S A", 9),
    ("rate_b", "B", 7),
    ("rate_change", "CHANGE", 7),
    ("rate_mark", "", 1),
    ("time_a", "TIME/S A", 8),
    ("time_b", "B", 7),
    ("time_mark", "", 1),
    ("p50_a", "P50 A", 7),
    ("p50_b", "B", 7),
    ("p50_mark", "", 1),
    ("p99_a", "P99 A", 7),
    ("p99_b", "B", 7),
    ("p99_mark", "", 1),
)


def ordered(found: list[Change], key: str, descending: bool) -> list[Change]:
    """Sorted by a column, unknown last; without one as they are, and equal ones as they are."""
    if not key:
        return found if descending else found[::-1]
    return columns.ordered(found, BY_KEY[key], descending)


def headed(columns: Sequence[Column[Change]], part: RecordingSpan) -> list[Column[Change]]:
    """The first one says whether a row is a reason or a VM."""
    first, *others = columns
    if part.of_vms:
        first = replace(first, title="VM", help=COMPARED["VM"])
    return [first, *others]


def change_table(found: Sequence[Change], width: int, part: RecordingSpan) -> Rows:
    """The changes in so many characters, in their order; what is more than chance is marked. part: of one of both."""
    return laid_out(headed(COLUMNS, part), found, width, _row)


def _row(change: Change, cells: list[Cell]) -> Row:
    return Row(id(change), cells, mark=bool(change.notable))


def span(part: RecordingSpan) -> str:
    """How long a stretch of a recording is, and how busy."""
    return f"{units.duration(part.seconds * 1e9)}, {part.intervals} intervals, {units.rate(part.exits)} exits/s"


def text(a: RecordingSpan, b: RecordingSpan, found: Sequence[Change] | None = None) -> Iterator[str]:
    """The lines of the comparison, with these changes; all of them without."""
    for name, part in (("A", a), ("B", b)):
        yield f"{name}: {part.label}: {span(part)}"
    yield ""
    yield from lines(headed(LOGGED, a), changes(a, b) if found is None else found)
    yield ""
    yield f"* changed {CHANCE}"
    yield f"  (? fewer than {LEAST} intervals: only x{TENFOLD:g} in {EXITS} exits is marked)"
