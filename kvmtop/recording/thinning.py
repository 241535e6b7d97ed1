"""Older segments with fewer samples: the same counters, at fewer instants.

A sample is cumulative, so the interval between two that are left is, to the number, the sum of those that were between
them. Kept are, beside the last one in each step, the first, the last and the final sample, so that segments follow each
other as before, and each that is the last with a row that has counters of its own (a thread that ended, a key that was
taken away, a look that ended): what those counted would be lost with it. Single slow exits go to the next that is kept.

It is written to a file that no reader looks at, synced, and renamed over the segment: whenever it is killed, one of the
two is there, whole. Who has the old one open reads on in it.

It is done in small pieces by whoever records, after a reading (store.py): no thread or process beside it, whose work
would come at the moment at which a reading is due.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import codec
from .format import APPLICATION, FORMAT, GROUP, MOST_SLOW, SCHEMA, STEPS, THINNED, BadFrame, base
from .layout import Layout
from .outline import Gone, Outline
from .reader import QUERY_SECONDS, Recording
from .segments import taken
from .writer import PAGE, make

FILE = ".thinning"  # in the directory of the segments: readers look for names that end in .kvmtop
_AS_IT_IS = ("columns", "runs", "reasons", "flags", "texts", "host", "bases")


class NotWorthIt(Exception):
    """It cannot be half of what it was, or it is another version's: it is left as it is."""


