"""The guest's profile, by function: a vCPU's in a log, a scope's on the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .. import units
from ..insight.guest_profile import profiles
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import Scope
from ..reference.guest_symbols import KERNEL_HALF
from ..reference.labels import Labels
from .columns import Column, laid_out
from .rows import Row, Rows

USER_SPACE = "the guest's user space"
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


_SHOWN: tuple[Column[Line], ...] = (
    Column("where", "WHERE THE GUEST IS", 27, lambda one: one.where, left=True, cut=True, grow=33, shrink=19),
    Column("samples", "SAMPLES", 7, lambda one: one.samples),
    Column("share", "SHARE", 6, lambda one: one.share, units.percent),
)


def profile_table(interval: Interval, scope: Scope, labels: Labels, width: int) -> Rows:
    """Of a scope's vCPUs together, in so many characters, most samples first; the guest's user space is one."""
    sums = Counter[str]()
    for one in profiles(interval, scope):
        kernel = replace(one, code=[(address, count) for address, count in one.code if address >= KERNEL_HALF])
        sums.update(dict(kernel.functions(labels)))
        sums[USER_SPACE] += one.samples - sum(count for _, count in kernel.code)
    found = [Line("", where, count, count / sums.total()) for where, count in sums.most_common() if count]
    return laid_out(_SHOWN, found, width - 1, lambda one, cells: Row((one.where,), cells))


def profile_lines(interval: Interval, labels: Labels) -> Iterator[Line]:
    """Of each vCPU the functions with most samples."""
    after = interval.after
    numbers = dict(zip(after.threads["id"].tolist(), after.threads["vcpu"].tolist(), strict=True))
    for one in profiles(interval):
        vm = after.vms.get(int(unpack(one.id)[0]))
        who = f"{vm.name if vm else unpack(one.id)[0]} vCPU {numbers.get(one.id, units.DASH)}"
        for where, samples in one.functions(labels)[:MOST]:
            yield Line(who, where, samples, samples / one.samples)
