"""Where the time went: the shares of the states, stacked, over time. A column an interval, eighths of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from rich.style import Style
from textual import events
from textual.message import Message

from .. import units
from ..tables.states import GLYPHS, UNKNOWN
from . import theme
from .canvas import Canvas, Runs, runs, written
from .theme import Palette

Shares = Mapping[str, float]  # of 1, by state
Cell = tuple[int, int, int]  # eighths of the lower state, the lower, the upper (places in STACK)
Column = tuple[Cell, ...]  # from the ground

STACK = (*GLYPHS, UNKNOWN)  # from the ground
# How much an eighth of a cell that is drawn right counts: what costs something shall not get lost.
WEIGHTS = (1.0, 1.05, 1.2, 1.1, 0.97, 1.25, 1.25, 0.9)
_SAME = 0.9  # for the pair of states that the column before has there, so that edges do not flicker
_RUN_UP = 32  # columns that are not seen, but that those seen follow from
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LEGEND, _GAP = 18, 2  # characters


@lru_cache(8192)
def column(shares: tuple[float, ...], height: int, before: Column | None) -> Column:
    """An interval in so many cells. shares: of 1, in the order of STACK, but for UNKNOWN; before: the column left."""
    sums = list(accumulate(max(share, 0.0) for share in shares or [0.0] * len(GLYPHS)))
    ends = [*(round(8 * height * end / max(sums[-1], 1.0)) for end in sums), 8 * height]
    cells, state = [], 0
    for row in range(height):
        stretches, done = [], 8 * row  # how many eighths of which state
        while done < 8 * row + 8:
            while ends[state] <= done:
                state += 1
            until = min(ends[state], 8 * row + 8)
            stretches.append((until - done, state))
            done = until
        cells.append(_cell(stretches, before[row] if before else None))
    return tuple(cells)


def _cell(stretches: list[tuple[int, int]], before: Cell | None) -> Cell:
    """Two states at most: of all ways to draw two, the one that has most eighths right, by weight."""
    if len(stretches) <= 2:
        return stretches[0][0], stretches[0][1], stretches[-1][1]
    eighths = [state for number, state in stretches for _ in range(number)]
    best, most = (8, 0, 0), -1.0
    for at, (_, lower) in enumerate(stretches):
        for _, upper in stretches[at + 1 :]:
            bonus = _SAME if before and before[1:] == (lower, upper) else 0.0
            for split in range(1, 8):
                below, above = eighths[:split].count(lower), eighths[split:].count(upper)
                value = below * WEIGHTS[lower] + above * WEIGHTS[upper] + bonus
                if value > most:
                    best, most = (split, lower, upper), value
    return best


def columns(shares: Sequence[Shares | None], height: int) -> list[Column]:
    """Intervals, oldest first; of one that nothing is known of (None) the column is empty."""
    found: list[Column] = []
    for one in shares:
        known = tuple(one.get(state, 0.0) for state in GLYPHS) if one else ()
        found.append(column(known, height, found[-1] if found else None))
    return found


def ticks(ages: Sequence[float]) -> list[tuple[int, str]]:
    """Where the scale of time has marks, and which: (column, words), newest first. ages: s, by column, oldest first."""
    if not ages:
        return []
    step = next((s for s in (5, 10, 30, 60, 300, 600, 1800, 3600) if ages[0] / s < 6), 7200)
    found = [(len(ages) - 1, "now")]
    for age in range(step, int(ages[0]) + 1, step):
        found.append((min(range(len(ages)), key=lambda at: abs(ages[at] - age)), f"−{_clock(age)}"))
    return found


def _clock(seconds: int) -> str:
    """How long ago, on a scale: 0:30, 2:00, 1:30:00."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


@dataclass
class ColumnClicked(Message):
    """A column of the area was clicked."""

    area: Area
    index: int  # in what it was given to show

    @property
    def control(self) -> Area:
        """For @on's selector."""
        return self.area