class _Whole(Recording):
    """A segment with its rows as they are in the file."""

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def is_known(self) -> bool:
        """Whether this version of kvmtop knows all of its columns: what it does not know it cannot write."""
        known = Layout.of(self._layout.told).tables
        mine = self._layout.tables.items()
        return self._format == FORMAT and all({*names} <= {*known.get(kind, ())} for kind, names in mine)

    @property
    def sample_times(self) -> list[int]:
        """Of all samples, in ns."""
        times: list[int] = self._times.tolist()
        return times

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Those of a query."""
        self._deadline = time.monotonic() + QUERY_SECONDS
        return self._database.execute(sql).fetchall()

    def frame(self, n: int) -> bytes:
        """As it is packed. Raises BadFrame."""
        rows = self.rows(f"SELECT frame FROM frames WHERE sample = {n}")
        if not rows:
            raise BadFrame(f"frame {n} is missing")
        return bytes(rows[0][0])


def thin(path: Path, step: float, most: int) -> Generator[bool]:
    """Leave the samples of a segment that are `step` seconds apart, a piece at a time; most: bytes of the new file.

    It yields whether there is nothing to do at present but to wait for the disk.
    Raises NotWorthIt, KvmtopError, sqlite3.Error, OSError and BadFrame; then the segment is what it was.
    """
    recording, new = _Whole(path), path.with_name(FILE)
    try:
        with _Made(new, path, most) as made:
            for _ in _thinned(recording, made, round(step * 1e9)):
                yield False
        yield from made.synced()
        made.take_its_place()
    except sqlite3.OperationalError as error:
        free = os.statvfs(path.parent)
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL and free.f_bavail * free.f_frsize > most:
            raise NotWorthIt from None  # not the disk, but what it may have is full
        raise
    finally:
        recording.free()
        with contextlib.suppress(OSError):
            new.unlink()


def _thinned(recording: _Whole, made: _Made, step_ns: int) -> Iterator[None]:
    if not recording.is_known:
        raise NotWorthIt
    times, ends, slow = recording.sample_times, list[int](), Counter[int]()
    yield from _ends(recording, ends)
    slow.update(dict(recording.rows("SELECT sample, count(*) FROM slow GROUP BY sample")))
    kept = chosen(times, recording.final, step_ns, ends, slow)
    if 2 * len(kept) > len(times):
        raise NotWorthIt
    made.begin(recording, step_ns, kept)
    yield
    frames, bases = _Frames(recording), dict[int, codec.Counters]()
    for n, sample in enumerate(kept):
        while (counters := frames.unpack(sample)) is None:
            yield
        counters, against = counters.whole(), base(n)
        frame = codec.encode(counters, recording.layout, codec.NOTHING if against is None else bases[against])
        bases = {m: bases.get(m, counters) for m in _chain(n)}
        made.add(n, kept[n - 1] + 1 if n else 0, sample, frame)
        yield


def chosen(times: Sequence[int], final: bool, step_ns: int, ends: Iterable[int], slow: Counter[int]) -> list[int]:
    """The samples to keep. times: in ns; ends: those of _ends; slow: their slow exits."""
    last = len(times) - 1
    kept = {0, last, max(last - final, 0), *ends}
    kept |= {n for n in range(last) if times[n] // step_ns != times[n + 1] // step_ns}
    found, exits = list[int](), 0
    for n in range(last + 1):
        exits += slow[n]
        if n < last and exits + slow[n + 1] > MOST_SLOW:  # more than a sample may have
            kept.add(n)
        if n in kept:
            found.append(n)
            exits = 0
    return found


def _ends(recording: _Whole, found: list[int]) -> Iterator[None]:
    """Add the samples that are to be kept for what the next one has not, or has anew."""
    outlines, before, gone = dict[int, Outline](), Outline(), Gone()
    for n in range(len(recording.sample_times)):
        against = base(n)
        like = Outline() if against is None else outlines[against]
        outline = Outline.read(codec._inflate(recording.frame(n)), recording.layout, like)
        if n and gone.between(before, outline):
            found.append(n - 1)
        outlines, before = {m: outlines.get(m, outline) for m in _chain(n)}, outline
        yield


def _chain(n: int) -> set[int]:
    """The samples that later ones may be packed against."""
    return {n - n % step for step in (*STEPS, GROUP)}


class _Frames:
    """The counters of samples, unpacked in order, one frame at a time."""

    def __init__(self, recording: _Whole) -> None:
        self._recording = recording
        self._known = dict[int, codec.Counters]()

    def unpack(self, sample: int) -> codec.Counters | None:
        """Those of a sample; None while there is more to be unpacked before it."""
        wanted, against = sample, base(sample)
        while against is not None and against not in self._known:
            wanted, against = against, base(against)
        before = codec.NOTHING if against is None else self._known[against]
        counters = codec.decode(self._recording.frame(wanted), self._recording.layout, before)
        if wanted == sample:
            chain = _chain(sample)
            self._known = {n: known for n, known in self._known.items() if n in chain}
        self._known[wanted] = counters
        return counters if wanted == sample else None


class _Made:
    """The new file, beside the segment that it is to replace."""

    def __init__(self, new: Path, old: Path, most: int) -> None:
        self._new, self._old, self._most = new, old, most

    def __enter__(self) -> _Made:
        self._was = os.lstat(self._old)
        with contextlib.suppress(FileNotFoundError):
            self._new.unlink()
        make(self._new, self._was.st_mode & 0o777)
        self._database = sqlite3.connect(
            f"{self._new.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def begin(self, recording: _Whole, step_ns: int, kept: Sequence[int]) -> None:
        """What there is one of; and when VMs and vCPUs came and went, by the samples that are kept."""
        self._from, put = recording.rows, self._database.execute
        # Nobody reads it before it is whole, so nothing of it is to be taken back.
        for pragma in (
            "journal_mode=OFF",
            "synchronous=OFF",
            f"page_size={PAGE}",
            f"application_id={APPLICATION}",
            f"user_version={FORMAT}",
        ):
            put(f"PRAGMA {pragma}")
        self._database.executescript(SCHEMA + THINNED)
        put(f"PRAGMA max_page_count={self._most // PAGE}")
        put("BEGIN")
        put("INSERT INTO thinned VALUES (?, ?)", (step_ns, recording.taken or len(recording.sample_times)))
        for table in _AS_IT_IS:
            self._copy(table, self._from(f"SELECT * FROM {table}"))
        for table in ("vms", "vcpus"):
            rows = self._from(f"SELECT * FROM {table} ORDER BY sample, rowid")
            self._copy(table, ((bisect.bisect_left(kept, row[0]), *row[1:]) for row in rows))
        put("COMMIT")

    def add(self, n: int, first: int, last: int, frame: bytes) -> None:
        """Sample n is what sample `last` was, with what the others from `first` on have that is of their intervals."""
        put, span = self._database.execute, f"sample BETWEEN {first} AND {last}"
        put("BEGIN")
        put("INSERT INTO frames VALUES (?, ?)", (n, frame))
        ((exits,),) = self._from(f"SELECT sum(exits) FROM samples WHERE {span}")
        (row,) = self._from(f"SELECT * FROM samples WHERE sample = {last}")
        self._copy("samples", [(n, row[1], exits, *row[3:])])
        rows = self._from(f"SELECT isa, code, sum(exits), sum(ns) FROM exits WHERE {span} GROUP BY isa, code")
        self._copy("exits", ((n, *row) for row in rows))
        rows = self._from(f"SELECT * FROM slow WHERE {span} ORDER BY rowid")
        self._copy("slow", ((n, *row[1:]) for row in rows))
        put("COMMIT")
        if taken(self._new) > self._most:
            raise NotWorthIt

    def _copy(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if found := list(rows):
            self._database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})", found)

    def synced(self) -> Iterator[bool]:
        """Until it is on the disk, for which a thread waits: that may take longer than there is between readings."""
        os.utime(self._new, ns=(self._was.st_atime_ns, self._was.st_mtime_ns))
        with ThreadPoolExecutor(1, "thinning") as waiting:
            done = waiting.submit(_sync, self._new)
            while not done.done():
                yield True
            done.result()

    def take_its_place(self) -> None:
        """It is whole, and as old as the segment, which it is from now on. Whether that is on the disk does not matter:
        after a power cut, one of the two is there."""
        os.rename(self._new, self._old)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
