"""The field where a filter is typed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from textual import events, on
from textual.message import Message
from textual.widgets import Input


@dataclass
class Filtered(Message):
    """Another text to filter by. done: nothing more will be typed."""

    text: str
    done: bool


class FilterField(Input):
    """Seen only while somebody types in it: Enter keeps the text, Escape clears it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, placeholder="text or regular expression; Enter keeps it, Escape clears it")
        self.table = ""  # whose rows it is about, whatever has the keys meanwhile
        self._over = False
        self.asked = 0.0  # time.monotonic(), as that of a key: none before is the field's

    @property
    def is_open(self) -> bool:
        """Whether somebody types in it, or has left it for a table."""
        return self.has_class("-on")

    def ask(self, text: str, table: str = "") -> None:
        """Let somebody change this text: the next key is theirs (focus() would let keys typed fast pass by)."""
        self.value, self.table, self.asked, self._over = text, table, time.monotonic(), False
        self.add_class("-on")
        self.screen.set_focus(self)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open and not self._over:
            self.app.post_message(Filtered(event.value, False))

    def on_key(self, event: events.Key) -> None:
        """Enter keeps it, Escape clears it, and what was typed after that is for whoever has the keys then.

        Textual gives a key to who has the focus when it comes in. Typed ahead of a slow screen, that is this field.
        """
        if self._over:
            again: Message = events.Key(event.key, event.character)
        elif event.key in ("enter", "escape"):
            self._over = True
            again = Filtered(self.value if event.key == "enter" else "", True)
        else:
            return
        event.stop()
        event.prevent_default()
        self.app.post_message(again)

    def close(self) -> None:
        """It is not needed any more. Give the focus to somebody else then."""
        self.remove_class("-on")
