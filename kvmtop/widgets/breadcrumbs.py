"""The top line: where one is, kvm07 › web01 › vCPU 1 › hlt, what happens there, and since when. A click on a step
goes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from ..tables.text import shortened
from .theme import palette, style

Figure = tuple[str, str]  # a number, and what of

NAME = "kvmtop  "
LONGEST, ENOUGH, LEAST = 60, 24, 10  # cells of a name: at all, before the state gives way, and before figures do


@dataclass
class CrumbClicked(Message):
    """A step was clicked; target is what the caller gave with it."""

    step: int
    target: object


class Trail(Static):
    """Steps on the left, figures in the middle, the state of the view on the right."""

    DEFAULT_CSS = "Trail { height: 1; padding: 0 1; background: $panel; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._steps: Sequence[tuple[str, object]] = ()
        self._ends: list[int] = []
        self._shown: Text | None = None

    def show(
        self,
        steps: Sequence[tuple[str, object]],
        notes: Sequence[str] = (),
        figures: Sequence[Figure] = (),
        state: Sequence[Figure] = (),
    ) -> None:
        """Steps: (name, target), the host first; notes about it, while one is nowhere else. Where it is narrow, notes
        go first, then long names are cut, then words of the state go, from the left, then figures but the first."""
        self._steps, colours = steps, palette(self.app)
        width = max(self.size.width - 2, 10)
        notes, figures, state = list(notes), list(figures), list(state)
        lengths = [min(cell_len(name), LONGEST) for name, _ in steps]
        while True:
            middle, right = self._joined(figures), self._joined(state)
            others = right.cell_len + middle.cell_len + (4 if middle else 2) + sum(cell_len(note) + 3 for note in notes)
            cells = width - others - len(NAME) - 3 * (len(steps) - 1)
            room = next((most for most in range(max(lengths), 1, -1) if sum(min(n, most) for n in lengths) <= cells), 1)
            if room == max(lengths) or (not notes and room >= (ENOUGH if len(state) > 1 else LEAST)):
                break
            if notes:
                notes.pop()
            elif len(state) > 1:
                state.pop(0)
            elif figures:
                figures.pop(1 if len(figures) > 1 else 0)
            else:
                break
        left = self._left(notes, room)
        at = max((width - middle.cell_len) // 2, left.cell_len + 2)
        at = min(at, width - right.cell_len - 2 - middle.cell_len)
        text = Text.assemble(left, " " * (at - left.cell_len), middle, no_wrap=True, overflow="crop")
        text.append(" " * max(width - text.cell_len - right.cell_len, 1)).append_text(right)
        text.stylize_before(style(colours.label))
        if text != self._shown:
            self._shown = text
            self.update(text, layout=False)

    def _joined(self, figures: Sequence[Figure]) -> Text:
        colours = palette(self.app)
        parts = [
            Text.assemble(
                *([(number, style(colours.strong, "", "bold"))] if number else []),
                f" {what}" if number and what else what,
            )
            for number, what in figures
        ]
        return Text(" · ").join(parts)

    def _left(self, notes: Sequence[str], room: int) -> Text:
        """room: characters of a name."""
        colours, text, self._ends = palette(self.app), Text(), []
        text.append(NAME, style(colours.accent, "", "bold"))
        last = len(self._steps) - 1
        for number, (name, _) in enumerate(self._steps):
            text.append(" › " if number else "")
            strong = style(colours.strong, "", "bold") if number == last else style(colours.label, "", "underline")
            text.append(shortened(name, room), strong)
            self._ends.append(text.cell_len + 1)
        for note in notes:
            text.append(f" · {note}")
        return text

    def on_click(self, event: events.Click) -> None:
        """Find the step under the mouse."""
        for number, end in enumerate(self._ends):
            if event.x < end:
                self.post_message(CrumbClicked(number, self._steps[number][1]))
                return
