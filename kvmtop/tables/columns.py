"""What a table is made of: each is described once, by its columns, for the screen and for text alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ..errors import KvmtopError
from .rows import Cell, Heading, Row, Rows

T = TypeVar("T")
Value = float | str | None  # what a column sorts by; None is unknown


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table of Ts. Widths are in characters, without the gap."""

    key: str
    title: str
    width: int
    value: Callable[[T], Any]
    text: Callable[..., Cell] = str  # of the value
    help: str = ""
    order: Callable[[Any], Value] | None = None  # what of the value it sorts by; None: the value itself
    drop: int = 0  # where it is narrow, the columns with the highest go first, equal ones at once; 0 stays
    left: bool = False
    cut: bool = False  # in text, too, what is longer is cut, and a blank is behind it
    grow: int = 0  # how much wider it may be where there is room,
    shrink: int = 0  # and how much less it can do with
    trend: bool = False  # holds sparklines: its text is of the value and a width
    usual: bool = True  # on the screen unless somebody chooses otherwise

    def cell(self, item: T, width: int | None = None) -> Cell:
        """What it shows of an item, in its own width without another."""
        value = self.value(item)
        return self.text(value, width or self.width) if self.trend else self.text(value)

    def rank(self, item: T) -> Value:
        """What it sorts an item by."""
        value = self.value(item)
        found: Value = self.order(value) if self.order else value
        return found

    def heading(self, spare: int = 0) -> Heading:
        """Its head, with what it takes of so many characters to spare, or gives where they are missing."""
        width = self.width + max(min(spare, self.grow), -self.shrink)
        return Heading(self.key, self.title, width, self.left, self.trend)


def logged(columns: Iterable[Column[T]], *layout: tuple[str, str, int]) -> list[Column[T]]:
    """Some of a table's columns as text has them: key, title and width of each, in order."""
    by_key = {column.key: column for column in columns}
    return [replace(by_key[key], title=title, width=width) for key, title, width in layout]


def fitting(columns: Iterable[Column[T]], width: int, gap: int = 1) -> list[Column[T]]:
    """Those that fit into so many characters, in order; none goes without need. The last one's gap needs no room."""
    chosen = list(columns)
    while (drop := max((column.drop for column in chosen), default=0)) and sum(
        c.width + gap for c in chosen
    ) - gap > width:
        chosen = [column for column in chosen if column.drop < drop]
    return chosen


def as_chosen(columns: Iterable[Column[T]]) -> list[Column[T]]:
    """In the order that somebody wants: the last gives way first, and the first stays."""
    return [replace(column, drop=at) for at, column in enumerate(columns)]


def headings(columns: Sequence[Column[T]], width: int) -> list[Heading]:
    """The heads of columns, so that they and their gaps fill so many characters, as far as they may."""
    spare, found = width - sum(column.width + 1 for column in columns), []
    for column in columns:  # the first takes or gives most
        found.append(column.heading(spare))
        spare -= found[-1].width - column.width
    return found


def laid_out(columns: Iterable[Column[T]], items: Iterable[T], width: int, row: Callable[[T, list[Cell]], Row]) -> Rows:
    """A table in so many characters, for the screen. row: makes one of an item and its cells."""
    chosen = fitting(columns, width)
    heads = headings(chosen, width)
    return heads, [row(item, cells(item, chosen, heads)) for item in items]


def cells(item: T, columns: Iterable[Column[T]], heads: Iterable[Heading]) -> list[Cell]:
    """What the columns show of an item under these heads."""
    return [column.cell(item, head.width) for column, head in zip(columns, heads, strict=True)]


def sortable(key: str, keys: Collection[str]) -> str:
    """A column to sort by, as somebody has named it. Raises KvmtopError if it is none of these."""
    if key not in keys:
        raise KvmtopError(f"{key[:40]!r} is no column to sort by: those are {', '.join(keys)}", 2)
    return key


def falling(key: str) -> bool:
    """Which way a column is sorted at first: the highest on top, but names from A to Z."""
    return key != "reason"


def ordered(items: Iterable[T], column: Column[T], descending: bool = True) -> list[T]:
    """Sorted by a column; unknown last, equal ones as they are."""
    ranked = [(column.rank(item), item) for item in items]
    known = [(rank, item) for rank, item in ranked if rank is not None]
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [item for _, item in known] + [item for rank, item in ranked if rank is None]
