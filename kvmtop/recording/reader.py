"""A recording as a Source again: `format.py` says what is in it."""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import I64, Array
from ..model.provenance import Origin
from ..model.selection import ALL_VMS, Selection, only
from ..model.snapshot import SLOW, Snapshot
from ..model.vocabulary import MOST_ALIASES, DetailRequest, Names, Vm
from ..sanitize import clean
from . import codec, format1, seen
from .format import (
    ALIAS,
    APPLICATION,
    FORMAT,
    LONGEST_TEXT,
    MOST_BYTES,
    MOST_CHANGES,
    MOST_COLUMNS,
    MOST_FACTS,
    MOST_LINES,
    MOST_NAMES,
    MOST_SAMPLES,
    MOST_SLOW,
    MOST_TEXT,
    MOST_TIME,
    MOST_VCPUS,
    MOST_VMS,
    QUOTA,
    SCALARS,
    SCHEMA,
    SCHEMA2,
    STANDING,
    THINNED,
    UNSTARTED,
    BadFrame,
    base,
    words,
)
from .journal import copy, journal_of
from .layout import Layout

QUERY_SECONDS = 20.0  # a damaged file may lead in circles
KEPT = 16  # unpacked Snapshots
MOST_KEPT = 1 << 28  # bytes of them


class Empty(KvmtopError):
    """There is no sample in it, or none yet."""


