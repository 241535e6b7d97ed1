"""The columns of a table, to be shown, hidden and moved, the panes, or the bounds of findings; the screen behind
follows at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ..tables.rows import Heading, Row
from ..tables.text import shortened
from .table import Selected, Table


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


class _List(Table):
    """A click turns a column on or off; Enter keeps all."""

    def on_click(self, event: events.Click) -> None:
        """Which row is under the mouse."""
        event.prevent_default()
        inside = event.get_content_offset(self)
        position = inside.y - 1 + self.scroll_offset.y if inside else -1
        if inside and inside.y > 0 and position < len(self.rows):
            self.move_to(position)
            self.screen.action_turn()  # type: ignore[attr-defined]


class ColumnChooser(ModalScreen[bool]):
    """One Choice at a time; whether what was chosen shall be kept."""

    DEFAULT_CSS = """
    ColumnChooser { align: right bottom; }
    ColumnChooser.-left { align: left bottom; }
    ColumnChooser > Table {
        width: 76; max-width: 100%; height: auto; max-height: 60%; margin-bottom: 1;
        border: round $accent; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o", "dismiss(False)", "Undo", show=False),
        Binding("space", "turn", "Show or hide", show=False),
        Binding("less_than_sign,comma,shift+up,K", "shift(-1)", "Left", show=False),
        Binding("greater_than_sign,full_stop,shift+down,J", "shift(1)", "Right", show=False),
        Binding("d", "usual", "Default", show=False),
        Binding("tab", "other(1)", "Next list", show=False),
        Binding("shift+tab", "other(-1)", "List before", show=False),
    ]

    def __init__(self, choices: Sequence[Choice]) -> None:
        """choices: the one to begin with first."""
        super().__init__()
        self._choices = list(choices)

    def compose(self) -> ComposeResult:
        """One list."""
        yield _List(id="columns")

    def on_mount(self) -> None:
        """It has the keys."""
        self.styles.background = "transparent"  # not what the app's style sheet says of any screen
        self.query_one(_List).focus()
        self._draw()

    def on_resize(self) -> None:
        """Other columns have room."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not self.query(_List):  # closed before the frame that this was asked for
            return
        now, other, table = self._choices[0], self._choices[1], self.query_one(_List)
        rows = now.rows()
        table.border_title = now.title
        table.border_subtitle = f"{now.keys} · d default · tab {other.name} · ↵ keep · esc undo"
        self.set_class(now.name == "VMs", "-left")
        mark = max(len(str(row.cells[0])) for row in rows)
        width = max(table.scrollable_content_region.width - 13 - mark, 1)
        columns = ("mark", "", mark), ("title", now.noun, 10), ("words", "MEANING", width)
        rows = [replace(row, cells=[*row.cells[:2], shortened(str(row.cells[2]), width)]) for row in rows]
        table.show([Heading(*column, left=True) for column in columns], rows)

    def _do(self, changed: bool) -> None:
        if changed:
            self._draw()

    def action_turn(self) -> None:
        """Show what the cursor is on, or hide it."""
        self._do(self._choices[0].turn(str(self.query_one(_List).cursor)))

    def action_shift(self, by: int) -> None:
        """Move it, or make it more or less."""
        self._do(self._choices[0].shift(str(self.query_one(_List).cursor), by))

    def action_usual(self) -> None:
        """As kvmtop has them."""
        self._choices[0].reset()
        self._draw()

    def action_other(self, by: int) -> None:
        """The next list, or the one before."""
        self._choices = [*self._choices[by:], *self._choices[:by]]
        self._draw()
        self.call_after_refresh(self._draw)  # its pane may not have been seen until now

    @on(Selected)
    def _keep(self, event: Selected) -> None:
        event.stop()
        self.dismiss(True)

    async def action_dismiss(self, result: bool | None = None) -> None:
        """As it was before."""
        for choice in self._choices if not result else ():
            choice.undo()
        self.dismiss(result)
