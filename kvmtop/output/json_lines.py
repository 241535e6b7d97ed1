"""Each interval for programs: JSON lines (schema.json describes them) and CSV.

A section of the JSON object is one function of SECTIONS; keys may be added under the same SCHEMA, their meaning
never changes. Times are ns where the name ends in _ns, shares are of 1, and what is unknown is null (CSV: empty).
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ..errors import KvmtopError
from ..insight.vcpus import VcpuRow, members, shares
from ..model.interval import Interval, open_ns
from ..model.provenance import HERE, Origin
from ..model.scope import ALL, Scope
from ..model.session import Line, Session
from ..model.snapshot import Snapshot
from ..model.source import Source, Wrapper
from ..model.vocabulary import PARTS, UNKNOWN, isa_name
from ..reference.labels import Labels
from ..sanitize import clean
from ..tables.row_choice import RowChoice
from ..tables.vcpus import state
from . import export_details, summary

SCHEMA = 1
PERCENTILES = {"p50_ns": 0.5, "p99_ns": 0.99, "p99_9_ns": 0.999}
CAVEATS = ("lost", "unpaired", "overwritten", "expired")
Object = dict[str, Any]


def _isa(isa: int) -> str | None:
    return isa_name(isa) if isa != UNKNOWN else None


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _budget(found: Mapping[str, float] | None) -> Object | None:
    return {part: _rounded(found.get(part)) for part in PARTS} if found else None


def head(kind: str, snapshot: Snapshot, seconds: float, origin: Origin) -> Object:
    """What every object begins with; `seconds` is the measured length of what it speaks of."""
    return {
        "schema": SCHEMA,
        "type": kind,
        "time": datetime.fromtimestamp(origin.wall(snapshot), UTC).isoformat(timespec="milliseconds"),
        "elapsed": round((snapshot.time_ns - snapshot.start_ns) / 1e9, 6),
        "length": round(seconds, 9),
        "kvmtop": origin.version,
        "host": origin.host,
        "kernel": origin.kernel,
        "recording": origin.recording,
        "isa": _isa(snapshot.isa),
    }


def totals(session: Session, interval: Interval) -> Object:
    """All VMs together."""
    after, exits = interval.after, int(interval.rows["count"].sum())
    return {
        "vms": sum(not vm.ended for vm in after.vms.values()),
        "vcpus": int((after.threads["end_ns"] == 0).sum()),
        "exits": exits,
        "rate": round(exits / interval.seconds, 3),
    }


def budget(session: Session, interval: Interval) -> Object | None:
    """Where the vCPUs' time went, in shares that add up to 1; None before the first exit."""
    return _budget(shares(interval, ALL))


def reason(line: Line) -> Object:
    """One exit reason of a scope: its figures in the interval, and how many exits there were since the start."""
    r = line.reason
    return {
        "isa": _isa(r.isa),
        "code": r.code,
        "name": clean(r.name),
        "idle": r.idle,
        "count": r.count,
        "rate": round(r.rate, 3),
        "share": _rounded(line.share),
        "time_ns": r.time,
        "time_share": _rounded(line.time_share),
        "user_ns": r.user,
        "avg_ns": _rounded(r.avg, 1),
        **{name: _rounded(r.percentile(share), 1) for name, share in PERCENTILES.items()},
        "max_ns": r.max,
        "min_ns": r.min,
        "total": line.total,
    }


def reasons(session: Session, interval: Interval) -> list[Object]:
    """All reasons seen so far, by code."""
    return [reason(line) for line in session.lines(interval)]


