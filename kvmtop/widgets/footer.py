"""The line of keys at the foot, made again only when another key is to be seen."""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Footer


class Keys(Footer):
    """Textual's own makes all its parts anew whenever the focus moves, which takes longer than all the rest."""

    DEFAULT_CSS = """
    Keys.-compact FooterKey.-command-palette { margin-right: 0; padding-right: 1; }
    """  # a margin would show what is under it
    _seen: object = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Something about the bindings may have changed."""
        shown = [(key, enabled) for key, (_, binding, enabled, _) in screen.active_bindings.items() if binding.show]
        if shown == self._seen:
            return
        if screen.app.app_focus and self.is_attached and screen is self.screen:  # else Textual does nothing
            self._seen = shown
        super().bindings_changed(screen)
