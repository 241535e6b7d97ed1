"""The VMs' threads that are no vCPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import units
from ..insight.other_threads import OtherThread
from ..model.vocabulary import Vm
from .columns import Column, laid_out, logged
from .rows import Row, Rows


def _cpu(one: OtherThread) -> str:
    return units.DASH if one.cpu is None else f"@{one.cpu}"


COLUMNS: tuple[Column[OtherThread], ...] = (
    Column("name", "THREAD", 15, lambda one: one.name or units.DASH, left=True, cut=True, grow=5),
    Column("role", "ROLE", 6, lambda one: one.role, left=True, drop=3),
    Column("tid", "TID", 7, lambda one: one.tid, drop=2),
    Column("cpu", "CPU", 5, _cpu, drop=1),
    Column("busy", "BUSY%", 6, lambda one: one.busy, units.percent),
    Column("wait", "WAIT%", 6, lambda one: one.wait, units.percent),
    Column("throttled", "THROT%", 6, lambda one: one.throttled, units.percent),
)
LOGGED = logged(COLUMNS, *((column.key, column.title, max(column.width, 7)) for column in COLUMNS))


def thread_table(found: Sequence[OtherThread], width: int, vms: Mapping[int, Vm] | None = None) -> Rows:
    """The threads in so many characters. vms: by pid, where they are of several."""

    def vm(one: OtherThread) -> str:
        found = (vms or {}).get(one.pid)
        return found.name if found else f"pid {one.pid}"

    columns = COLUMNS if vms is None else (Column("vm", "VM", 10, vm, left=True, cut=True, grow=10), *COLUMNS)
    return laid_out(columns, found, width, lambda one, cells: Row((one.pid, one.tid), cells))
