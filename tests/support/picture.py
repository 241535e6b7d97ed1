"""A Textual screenshot as PNG, so that a person can look at it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from textual.app import App

from . import glyphs


def png(app: App[Any], path: Path, pixels: int = 12) -> None:
    """Write the screen as PNG (and as SVG beside it)."""
    write(app.export_screenshot(), path, pixels)


def write(svg: str, path: Path, pixels: int = 12) -> None:
    """The picture as SVG, and as PNG in DejaVu Sans Mono; a cell is `pixels` wide."""
    import cairosvg

    path.with_suffix(".svg").write_text(svg)
    # A cell is 12.2 wide. cairosvg spreads a text over its textLength wrongly, so the font is made to fit, and
    # cairo rounds a glyph's width to whole pixels, so a cell must be of whole pixels.
    svg = re.sub(r' textLength="[^"]*"', "", glyphs.drawn(plain(svg))).replace("font-size: 20px", "font-size: 20.26px")
    cairosvg.svg2png(bytestring=svg.encode(), write_to=str(path), scale=pixels / 12.2)


def lines(app: App[Any]) -> list[str]:
    """The screen as text."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def plain(svg: str) -> str:
    """Without the font that it has from the network."""
    return re.sub(r"@font-face\s*{[^}]*}", "", svg).replace("Fira Code", "DejaVu Sans Mono")
