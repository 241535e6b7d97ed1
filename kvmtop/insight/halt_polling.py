"""How vCPUs' halts were polled in an Interval, and whether it paid."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from ..model.interval import Interval
from ..model.scope import Scope
from ..model.vocabulary import HIT, KINDS, UNPOLLED, WASTED
from .accesses import POLLING, change, ids_of, seconds

CHEAP = 0.02  # of a CPU: not worth a thought
PAYS = 0.5  # of the polls hit


class Verdict(Enum):
    """Whether polling pays."""

    NO_HALT = auto()
    NOT_POLLED = auto()
    CHEAP = auto()
    PAYS = auto()
    WASTEFUL = auto()


@dataclass(frozen=True)
class Polling:
    """How a vCPU's halts were polled in an interval (Documentation/virt/kvm/halt-polling.rst)."""

    id: int  # tgid and tid, packed
    seconds: float
    hits: int  # the event came while KVM polled
    wasted: int  # it did not, and the vCPU slept after all
    other: int  # halts that were not polled
    success_ns: int  # spent polling, by KVM's own account, in halts whose poll hit
    fail_ns: int  # the same, where it did not
    window: int | None  # ns; None until KVM has changed it

    @property
    def ns(self) -> int:
        """Spent polling."""
        return self.success_ns + self.fail_ns

    @property
    def burnt(self) -> float:
        """Share of a CPU that was spent polling."""
        return self.ns / self.seconds / 1e9

    @property
    def hit(self) -> float | None:
        """Share of the polls that hit; None where no halt was polled."""
        polls = self.hits + self.wasted
        return self.hits / polls if polls else None

    @property
    def verdict(self) -> Verdict:
        """Whether it paid."""
        if self.hit is None:
            return Verdict.NOT_POLLED if self.other else Verdict.NO_HALT
        if self.burnt < CHEAP:
            return Verdict.CHEAP
        return Verdict.PAYS if self.hit >= PAYS else Verdict.WASTEFUL


def polling(interval: Interval, scope: Scope) -> list[Polling]:
    """Each vCPU of a scope that halted in the interval, most time spent polling first."""
    rows, after = change(interval), interval.after
    if rows is None:
        return []
    ids = ids_of(after, scope)
    rows = rows[np.isin(rows["kind"], [KINDS.index(kind) for kind in POLLING])]
    rows = rows if ids is None else rows[np.isin(rows["id"], ids)]
    found = []
    for id in np.unique(rows["id"]).tolist():
        mine = rows[rows["id"] == id]
        polls, windows = mine[mine["kind"] == KINDS.index("poll")], mine[mine["kind"] == KINDS.index("window")]
        count = {outcome: int(polls["count"][polls["value"] == outcome].sum()) for outcome in (HIT, WASTED, UNPOLLED)}
        if not sum(count.values()):
            continue
        found.append(
            Polling(
                id=id,
                seconds=seconds(interval),
                hits=count[HIT],
                wasted=count[WASTED],
                other=count[UNPOLLED],
                success_ns=int(polls["total"][polls["value"] == HIT].sum()),
                fail_ns=int(polls["total"][polls["value"] == WASTED].sum()),
                window=int(windows["max"][0]) if len(windows) else None,
            )
        )
    return sorted(found, key=lambda one: (-one.ns, one.id))
