"""Colours: Okabe and Ito's, which people with any colour vision tell apart."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.theme import Theme

from ..tables.states import UNKNOWN

ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"

# By state of model/vocabulary.py; their characters are those of tables/states.py.
STYLES = {
    "guest": GREEN,
    "kernel": ORANGE,
    "user": SKY,
    "idle": "#808080",
    "blocked": BLUE,
    "wait": VERMILION,
    "throttled": PURPLE,
    UNKNOWN: "dim",
}

# Variables of our own in kvmtop.tcss and the widgets: the cursor's row, with and without the keys, the shade
# behind a reason's name, the small lines of the trends, and rows where nothing happened.
_DARK = {"cursor": "#2b5278", "cursor-away": "#26313d", "shade": "#6b4a00", "trend": SKY, "faded": "#74808b"}
_LIGHT = {"cursor": "#bcd9f2", "cursor-away": "#e3e8ed", "shade": "#ffd98a", "trend": BLUE, "faded": "#7d8790"}


def variables(dark: bool) -> dict[str, str]:
    """Those for a theme that is not one of ours."""
    return _DARK if dark else _LIGHT


DARK = Theme(
    name="kvmtop-dark",
    primary=SKY,
    secondary=ORANGE,
    accent=YELLOW,
    warning=ORANGE,
    error=VERMILION,
    success=GREEN,
    foreground="#d8dee4",
    background="#101418",
    surface="#171c22",
    panel="#222a33",
    dark=True,
    variables={"footer-key-foreground": YELLOW, "footer-background": "#222a33", **_DARK},
)
LIGHT = Theme(
    name="kvmtop-light",
    primary=BLUE,
    secondary="#9a5b00",
    accent="#7a3f6a",
    warning="#9a5b00",
    error="#a53e00",
    success="#006b4f",
    foreground="#1b1f24",
    background="#ffffff",
    surface="#f3f5f7",
    panel="#e3e8ed",
    dark=False,
    variables={"footer-key-foreground": BLUE, "footer-background": "#e3e8ed", **_LIGHT},
)


def dress(app: App[Any]) -> None:
    """Both themes for its palette, and the dark one on."""
    app.register_theme(DARK)
    app.register_theme(LIGHT)
    app.theme = DARK.name