def vms(session: Session, interval: Interval) -> list[Object]:
    """The VMs with their vCPUs. One that had ended before the interval began is left out."""
    after = interval.after
    lasted, user = open_ns(after)
    rows = {thread: row for row, thread in enumerate(after.thread_ids.tolist())}

    def member(m: VcpuRow) -> Object:
        return {
            "rate": round(m.rate, 3),
            "budget": _budget(m.shares),
            "top": clean(m.top) or None,
            "state": state(m) or None,
            "stuck": bool(m.stuck),
            "ended": m.ended,
        }

    def vcpu(m: VcpuRow) -> Object:
        row = rows[m.scope.thread or 0]
        thread = after.threads[row]
        opened = None
        if lasted[row] and not m.ended:
            name = clean(after.names.name(int(thread["isa"]), int(thread["reason"])))
            opened = {"reason": name, "ns": int(lasted[row]), "user_ns": int(user[row])}
        return {"vcpu": int(thread["vcpu"]), "tid": m.number, "cpu": after.cpus.get(m.number), **member(m),
                "open": opened}  # fmt: skip

    found: list[Object] = []
    for m in members(session, interval, _gone(interval), trend=0):
        if m.scope.thread is None:
            name = {"name": clean(m.vm) or f"pid {m.number}", "pid": m.number, "alive": m.alive}
            found.append({**name, **member(m), "vcpus": []})
        elif not m.ended or m.shares is not None:
            found[-1]["vcpus"].append(vcpu(m))
    return found


def _gone(interval: Interval) -> frozenset[int]:
    """The VMs (pids) that had ended when the interval began."""
    before = interval.before.vms if interval.before else {}
    return frozenset(pid for pid, vm in interval.after.vms.items() if vm.ended and pid in before and before[pid].ended)


def caveats(session: Session, interval: Interval) -> Object:
    """What was not counted or did not pair, since the start."""
    return {name: getattr(interval.after, name) for name in CAVEATS}


SECTIONS: dict[str, Callable[[Session, Interval], Any]] = {
    "totals": totals,
    "budget": budget,
    "reasons": reasons,
    "vms": vms,
    "honesty": caveats,
}


DETAILS: dict[str, Callable[[Session, Interval, Labels], Any]] = {
    "touched": export_details.touched,
    "slow": export_details.slow,
    "polling": export_details.polling,
    "findings": export_details.findings,
}


def _dumps(found: Object) -> str:
    # ASCII: whatever the locale, and no name can end a line or a string.
    return json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"


def json_interval(
    session: Session, interval: Interval, labels: Labels, origin: Origin = HERE, choice: RowChoice | None = None
) -> str:
    """One line: the interval's object. choice: of its reasons; without one all, by code."""
    labels = replace(labels, names=interval.after.names)
    sections = {name: section(session, interval) for name, section in SECTIONS.items()}
    sections |= {name: section(session, interval, labels) for name, section in DETAILS.items()}
    if choice:  # shares stay what they are: of all reasons
        sections["reasons"] = [reason(line) for line in choice.choose(session.lines(interval))]
    return _dumps({**head("interval", interval.after, interval.seconds, origin), **sections})


def json_summary(final: Snapshot, origin: Origin = HERE) -> str:
    """The last line: what the closing summary says of the whole run, and what was not counted."""
    found = [
        {"isa": _isa(row.isa), "code": row.code, "name": clean(row.name), "count": row.count, "sum_us": row.sum,
         "min_us": row.min, "avg_us": row.avg, "max_us": row.max}
        for row in summary.rows(final)
    ]  # fmt: skip
    seconds = max(final.time_ns - final.start_ns, 1) / 1e9
    return _dumps(
        {
            **head("summary", final, seconds, origin),
            "reasons": found,
            "honesty": {name: getattr(final, name) for name in CAVEATS},
        }
    )


CSV_HEAD = (
    "time", "elapsed", "length", "vm", "pid", "isa", "code", "name", "count", "rate", "share", "time_ns", "time_share",
    "user_ns", "avg_ns", *PERCENTILES, "max_ns", "min_ns", "total", "lost",
)  # fmt: skip


def csv_interval(session: Session, interval: Interval, origin: Origin = HERE, choice: RowChoice | None = None) -> str:
    """A row for each VM and reason that had exits, or time in an open one; shares are of the VM.

    choice: of each VM's reasons.

    Counts and times add up over the VMs, percentiles do not: the JSON has those of the whole host.
    """
    after = interval.after
    common = head("interval", after, interval.seconds, origin)
    gone = _gone(interval)
    table: list[Object] = []
    for vm in sorted(after.vms.values(), key=lambda vm: (vm.name, vm.pid)):
        if vm.pid not in gone:
            lines = session.lines(interval, Scope(vm.pid))
            lines = choice.choose(lines) if choice else lines
            table += [
                {**common, "vm": _cell(clean(vm.name) or f"pid {vm.pid}"), "pid": vm.pid, **reason(line),
                 "lost": after.lost}
                for line in lines if line.reason.count or line.reason.time
            ]  # fmt: skip
    return _csv([[row[name] for name in CSV_HEAD] for row in table])


