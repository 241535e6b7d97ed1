"""Halt polling by vCPU, and whether it pays, in words."""

from __future__ import annotations

from collections.abc import Sequence

from .. import units
from ..insight.halt_polling import Polling, Verdict
from ..model.interval import Interval
from ..model.keys import unpack
from ..reference.labels import TITLES
from .columns import Column, logged
from .rows import Row, Rows

_WORDS = {
    Verdict.NO_HALT: "no halt",
    Verdict.NOT_POLLED: "no halt was polled",
    Verdict.CHEAP: "cheap",
    Verdict.PAYS: "pays",
    Verdict.WASTEFUL: "wasteful",
}


def verdict(one: Polling) -> str:
    """One line of judgement, with the numbers it rests on."""
    words = _WORDS[one.verdict]
    if one.hit is not None:
        polls = one.hits + one.wasted
        words += f": {units.percent(one.hit)} of {polls} polls hit, {units.percent(one.burnt)} of a CPU spent"
    return words + ("; lower kvm's halt_poll_ns" if one.verdict is Verdict.WASTEFUL else "")


def _in_a_second(ns: float) -> str:
    return f"{units.duration(ns)}/s"


def columns(interval: Interval) -> tuple[Column[Polling], ...]:
    """The columns. interval: has the names of VMs and the numbers of vCPUs."""
    after = interval.after
    numbers = dict(zip(after.threads["id"].tolist(), after.threads["vcpu"].tolist(), strict=True))

    def who(one: Polling) -> str:
        pid, _ = unpack(one.id)
        vm = after.vms.get(pid)
        return f"{vm.name if vm else pid} vCPU {numbers.get(one.id, units.DASH)}"

    return (
        Column("who", "VM / VCPU", 20, who, left=True, cut=True),
        Column("hits", "HITS", 6, lambda one: one.hits),
        Column("misses", "MISSES", 6, lambda one: one.wasted),
        Column("other", "OTHER", 6, lambda one: one.other),
        Column("ns", "POLLING", 9, lambda one: one.ns / one.seconds, _in_a_second),
        Column("wasted", "WASTED", 9, lambda one: one.fail_ns / one.seconds, _in_a_second),
        Column("window", "WINDOW", 6, lambda one: one.window, units.duration),
        Column("verdict", "VERDICT", 60, verdict, left=True),
    )


def polling_columns(interval: Interval) -> list[Column[Polling]]:
    """The columns in a log."""
    return logged(
        columns(interval),
        ("who", TITLES["poll"], 30),
        ("hits", "HITS", 7),
        ("misses", "MISSES", 7),
        ("other", "OTHER", 7),
        ("ns", "POLLING", 9),
        ("wasted", "WASTED", 9),
        ("window", "WINDOW", 7),
        ("verdict", "VERDICT", 60),
    )


def polling_table(found: Sequence[Polling], interval: Interval) -> Rows:
    """How each vCPU's halts were polled, and the verdict; for any width, since the verdict comes last."""
    shown = [column for column in columns(interval) if column.key != "other"]
    return [column.heading() for column in shown], [Row(one.id, [c.cell(one) for c in shown]) for one in found]
