"""What a ColumnChooser changes: a table's columns, the panes, or the bounds of findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..tables.rows import Row


class Choice(Protocol):
    """A list of what can be changed. Methods that change something say whether they have."""

    name: str  # of what it is about, in a word
    title: str
    noun: str
    keys: str  # what does what, besides those that all lists have

    def rows(self) -> Sequence[Row]:
        """A mark or a value, a title, and what it means; the screen behind shows what they say."""

    def turn(self, key: str) -> bool:
        """Show or hide it."""

    def shift(self, key: str, by: int) -> bool:
        """Move it, or make it more or less."""

    def reset(self) -> None:
        """As kvmtop has them."""

    def undo(self) -> None:
        """As they were to begin with."""


Preview = Callable[[tuple[str, ...]], Collection[str]]  # show these, from the left; those that there is room for


@dataclass
class Chosen:
    """A table's columns, or the panes. words: by key, title and meaning; usual: kvmtop's choice, whose first stays."""

    name: str
    title: str
    noun: str
    words: Mapping[str, tuple[str, str]]
    usual: tuple[str, ...]
    shown: tuple[str, ...]  # from the left
    preview: Preview
    keys: str = "space show · < > move"

    def __post_init__(self) -> None:
        self._before = self._asked_for
        self._sort()

    def _sort(self) -> None:
        self.order = [*self.shown, *(key for key in self.words if key not in self.shown)]  # with those that are hidden

    @property
    def _asked_for(self) -> tuple[str, ...]:
        """None where it is kvmtop's choice."""
        return () if self.shown == self.usual else self.shown

    def rows(self) -> Sequence[Row]:
        """See Choice."""
        room = self.preview(self._asked_for)
        rows = []
        for key in self.order:
            title, words = self.words[key]
            mark = "■" if key in room else "□" if key in self.shown else " "
            rows.append(Row(key, [mark, title, f"no room; {words}" if mark == "□" else words], dim=mark != "■"))
        return rows

    def turn(self, key: str) -> bool:
        """See Choice."""
        if key == self.usual[0]:
            return False
        self.shown = tuple(one for one in self.order if (one in self.shown) != (one == key))
        return True

    def shift(self, key: str, by: int) -> bool:
        """See Choice."""
        at = self.order.index(key)
        if not at or not 0 < at + by < len(self.order):
            return False
        self.order.insert(at + by, self.order.pop(at))
        self.shown = tuple(one for one in self.order if one in self.shown)
        return True

    def reset(self) -> None:
        """See Choice."""
        self.shown = self.usual
        self._sort()

    def undo(self) -> None:
        """See Choice."""
        self.preview(self._before)


@dataclass
class Bounds:
    """From where on something is said. words: by key, its meaning, which begins with its unit; steps: by unit."""

    name: str
    title: str
    words: Mapping[str, str]
    steps: Mapping[str, Sequence[float]]
    usual: Mapping[str, float]
    values: dict[str, float]
    preview: Callable[[Mapping[str, float]], None]
    noun: str = "FINDING"
    keys: str = "< > lower or raise"
    _before: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._before = dict(self.values)

    def rows(self) -> Sequence[Row]:
        """See Choice."""
        self.preview(self.values)
        return [
            Row(key, [f"{value:g}{self.words[key][0]}", key, self.words[key]], mark=value != self.usual[key])
            for key, value in self.values.items()
        ]

    def turn(self, key: str) -> bool:
        """See Choice: all of them are looked for."""
        return False

    def shift(self, key: str, by: int) -> bool:
        """See Choice."""
        now = self.values[key]
        beyond = [step for step in self.steps[self.words[key][0]] if (step - now) * by > 0]
        if beyond:
            self.values[key] = min(beyond) if by > 0 else max(beyond)
        return bool(beyond)

    def reset(self) -> None:
        """See Choice."""
        self.values = dict(self.usual)

    def undo(self) -> None:
        """See Choice."""
        self.preview(self._before)