def _cell(name: str) -> str:
    """A spreadsheet runs a text that begins like a formula: an apostrophe keeps it a text."""
    return f"'{name}" if name[0] in "=+-@" else name


def _csv(table: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(table)
    return out.getvalue()


@dataclass
class Output:
    """One stream of text: what it starts with, what each interval adds, what ends it."""

    file: TextIO
    path: Path | None  # None: standard output
    start: str
    interval: Callable[[Session, Interval, Origin], str]
    end: Callable[[Snapshot, Origin], str]
    broken: bool = False

    def write(self, text: str) -> None:
        """Raises KvmtopError for a file, OSError for standard output; nothing is written after that."""
        if self.broken or not text:
            return
        try:
            self.file.write(text)
            self.file.flush()
        except OSError as error:
            self.broken = True
            if self.path is None:
                raise
            raise KvmtopError(f"cannot write {self.path}: {error.strerror}") from error


def json_lines(
    file: TextIO, path: Path | None = None, labels: Labels | None = None, choice: RowChoice | None = None
) -> Output:
    """An object each interval, and a last one with the summary. labels: names of what exits touched."""

    def interval(session: Session, interval: Interval, origin: Origin) -> str:
        return json_interval(session, interval, labels or Labels(), origin, choice)

    return Output(file, path, "", interval, json_summary)


def csv_rows(file: TextIO, path: Path | None = None, choice: RowChoice | None = None) -> Output:
    """A line of titles, then the rows of each interval."""
    return Output(file, path, _csv([CSV_HEAD]), partial(csv_interval, choice=choice), lambda final, origin: "")


class Tee(Wrapper):
    """A Source whose every reading is written to outputs, too."""

    def __init__(self, source: Source, outputs: Sequence[Output], origin: Origin = HERE) -> None:
        super().__init__(source)
        self._outputs, self._session, self._origin = outputs, Session(), origin
        for output in outputs:
            output.write(output.start)

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError, and OSError where standard output fails."""
        snapshot = self._source.read()
        interval = self._session.add(snapshot)
        for output in self._outputs:
            output.write(output.interval(self._session, interval, self._origin))
        return snapshot


def finish(outputs: Sequence[Output], final: Snapshot, origin: Origin = HERE) -> Iterator[KvmtopError]:
    """End all outputs, even if one fails; what went wrong now with a file, or with standard output."""
    for output in outputs:
        try:
            output.write(output.end(final, origin))
        except KvmtopError as error:
            yield error
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # the reader or the terminal has gone
                yield KvmtopError(f"cannot write to standard output: {error.strerror}")
        if output.path is not None:
            with contextlib.suppress(OSError):  # what was written is flushed, what failed has been told
                output.file.close()


def create(path: Path) -> TextIO:
    """A stream into a new file, see `creating`. Raises OSError."""
    with creating(path) as (file,):
        return file


@contextlib.contextmanager
def creating(*paths: Path) -> Iterator[list[TextIO]]:
    """Streams into new files that only their owner may read, none of them if anything fails. Raises OSError.

    When the block ends they take the place of what had their names, so a symbolic link planted there leads nowhere; a
    pipe or a terminal is written to as it is, if nobody else put it there (summary.special).
    """
    files: list[TextIO] = []
    with contextlib.ExitStack() as undo:
        new = list[tuple[str, Path]]()
        for path in paths:
            with _naming(path):
                if (fd := summary.special(path)) is None:
                    fd, name = tempfile.mkstemp(prefix=".kvmtop.", dir=path.parent)  # 0600
                    new.append((name, path))
                    undo.callback(_remove, name)
            files.append(undo.enter_context(open(fd, "w", encoding="utf-8")))
        yield files
        for name, path in new:
            with _naming(path):
                os.replace(name, path)
        undo.pop_all()


def _remove(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # it has its place already
        os.unlink(name)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors are of this path, whatever the file is called for the time being."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
