"""CSV: a row for each VM and reason of each interval, under the names that the JSON has (json_lines.py).

Times are ns where the name ends in _ns, shares are of 1, and what is unknown is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from ..model.interval import Interval
from ..model.provenance import HERE, Origin
from ..model.scope import Scope
from ..model.session import Session
from ..model.vocabulary import OUTSIDE
from ..sanitize import clean
from ..tables.row_choice import RowChoice
from .json_lines import PERCENTILES, Object, ended_before, head, reason
from .stream import Output

TITLES = (
    *("time", "elapsed", "length", "vm", "pid", "isa", "code", "name", "count", "rate", "share"),
    *("time_ns", "time_share", *(f"{state}_ns" for state in OUTSIDE), "avg_ns"),
    *(*PERCENTILES, "max_ns", "min_ns", "total", "lost", "nested"),
)


def interval_rows(session: Session, interval: Interval, origin: Origin = HERE, choice: RowChoice | None = None) -> str:
    """A row for each VM and reason that had exits, or time in an open one; shares are of the VM.

    choice: of each VM's reasons.

    Counts and times add up over the VMs, percentiles do not: the JSON has those of the whole host.
    """
    after = interval.after
    common = head("interval", after, interval.seconds, origin)
    ended = ended_before(interval)
    table: list[Object] = []
    for vm in sorted(after.vms.values(), key=lambda vm: (vm.name, vm.pid)):
        if vm.pid in ended:
            continue
        whose = {"vm": _cell(clean(vm.name) or f"pid {vm.pid}"), "pid": vm.pid, "lost": after.lost}
        scope = Scope(vm.pid)
        for line in choice.for_programs(session, interval, scope) if choice else session.lines(interval, scope):
            if line.reason.count or line.reason.time:
                table.append({**common, **whose, **reason(line)})
    return _csv([[row[name] for name in TITLES] for row in table])


def _cell(name: str) -> str:
    """A spreadsheet runs a text that begins like a formula: an apostrophe keeps it a text."""
    return f"'{name}" if name[0] in "=+-@" else name


def _csv(table: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(table)
    return out.getvalue()


def output(file: TextIO, path: Path | None = None, choice: RowChoice | None = None) -> Output:
    """A line of titles, then the rows of each interval."""
    return Output(file, path, _csv([TITLES]), partial(interval_rows, choice=choice), lambda final, origin: "")
