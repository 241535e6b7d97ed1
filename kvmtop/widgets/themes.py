"""The themes by the names that people use: ours are dark and light."""

from __future__ import annotations

from typing import Any

from textual.app import App

OURS = "kvmtop-"


def wear(app: App[Any], name: str) -> None:
    """Put one on; the dark one where this Textual does not have it."""
    app.theme = next(one for one in (name, OURS + name, f"{OURS}dark") if one in app.available_themes)


def worn(app: App[Any]) -> str:
    """The one that is on."""
    return app.theme.removeprefix(OURS)
