"""KernelTime under each other, as wide as their shares: what called is above what it called. Keys walk in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType

from .. import units
from ..tables.page import Block, KernelTime
from ..tables.text import shortened
from .canvas import Canvas, Runs
from .theme import Palette, mix, style

_Path = tuple[str, ...]  # keys of blocks, from the root on
_Place = tuple[int, int, int, _Path, Block]  # row, from, to
HEAD, FOOT = 1, 1  # lines above and below the blocks


class Icicle(Canvas, can_focus=True):
    """The block with the cursor is told of at the foot. Enter makes it the widest, Escape takes that back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "walk(1)", "Called", show=False),
        Binding("up,k", "walk(-1)", "Caller", show=False),
        Binding("right", "beside(1)", "Beside", show=False),
        Binding("left", "beside(-1)", "Beside", show=False),
        Binding("enter", "zoom", "zoom in", key_display="↵", tooltip="This function and what it called, alone"),
        Binding("escape,backspace", "out", "zoom out", key_display="esc", tooltip="The functions around it, too"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: KernelTime | None = None
        self._words = ""  # in the place of all
        self._top: _Path = ()  # the block that is the widest
        self._cursor: _Path = ()
        self._places: list[_Place] = []
        self._scroll = 0  # rows of blocks above those that are seen

    def show(self, blocks: KernelTime) -> None:
        """Other figures of the same, or others; the cursor and the zoom stay where they are if that is still there."""
        self._shown, self._words = blocks, ""
        self._top, self._cursor = self._known(self._top), self._known(self._cursor)
        if not self._cursor and blocks.root.called:
            self._cursor = (blocks.root.called[0].key,)
        self.redraw()
        self.refresh_bindings()

    def say(self, words: str) -> None:
        """Why there is nothing; what was there is not of this reason."""
        self._shown, self._words, self._top, self._cursor = None, words, (), ()
        self.redraw()

    @property
    def cursor(self) -> Block | None:
        """What it is on."""
        return self._block(self._cursor)

    def _block(self, path: _Path) -> Block | None:
        at = self._shown.root if self._shown else None
        for key in path:
            at = next((one for one in at.called if one.key == key), None) if at else None
        return at

    def _known(self, path: _Path) -> _Path:
        """As far as it is still there."""
        while path and not self._block(path):
            path = path[:-1]
        return path

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is not zoomed into leaves Escape to the page."""
        if action == "out":
            return bool(self._top)
        if action == "zoom":
            return self._cursor != self._top
        return super().check_action(action, parameters)

    def action_walk(self, by: int) -> None:
        """To what it called most, or to its caller."""
        block = self.cursor
        if by < 0:
            self._go(self._cursor[:-1] if len(self._cursor) > max(len(self._top), 1) else self._cursor)
        elif block and block.called:
            self._go((*self._cursor, block.called[0].key))

    def action_beside(self, by: int) -> None:
        """To the next one in the same row, whoever called it."""
        row = [path for _, _, _, path, _ in self._laid(1 << 20) if len(path) == len(self._cursor)]
        if self._cursor in row:
            self._go(row[min(max(row.index(self._cursor) + by, 0), len(row) - 1)])

    def action_zoom(self) -> None:
        """The cursor's block becomes as wide as all."""
        self._top = self._cursor
        self.redraw()
        self.refresh_bindings()

    def action_out(self) -> None:
        """Back to the caller of the block that is the widest, the cursor on what was."""
        self._cursor, self._top = self._top, self._top[:-1]
        self.redraw()
        self.refresh_bindings()

    def _go(self, path: _Path) -> None:
        self._cursor = path
        self.redraw()
        self.refresh_bindings()

    def on_focus(self) -> None:
        """The cursor shows who has the keys."""
        self.redraw()

    def on_blur(self) -> None:
        """The same."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """The block under the mouse; once more: zoom into it."""
        y = event.y - HEAD + self._scroll
        for row, start, end, path, _ in self._places:
            if row == y and start <= event.x < end:
                if path == self._cursor:
                    self.action_zoom() if path != self._top else self.action_out()
                else:
                    self._go(path)
                return

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """What the time went to, the blocks, and what the cursor is on."""
        label = style(colours.label)
        if not self._shown or width < 16 or height < 3:
            return [[(shortened(self._words, width), label)]]
        self._places = self._laid(width)
        rows, deepest = height - HEAD - FOOT, max((place[0] for place in self._places), default=0) + 1
        at = len(self._cursor) - max(len(self._top), 1)
        self._scroll = min(max(self._scroll, at - rows + 1, 0), max(at, 0), max(deepest - rows, 0))
        lines: list[Runs] = [[(shortened(self._shown.headline, width), style(colours.text))]]
        for row in range(self._scroll, self._scroll + rows):
            lines.append(self._row([place for place in self._places if place[0] == row], colours))
        more = deepest - rows - self._scroll
        words = self.cursor.words if self.cursor else ""
        down = f" ↓ {more} more" if more > 0 else ""
        words = shortened(words, width - len(down))
        lines.append([(words, label), (" " * (width - cell_len(words) - len(down)) + down, label)])
        return lines

    def _laid(self, width: int) -> list[_Place]:
        """Where each block is that has a cell, the widest in row 0."""
        found: list[_Place] = []
        top = self._block(self._top)
        if not top or not top.share:
            return found

        def lay(blocks: Sequence[Block], start: int, row: int, path: _Path) -> None:
            before = 0.0
            for one in blocks:
                left, right = (start + round(share / top.share * width) for share in (before, before + one.share))
                before += one.share
                if right > left:
                    found.append((row, left, right, (*path, one.key), one))
                    lay(one.called, left, row + 1, (*path, one.key))

        if self._top:
            lay([top], 0, 0, self._top[:-1])
        else:
            lay(top.called, 0, 0, ())
        return found

    def _row(self, places: Sequence[_Place], colours: Palette) -> Runs:
        line: Runs = []
        end = 0
        for _, start, stop, path, block in places:
            line.append((" " * (start - end), style("")))
            here, room = path == self._cursor, stop - start - (stop - start > 1)  # a gap between neighbours
            mark = (
                "▎" if here and not colours.colourless and room > 2 else "▏" if colours.colourless and room > 2 else " "
            )
            text = _label(block, room, mark)
            line.append((text, self._look(block, here, colours)))
            line.append((" " * (stop - start - room), style("")))
            end = stop
        return line

    def _look(self, block: Block, here: bool, colours: Palette) -> Style:
        keys = self.has_focus
        if colours.colourless:
            return style(
                colours.fill[block.state], "", f"underline {'reverse' if here and keys else 'bold' if here else ''}"
            )
        if here:
            return style(colours.accent if keys else colours.strong, colours.cursor if keys else colours.away, "bold")
        fill = colours.tone["idle"] if block.state == "idle" else colours.fill[block.state]
        ground = mix(colours.ground, fill, 0.4 + 0.6 * block.own / block.share if block.share else 0.4)
        return style(_readable(ground, colours), ground)


def _readable(ground: str, colours: Palette) -> str:
    """Black or white, whichever can be read on that."""
    red, green, blue = (int(ground[at : at + 2], 16) for at in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 115 else "#ffffff"


def _label(block: Block, room: int, mark: str) -> str:
    """Its functions, the innermost at least, and its share where there is room for that."""
    share = units.percent(block.share)
    functions = [name.partition(" [")[0] for name in block.names]
    if len(functions) > 1 and functions[-1].startswith("("):  # its colour says so
        functions.pop()
    names = " › ".join(functions)
    space = room - len(mark)
    if space < 1:
        return mark[:room]
    figure = f" {share}" if space >= len(share) + 8 else ""
    space -= len(figure)
    if cell_len(names) > space:
        kept = functions[-1:]
        while len(kept) < len(functions) and cell_len(" › ".join(("…", functions[-len(kept) - 1], *kept))) <= space:
            kept.insert(0, functions[-len(kept) - 1])
        names = " › ".join(kept)
        if len(kept) < len(functions) and cell_len(names) + 4 <= space:
            names = f"… › {names}"
        if cell_len(names) > space:
            names = set_cell_size(names, max(space - 1, 0)) + "…"
    return f"{mark}{set_cell_size(names, space)}{figure}"