class Area(Canvas):
    """With its legend; in a rounded frame with its title, or bare, with its scale of time below.

    It shows the newest intervals that there is room for.
    """

    def __init__(self, title: str = "", *, id: str | None = None) -> None:
        """title: of the frame; bare without."""
        super().__init__(id=id)
        self.title, self._border = title, 1 if title else 0
        self._shares: Sequence[Shares | None] = ()
        self._seconds: Sequence[float] = ()
        self._marks: Sequence[tuple[int, str]] = ()
        self._cursor: int | None = None

    def show(
        self,
        shares: Sequence[Shares | None],
        seconds: Sequence[float],
        marks: Sequence[tuple[int, str]] = (),
        cursor: int | None = None,
    ) -> None:
        """An interval each, oldest first, and how long each lasted; None: nothing is known of it.

        marks: where a finding began, and the state that it is about; cursor: the interval that a replay is at.
        """
        self._shares, self._seconds, self._marks, self._cursor = shares, seconds, marks, cursor
        self.redraw()

    def _layout(self, width: int, height: int) -> tuple[int, int, int]:
        """Where the columns begin, how many there may be, and their height."""
        border, rows = self._border, max(height - 1 - self._border, 0)
        left = border + _LEGEND * (1 if rows >= len(GLYPHS) else 2) + _GAP
        left = left if width - left >= _LEGEND else border
        return left, max(width - left - 2 * border, 0), rows

    def on_click(self, event: events.Click) -> None:
        """Which interval is under the mouse."""
        left, room, _ = self._layout(*self.size)
        shown = min(room, len(self._shares))
        at = event.x - left - (room - shown)
        if 0 <= at < shown:
            self.post_message(ColumnClicked(self, len(self._shares) - shown + at))

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """See Canvas."""
        left, room, rows = self._layout(width, height)
        first = max(len(self._shares) - room, 0)
        run_up = max(first - _RUN_UP, 0)
        shown = columns(self._shares[run_up:], rows)[first - run_up :]
        start = left + room - len(shown)  # of the oldest column that is seen
        ages, age = [], 0.0
        for seconds in reversed(self._seconds[first:]):
            ages.append(age)
            age += seconds
        now = next((one for one in reversed(self._shares) if one), None)
        line = theme.style(colours.line)
        side: Runs = [("│", line)] * self._border
        body = []
        for at, legend in enumerate(_legend(now, rows, colours) if left > self._border else [[]] * rows):
            indent = start - self._border - sum(len(text) for text, _ in legend)
            cells = _row(shown, rows - 1 - at, colours, None if self._cursor is None else self._cursor - first)
            body.append([*side, *legend, (" " * indent, line), *cells, (" " * self._border, line), *side])
        marks = [(start + at, words) for at, words in ticks(ages[::-1])]
        foot = _scale(marks, width, self._border, colours)
        if not self._border:
            return [*body, foot]
        starts = [(start + at - first, state) for at, state in self._marks if at >= first]
        return [self._top(width, starts, f" last {units.spoken(age * 1e9)} " if shown else "", colours), *body, foot]

    def _top(self, width: int, starts: Sequence[tuple[int, str]], span: str, colours: Palette) -> Runs:
        """The upper border: the title, where findings began, and how far back it goes, unless one began below that."""
        title, end = f" {self.title} ", width - 2 - len(span)
        words = [(2, title, theme.style(colours.text))]
        words += [(at, "▼", theme.style(colours.tone.get(state, colours.text))) for at, state in starts]
        if len(title) + 8 < end and not any(at >= end for at, _ in starts):
            words.append((end, span, theme.style(colours.label)))
        return written("╭" + "─" * (width - 2) + "╮", words, theme.style(colours.line))


def _row(shown: Sequence[Column], row: int, colours: Palette, cursor: int | None) -> Runs:
    """A line of cells; without colour, and under the cursor, each of the one state that has most of it."""
    fills = [*colours.fill.values(), colours.ground]
    chars, looks = [], []
    for at, one in enumerate(shown):
        eighths, lower, upper = one[row]
        state = lower if eighths * WEIGHTS[lower] >= (8 - eighths) * WEIGHTS[upper] else upper
        if at == cursor:
            chars.append("┃")
            looks.append(theme.style(colours.strong, fills[state]))
        elif colours.colourless:
            chars.append(GLYPHS.get(STACK[state], " "))
            looks.append(theme.style(fills[state]))
        else:
            chars.append(_EIGHTHS[eighths])
            looks.append(theme.style(fills[lower], fills[upper]))
    return runs(chars, looks)


def _scale(marks: Sequence[tuple[int, str]], width: int, border: int, colours: Palette) -> Runs:
    """Words below the columns that they are about, the newest at the end; what would touch it is left out."""
    ground = f"╰{'─' * (width - 2)}╯" if border else " " * width
    found: list[tuple[int, str, Style]] = []
    free = width - border
    for at, words in marks:
        text = f" {words} " if border else words
        start = free - len(text) if not found else at - len(text) // 2
        if start >= border and start + len(text) <= free:
            found.append((start, text, theme.style(colours.label)))
            free = start - 2
    return written(ground, found, theme.style(colours.line))


def _legend(now: Shares | None, height: int, colours: Palette) -> list[Runs]:
    """The states from the top of the stack, with their shares now; in two columns where it is low."""
    label, text = theme.style(colours.label), theme.style(colours.text)
    strong = theme.style(colours.strong, attributes="bold")
    entries: list[Runs] = []
    for state in reversed(GLYPHS):
        share = now.get(state) if now else None
        look = label if not share or share < 0.0005 else strong if share >= 0.0995 else text
        entries.append(
            [
                (f" {GLYPHS[state] if colours.colourless else '█'} ", theme.style(colours.fill[state])),
                (f"{state:<9}", label if look is label else text),
                (f"{units.percent(share).rstrip('%'):>5}", look),
                ("%" if share is not None else " ", label),
            ]
        )
    if height > len(entries):
        entries.insert(0, [(f"   {'STATE':<9}{'NOW':>6}", label)])
    elif height < len(entries):
        half = -(-len(entries) // 2)
        entries = [one + two for one, two in zip(entries[:half], [*entries[half:], []], strict=True)]
    return [*entries, *([[]] * height)][:height]
