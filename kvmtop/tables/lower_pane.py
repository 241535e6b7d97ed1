"""What the lower pane says of a vCPU or a VM: no probe is attached for it, but what a page has gathered is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .. import units
from ..insight import apic
from ..insight.other_threads import OtherThread, other_threads
from ..insight.scheduling import culprits
from ..insight.slow_exits import Slow
from ..insight.vcpus import VcpuRow, shares
from ..model.interval import Interval
from ..model.nesting import nested, nesting
from ..model.scope import Scope
from ..model.session import Session
from ..reference.labels import Labels
from ..reference.word_texts import IN_SHORT
from .columns import Column, laid_out
from .page import Page, Paragraph, VcpuBrief
from .rows import Cell, Row, Rows
from .scheduler_page import covers
from .slow_exits import slow_table

LEAST = 0.02  # of its time in a state, from which that is worth explaining
CULPRITS = 4  # by name
EXPLAINED = ("throttled", "wait", "blocked", "user", "kernel")  # the first ones come first
_NESTING = "between exits of its own guest and the next entries of that: in the guest and in KVM"
_HEADS = {"wait": "Waited", "blocked": "Blocked", "throttled": "Throttled", "user": "In the VMM", "kernel": "In KVM"}


def brief(
    session: Session,
    interval: Interval,
    row: VcpuRow,
    slow: Sequence[Slow] | None,
    widths: Mapping[str, int],
    points: int,
    labels: Labels,
) -> VcpuBrief:
    """Of a row of the VMs' list. slow: its slowest exits, None while nobody looks; widths: characters of "others" and
    "slowest"; points: intervals of history; labels: the names of what exits touch."""
    samples = list(session.history)[-points:]
    parts = shares(interval, row.scope)
    return VcpuBrief(
        name=row.name if row.scope.thread is None else f"{row.vm} · {row.name}",
        place=_place(interval, row),
        now=_now(row),
        state=row.outside.where if row.outside else "",
        shares=parts,
        history=[sample.states(row.scope) for sample in samples],
        seconds=[sample.seconds for sample in samples],
        paragraphs=[*list(_paragraphs(interval, row, parts or {}))[:2], *_apic(interval, row)],
        culprits=_culprits(interval, row.scope, (parts or {}).get("wait", 0.0)),
        others=_others(other_threads(interval, row.scope), widths["others"]),
        slow=None
        if slow is None
        else slow_table(slow, widths["slowest"], labels, interval.after.time_ns, whose=row.scope.thread is None),
    )


def _place(interval: Interval, row: VcpuRow) -> str:
    if row.scope.thread is None:
        one = apic.verdict(interval, row.number)
        known = "" if one.on is None else f" · {one.what} {'on' if one.on else 'off'}"
        return f"pid {row.number} · {row.alive} vCPU{'s' * (row.alive != 1)}{known}"
    return f"thread {row.number}" + (f" on CPU {row.cpu}" if row.cpu is not None and not row.ended else "")


def _now(row: VcpuRow) -> str:
    if row.ended:
        return "ended"
    return f"{row.outside.where} for {units.duration(row.outside.ns)}" if row.outside else ""


def _paragraphs(interval: Interval, row: VcpuRow, parts: Mapping[str, float]) -> Iterator[Paragraph]:
    vm = interval.after.vms.get(row.scope.pid or 0)
    if nested(interval) and (mask := row.scope.mask(interval.after)) is not None:
        share = float(nesting(interval)[mask].sum() / max(int(interval.known[mask].sum()), 1))
        if share >= LEAST:
            yield Paragraph("kernel", f"Nesting {units.percent(share)}", _NESTING, [])
    for state in EXPLAINED:
        if (share := parts.get(state, 0.0)) < LEAST:
            continue
        rest, lines = IN_SHORT[state], []
        if state == "throttled":
            group, _, quota = vm.quota.rpartition(": ") if vm and vm.quota else ("", "", "")
            rest = f"by {group}" if group else rest
            lines = [("quota", quota), ("try", "raise cpu.max of that cgroup, or give the VM fewer vCPUs")]
        elif row.top and state in ("blocked", "user", "kernel"):
            lines = [("most", f"in exits for {row.top}")]
        yield Paragraph(state, f"{_HEADS[state]} {units.percent(share)}", rest, [one for one in lines if one[1]])


def _apic(interval: Interval, row: VcpuRow) -> Iterator[Paragraph]:
    """Of a VM whose APIC KVM emulates, though there is hardware for it."""
    one = apic.verdict(interval, row.number)
    if row.scope.thread is not None or row.ended or one.on is not False:
        return
    head, _, why = one.words.partition(": ")
    exits = apic.apic_exits(interval).get(row.number)
    lines = [("costs", apic.share(exits, row.rate) if exits else ""), ("try", one.advice)]
    yield Paragraph("kernel", head, why, [line for line in lines if line[1]])


def _culprits(interval: Interval, scope: Scope, waited: float) -> Sequence[tuple[str, float]] | None:
    """Shares of the vCPUs' time."""
    found = culprits(interval, scope) if covers(interval, scope) else None
    if found is None:
        return None
    named = [(one.actor.text, one.share * waited) for one in found]
    rest = sum(share for _, share in named[CULPRITS:])
    return [*named[:CULPRITS], *([("others", rest)] if rest else [])]


