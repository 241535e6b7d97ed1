"""The guest's profile in a log: a vCPU's samples by function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import units
from ..insight.guest_profile import profiles
from ..model.interval import Interval
from ..model.keys import unpack
from ..reference.labels import Labels
from .columns import Column

MOST = 5  # functions of a vCPU


@dataclass(frozen=True)
class Line:
    """One function of a vCPU."""

    who: str
    where: str
    samples: int
    share: float


COLUMNS: list[Column[Line]] = [
    Column("who", "GUEST PROFILE", 30, lambda one: one.who, left=True, cut=True),
    Column("samples", "SAMPLES", 8, lambda one: one.samples),
    Column("share", "SHARE", 7, lambda one: one.share, units.percent),
    Column("where", "WHERE", 60, lambda one: one.where, left=True),
]


def profile_lines(interval: Interval, labels: Labels) -> Iterator[Line]:
    """Of each vCPU the functions with most samples."""
    after = interval.after
    numbers = dict(zip(after.threads["id"].tolist(), after.threads["vcpu"].tolist(), strict=True))
    for one in profiles(interval):
        vm = after.vms.get(int(unpack(one.id)[0]))
        who = f"{vm.name if vm else unpack(one.id)[0]} vCPU {numbers.get(one.id, units.DASH)}"
        for where, samples in one.functions(labels)[:MOST]:
            yield Line(who, where, samples, samples / one.samples)
