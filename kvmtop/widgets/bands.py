"""The timeline: what each vCPU did, and who had the CPUs. Two steps of time a cell, a colour for each state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual import events
from textual.message import Message

from .. import units
from ..tables.states import GLYPHS, bar
from ..tables.text import shortened
from ..tables.timeline_view import NOBODY, STATES, STEPS, UNKNOWN, Band, CpuBand, Sheet, Window
from .canvas import Canvas, Runs, runs, written
from .theme import Palette, mix, style

_SIDE, _NARROW_SIDE = 18, 8  # cells for what is in view; from 120 columns on, from 100 on
# Rows of a vCPU, between two of them, and of a CPU, from what needs most.
_SHAPES = ((2, 1, 2), (2, 1, 1), (1, 1, 1), (1, 0, 1))
_CPUS = 4  # rows that there should be for CPUs, at least


@dataclass
class Clicked(Message):
    """A vCPU was clicked, and when that is; None: beside its band."""

    thread: int
    at: int | None


@dataclass(frozen=True)
class Scene:
    """What is to be drawn: chosen: the exit that the lower pane tells of, its beginning and end, and its label."""

    sheet: Sheet
    window: Window
    thread: int
    chosen: tuple[int, int, str] | None
    origin: int  # where the scale is 0
    said: str


class Bands(Canvas, can_focus=True):
    """Asks for a Scene for so many cells whenever it draws, so that a key is answered at once."""

    def __init__(self, scene: Callable[[int], Scene | None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._scene, self.empty = scene, ""
        self._window: Window | None = None
        self._rows: dict[int, int] = {}  # line → thread
        self._first = 0  # of the vCPUs that are seen

    def _widths(self, width: int) -> tuple[int, int]:
        """Of the names, and of what is in view beside the bands."""
        names = 16 if width >= 100 else 9
        return names, _SIDE if width >= 115 else _NARROW_SIDE if width >= 95 else 0

    @property
    def cells(self) -> int:
        """For the bands."""
        names, side = self._widths(self.size.width)
        return max(self.size.width - names - side - (2 if side else 0), 1)

    def on_click(self, event: events.Click) -> None:
        """Which vCPU is under the mouse, and when."""
        if self._window and event.y in self._rows:
            at = event.x - self._widths(self.size.width)[0]
            inside = 0 <= at < self._window.cells
            ns = self._window.start + (2 * at + 1) * self._window.step if inside else None
            self.post_message(Clicked(self._rows[event.y], ns))

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """See Canvas."""
        scene, self._rows = self._scene(self.cells) if width >= 30 and height >= 4 else None, {}
        label = style(colours.label)
        if scene is None:
            self._window = None
            return [[(line, label)] for line in _wrapped(self.empty, width)[:height]]
        self._window, sheet, (names, side) = scene.window, scene.sheet, self._widths(width)
        foot = [_legend(scene, width, colours)] if height >= 10 else []
        foot += [[(shortened(scene.said, width), style(colours.tone["kernel"]))]] if scene.said else []
        room = height - 2 - len(foot)
        vcpus = len(sheet.threads)
        some = min(sheet.cpu_count, _CPUS)
        tall, gap, pitch = next((one for one in _SHAPES if _needs(vcpus, some, one) <= room), _SHAPES[-1])
        most = max(room - min(some, 2) - 1, 1) if vcpus + 2 > room else room  # where not all fit, they scroll
        shown = max(min(vcpus, (most + gap) // (tall + gap)), 1)
        at = sheet.threads.index(scene.thread) if scene.thread in sheet.threads else 0
        self._first = min(max(self._first, at - shown + 1, 0), at, max(vcpus - shown, 0))
        lines: list[Runs] = [_scale(scene, names, width, colours)]
        above: Runs | None = self._head(scene, names, side, vcpus - shown, colours)
        for number, thread in enumerate(sheet.threads[self._first : self._first + shown]):
            band = sheet.band(thread, scene.window)
            here = thread == scene.thread
            if here and scene.chosen and (gap or not number):
                above = _marker(scene, names, side, above, colours)
            if above is not None:
                lines.append(above)
            for row in range(tall):
                self._rows[len(lines)] = thread
                lines.append(_band(band, row, here, names, side, tall, colours))
            above = [(" " * width, label)] if gap else None
        free = height - len(foot) - len(lines) - 1
        if free > 0:
            cpus = sheet.cpus(scene.thread, scene.window, (free + pitch - 1) // pitch)
            if gap and free > 1 + len(cpus) * pitch - (pitch - 1):
                lines.append([(" " * width, label)])
            lines.append(_under("Who ran", "OTHERS RAN" if side >= _SIDE else "", side, width, colours))
            for number, cpu in enumerate(cpus):
                if number and pitch > 1:
                    lines.append([(" " * width, label)])
                lines.append(_cpu(cpu, names, side, colours))
        lines = lines[: height - len(foot)]
        lines += [[(" " * width, label)]] * (height - len(foot) - len(lines))
        return [*lines, *foot]

    def _head(self, scene: Scene, names: int, side: int, hidden: int, colours: Palette) -> Runs:
        after = hidden - self._first
        more = [f"↑ {self._first}"] * bool(self._first) + [f"↓ {after} more"] * (after > 0)
        words = f"vCPUs {' '.join(more)}" if more else "vCPUs"
        width = names + scene.window.cells + (side + 2 if side else 0)
        return _under(words, "IN VIEW" if side >= _SIDE else "", side, width, colours)


def _needs(vcpus: int, cpus: int, shape: tuple[int, int, int]) -> int:
    tall, gap, pitch = shape
    return vcpus * (tall + gap) - gap + (gap + 1 + cpus * pitch - (pitch - 1) if cpus else 0)


def _wrapped(text: str, width: int) -> list[str]:
    lines, words = [""], text.split()
    for word in words:
        if cell_len(lines[-1]) + cell_len(word) + 1 > max(width, 1):
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _under(left: str, right: str, side: int, width: int, colours: Palette) -> Runs:
    """Heads of the columns."""
    label = style(colours.label)
    text = set_cell_size(left, width - side if side else width) + set_cell_size(right, side)
    return [(text, label)]


def _scale(scene: Scene, names: int, width: int, colours: Palette) -> Runs:
    label, free, found = style(colours.label), names - 1, list[tuple[int, str, Style]]()
    for at, words in scene.sheet.ticks(scene.window, scene.origin):
        sign = words[:1] in "+−"
        start = names + at - (1 if sign else 0)
        if start >= free and start + len(words) <= names + scene.window.cells:
            zero = words.split(" ")[0] == "0"
            found.append((start, words, style(colours.strong, "", "bold") if zero else label))
            free = start + len(words) + 1
    return written(" " * width, found, label)


def _marker(scene: Scene, names: int, side: int, under: Runs | None, colours: Palette) -> Runs:
    """Over the band of the vCPU: from where to where the exit is, and what it is."""
    assert scene.chosen
    begin, end, words = scene.chosen
    window, ground = scene.window, "".join(text for text, _ in under or [])
    left, right = ((ns - window.start) // (2 * window.step) for ns in (begin, end - 1))
    if right < 0 or left >= window.cells:
        return under or []
    accent = style(colours.accent, "", "bold")
    left, right = max(left, 0), min(right, window.cells - 1)
    room = right - left + 1
    text = f" {words} "
    if room >= len(text) + 2:
        before = (room - len(text)) // 2
        line = "─" * before + text + "─" * (room - len(text) - before)
    else:  # beside it, where there is room
        line = ("─" * room if room > 1 else "▾") + f" {words}"
        if left + len(line) > window.cells:
            line = f"{words} " + ("─" * room if room > 1 else "▾")
            left = right + 1 - len(line)
    at = names + left
    keep = ground.ljust(names + window.cells + side)
    label = style(colours.label)
    return written(keep, [(at, line, accent)], label)


def _band(band: Band, row: int, here: bool, names: int, side: int, tall: int, colours: Palette) -> Runs:
    line: Runs = []
    back = colours.cursor if here else ""
    attributes = "bold" if here else ""
    if colours.colourless:
        back, attributes = "", "bold" if here else ""
    line.append(("▎" if here else " ", style(colours.accent if here else "", back)))
    if row == 0:
        name = set_cell_size(band.name, names - (8 if names > 10 else 1) - 1)
        line.append((name, style(colours.strong if here else colours.text, back, attributes)))
        if names > 10:
            line.append((set_cell_size(band.place, 7), style(colours.label, back)))
    else:
        line.append((" " * (names - 2), style("", back)))
    line.append((" ", style("")))
    line += _halves(band, colours)
    if side:
        line.append(("  ", style("")))
        line += _side(band, row, side, tall, colours)
    return line


def _halves(band: Band, colours: Palette) -> Runs:
    if colours.colourless:
        chars = [" " if at == UNKNOWN else GLYPHS[STATES[at]] for at in band.cells]
        looks = [style("" if at == UNKNOWN else colours.fill[STATES[at]]) for at in band.cells]
        return runs(chars, looks)
    fills = [*(colours.fill[state] for state in STATES), colours.ground]
    pairs = list(zip(band.halves[::2], band.halves[1::2], strict=True))
    chars = ["█" if left == right else "▌" for left, right in pairs]
    return runs(chars, [style(fills[left], fills[right]) for left, right in pairs])


def _side(band: Band, row: int, side: int, tall: int, colours: Palette) -> Runs:
    """What is in view: a bar, or what takes most of it beside the guest."""
    if row == 0 and tall > 1:
        found: Runs = []
        for text, state in bar(band.shares, side) if band.shares else []:
            if colours.colourless or not state:
                found.append((text, style(colours.fill.get(state, colours.label))))
            else:
                found.append(("▆" * len(text), style(colours.fill[state])))
        return found
    if not band.most:
        return [(" " * side, style(""))]
    state, share = band.most
    figure = units.percent(share)
    if side < _SIDE:
        return [(f"{figure:>{side}}", style(colours.tone[state]))]
    return [
        (f"{state:<{side - 6}}", style(colours.tone[state])),
        (f"{figure[:-1]:>5}", style(colours.strong)),
        ("%", style(colours.label)),
    ]


def _cpu(cpu: CpuBand, names: int, side: int, colours: Palette) -> Runs:
    line: Runs = [(set_cell_size(f" CPU {cpu.cpu}", names), style(colours.text))]
    at = 0
    while at < len(cpu.cells):
        end = at + 1
        while end < len(cpu.cells) and cpu.cells[end] == cpu.cells[at]:
            end += 1
        line.append(_task(cpu, cpu.cells[at], end - at, colours))
        at = end
    if side:
        line.append(("  ", style("")))
        name, share = cpu.most or ("", 0.0)
        figure = units.percent(share)[:-1] if cpu.most else ""
        if side >= _SIDE:
            line.append((set_cell_size(shortened(name, side - 7), side - 6), style(colours.text)))
            line += [(f"{figure:>5}", style(colours.strong)), ("%" if figure else " ", style(colours.label))]
        else:
            line.append((f"{figure + '%' if figure else '':>{side}}", style(colours.text)))
    return line


def _task(cpu: CpuBand, number: int, room: int, colours: Palette) -> tuple[str, Style]:
    """So many cells of one task, with its name where there is room for that."""
    if number == NOBODY:
        return " " * room, style("")
    task = cpu.tasks[number]
    name = task.name if cell_len(task.name) + 2 <= room else task.name.rpartition(" ")[0] if task.kind == "task" else ""
    name = f" {name} " if name and cell_len(name) + 2 <= room else ""
    if colours.colourless:
        fill = {"own": "█", "vcpu": "▓", "task": "▒"}[task.kind]
        return name + fill * (room - cell_len(name)), style("dim" if task.kind == "own" and not name else "")
    grey = mix(colours.ground, colours.label, 0.65 if task.kind == "vcpu" else 0.95)
    fill = colours.fill["guest"] if task.kind == "own" else grey
    return set_cell_size(name, room), style(_readable(fill), fill)


def _readable(ground: str) -> str:
    """Black or white, whichever can be read on that."""
    red, green, blue = (int(ground[at : at + 2], 16) for at in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 100 else "#ffffff"


def _legend(scene: Scene, width: int, colours: Palette) -> Runs:
    line: Runs = []
    for state in GLYPHS:
        line.append((GLYPHS[state] if colours.colourless else "■", style(colours.fill[state])))
        line.append((f" {state}  ", style(colours.label)))
    line.append(("▒" if colours.colourless else "■", style("" if colours.colourless else colours.label)))
    line.append((" another task", style(colours.label)))
    if sum(cell_len(text) for text, _ in line) > width:
        line = [(text.rstrip() + " " if text.startswith(" ") else text, look) for text, look in line[:-2]]
    return line


def zoomed(step: int, by: int) -> int:
    """The next longer step, or the next shorter one."""
    at = STEPS.index(step) if step in STEPS else 0
    return STEPS[min(max(at + by, 0), len(STEPS) - 1)]


def fitting(ns: int, cells: int) -> int:
    """The shortest step with which so long a time is in view."""
    return next((step for step in STEPS if step * 2 * cells >= ns), STEPS[-1])