_OTHERS: tuple[Column[OtherThread], ...] = (
    Column("name", "OTHER THREADS", 14, lambda one: one.name or units.DASH, left=True, cut=True, grow=12, shrink=4),
    Column("busy", "CPU%", 6, lambda one: one.busy, units.percent),
    Column("wait", "WAIT%", 6, lambda one: one.wait, units.percent),
    Column("throttled", "THROT%", 6, lambda one: one.throttled, units.percent, drop=1),
)


def _others(found: Sequence[OtherThread], width: int) -> Rows:
    """Busiest first."""
    busiest = sorted(found, key=lambda one: -((one.busy or 0) + (one.wait or 0)))

    def row(one: OtherThread, cells: list[Cell]) -> Row:
        return Row((one.pid, one.tid), cells, dim=(one.busy or 0) + (one.wait or 0) < 0.01)

    return laid_out(_OTHERS, busiest, width, row)


Words = list[tuple[str, str]]  # text, and how it is meant: "strong", "label", or ""


def reason_lines(page: Page) -> list[Words]:
    """A reason in three lines."""
    first = page.what.partition(". ")[0].rstrip(".")
    name, share = page.holders[0] if page.holders else ("", 0.0)
    who: Words = [("who ", "label"), (f"{name} ", ""), (f"{100 * share:.0f}%   ", "strong")] if name else []
    pairs = (mark.split() for mark, _ in page.marks)
    marks = [part for label, value in pairs for part in ((f"{label} ", "label"), (f"{value}   ", ""))]
    return [
        [
            (page.name, "strong"),
            (f" · {page.title}" if page.title else "", ""),
            (f" · {first}" if first else "", "label"),
        ],
        [*who, *marks],
        [("try ", "label"), (page.advice, "")] if page.advice else [],
    ]


def row_lines(interval: Interval, row: VcpuRow) -> list[Words]:
    """A vCPU or a VM in three lines."""
    parts = shares(interval, row.scope) or {}
    lines: list[Words] = [
        [
            (row.name if row.scope.thread is None else f"{row.vm} · {row.name}", "strong"),
            (f" · {_place(interval, row)}", "label"),
        ]
    ]
    for part in [*_paragraphs(interval, row, parts), *_apic(interval, row)][:2]:
        words = [one for word, text in part.lines for one in ((f"{word} ", "label"), (f"{text}  ", ""))]
        lines.append([(f"{part.head}  ", "strong"), (f"{part.rest}  ", "label"), *words])
    return lines
