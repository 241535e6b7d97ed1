"""A report as one HTML file: without scripts, and with nothing from elsewhere.

It is built as a tree, and whoever writes the tree escapes all text in it: no name can become markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, SubElement, tostring

from .. import bounded, units
from ..insight.report import Piece, Report, Stood
from ..insight.rules import BY_NAME
from ..model.exit_stats import Reason
from ..model.session import Line
from ..model.vocabulary import STATES, isa_name
from ..reference.exit_reasons import meaning
from ..reference.labels import Labels
from ..reference.word_texts import IN_SHORT
from ..tables import exit_reasons, vcpus
from ..tables.columns import Column
from ..tables.rows import Cell
from ..tables.spread import span
from ..tables.states import GLYPHS, shares_of

T = TypeVar("T")

WIDTH, HEIGHT, FOOT, TOP = 1000, 200, 18, 14  # of the chart, in its own units: axis below, marks above
NARROW, LOW = 340, 70  # of a reason's histogram
EDGE = 20  # so near to it a label is not centred
CARDS = 12  # reasons with a histogram
LABELS = 6  # times along the axis
LOOKS = Path(__file__).parents[1] / "data/report.css"
NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'"


def html(report: Report) -> str:
    """The whole page."""
    root = Element("html", lang="en")
    head = SubElement(root, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": NO_SCRIPT})
    SubElement(head, "meta", name="viewport", content="width=device-width")
    SubElement(head, "title").text = f"kvmtop: {report.origin.host}, {_moment(report.began)}"
    SubElement(head, "style").text = bounded.text(LOOKS)
    body = SubElement(root, "body")
    _top(body, report)
    _time(body, report)
    _stood(body, report)
    _reasons(body, report)
    _slow(body, report)
    _vcpus(body, report)
    _made(body, report)
    # In ASCII, whatever the locale is: all else as numbers (&#8211;).
    return f"<!doctype html>\n{tostring(root, 'us-ascii', method='html').decode()}\n"


def _add(parent: Element, tag: str, text: str = "", css: str = "", **attributes: str) -> Element:
    """Another element in an element."""
    one = SubElement(parent, tag, attributes | ({"class": css} if css else {}))
    one.text = text
    return one


def _moment(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))


def _until(report: Report) -> str:
    """From when to when, with the zone that it is told in."""
    began, ended = _moment(report.began), _moment(report.ended)
    same = began.partition(" ")[0] == ended.partition(" ")[0]
    zone = time.strftime("UTC%z", time.localtime(report.ended))
    return f"{began} to {ended.partition(' ')[2] if same else ended} ({zone})"


def _top(body: Element, report: Report) -> None:
    origin = report.origin
    _add(body, "h1", f"Exits of virtual machines on {origin.host}")
    exits = int(report.whole.rows["count"].sum())
    vms = sum(row.scope.thread is None for row in report.vcpus)
    counts = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((vms, "VM"), (len(report.vcpus) - vms, "vCPU"))]
    _add(body, "p", f"{_until(report)}. {', '.join(counts)}, {units.number(exits)} exits.")
    if origin.recording and origin.host not in origin.recording:
        _add(body, "p", origin.recording, "quiet")


# ---- where the time went


def _time(body: Element, report: Report) -> None:
    _add(body, "h2", "Where the vCPUs' time went")
    told = [state for state in GLYPHS if state in report.whole.after.told]
    if not told or not any(piece.known for piece in report.pieces):
        _add(body, "p", "Not known: no vCPU was watched.")
        return
    body.append(area(report, told))
    known = sum(piece.known for piece in report.pieces)
    legend = _add(body, "ul", css="legend")
    for state in told:
        share = sum(int(piece.states[STATES.index(state)]) for piece in report.pieces) / known
        item = _add(legend, "li", title=IN_SHORT[state])
        _add(item, "span", css=f"key {state}").tail = f"{state} {units.percent(max(share, 0.0))}"


def area(report: Report, told: Sequence[str]) -> Element:
    """The states stacked over time, each piece as wide as it is long; where findings began is marked above."""
    svg = Element("svg", {"class": "chart", "viewBox": f"0 0 {WIDTH} {TOP + HEIGHT + FOOT}", "role": "img"})
    _add(svg, "title", "The share of each state in the vCPUs' time, over time")
    begin, length = report.began, max(report.ended - report.began, 1e-9)

    def x(wall: float) -> float:
        return (wall - begin) / length * WIDTH

    heights = [_stacked(piece, told) for piece in report.pieces]
    for at, state in enumerate(told):
        path = []
        for piece, levels in zip(report.pieces, heights, strict=True):
            low, high = levels[at], levels[at + 1]
            if high > low:
                left, right = x(piece.wall - piece.seconds), x(piece.wall)
                top, foot = TOP + HEIGHT * (1 - high), TOP + HEIGHT * (1 - low)
                path.append(f"M{left:.1f} {foot:.1f}V{top:.1f}H{right:.1f}V{foot:.1f}Z")
        if path:
            _add(svg, "path", css=state, d="".join(path))
    _add(svg, "path", css="axis", d=f"M0 {TOP + HEIGHT}H{WIDTH}", fill="none")
    for one in {one.first for one in report.stood}:
        at_x = min(max(x(one), 5), WIDTH - 5)
        _add(svg, "path", css="mark", d=f"M{at_x - 5:.1f} 2h10l-5 8Z")
    for n in range(LABELS + 1):
        anchor = "start" if n == 0 else "end" if n == LABELS else "middle"
        text = time.strftime("%H:%M:%S", time.localtime(begin + length * n / LABELS))
        place = {"x": f"{WIDTH * n / LABELS:.0f}", "y": f"{TOP + HEIGHT + FOOT - 4}", "text-anchor": anchor}
        _add(svg, "text", text, **place)
    return svg


def _stacked(piece: Piece, told: Sequence[str]) -> list[float]:
    """Where each state begins, from 0, and the last one ends: shares of 1. Of a piece that nobody watched zeros."""
    levels = [0.0]
    for state in told:
        ns = max(int(piece.states[STATES.index(state)]), 0)
        levels.append(min(levels[-1] + (ns / piece.known if piece.known else 0.0), 1.0))
    return levels


# ---- what stood out


def _stood(body: Element, report: Report) -> None:
    _add(body, "h2", "What stood out")
    pieces = len(report.pieces)
    each = units.spoken((report.ended - report.began) / pieces * 1e9) if report.intervals > pieces else "an interval"
    if not report.stood:
        _add(body, "p", f"No rule held in any of {pieces} piece{'s' * (pieces != 1)} ({each} each).")
        return
    table = _head(
        body, (("from", True), ("to", True), ("in", False), ("what, with the figures of the last time", True))
    )
    for one in report.stood:
        row = SubElement(table, "tr")
        for text in _when(one, report):
            _add(row, "td", text, "left")
        _add(row, "td", f"{one.pieces} of {pieces}")
        what = _add(row, "td", one.finding.text + " ", "left words")
        _add(what, "span", f"[{one.finding.rule}]", "quiet")
        for words in BY_NAME[one.finding.name].remedy.words:
            _add(what, "div", f"Try {words}", "quiet")
    _add(body, "p", f"A rule is looked at in each of {pieces} pieces ({each} each).", "quiet")


def _when(one: Stood, report: Report) -> tuple[str, str]:
    day = report.ended - report.began > 86_400
    style = "%a %H:%M:%S" if day else "%H:%M:%S"
    began, ended = (time.strftime(style, time.localtime(wall)) for wall in (one.first, one.last))
    return began, ended


def _head(parent: Element, titles: Iterable[tuple[str, bool]], helps: Sequence[str] = ()) -> Element:
    """A table with these titles (text, at the left)."""
    table = _add(_add(parent, "div", css="wide"), "table")
    row = SubElement(SubElement(table, "thead"), "tr")
    for at, (title, left) in enumerate(titles):
        attributes = {"title": helps[at]} if at < len(helps) and helps[at] else {}
        _add(row, "th", title, "left" if left else "", **attributes)
    return SubElement(table, "tbody")


# ---- tables


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else "".join(text for text, _ in cell)


def _table(
    body: Element, columns: Sequence[Column[T]], rows: Iterable[tuple[T, str, Mapping[str, float] | None]]
) -> None:
    """rows: each with its class, and the shares of a bar that stands behind its first cell."""
    first, *others = columns
    titles = [(first.title, True), ("WHERE", True), *((column.title, column.left) for column in others)]
    table = _head(body, titles, [first.help, "its time by state", *(column.help for column in others)])
    for item, css, shares in rows:
        row = _add(table, "tr", css=css)
        _add(row, "td", _text(first.cell(item)).strip(), "left")
        _bar(_add(row, "td", css="left"), shares)
        for column in others:
            _add(row, "td", _text(column.cell(item)).strip(), "left" if column.left else "")


def _bar(cell: Element, shares: Mapping[str, float] | None) -> None:
    if not shares:
        cell.text = units.DASH
        return
    known = [(state, shares[state]) for state in GLYPHS if shares.get(state, 0) > 0]
    bar = _add(cell, "span", css="bar", title=", ".join(f"{state} {units.percent(share)}" for state, share in known))
    for state, share in known:
        _add(bar, "span", css=state, style=f"width:{100 * share:.2f}%")


def _reasons(body: Element, report: Report) -> None:
    _add(body, "h2", "Exits by reason")
    if not report.lines:
        _add(body, "p", "No exit was seen.")
        return
    lines = [*report.lines, *exit_reasons.together(report.lines)]
    _table(
        body, exit_reasons.LOGGED, ((one, _faint(one), shares_of(one.reason.parts, one.reason.time)) for one in lines)
    )
    _add(body, "p", "TIME/S is kernel, user and blocked; AVG to MAX are from exit to entry.", "quiet")
    cards = _add(body, "div", css="reasons")
    for line in [line for line in report.lines if line.reason.count and not _faint(line)][:CARDS]:
        card = SubElement(cards, "section")
        _add(card, "h3", line.reason.name)
        if known := meaning(*line.reason.key):
            _add(card, "p", known.title, "quiet")
        card.append(histogram(line.reason))


def _faint(line: Line) -> str:
    return "faint" if exit_reasons.faint(line) else ""


def histogram(reason: Reason) -> Element:
    """How long its exits lasted: a bar a bucket, as high as its exits are many."""
    svg = Element("svg", {"class": "chart", "viewBox": f"0 0 {NARROW} {TOP + LOW + FOOT}", "role": "img"})
    _add(svg, "title", f"How long the exits for {reason.name} lasted")
    used = span(reason.hist)
    step, most = NARROW / (used.last - used.first + 1), max(reason.hist) or 1
    state = max(reason.parts, key=lambda one: reason.parts[one], default="kernel")
    for n, count in enumerate(reason.hist[used.first : used.last + 1]):
        if count > 0:
            high = max(LOW * count / most, 1)
            place = {"x": f"{n * step:.1f}", "y": f"{TOP + LOW - high:.1f}"}
            bar = _add(svg, "rect", css=state, width=f"{max(step - 0.6, 0.6):.1f}", height=f"{high:.1f}", **place)
            _add(bar, "title", f"{units.number(count)} exits")
    _add(svg, "path", css="axis", d=f"M0 {TOP + LOW}H{NARROW}", fill="none")
    ticks = used.decades
    for at, text in zip(ticks.positions, ticks.labels, strict=True):
        x = (at + 0.5) * step
        anchor = "start" if x < EDGE else "end" if x > NARROW - EDGE else "middle"
        place = {"x": f"{x:.1f}", "y": f"{TOP + LOW + FOOT - 4}", "text-anchor": anchor}
        _add(svg, "text", text, **place)
    marks = [(name, reason.percentile(share)) for name, share in (("p50", 0.5), ("p99", 0.99))]
    words = [f"{name} {units.duration(ns)}" for name, ns in [*marks, ("max", reason.max)] if ns is not None]
    _add(svg, "text", ", ".join(words), x=f"{NARROW}", y="10", **{"text-anchor": "end"})
    return svg


def _slow(body: Element, report: Report) -> None:
    _add(body, "h2", "The slowest exits")
    if not report.slow:
        _add(body, "p", "None: either nobody looked for slow exits while this was recorded, or there were none.")
        return
    titles = (("when", True), ("VM", True), ("vCPU", False), ("reason", True), ("lasted", False), ("WHERE", True))
    table = _head(body, (*titles, ("touched", True)))
    for one in report.slow:
        row = SubElement(table, "tr")
        _add(row, "td", _moment(one.time), "left")
        _add(row, "td", one.vm, "left")
        _add(row, "td", f"{one.vcpu}")
        _add(row, "td", one.name, "left")
        _add(row, "td", units.duration(one.ns))
        _bar(_add(row, "td", css="left"), shares_of(one.parts, one.ns))
        what = Labels(names=report.whole.after.names).what(one.kind, one.value, one.extra) if one.kind else units.DASH
        _add(row, "td", what, "left words")


def _vcpus(body: Element, report: Report) -> None:
    _add(body, "h2", "VMs and vCPUs")
    columns = [column for column in vcpus.LOGGED if column.key != "state"]  # which is of a moment
    _table(body, columns, ((row, "vm" if row.scope.thread is None else "", row.shares) for row in report.vcpus))


def _made(body: Element, report: Report) -> None:
    _add(body, "h2", "How this was measured")
    origin, after = report.origin, report.whole.after
    length = units.spoken((report.ended - report.began) * 1e9)
    facts = [
        f"Host {origin.host}, Linux {origin.kernel}, {isa_name(after.isa)}, recorded by kvmtop {origin.version}:"
        f" {report.intervals} interval{'s' * (report.intervals != 1)} in {length}.",
        "Every exit is counted and timed by a BPF program at KVM's tracepoints kvm_exit and kvm_entry: no sampling.",
        "Percentiles come from histograms and are within 12.5 %; longest exits of a stretch are within 25 %.",
        *report.unknown,
    ]
    made = SubElement(body, "ul")
    for fact in facts:
        _add(made, "li", fact)
    if origin.facts:
        _add(body, "h2", "The host")
        table = _head(body, (("what", True), ("as the kernel says", True)))
        for name, value in origin.facts.items():
            row = SubElement(table, "tr")
            _add(row, "td", name, "left")
            _add(row, "td", value, "left words")
