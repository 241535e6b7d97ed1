"""The timeline page: the vCPUs of a VM below each other, around a slow exit or now, down to the single exit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message

from .. import units
from ..tables.timeline_view import Book, Happened, Sheet, Window
from .bands import Bands, Clicked, Scene, fitting, zoomed
from .exit_view import ExitView
from .pane import Pane
from .theme import palette, style

_COST = "Every exit is traced while this page is open: 1,894 instructions each instead of 636."
_ATTACHING = f"The probes are being attached, which takes about a second … {_COST}"
_LIVE = 1_000_000  # ns: the step with which it begins where there is no slow exit


@dataclass
class ReasonAsked(Message):
    """Enter on an exit."""

    key: tuple[int, int]


class TimelinePage(Vertical):
    """Follows the last moments until somebody moves; then it stays, and all that is drawn is in memory."""

    DEFAULT_CSS = """
    TimelinePage #bands-pane { height: 1fr; }
    TimelinePage #exit-pane { height: 15; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "pan(-1)", "move", key_display="←→", tooltip="A quarter of the view back"),
        Binding("right", "pan(1)", "Move", show=False, tooltip="A quarter of the view on"),
        Binding("up,k", "row(-1)", "vCPU", key_display="↑↓", tooltip="The vCPU above"),
        Binding("down,j", "row(1)", "vCPU below", show=False, tooltip="The vCPU below"),
        Binding(
            "plus,equals_sign",
            "zoom(-1)",
            "zoom",
            key_display="+ −",
            tooltip="Less time in each cell, down to a step of 1 µs",
        ),
        Binding("minus", "zoom(1)", "Zoom out", show=False, tooltip="More time in each cell, up to a step of 1 s"),
        Binding("n", "slow(1)", "slow exits", key_display="n N", tooltip="The next slow exit"),
        Binding("N", "slow(-1)", "Slow exit before", show=False, tooltip="The slow exit before"),
        Binding("right_square_bracket", "exit(1)", "exits", key_display="[ ]", tooltip="The next exit of this vCPU"),
        Binding("left_square_bracket", "exit(-1)", "Exit before", show=False, tooltip="The exit before"),
        Binding("home,0", "whole", "Whole", show=False, tooltip="The slow exit with all that is kept around it"),
        Binding("enter", "reason", "its reason", key_display="↵", tooltip="The page of this exit's reason"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.trouble: str | None = None  # why what it waits for may not come
        self._place: object = None
        self._book: Book | None = None
        self._pinned: Sheet | None = None  # None: it follows the last moments
        self._wanted: tuple[int, int, int] | None = None  # the exit that somebody wants to see: thread, begin, end
        self._missed = ""  # why it is not to be had
        self._asked_ns = 0  # a slow exit that ended later is shown in its place
        self._thread: int | None = None
        self._exit: int | None = None
        self._step, self._start = _LIVE, 0
        self._cells, self._fits = 0, False  # of the bands when that was decided; all that is kept is in view

    def compose(self) -> ComposeResult:
        """The bands, and the exit that is chosen."""
        with Pane(id="bands-pane"):
            yield Bands(self._scene, id="bands")
        with Pane(id="exit-pane"):
            yield ExitView(id="exit")

    @property
    def _bands(self) -> Bands:
        return self.query_one(Bands)

    @property
    def pinned(self) -> bool:
        """Whether it stays at what somebody has gone to."""
        return self._pinned is not None

    @property
    def _sheet(self) -> Sheet | None:
        return self._pinned or (self._book.recent if self._book else None)

    # What is shown

    def begin(self, place: object, thread: int | None, wanted: tuple[int, int, int] | None) -> None:
        """Opened for a vCPU (its thread), or for an exit of it, of which something may be kept. Back at the same place,
        all is as it was."""
        if place is self._place:
            self._update()
            return
        self._place = place
        self._book, self._pinned, self._exit, self._missed, self._asked_ns = None, None, None, "", 0
        self._thread, self._wanted, self._step = thread, wanted, _LIVE
        self._update()

    def show(self, book: Book | None) -> None:
        """What is known now."""
        self._book = book
        if book and self._wanted:
            self._go_to_wanted(book, self._wanted)
        self._update()

    def _go_to_wanted(self, book: Book, wanted: tuple[int, int, int]) -> None:
        if sheet := book.around_of(*wanted):
            self._go_to(sheet)
        elif not self._missed:
            known = book.since_ns < wanted[1]
            why = "its surroundings were overwritten" if known else "it was before the probes were attached"
            self._missed = f"What was around that exit is not known: {why}. The next slow exit is shown once it comes."
            self._asked_ns = max((sheet.stop for sheet in book.around), default=0)
        elif sheet := next((one for one in book.around if one.stop > self._asked_ns), None):
            self._go_to(sheet)

    def _go_to(self, sheet: Sheet) -> None:
        """Show a slow exit with all around it."""
        self._pinned, self._wanted, self._missed = sheet, None, ""
        if sheet.slow:
            self._thread = sheet.slow[0]
            self._exit = sheet.at(sheet.slow[0], sheet.slow[1])
        self._whole(sheet)

    def _whole(self, sheet: Sheet) -> None:
        self._cells, self._fits = self._bands.cells, True
        self._step = fitting(sheet.stop - sheet.start, self._cells)
        self._centre((sheet.start + sheet.stop) // 2)

    def _centre(self, ns: int) -> None:
        """That is in the middle of the view, to a step."""
        self._start = (ns // self._step - self._bands.cells) * self._step

    def _follow(self, sheet: Sheet) -> None:
        self._start = (sheet.stop // self._step - 2 * self._bands.cells) * self._step

    def _scene(self, cells: int) -> Scene | None:
        sheet = self._sheet
        if sheet is None or not sheet.threads:
            return None
        if not self.pinned:
            self._follow(sheet)
        elif cells != self._cells and self._fits:
            self._whole(sheet)
        elif cells != self._cells:
            self._start += (self._cells - cells) * self._step
        self._cells = cells
        thread = self._row(sheet)
        chosen = None
        if self._exit is not None and (at := sheet.exit(thread, self._exit)):
            chosen = (*at, sheet.label(thread, self._exit))
        origin = sheet.slow[1] if sheet.slow else chosen[0] if chosen else sheet.stop
        return Scene(sheet, Window(self._start, self._step, cells), thread, chosen, origin, self._said(sheet))

    def _row(self, sheet: Sheet) -> int:
        if self._thread not in sheet.threads:
            self._thread, self._exit = sheet.threads[0], None
        assert self._thread is not None
        return self._thread

    def _said(self, sheet: Sheet) -> str:
        """What is missing, in a sentence."""
        if self._missed:
            return self._missed
        if sheet.lost:
            return f"{sheet.lost:,} records were overwritten before they could be read: what is blank is not known."
        if self._book and sheet.start == self._book.since_ns and self._start < sheet.start:
            return "What was before the probes were attached is not known."
        return "" if self.pinned else _COST

    def _update(self) -> None:
        """Draw it, and say what it is."""
        if not self.is_mounted:
            return
        self._bands.empty = self.trouble or _ATTACHING
        if self._book and not (self._sheet and self._sheet.threads):
            self._bands.empty = self._missed or f"No exit of this VM yet. {_COST}"
        self._bands.redraw()
        self._titles()
        happened = self.happened
        view = self.query_one(ExitView)
        view.empty = "n N: the slow exits that are kept · [ ]: the exits of this vCPU one by one"
        view.show(happened)
        self.refresh_bindings()

    @property
    def happened(self) -> Happened | None:
        """The exit that is chosen."""
        sheet = self._sheet
        if sheet is None or self._exit is None or self._thread is None or not sheet.exit(self._thread, self._exit):
            return None
        return sheet.happened(self._thread, self._exit)

    def _titles(self) -> None:
        colours, sheet = palette(self.app), self._sheet
        key = style(colours.accent, "", "bold")
        title, hint = Text("Timeline"), Text()
        if sheet:
            length = units.duration(2 * self._step * self._bands.cells)
            what = "the last moments" if not self.pinned else "around one slow exit" if sheet.slow else "held"
            title = Text(f"{sheet.name} · {length} {'· ' if what == 'held' else ''}{what}")
            kept = len(self._book.around) if self._book else 0
            hint = Text.assemble(
                f"1 cell = {units.duration(2 * self._step)} · ", ("+ −", key), " zoom · ", ("← →", key), " move · ",
                ("n N", key), f" slow exits ({kept} kept)",
            )  # fmt: skip
        self.query_one("#bands-pane", Pane).label(title, hint)
        happened = self.happened
        if happened:
            name = Text.assemble(
                (happened.name, style(colours.strong, "", "bold")), (f" · {happened.rest}", "not bold")
            )
            self.query_one("#exit-pane", Pane).label(
                name, Text.assemble(("↵", key), " its reason  ", ("y", key), " copies")
            )
        else:
            self.query_one("#exit-pane", Pane).label("What happened, in order")

    # Keys

    def _hold(self) -> Sheet | None:
        """Stay at what is shown now."""
        if self._pinned is None and self._book:
            self._pinned = self._book.recent
        return self._pinned

    def go_live(self) -> None:
        """Follow the last moments again."""
        self._pinned = self._exit = self._wanted = None
        self._missed = ""
        self._step = _LIVE if self._step > _LIVE * 10 else self._step
        self._update()

    def on_resize(self) -> None:
        """The middle stays where it is."""
        self._update()

    def action_pan(self, by: int) -> None:
        """A quarter of the view, as long as something is in it."""
        if sheet := self._hold():
            length = 2 * self._step * self._bands.cells
            start = self._start + by * max(length // 4 // self._step, 1) * self._step
            lowest, highest = sheet.start - length // 2, sheet.stop - length // 2
            self._start = min(max(start, min(lowest, self._start)), max(highest, self._start))
            self._fits = False
            self._update()

    def action_zoom(self, by: int) -> None:
        """The exit that is chosen stays where it is, else the middle."""
        step, cells = zoomed(self._step, by), self._bands.cells
        sheet = self._sheet
        if sheet is None or step == self._step:
            return
        fixed = self._start + self._step * cells
        if self.pinned and self._thread is not None and self._exit is not None:
            begin, end = sheet.exit(self._thread, self._exit) or (fixed, fixed)
            if begin < self._start + 2 * cells * self._step and end > self._start:
                fixed = min(max((begin + end) // 2, self._start), self._start + 2 * cells * self._step)
                if end - begin > 2 * cells * step:  # it will not fit: its beginning is what one looks at
                    fixed = max(begin, self._start)
        share = (fixed - self._start) / (2 * cells * self._step)
        self._step, self._fits = step, False
        self._start = round((fixed - share * 2 * cells * step) / step) * step
        self._update()

    def action_row(self, by: int) -> None:
        """Another vCPU, and its exit at the same time."""
        sheet = self._hold()
        if sheet and sheet.threads:
            thread = self._row(sheet)
            now = sheet.exit(thread, self._exit) if self._exit is not None else None
            at = min(max(sheet.threads.index(thread) + by, 0), len(sheet.threads) - 1)
            if sheet.threads[at] != thread:
                self._thread = sheet.threads[at]
                self._exit = sheet.at(self._thread, now[0]) if now else None
            self._update()

    def action_slow(self, by: int) -> None:
        """The next slow exit of this VM, or the one before."""
        around = list(self._book.around) if self._book else []
        here = self._pinned.slow[1] if self._pinned and self._pinned.slow else None
        if here is None and self._pinned:
            here = self._start + self._step * self._bands.cells
        later = [sheet for sheet in around if here is not None and sheet.slow and sheet.slow[1] > here]
        earlier = [sheet for sheet in around if here is None or (sheet.slow and sheet.slow[1] < here)]
        found = later[:1] if by > 0 else earlier[-1:]
        if found or (here is None and around):
            self._go_to((found or around[-1:])[0])
            self._update()
        else:
            slow = units.duration(self._book.slow_ns) if self._book else ""
            least = f" (one that lasts {slow} or longer)" if slow else ""
            self.app.notify(f"There is no {'later' if by > 0 else 'earlier'} slow exit{least}.", markup=False)

    def action_exit(self, by: int) -> None:
        """The next exit of this vCPU, or the one before."""
        sheet = self._hold()
        if not sheet or not sheet.threads:
            return
        thread = self._row(sheet)
        middle = self._start + self._step * self._bands.cells
        at = self._exit + by if self._exit is not None else sheet.at(thread, middle)
        if at is not None and (times := sheet.exit(thread, at)):
            self._exit = at
            length = 2 * self._step * self._bands.cells
            if not self._start <= times[0] < self._start + length:
                self._start = (times[0] - length // 3) // self._step * self._step
                self._fits = False
            self._update()

    def action_whole(self) -> None:
        """The slow exit with all that is kept around it; of the last moments all there is."""
        sheet = self._hold()
        if sheet and sheet.slow:
            self._go_to(sheet)
        elif sheet:
            self._whole(sheet)
        self._update()

    def action_reason(self) -> None:
        """Its page."""
        if (happened := self.happened) and happened.key:
            self.post_message(ReasonAsked(happened.key))

    @on(Clicked)
    def _clicked(self, event: Clicked) -> None:
        """The vCPU, and its exit then."""
        if sheet := self._hold():
            self._thread = event.thread
            self._exit = sheet.at(event.thread, event.at) if event.at is not None else None
            self._update()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter where there is an exit with a reason."""
        if action == "reason":
            happened = self.happened if self.is_mounted else None
            return bool(happened and happened.key)
        return super().check_action(action, parameters)

    def copied(self) -> str:
        """The chosen exit as text."""
        one = self.happened
        if not one:
            return ""
        parts = [f"{part.state} {part.lasted} ({part.words})" for part in one.parts]
        lines = [f"{head}: {''.join(text for text, _ in rest)}" for head, rest in one.lines]
        return "; ".join([f"{one.name} · {one.rest}", *parts, *lines])
