"""Plain rows, headings and ticks, which widgets show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

Key = object  # hashable and equal for the same row at every time
Runs = Sequence[tuple[str, str]]  # of (text, state): bars, or words about a state

_T = TypeVar("_T")


Cell = str | Runs


@dataclass(frozen=True)
class Heading:
    """A column's head. width: characters, without the gap of one."""

    key: str
    title: str
    width: int
    left: bool = False
    trend: bool = False  # holds sparklines


@dataclass(frozen=True)
class Row:
    """A line. dim: it hardly matters; mark: it does; strong: its first cell stands out, as a heading of those below."""

    key: Key
    cells: Sequence[Cell]
    dim: bool = False
    mark: bool = False
    strong: bool = False


Rows = tuple[Sequence[Heading], Sequence[Row]]  # a table


def plain(headings: Sequence[Heading], row: Row, name: str = "") -> str:
    """A row in words, without bars and trends. name: instead of its first cell."""
    first, *others = zip(headings, row.cells, strict=False)
    words = [name or str(first[1]).strip()]
    words += [f"{head.title} {cell.strip()}" for head, cell in others if isinstance(cell, str) and not head.trend]
    return ", ".join(words)


class Lazy(Sequence[_T]):
    """Items that are made when they are asked for: of thousands of rows a screen shows some."""

    def __init__(self, keys: Sequence[Key], make: Callable[[int], _T]) -> None:
        """keys: of the items; make: the item at a position."""
        self.keys, self._make = keys, make

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> _T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[_T]: ...

    def __getitem__(self, index: int | slice) -> _T | Sequence[_T]:
        places = range(len(self.keys))[index]
        return self._make(places) if isinstance(places, int) else [self._make(at) for at in places]


@dataclass(frozen=True)
class Link:
    """A piece of a line of links. style: mark, strong, link, key or quiet; target: the number of what it leads to."""

    text: str
    style: str
    state: str = ""  # in whose colour
    target: int | None = None


@dataclass(frozen=True)
class Ticks:
    """Where an axis is labelled."""

    positions: Sequence[float]
    labels: Sequence[str]
