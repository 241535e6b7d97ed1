"""A table for each interval on a stream, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TextIO

from rich.cells import set_cell_size

from . import units
from .columns import COLUMNS, ordered
from .members import members, shares
from .session import ALL, Session
from .snapshot import Snapshot
from .stats import PARTS, Interval, isa_name

_SKIPPED = {"trend"}  # a log is its own trend


def header(interval: Interval, when: float | None = None) -> str:
    """One line: when, what, how many, and where the vCPUs' time went. when: s since 1970, None for now."""
    after = interval.after
    alive = int((after.threads["end_ns"] == 0).sum())
    exits = int(interval.rows["count"].sum()) / interval.seconds
    vms = sum(not vm.ended for vm in after.vms.values())
    parts = [
        time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(when)),
        isa_name(after.isa),
        f"{vms} VM{'s' * (vms != 1)}",
        f"{alive} vCPU{'s' * (alive != 1)}",
        f"{units.rate(exits)} exits/s",
        f"{interval.seconds:.2f}s",
    ]
    if where := shares(interval, ALL):
        parts.append(" ".join(f"{name} {units.percent(where.get(name))}" for name in PARTS))
    for name in ("lost", "unpaired", "overwritten", "expired"):
        if getattr(after, name):
            parts.append(f"{name} {getattr(after, name)}")
    return "  ".join(parts)


def table(session: Session, interval: Interval, when: float | None = None, title: str = "") -> Iterator[str]:
    """The lines of one interval's table, the reason with the most time first."""
    columns = [column for column in COLUMNS if column.key not in _SKIPPED]
    yield title + header(interval, when)
    yield " ".join(c.title.ljust(c.width) if c.left else c.title.rjust(c.width) for c in columns).rstrip()
    for line in ordered(session.lines(interval), "time"):
        cells = [c.format(line) for c in columns]
        yield " ".join(
            text.ljust(c.width) if c.left else text.rjust(c.width) for c, text in zip(columns, cells, strict=True)
        )
    rows = members(session, interval)
    if rows:
        yield ""
        yield f"{'VM / VCPU':<22}{'PID/TID':>8}{'EXITS/S':>8}" + "".join(f"{n.upper():>8}" for n in PARTS) + "  STATE"
    for row in rows:
        name = f"  {row.name}" if row.scope.thread is not None else row.name
        parts = [units.percent((row.shares or {}).get(part)) for part in PARTS]
        text = f"{fit(name, 22)}{row.number:>8}{units.rate(row.rate):>8}" + "".join(f"{part:>8}" for part in parts)
        yield f"{text}  {row.state}".rstrip()
    yield ""


def fit(text: str, width: int) -> str:
    """Exactly so many columns of a terminal, the last a blank."""
    return set_cell_size(text, width - 1) + " "


def write(session: Session, snapshot: Snapshot, out: TextIO, when: float | None = None, title: str = "") -> None:
    """Add a Snapshot to the session and write its interval. Raises BrokenPipeError and other OSError.

    when: of the Snapshot, s since 1970, None for now; title: goes before the first line.
    """
    for line in table(session, session.add(snapshot), when, title):
        print(line, file=out)
    out.flush()
