"""Colours by role: told apart, readable, and by number where a terminal has 256."""

from __future__ import annotations

import itertools

import pytest
from rich.color import Color, ColorSystem

from kvmtop.tables.states import GLYPHS
from kvmtop.widgets import theme
from kvmtop.widgets.program import Program
from kvmtop.widgets.theme import _COLOURLESS, _DARK, _DARK_256, _LIGHT, _LIGHT_256, Palette, dress, palette


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [_DARK, _LIGHT])
def test_text_can_be_read(colours: Palette) -> None:
    assert contrast(colours.text, colours.ground) > 10
    assert contrast(colours.label, colours.ground) >= 5.5
    assert contrast(colours.faint, colours.ground) >= 4
    assert contrast(colours.accent, colours.ground) >= 4.5
    assert all(contrast(tone, colours.ground) >= 4.5 for tone in colours.tone.values())


@pytest.mark.parametrize("colours", [_DARK_256, _LIGHT_256])
def test_256_colours_are_named_and_not_rounded(colours: Palette) -> None:
    def number(colour: str) -> int | None:
        return Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).number

    fills = [number(colour) for colour in colours.fill.values()]
    assert len({*fills}) == len(GLYPHS)
    assert number(colours.ground) not in fills
    assert contrast(colours.faint, colours.ground) >= 3.5 and contrast(colours.label, colours.ground) >= 5.5
    if colours is _DARK_256:
        assert fills == [36, 178, 74, 25, 237, 166, 175]
        assert [number(colour) for colour in (colours.ground, colours.text, colours.accent)] == [233, 253, 221]


def test_every_palette_has_every_state() -> None:
    for colours in (_DARK, _LIGHT, _DARK_256, _LIGHT_256, _COLOURLESS):
        assert list(colours.fill) == list(colours.tone) == list(GLYPHS)
        looks = [theme.style(colours.fill[state]) for state in GLYPHS]
        assert colours.colourless or all(a != b for a, b in itertools.combinations(looks, 2))
        assert not colours.colourless or not any(look.color or look.bgcolor for look in looks)


@pytest.mark.parametrize(
    ("environment", "dark", "light"),
    [
        ({"COLORTERM": "truecolor"}, _DARK, _LIGHT),
        ({"COLORTERM": "", "TERM": "xterm-256color"}, _DARK_256, _LIGHT_256),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, _COLOURLESS, _COLOURLESS),
    ],
)
async def test_the_terminal_decides(
    environment: dict[str, str], dark: Palette, light: Palette, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = Program()
    async with app.run_test():
        dress(app)
        assert palette(app) is dark
        app.theme = "kvmtop-light"
        assert palette(app) is light
        app.theme = "textual-light"
        assert palette(app) is light