class Recording:
    """A file that a Recorder wrote, opened to be read. Iterating gives the Snapshots, but for the final one.

    The file is not trusted. Whatever is wrong with it raises KvmtopError with a sentence, here or later.
    """

    trouble, busy = None, ""

    def __init__(self, path: Path, pids: Sequence[int] = (), selection: Selection = ALL_VMS) -> None:
        """pids and selection: the VMs to see, none for all."""
        self.path, self._pids, self._selection = path, pids, selection
        self._kept: OrderedDict[int, tuple[codec.Counters, Snapshot | None]] = OrderedDict()
        self._lock = threading.RLock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: tuple[int, dict[int, Vm]] = (0, {})  # VMs after so many changes
        self._deadline = 0.0
        self._next = 0
        self._texts: dict[int, tuple[str, ...]] = {}  # lines, by number
        self._room = MOST_TEXT  # characters of further ones
        self._start: tuple[int, Snapshot] | None = None  # the last of bases
        self._seen = seen.Unpacker(self._lines, self._base)
        with self._explained():
            self._database = self._open(path)
            self._load()
        if pids and not set(pids) & {vm.pid for _, vm, _ in self._changes}:
            raise KvmtopError(f"{path} has no VM with the process id {', '.join(map(str, pids))}", 2)
        if not any(map(self._sees, vms := [vm for _, vm, _ in self._changes])) and selection.patterns:
            raise KvmtopError(f"in {path}, {selection.missing(vms)}", 2)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of SQLite and of the frames as a sentence."""
        try:
            with self._lock:
                yield
        except (sqlite3.Error, BadFrame, OverflowError, MemoryError, UnicodeError) as error:
            if isinstance(error, sqlite3.DatabaseError) and (why := _unreadable(self.path)):
                raise KvmtopError(f"cannot read {self.path}: {why}", 2) from None
            raise KvmtopError(f"{self.path} is damaged, or no recording: {clean(words(error))}", 2) from None
        except OSError as error:
            raise KvmtopError(f"cannot read {self.path}: {words(error)}", 2) from None

    def _open(self, path: Path, again: bool = False) -> sqlite3.Connection:
        if not path.is_file():
            raise KvmtopError(f"there is no file {path}" if not path.exists() else f"{path} is not a file", 2)
        where = path.resolve()
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(open(where, "rb"))
            self._check_header(file)
            journal = opened.enter_context(journal_of(file, where))
            if journal:
                where = self._recovered(file, journal, where)
        database = self._connect(where, "ro&immutable=1")
        pages, page = (database.execute(f"PRAGMA {word}").fetchone()[0] for word in ("page_count", "page_size"))
        size = os.path.getsize(where)
        if pages * page > size and not again:  # whoever thins it may have put a shorter one in its place meanwhile
            database.close()
            return self._open(path, again=True)
        if pages * page > size:
            raise KvmtopError(f"{path} is cut off: it has {size} bytes of {pages * page}", 2)
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise KvmtopError(f"{path} is not a recording of kvmtop", 2)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        schemas = {FORMAT: (SCHEMA, SCHEMA + THINNED), 2: (SCHEMA2,), format1.FORMAT1: (format1.SCHEMA1,)}.get(version)
        if schemas is None:
            raise KvmtopError(
                f"{path} was written by another version of kvmtop (format {version}; this one reads 1 to {FORMAT})", 2
            )
        self._old, self._format = version == format1.FORMAT1, version
        # Exactly our tables: no view, trigger, index or expression of somebody else's is ever run.
        expected = [sorted(line.removesuffix(";") for line in schema.splitlines()) for schema in schemas]
        rows = database.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_autoindex_%' LIMIT 99")
        if (found := sorted(str(sql) for (sql,) in rows)) not in expected:
            raise KvmtopError(f"{path} is not a recording of kvmtop: its tables are others", 2)
        self._thinned = found != expected[0]
        return database

    def _check_header(self, file: BinaryIO) -> None:
        header = file.read(100)
        if not header:
            raise Empty(f"{self.path} is empty: whoever began to record to it has not written anything yet", 2)
        if not header.startswith(b"SQLite format 3\0") or len(header) < 100:
            raise KvmtopError(f"{self.path} is not a recording of kvmtop", 2)
        if header[18:20] != b"\1\1":  # a write-ahead log's
            raise KvmtopError(f"{self.path} is not a recording of kvmtop: it is in another mode of SQLite", 2)

    def _connect(self, path: Path, mode: str = "ro") -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._deadline = time.monotonic() + QUERY_SECONDS
        database.set_progress_handler(lambda: int(time.monotonic() > self._deadline), 10_000)
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        if mode != "rw":
            database.execute("PRAGMA query_only=ON")
        return database

    def _recovered(self, file: BinaryIO, journal: BinaryIO, path: Path) -> Path:
        """A copy that holds whole samples only, made by playing back the journal."""
        self._folder = tempfile.TemporaryDirectory(prefix="kvmtop-")
        found = Path(self._folder.name) / "recording"
        copy(file, journal, path, found)
        with open(f"{found}-journal", "rb") as played:
            played.seek(-min(8, os.path.getsize(played.fileno())), os.SEEK_END)
            # So ends one that names another file, which SQLite would delete (pager_delsuper): ours never do.
            if played.read(8) == b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7":
                raise sqlite3.DatabaseError("its journal is of several databases")
        with contextlib.closing(self._connect(found, "rw")) as database:
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return found

    def _rows(self, sql: str, types: Sequence[type], most: int, *values: int) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, of these types, and not more than so many."""
        self._deadline = time.monotonic() + QUERY_SECONDS
        for number, row in enumerate(self._database.execute(sql, values)):
            if number >= most:
                raise BadFrame(f"more than {most} rows")
            if tuple(map(type, row)) != tuple(types):
                raise BadFrame("a value of a wrong type")
            yield row

    def _numbers(self, sql: str, columns: int, most: int) -> I64:
        """The same of whole numbers alone: a third of the time."""
        self._deadline = time.monotonic() + QUERY_SECONDS
        cursor, parts = self._database.execute(f"{sql} LIMIT {most + 1}"), [np.zeros((0, columns), "i8")]
        while rows := cursor.fetchmany(10_000):
            parts.append(np.array(rows))
            if parts[-1].dtype != np.int64:
                raise BadFrame("a value of a wrong type")
        found = np.concatenate(parts)
        if len(found) > most:
            raise BadFrame(f"more than {most} rows")
        return found

    def _load_run(self) -> None:
        number, text, real = int, str, float
        sql = "SELECT version, host, kernel, title, began, start_ns FROM runs"
        runs = list(self._rows(sql, (text, text, text, text, real, number), 1))
        if not runs:
            raise Empty(f"{self.path} is an empty recording: it ended before the first interval", 2)
        version, host, kernel, title = map(clean, runs[0][:4])
        self.began: float = runs[0][4]
        self.start_ns: int = runs[0][5]
        if not 0 <= self.began < 1 << 33 or not 0 <= self.start_ns < MOST_TIME:
            raise BadFrame("a time that cannot be")
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.began))
        title = title or f"{host}, {kernel}, {when}"
        self.origin = Origin(host, kernel, version, title, self.began, self._facts())
        self.step, self.taken = 0.0, 0  # s between samples where others were left out, and how many there had been
        if self._thinned:
            for step_ns, taken in self._rows("SELECT step_ns, samples FROM thinned", (number, number), 1):
                if not (0 < step_ns < MOST_TIME and 0 < taken <= MOST_SAMPLES):
                    raise BadFrame("a step that there cannot be")
                self.step, self.taken = step_ns / 1e9, taken

    def _load(self) -> None:
        self._load_run()
        number, text = int, str
        self._layout, self._nothing = format1.LAYOUT1, format1.NOTHING1
        if not self._old:
            sql = "SELECT kind, name FROM columns ORDER BY position"
            self._layout, self._nothing = Layout.read(self._rows(sql, (text, text), MOST_COLUMNS)), codec.NOTHING
        reasons: dict[int, dict[int, str]] = {}
        for isa, code, name in self._rows("SELECT isa, code, name FROM reasons", (number, number, text), MOST_NAMES):
            reasons.setdefault(isa, {})[code] = clean(name)
        flags = self._rows("SELECT flag, name FROM flags", (number, text), MOST_NAMES)
        self._names = Names(reasons, {flag: clean(name) for flag, name in flags})
        sql = f"SELECT sample, time_ns, exits, final, {', '.join(SCALARS)} FROM samples ORDER BY sample"
        rows = self._numbers(sql, 4 + len(SCALARS), MOST_SAMPLES)
        if not len(rows) or (rows[:, 0] != np.arange(len(rows))).any() or rows[:, 3][:-1].any():
            raise BadFrame("samples are missing")
        if (rows < 0).any() or (rows >= MOST_TIME).any() or (np.diff(rows[:, 1], prepend=self.start_ns) < 0).any():
            raise BadFrame("a clock that went back")
        self._scalars = rows[:, 4:]
        self._times = rows[:, 1]
        # The final reading closes no interval of the run; one that was recorded alone is all there is.
        self.final = bool(rows[-1, 3])
        self.count = max(len(rows) - self.final, 1)
        self.times: I64 = self._times[: self.count]
        self.exits: I64 = rows[: self.count, 2]
        sql = "SELECT sample, pid, name, comm, state FROM vms ORDER BY sample, rowid"
        self._changes: list[tuple[int, Vm, bool]] = []  # of VMs: from which sample, what, whether it is there
        facts: dict[tuple[str, int], list[str]] = {}
        known: set[int] = set()
        for sample, pid, name, comm, state in self._rows(sql, (number, number, text, text, text), MOST_CHANGES):
            name = clean(name)
            now, there = set(state[:99].split()), state != "gone"
            if not now <= STANDING:
                if state in (ALIAS, QUOTA, UNSTARTED):
                    facts.setdefault((state, pid), []).append(name)
                continue
            more = (tuple(filter(None, facts.pop((of, pid), []))) for of in (ALIAS, QUOTA, UNSTARTED))
            aliases, quotas, numbers = more
            rest: dict[str, Any] = {word: word in now for word in ("ended", "stopped", "paused", "traced")}
            rest |= {"aliases": aliases[:MOST_ALIASES], "quota": "".join(quotas[:1]), "unstarted": _vcpus(numbers)}
            vm = Vm(pid, name or f"pid {pid}", clean(comm), **rest)
            self._changes.append((sample, vm, there))
            known.add(pid) if there else known.discard(pid)
            if len(known) > MOST_VMS:
                raise BadFrame(f"more than {MOST_VMS} VMs at a time")

    def _facts(self) -> dict[str, str]:
        """Of the host."""
        sql = "SELECT name, value FROM host"
        rows = self._rows(sql, (str, str), MOST_FACTS) if self._format == FORMAT else ()
        return {clean(name): clean(value) for name, value in rows}

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Snapshot]:
        return (self.at(n) for n in range(self.count))

    def at(self, n: int) -> Snapshot:
        """Snapshot n, from 0. Raises KvmtopError."""
        with self._explained():
            return self._only(self._at(n))

    def read(self) -> Snapshot:
        """The next Snapshot; after the last one, that one again."""
        snapshot = self.at(min(self._next, self.count - 1))
        self._next += 1
        return snapshot

    def look(self, look: DetailRequest | None) -> None:
        """It tells what was looked at when it was made."""

    def slow(self) -> Array:
        """They come with the Snapshots."""
        return np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        """The final Snapshot, which the run's summary was made of."""
        snapshot = self.last()
        self.free()
        return snapshot

    def last(self) -> Snapshot:
        """The final Snapshot; of a run that has not ended, the newest."""
        return self.at(len(self._times) - 1)

    def free(self) -> None:
        """Nothing more is read of it."""
        with self._lock:
            self._database.close()
            if self._folder:
                self._folder.cleanup()

    def _at(self, n: int) -> Snapshot:
        counters = self._counters(n)
        if kept := self._kept[n][1]:
            return kept
        time_ns = int(self._times[n])
        snapshot = Snapshot(
            time_ns=time_ns,
            start_ns=self.start_ns,
            names=self._names,
            vms=self._vms(n),
            **_columns(format1.today(counters, time_ns) if self._old else counters.whole()),
            **dict(zip(SCALARS.values(), self._scalars[n].tolist(), strict=True)),
        )
        self._texts = {} if sum(map(_size, self._texts.values())) > MOST_TEXT else self._texts
        self._room = MOST_TEXT
        snapshot = self._seen.unpack(snapshot, counters.seen, partial(self._slow_of, n))
        self._kept[n] = counters, snapshot
        return snapshot

    def _counters(self, n: int) -> codec.Counters:
        """What is packed against them needs no more."""
        against = base(n, self._format)
        if n in self._kept:
            while against is not None and against in self._kept:  # what its neighbours are packed against, too
                self._kept.move_to_end(against)
                against = base(against, self._format)
            self._kept.move_to_end(n)
            return self._kept[n][0]
        before = self._nothing if against is None else self._counters(against)
        rows = list(self._rows("SELECT frame FROM frames WHERE sample = ?", (bytes,), 1, n))
        if not rows:
            raise BadFrame(f"frame {n} is missing")
        counters = codec.decode(rows[0][0], self._layout, before)
        self._kept[n] = counters, None
        while len(self._kept) > KEPT or (
            len(self._kept) > 1 and sum(kept.nbytes for kept, _ in self._kept.values()) > MOST_KEPT
        ):
            self._kept.popitem(last=False)
        return counters

    def _slow_of(self, n: int) -> Array:
        columns = ", ".join(seen.SLOW_COLUMNS)
        sql = f"SELECT {columns} FROM slow WHERE sample = ? ORDER BY rowid"
        return seen.slow_exits(self._rows(sql, (int,) * len(seen.SLOW_COLUMNS), MOST_SLOW, n))

    def slowest(self, most: int, first: int, last: int) -> list[tuple[int, Array]]:
        """Slow exits of samples first to last, the longest first, each with its sample. Raises KvmtopError."""
        if self._format < FORMAT:
            return []
        columns = ", ".join(seen.SLOW_COLUMNS)
        sql = f"SELECT sample, {columns} FROM slow WHERE sample BETWEEN ? AND ? ORDER BY ns DESC LIMIT ?"
        with self._explained():
            rows = list(self._rows(sql, (int,) * (1 + len(seen.SLOW_COLUMNS)), most, first, last, most))
            return [(row[0], seen.slow_exits([row[1:]])) for row in rows]

    def _lines(self, text: int) -> tuple[str, ...]:
        """Those of a text; none of number 0, and of one that is not there."""
        if text and text not in self._texts:
            found = list(self._rows("SELECT content FROM texts WHERE text = ?", (str,), 1, text))
            content = found[0][0][:LONGEST_TEXT] if found else ""
            lines = tuple(clean(line, LONGEST_TEXT) for line in content.split("\n", MOST_LINES)) if found else ()
            self._texts[text] = lines
            self._room -= _size(lines)
            if self._room < 0:
                raise BadFrame("too many texts for a sample")
        return self._texts.get(text, ())

    def _base(self, number: int) -> Snapshot:
        """The counters from which stacks are counted."""
        if self._start is None or self._start[0] != number:
            rows = list(self._rows("SELECT time_ns, frame FROM bases WHERE base = ?", (int, bytes), 1, number))
            if not rows or not 0 <= rows[0][0] < MOST_TIME:
                raise BadFrame(f"the counters {number} are missing")
            (time_ns, frame) = rows[0]
            counters = _columns(codec.decode(frame, self._layout).whole())
            self._start = number, Snapshot(time_ns=time_ns, start_ns=self.start_ns, names=self._names, **counters)
        return self._start[1]

    def _vms(self, n: int) -> dict[int, Vm]:
        end = bisect.bisect_right(self._changes, n, key=lambda change: change[0])
        begin, known = self._known if self._known[0] <= end else (0, {})
        if begin < end or not end:
            known = dict(known)
            for _, vm, there in self._changes[begin:end]:
                if there:
                    known[vm.pid] = vm
                else:
                    known.pop(vm.pid, None)
            self._known = end, known
        return known

    def _sees(self, vm: Vm) -> bool:
        return (not self._pids or vm.pid in self._pids) and self._selection.matches(vm)

    def _only(self, snapshot: Snapshot) -> Snapshot:
        """The part of a Snapshot that is of the chosen VMs."""
        if not self._pids and not self._selection.patterns:
            return snapshot
        return only(snapshot, {pid for pid, vm in snapshot.vms.items() if self._sees(vm)})


def _vcpus(numbers: tuple[str, ...]) -> tuple[int, ...]:
    """As they were written."""
    return tuple(int(one) for one in numbers[:MOST_VCPUS] if one.isdecimal() and len(one) < 6)


def _unreadable(path: Path) -> str:
    """Why its bytes cannot be had: SQLite takes a disk that fails (EIO) for a file that is damaged."""
    try:
        with open(path, "rb", buffering=0) as file:
            for at in range(0, os.path.getsize(path), 1 << 20):
                os.pread(file.fileno(), 1 << 20, at)
    except OSError as error:
        return words(error)
    return ""


def _columns(counters: codec.Counters) -> dict[str, Any]:
    """What a Snapshot has under the same names."""
    return {name: value for name, value in vars(counters).items() if name not in ("seen", "filled")}


def _size(lines: tuple[str, ...]) -> int:
    """Characters, and as many as it takes to keep a line."""
    return sum(len(line) + 50 for line in lines)
