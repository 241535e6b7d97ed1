"""Where one is: All VMs › web01 › vCPU 1 › hlt. A click on a step goes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from .table import fit


@dataclass
class CrumbClicked(Message):
    """A step was clicked; target is what the caller gave with it."""

    step: int
    target: object


class Trail(Static):
    """Steps on the left, the state of the view on the right."""

    DEFAULT_CSS = "Trail { height: 1; padding: 0 1; background: $surface; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._steps: Sequence[tuple[str, object]] = ()
        self._ends: list[int] = []

    def show(self, steps: Sequence[tuple[str, object]], state: str) -> None:
        """Steps: (name, target). A long name gives way, the state is cut last."""
        self._steps = steps
        width = max(self.size.width - 2, 10)
        room = max((width - cell_len(state) - 3 * (len(steps) - 1)) // max(len(steps), 1), 6)
        text, self._ends = Text(no_wrap=True, overflow="crop"), []
        for number, (name, _) in enumerate(steps):
            if number:
                text.append(" › ", "dim")
            name = fit(name, min(cell_len(name), max(room, 20)), True)
            text.append(name, "bold" if number == len(steps) - 1 else "underline")
            self._ends.append(text.cell_len + 1)
        gap = width - text.cell_len - cell_len(state)
        text.append(" " * max(gap, 1)).append(state, "dim")
        self.update(text, layout=False)

    def on_click(self, event: events.Click) -> None:
        """Find the step under the mouse."""
        for number, end in enumerate(self._ends):
            if event.x < end:
                self.post_message(CrumbClicked(number, self._steps[number][1]))
                return
