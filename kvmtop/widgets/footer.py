"""The line of keys at the foot. Where it is narrow, whole keys go from the right; quit and help stay."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.theme import Theme
from textual.widgets import Static

from .theme import palette, style

KEPT = ("quit", "help")  # actions
GAP = 2


class Keys(Static):
    """Textual's own makes all its parts anew whenever the focus moves, which takes longer than all the rest."""

    DEFAULT_CSS = "Keys { dock: bottom; height: 1; padding: 0 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._seen: object = None
        self._places: list[tuple[int, int, str]] = []  # from, to, key

    def on_mount(self) -> None:
        """Who has the focus has keys of its own."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self.app.theme_changed_signal.subscribe(self, self._changed)
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        """As many as there is room for."""
        self._seen = None
        self._draw()

    def _changed(self, what: Screen[object] | Theme) -> None:
        self._draw()

    def _bound(self) -> list[Binding]:
        active = self.screen.active_bindings.values()
        found = {one.action: one for _, one, enabled, _ in active if one.show and enabled}
        if self.app.screen is not self.screen:  # what is on top of it has the keys, and says which
            found = {action: one for action, one in found.items() if action == "quit"}
        last = [found.pop(action) for action in KEPT if action in found]
        return [*found.values(), *last]

    def _draw(self) -> None:
        if not self.is_attached or not self.app.app_focus:
            return
        width, bound = self.size.width - 2, self._bound()
        seen = width, [(one.action, one.description) for one in bound], self.app.theme
        if width < 1 or seen == self._seen:
            return
        self._seen, colours = seen, palette(self.app)
        parts = [
            (
                one,
                Text.assemble(
                    (self.app.get_key_display(one), style(colours.accent, "", "bold")),
                    (f" {one.description}", style(colours.label)),
                ),
            )
            for one in bound
        ]
        while len(parts) > len(KEPT) and sum(text.cell_len + GAP for _, text in parts) - GAP > width:
            del parts[-1 - len(KEPT)]
        line, self._places = Text(no_wrap=True), []
        for number, (one, text) in enumerate(parts):
            if one.action == "help":  # at the right end
                line.append(" " * max(width - line.cell_len - text.cell_len, 0))
            self._places.append((line.cell_len, line.cell_len + text.cell_len, one.key))
            line.append_text(text).append(" " * GAP if number < len(parts) - 1 else "")
        self.update(line, layout=False)

    def on_click(self, event: events.Click) -> None:
        """A key with the mouse, which goes where that key would."""
        for begin, end, key in self._places:
            if begin <= event.x - 1 < end:
                self.app.simulate_key(key)
                return
