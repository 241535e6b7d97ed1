"""Colours: Okabe and Ito's, which people with any colour vision tell apart, and what stands for them without colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import Any

from rich.style import Style
from textual.app import App
from textual.theme import Theme

from ..tables.states import GLYPHS


@dataclass(frozen=True)
class Palette:
    """Colours as #rrggbb, by what they are for; of a screen without colour, Rich's styles in their place.

    fill: areas of a state; tone: text about it. strong: figures that stand out, and those of the cursor's row. label:
    units, heads; faint: rows that hardly matter; accent: what has the keys, and keys themselves; nothing else.
    """

    fill: Mapping[str, str]
    tone: Mapping[str, str]
    ground: str
    bar: str  # of the title and the footer
    text: str
    strong: str
    label: str
    faint: str
    line: str
    accent: str
    cursor: str  # the cursor's row, with the keys
    away: str  # and without
    trend_low: str
    trend_high: str
    track: str  # behind bars
    dark: bool = True
    colourless: bool = False


_ROLES = tuple(one.name for one in fields(Palette) if one.default is MISSING)[2:]


def _states(*colours: str) -> dict[str, str]:
    return dict(zip(GLYPHS, colours, strict=True))


_DARK = Palette(
    fill=_states("#009e73", "#e69f00", "#56b4e9", "#0072b2", "#303a45", "#d55e00", "#cc79a7"),
    tone=_states("#2fc79b", "#e69f00", "#56b4e9", "#5aa9e6", "#8f9cab", "#f07f2e", "#dd93bb"),
    ground="#0f1318",
    bar="#161c23",
    text="#d9e0e8",
    strong="#ffffff",
    label="#8f9cab",
    faint="#6d7a89",
    line="#313b47",
    accent="#f0e442",
    cursor="#233043",
    away="#1a222c",
    trend_low="#3d5166",
    trend_high="#9db8d0",
    track="#1a2129",
)
_LIGHT = Palette(
    fill=_states("#058f68", "#e09600", "#56b4e9", "#0067a8", "#dce1e6", "#d05a00", "#c0649e"),
    tone=_states("#00704f", "#8a5a00", "#0a6ca8", "#00568c", "#56616c", "#b04a00", "#99407a"),
    ground="#fbfbf9",
    bar="#eef1f3",
    text="#1d252e",
    strong="#000000",
    label="#56616c",
    faint="#717b85",
    line="#c6cdd4",
    accent="#3a3fbf",
    cursor="#d9e5f1",
    away="#e9eef3",
    trend_low="#9db6cb",
    trend_high="#2a587c",
    track="#e9eef3",
    dark=False,
)


def _numbered(number: int) -> str:
    """A colour that Rich, which rounds, makes this one of a terminal's 256 (16 to 255)."""
    grey = round((number - 231) / 25 * 255)
    steps = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    red, green, blue = (grey,) * 3 if number > 231 else (step and 55 + 40 * step for step in steps)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _named(like: Palette, fill: str, tone: str, roles: str) -> Palette:
    """The same in a terminal's 256 colours, by number, as rounding would make text of some of them unreadable."""
    numbers: dict[str, Any] = dict(zip(_ROLES, map(_numbered, map(int, roles.split())), strict=True))
    states = [_states(*map(_numbered, map(int, colours.split()))) for colours in (fill, tone)]
    return replace(like, fill=states[0], tone=states[1], **numbers)


_DARK_256 = _named(
    _DARK, "36 178 74 25 237 166 175", "42 178 74 68 247 208 176", "233 234 253 231 247 243 238 221 236 235 60 110 234"
)
_LIGHT_256 = _named(
    _LIGHT, "29 172 74 25 254 166 169", "23 94 25 24 241 130 96", "231 255 234 16 241 243 251 61 153 254 110 24 255"
)
# Styles in place of colours: https://no-color.org wants neither, and bold, dim and reverse remain.
_COLOURLESS = Palette(
    fill=_states("dim", "", "", "", "dim", "bold", "bold"),
    tone=dict.fromkeys(GLYPHS, ""),
    ground="",
    bar="",
    text="",
    strong="bold",
    label="dim",
    faint="dim",
    line="dim",
    accent="bold",
    cursor="reverse",
    away="",
    trend_low="",
    trend_high="",
    track="dim",
    colourless=True,
)
_DARK_NAME, _LIGHT_NAME = "kvmtop-dark", "kvmtop-light"


def _coloured(app: App[Any], dark: bool) -> Palette:
    if app.console.color_system in ("standard", "256"):
        return _DARK_256 if dark else _LIGHT_256
    return _DARK if dark else _LIGHT


def palette(app: App[Any]) -> Palette:
    """Of the theme that is on, in as many colours as the terminal has, or of none."""
    return _COLOURLESS if app.no_color else _coloured(app, app.current_theme.dark)


def variables(app: App[Any]) -> dict[str, str]:
    """For style sheets, under any theme: roles by name (text is $foreground), states as in $fill-wait, $tone-wait."""
    colours = _coloured(app, app.current_theme.dark)
    found = {role.replace("_", "-"): getattr(colours, role) for role in _ROLES if role != "text"}
    for state in GLYPHS:
        found |= {f"fill-{state}": colours.fill[state], f"tone-{state}": colours.tone[state]}
    return found


def _theme(name: str, colours: Palette) -> Theme:
    return Theme(
        name=name,
        primary=colours.tone["user"],
        secondary=colours.tone["kernel"],
        accent=colours.accent,
        warning=colours.tone["kernel"],
        error=colours.tone["wait"],
        success=colours.tone["guest"],
        foreground=colours.text,
        background=colours.ground,
        surface=colours.bar,
        panel=colours.bar,
        dark=colours.dark,
        variables={
            "footer-key-foreground": colours.accent,
            "footer-background": colours.bar,
            "text-muted": colours.label,
            "border": colours.line,
        },
    )


def dress(app: App[Any]) -> None:
    """Both themes for its palette, and the dark one on."""
    app.register_theme(_theme(_DARK_NAME, _coloured(app, True)))
    app.register_theme(_theme(_LIGHT_NAME, _coloured(app, False)))
    app.theme = _DARK_NAME


@lru_cache(4096)
def style(foreground: str, background: str = "", attributes: str = "") -> Style:
    """Of a palette's entries."""
    behind = f"on {background}" if background.startswith("#") else background
    return Style.parse(f"{foreground} {behind} {attributes}")


@lru_cache(1024)
def mix(one: str, other: str, share: float) -> str:
    """A colour so far on the way from one to another, 0 to 1."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def drawn(colours: Palette, state: str) -> str:
    """The colour of a chart about a state: its area's, but for idle, whose area is hardly to be seen alone."""
    return colours.tone[state] if state == "idle" else colours.fill[state]


def ramp(colours: Palette, state: str, steps: int) -> list[str]:
    """From few to many: from near the ground by the state's colour to what stands out most."""
    fill, middle = drawn(colours, state), (steps + 1) // 2
    low = [mix(colours.ground, fill, 0.4 + 0.6 * at / (middle - 1)) for at in range(middle)]
    return low + [mix(fill, colours.strong, 0.75 * at / (steps - middle)) for at in range(1, steps - middle + 1)]


def shades(colours: Palette, state: str, steps: int) -> list[str]:
    """A state's colour, from weaker at the foot."""
    if colours.colourless:
        return [""] * steps
    fill = drawn(colours, state)
    return [mix(colours.ground, fill, 0.6 + 0.4 * at / max(steps - 1, 1)) for at in range(steps)]
