"""One exit: what happened in it, in order."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from ..tables.states import GLYPHS
from ..tables.text import shortened
from ..tables.timeline_view import Happened, Part
from .canvas import Canvas, Runs
from .theme import Palette, style

_BAR = 40  # cells, of 150


class ExitView(Canvas):
    """Its pieces with their times, and what there is to say of all of it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: Happened | None = None
        self.empty = ""

    def show(self, happened: Happened | None) -> None:
        """Another exit, or none."""
        if happened != self._shown:
            self._shown = happened
            self.redraw()

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """See Canvas."""
        label, one = style(colours.label), self._shown
        if one is None or height < 1:
            return [[(shortened(self.empty, width), label)]]
        below = one.lines[: max(height - 2 - min(len(one.parts), 3), 0)]
        gap = 1 if height >= 2 + len(one.parts) + len(below) + 1 else 0
        room = max(height - 1 - len(below) - gap, 1)
        bar = _BAR * width // 156 if width >= 100 else 0
        lines: list[Runs] = [
            [(f"  {'':<10}{'AFTER':>7} {'LASTED':>7}  " + " " * (bar + 2 if bar else 0) + "WHAT", label)]
        ]
        parts = one.parts if len(one.parts) <= room else one.parts[: room - 1]
        lines += [_part(part, bar, width, colours) for part in parts]
        if len(parts) < len(one.parts):
            lines.append([(f"  … and {len(one.parts) - len(parts)} more", label)])
        lines += [[]] * gap
        for head, rest in below:
            line: Runs = [(f"{head:<11} ", label)]
            left = width - 12
            for text, state in rest:
                text = shortened(text, left)
                line.append((text, style(colours.tone.get(state, colours.text))))
                left -= cell_len(text)
            lines.append(line)
        return lines[:height]


def _part(part: Part, bar: int, width: int, colours: Palette) -> Runs:
    line: Runs = [
        (GLYPHS[part.state] if colours.colourless else "■", style(colours.fill[part.state])),
        (f" {part.state:<10}", style(colours.text)),
        (f"{part.after:>7} ", style(colours.label)),
        (f"{part.lasted:>7}  ", style(colours.strong, "", "bold")),
    ]
    if bar:
        begin = min(int(part.begin * bar), bar - 1)
        end = max(round(part.end * bar), begin + 1)
        fill = GLYPHS[part.state] if colours.colourless else "▆"
        line += [
            ("▁" * begin, style(colours.track)),
            (fill * (end - begin), style(colours.fill[part.state])),
            ("▁" * (bar - end), style(colours.track)),
            ("  ", style("")),
        ]
    used = sum(cell_len(text) for text, _ in line)
    words = shortened(part.words, width - used)
    return [*line, (set_cell_size(words, cell_len(words)), style(colours.text))]
