"""The field where a moment is typed, to which a recording goes."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events, on
from textual.message import Message
from textual.widgets import Input


@dataclass
class Asked(Message):
    """Somebody wants to go there; nowhere without a text."""

    text: str


class MomentField(Input):
    """Seen only while somebody types in it: Enter goes there, Escape does not."""

    def __init__(self, forms: str, *, id: str | None = None) -> None:
        """forms: of moments, for who does not know them."""
        super().__init__(id=id, placeholder=f"go to: {forms}")

    def ask(self) -> None:
        """Let somebody type, what was typed last or something else."""
        self.add_class("-on")
        self.screen.set_focus(self)
        self.select_all()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(Asked(self.value.strip()))

    def on_key(self, event: events.Key) -> None:
        """Escape leaves everything as it is."""
        if event.key == "escape":
            event.stop()
            self.post_message(Asked(""))

    def close(self) -> None:
        """It is not needed any more. Give the focus to somebody else then."""
        self.remove_class("-on")
