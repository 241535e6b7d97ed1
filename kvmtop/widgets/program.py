"""What our programs on the screen have in common: an end by signals, faults told in a sentence, our variables in any
theme, and no colour where none is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from rich.segment import Segment
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.color import Color
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.widgets import Input
from textual.worker import WorkerFailed

from ..errors import KvmtopError, fault
from .help import Help
from .theme import variables


class Ending(Protocol):
    """What can be read once the program shall end."""

    def fileno(self) -> int: ...  # noqa: D102

    def is_set(self) -> bool: ...  # noqa: D102


class Colourless(LineFilter):
    """Neither foreground nor background, as https://no-color.org asks for; bold, dim and reverse stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same text."""
        return [Segment(text, style and style.without_color, control) for text, style, control in segments]


class Program(App[None]):
    """A screen that signals end from before it is there until it has gone; `failure` tells why it had to end."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: KvmtopError | None = None
        self._until: Ending | None = None

    def run_until(self, ending: Ending) -> None:
        """Run, unless it shall end already."""
        self._until = ending
        if not ending.is_set():
            self.run()
            self.rest()

    def rest(self) -> None:
        """What is left to do once the terminal is as it was."""

    def get_key_display(self, binding: Binding) -> str:
        """Enter as the foot and the hints have it."""
        return "↵" if binding.key == "enter" else super().get_key_display(binding)

    def pop_screen(self) -> AwaitComplete:
        """Textual's palette goes once more where Enter is pressed again before it has gone."""
        return super().pop_screen() if len(self.screen_stack) > 1 else AwaitComplete()

    def action_interrupt(self) -> None:
        """End, whatever is on top."""
        self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the filter and of the panes have priority, so that they come before what is typed after them; but
        not where somebody types. Over the help, q closes that."""
        if action == "quit" and len(self.screen_stack) > 1 and isinstance(self.screen, Help):
            return None
        if action == "pane" and len(self.screen_stack) > 1:
            return None
        if action in ("filter", "show_pane") and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return None
        return super().check_action(action, parameters)

    def on_mount(self) -> None:
        """Watch for the end, which may have come while this was made."""
        if self._until:
            asyncio.get_running_loop().add_reader(self._until, self._over, self._until)

    def _over(self, until: Ending) -> None:
        asyncio.get_running_loop().remove_reader(until)
        self.exit()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables under any theme."""
        return variables(self)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual turns colours to greys, on black."""
        return [Colourless()] if self.no_color else super().get_line_filters()

    def _handle_exception(self, error: Exception) -> None:
        """Textual's, for whatever nobody has caught. Whoever runs the program would not know of it."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        if isinstance(cause, NoMatches) and self.return_code is not None:
            return  # it ends, and the command palette misses what is taken down already
        self.failure = self.failure or (cause if isinstance(cause, KvmtopError) else fault(cause))
        super()._handle_exception(error)
        self._exit_renderables.clear()

    def _fatal_error(self) -> None:
        """Textual's, without a traceback that shows all local variables."""
        self._close_messages_no_wait()
