"""What the top line says: whose figures they are, what happens there, and since when."""

from __future__ import annotations

from .. import units
from ..model.interval import Interval
from ..model.scope import Scope


def figures(interval: Interval, scope: Scope) -> list[tuple[str, str]]:
    """Of a scope, as number and unit."""
    after, mask = interval.after, scope.mask(interval.after)
    rows = interval.rows
    if mask is not None:
        rows = rows[rows["thread"] >= 0]
        rows = rows[mask[rows["thread"]]]
    running = after.threads["end_ns"] == 0
    vcpus = int((running if mask is None else running & mask).sum())
    found = [(units.rate(int(rows["count"].sum()) / interval.seconds), "exits/s")]
    if scope.pid is None:
        found.append(_counted(sum(not vm.ended for vm in after.vms.values()), "VM"))
    if scope.thread is None:
        found.append(_counted(vcpus, "vCPU"))
    if after.lost:
        found.append((str(after.lost), "LOST"))
    return found


def _counted(number: int, what: str) -> tuple[str, str]:
    return str(number), f"{what}{'s' * (number != 1)}"
