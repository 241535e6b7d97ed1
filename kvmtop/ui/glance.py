"""Fills the overview: the tables, and the pane that follows the cursor in them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.text import Text
from textual.app import App

from ..insight.caveats import silence
from ..insight.detail_history import SLOWEST
from ..insight.slow_exits import in_scope
from ..insight.vcpus import TREND, VcpuRow, vcpu_rows
from ..model import session
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.vocabulary import Key
from ..reference.labels import Labels
from ..tables.compare_vms import lines_of_both, name, reasons_of_both, states_of_both
from ..tables.exit_reasons import foot, ordered, reason_table, together
from ..tables.header import running
from ..tables.lower_pane import brief, reason_lines, row_lines
from ..tables.page import Page
from ..tables.reason_page import page as reason_page
from ..tables.row_choice import matcher
from ..tables.vcpus import vcpu_table
from ..widgets.line import Line
from ..widgets.overview import Overview
from ..widgets.theme import palette, style
from .feed import Reading
from .folding import ROWS, Folding
from .steady import Steady
from .viewpoint import Viewpoint

PAST = 60  # of the lower pane
NO_VM = "no VM yet; one that starts appears here by itself"
BRIEF = 24  # rows of a screen from which on there are lines in place of the lower pane


class Glance:
    """What is seen at one glance."""

    def __init__(self, app: App[Any], at: Viewpoint, steady: bool) -> None:
        """steady: rows keep their places for a while."""
        self._app, self._at = app, at
        self.steady = Steady() if steady else None
        self.folding = Folding()

    def show(self, reading: Reading, labels: Labels, told_of: Collection[int | None] = ()) -> None:
        """Tables that are seen, then the lower pane, or the lines that stand for it. told_of: VMs with a finding."""
        at, interval, overview = self._at, self._at.interval(reading), self._app.query_one(Overview)
        reasons, vms = overview.table("reasons"), overview.table("vms")
        if width := reasons.room:
            everything = reading.session.lines(interval, at.scope, at.idle, trend=TREND)
            matches = matcher(at.filters["reasons"])
            lines = ordered([line for line in everything if matches(line.reason.name)], at.sorting, at.descending)
            if self.steady:
                sorting = at.sorting, at.descending, at.since_start, at.idle
                context = at.scope, sorting, at.filters["reasons"], reading.moves
                by_key: dict[object, session.Line] = {line.reason.key: line for line in lines}
                order = self.steady.arrange(list(by_key), context, interval.after.time_ns)
                lines = [by_key[key] for key in order]
            reasons.empty = silence(interval.after) or "no exit yet"
            if at.filters["reasons"]:
                reasons.empty = f"no reason matches {at.filters['reasons']!r}"
            heads, rows = reason_table(lines, width, at.columns["reasons"])
            reasons.show(heads, rows, (at.sorting, at.descending), foot(together(everything), heads))
        if width := vms.room:
            vms.flagged = at.marked
            vms.empty = f"no VM matches {at.filters['vms']!r}" if at.filters["vms"] else NO_VM
            members = self._members(reading, interval)
            few = not overview.tabbed and self._app.size.height < ROWS
            cursor = vms.cursor if isinstance(vms.cursor, Scope) else members[0].scope if members else ALL
            spared = {at.scope.pid, cursor.pid, *told_of}
            room = max(vms.size.height - 1, 1) if few else 0
            folded = self.folding.folded(members, room, self._app.size, spared)
            vms.show(*vcpu_table(members, at.scope, width, at.columns["vms"], folded))
        overview.label(*self._hints(interval))
        self.lower(reading, labels)

    def _members(self, reading: Reading, interval: Interval) -> list[VcpuRow]:
        found = vcpu_rows(reading.session, interval, self._at.hidden)
        if text := self._at.filters["vms"]:
            matches = matcher(text)
            found = [member for member in found if matches(member.name) or matches(member.vm)]
        return found

    def _hints(self, interval: Interval) -> tuple[Text, Text]:
        colours = palette(self._app)
        label = style(colours.label)
        what = f"TIME is kernel, user, blocked{', idle' * self._at.idle} · "
        words = " takes idle out" if self._at.idle else " brings idle in"
        key = style(colours.accent, "", "bold")
        reasons = Text.assemble((what, label), ("i", key), (words, label))
        return reasons, Text(" · ".join(running(interval.after)), label)

    def lower(self, reading: Reading, labels: Labels) -> None:
        """What the cursor is on, in the table that had the keys last."""
        overview, interval = self._app.query_one(Overview), self._at.interval(reading)
        table = overview.table(overview.filtered)
        if overview.lower.size.width:
            if table.cursor is None:
                overview.lower.clear()
            elif overview.filtered == "reasons":
                overview.lower.show_reason(self._reason(reading, interval, table.cursor))  # type: ignore[arg-type]
            elif pair := self._pair(reading, interval, table.cursor):
                self._compare(reading, interval, *pair)
            elif row := self._pointed(reading, interval, table.cursor):
                slow = in_scope(reading.details.slowest, row.scope, reading.snapshot)[:SLOWEST]
                details = reading.snapshot.details
                looked = bool(slow or (details and details.has_slow(row.scope.pid)))
                widths, points = overview.lower.widths, PAST
                overview.lower.show_vcpu(
                    brief(reading.session, interval, row, slow if looked else None, widths, points, labels)
                )
        room = not overview.lower.size.width and self._app.size.height >= BRIEF
        for id in ("reasons", "vms"):
            if overview.table(id).size.width:
                words = self._lines(reading, interval, id, overview.table(id).cursor) if room else Text()
                overview.query_one(f"#{id}-brief", Line).show(words)

    def _reason(self, reading: Reading, interval: Interval, key: Key) -> Page:
        return reason_page(reading.session, interval, self._at.scope, key, PAST)

    def _pointed(self, reading: Reading, interval: Interval, key: object) -> VcpuRow | None:
        rows = vcpu_rows(reading.session, interval, self._at.hidden)
        return next((row for row in rows if row.scope == key), None)

    def _pair(self, reading: Reading, interval: Interval, key: object) -> tuple[VcpuRow, VcpuRow] | None:
        """The one that is marked, and the one under the cursor, where that is another."""
        marked = self._at.marked and key != self._at.marked and self._pointed(reading, interval, self._at.marked)
        row = self._pointed(reading, interval, key) if marked else None
        return (marked, row) if marked and row else None

    def _compare(self, reading: Reading, interval: Interval, a: VcpuRow, b: VcpuRow) -> None:
        lower = self._app.query_one(Overview).lower
        width, other = lower.both.widths
        reasons = reasons_of_both(reading.session, interval, a, b, other, max(lower.size.height - 1, 1))
        lower.show_both(name(a), name(b), states_of_both(a, b, width), reasons)

    def _lines(self, reading: Reading, interval: Interval, table: str, key: object) -> Text:
        """Three lines on the cursor's row."""
        if key is None:
            return Text()
        if table == "reasons":
            lines = reason_lines(self._reason(reading, interval, key))  # type: ignore[arg-type]
        else:
            row, pair = self._pointed(reading, interval, key), self._pair(reading, interval, key)
            lines = lines_of_both(*pair) if pair else row_lines(interval, row) if row else []
        colours = palette(self._app)
        looks = {"label": style(colours.label), "strong": style(colours.strong, "", "bold"), "": style(colours.text)}
        return Text("\n").join(
            Text.assemble(*((text, looks[how]) for text, how in line), no_wrap=True, overflow="ellipsis")
            for line in lines
        )
