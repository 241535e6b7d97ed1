"""Plain rows, headings and ticks, which widgets show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

Key = object  # hashable and equal for the same row at every time
Cell = str | Sequence[tuple[str, str]]  # plain text, or a bar as runs of (text, state)

_T = TypeVar("_T")


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
    """A line. fill: share of the first cell shaded, 0 to 1."""

    key: Key
    cells: Sequence[Cell]
    fill: float = 0.0
    dim: bool = False
    mark: bool = False


Rows = tuple[Sequence[Heading], Sequence[Row]]  # a table


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
class Ticks:
    """Where an axis is labelled."""

    positions: Sequence[float]
    labels: Sequence[str]
