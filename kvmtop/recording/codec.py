"""A Snapshot's counters in few bytes: what changed since an earlier Snapshot, column by column.

A frame is zlib over the tables of a Layout. A table begins with its number of rows, whether their ids are others than
in the earlier Snapshot, and if so the ids, each as its difference from the one before. The columns are differences
from the row of the same id in the earlier Snapshot (from 0 where it has none). `hist` is the distances between the
buckets that changed, row after row, and by how much; `count` and `total` after it are differences from what those let
expect; `ended` is a bit a row. `hist_by_size` has first what changed where there was something, in the order of how
much that was; `total` is in the order of what is expected of it, and its parts are, too, from what they were.
Differences are zigzag (0, -1, 1, -2 become 0, 1, 2, 3), modulo 2**64. A column is a
byte that says how many bytes its largest number needs, then all lowest bytes, all second ones, and so on: what hardly
changes becomes runs of zeros, which zlib takes well. It takes well, too, what grows by the same everywhere: the time
of vCPUs that stay in one state.

Frames are read from files that anybody may have written: what does not fit raises BadFrame, and no frame
makes more than the memory that the limits in format.py allow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from ..model.arrays import I64, U64, Array, find
from ..model.histogram import BUCKETS
from ..model.keys import pack
from ..model.scheduling import OTHER
from ..model.snapshot import CELL, HEAD, THREAD, Snapshot
from ..model.vocabulary import OUTSIDE, STATES
from .filled import MIDDLES, SHIFT, Filled, back, by_size, cells_of, heads, histograms, take
from .format import MOST_BYTES, MOST_CELLS, MOST_PAIRS, MOST_REASONS, MOST_THREADS, MOST_TIME, BadFrame
from .layout import BY_SIZE, ENDED, HIST, TOTAL, Layout, flat, packed, unpacked_others
from .seen import EMPTY, Tables
from .seen import MOST as MOST_SEEN

# Of zlib, which looks anew how often each byte comes after 2,048 of them (with 8, after 16,384), and for runs of one
# byte only: to look for longer repetitions takes four times as long, and frames get 4 % larger.
LEVEL, MEMORY, STRATEGY = 6, 5, zlib.Z_RLE

_ENDED = np.uint64(1 << 63)  # marks the ids made for cells without one
_CPU, _SAMPLE = np.dtype([("cpu", "i8")]), np.dtype([("wall_ns", "u8")])
_MOST = {"threads": MOST_THREADS, "cells": MOST_CELLS, "cpus": MOST_THREADS, "sample": 1, "others": MOST_THREADS}
_ALWAYS = (*_MOST,)
_MOST |= MOST_SEEN


Expected = dict[str, U64]  # by how much columns grow, as far as that can be guessed


@dataclass(frozen=True)
class Counters:
    """What a frame holds of a Snapshot, under the same names. threads: a dtype of the frame's format; seen: seen.py.

    filled: the histograms of the cells, whose dtype is HEAD then; None: the cells have them.
    """

    threads: Array = field(default_factory=lambda: np.zeros(0, THREAD))
    cells: Array = field(default_factory=lambda: np.zeros(0, CELL))
    thread_ids: U64 = field(default_factory=lambda: np.zeros(0, "u8"))
    cell_ids: U64 = field(default_factory=lambda: np.zeros(0, "u8"))
    cpus: Mapping[int, int] = field(default_factory=dict)
    told: tuple[str, ...] = STATES
    wall_ns: int = 0
    others: Array = field(default_factory=lambda: np.zeros(0, OTHER))
    seen: Tables = field(default_factory=dict)
    filled: Filled | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot, seen: Tables) -> Counters:
        """Those of a Snapshot."""
        names = (one.name for one in fields(cls) if one.name not in ("seen", "filled"))
        return cls(**{name: getattr(snapshot, name) for name in names}, seen=seen)

    def whole(self) -> Counters:
        """The same with histograms in the cells, as a Snapshot has them."""
        if (filled := self.filled) is None:
            return self
        return replace(self, cells=filled.into(self.cells), filled=None)

    @property
    def nbytes(self) -> int:
        """About how much memory a Snapshot of it takes: what was looked at becomes objects, a row 500 bytes."""
        seen = [rows for _, rows in self.seen.values()]
        cells = len(self.cells) * CELL.itemsize
        return sum(rows.nbytes for rows in (self.threads, self.others, *seen)) + cells + 500 * sum(map(len, seen))


NOTHING = Counters()  # what a frame that stands for itself is different from


def _tables(now: Snapshot | Counters) -> dict[str, tuple[U64, Array]]:
    """Kind → the ids of its rows, and the rows."""
    cpus = np.array(list(now.cpus.values()), "i8").view(_CPU)  # below 0: two's complement
    return {
        "threads": (now.thread_ids, flat(now.threads)),
        "cells": (_keys(now.cell_ids, now.cells), now.cells),
        "cpus": (np.array(list(now.cpus), "i8").view("u8"), cpus),
        "sample": (np.zeros(1, "u8"), np.array([now.wall_ns], _SAMPLE)),
        "others": (now.others["id"], packed(now.others)),
        **EMPTY,
        **(now.seen if isinstance(now, Counters) else {}),
    }


def encode(now: Snapshot | Counters, layout: Layout, before: Snapshot | Counters = NOTHING) -> bytes:
    """The frame of `now`, for a reader who has `before`. Raises BadFrame if it were too large to be read."""
    if max(len(now.threads), len(now.others)) > MOST_THREADS or len(now.cells) > MOST_CELLS:
        raise BadFrame("too many vCPUs for a recording")
    _check_reasons(now.threads, now.cells)
    now, before = (one.whole() if isinstance(one, Counters) else one for one in (now, before))
    out, new_tables, old_tables = _Writer(), _tables(now), _tables(before)
    for kind, names in layout.tables.items():
        (ids, rows), (old_ids, old) = new_tables[kind], old_tables[kind]
        at = out.ids(ids, old_ids)
        if kind in EMPTY and not len(rows):
            out.parts.append(bytes(len(names) + 2 * names.count(HIST)))  # of each column that it has no byte
            continue
        expected: Expected = {}
        guess = None
        for name in names:
            if name == HIST:
                expected = out.buckets(rows[HIST] - take(old[HIST], at))
            elif name == BY_SIZE:
                hist = take(old[HIST], at)
                guess = _Guess(old, at, Filled.of(hist))
                expected = guess.grown(*out.by_size(rows[HIST], hist, guess.filled))
            elif name == ENDED:
                out.column(np.packbits(now.cell_ids == 0).astype("u8"))
            else:
                change = _wide(rows[name]) - take(_wide(old[name]), at)
                values = _zigzag(change - expected.get(name, np.uint64(0)))
                if guess and name == TOTAL:
                    values = values[guess.order]
                    guess.spent(change)
                out.column(values)
    payload = b"".join(out.parts)
    if len(payload) > MOST_BYTES:
        raise BadFrame("too many vCPUs for a recording")
    pack = zlib.compressobj(LEVEL, memLevel=MEMORY, strategy=STRATEGY)
    return pack.compress(payload) + pack.flush()


def decode(frame: bytes, layout: Layout, before: Counters = NOTHING) -> Counters:
    """The counters of a frame. Raises BadFrame. Their histograms may be `filled` alone: whole()."""
    return unpacked(_inflate(frame), layout, before)


def unpacked(payload: bytes, layout: Layout, before: Counters = NOTHING) -> Counters:
    """The counters of a frame that zlib has unpacked. Raises BadFrame."""
    data, known = _Reader(payload), _tables(before)
    if BY_SIZE in layout.tables.get("cells", ()):
        data.filled = before.filled or Filled.of(histograms(before.cells))
        known["cells"] = known["cells"][0], heads(before.cells)
    for kind, names in layout.tables.items():
        if kind in known:
            known[kind] = data.table(names, *known[kind], _MOST[kind])
        else:
            data.skip(names)
    data.end()
    (thread_ids, threads), (cell_ids, cells), (tids, cpus), (_, sample), others = (known[kind] for kind in _ALWAYS)
    if (cells["thread"][cell_ids != 0] >= len(threads)).any():
        raise BadFrame("a counter of no thread")
    _check_reasons(threads, cells)
    if "state" in (threads.dtype.names or ()) and threads["state"].max(initial=0) >= len(STATES):
        raise BadFrame("a state that there is not")
    wall_ns = int(sample["wall_ns"].sum())
    if (np.abs(cpus["cpu"]) >> 62).any() or wall_ns >= MOST_TIME:  # differences of CPUs must fit, too
        raise BadFrame("a CPU or time too large")
    on = dict(zip(tids.view("i8").tolist(), cpus["cpu"].tolist(), strict=True))
    looked = {kind: known[kind] for kind in EMPTY if len(known[kind][0])}
    rest = (on, layout.told, wall_ns, unpacked_others(*others), looked, data.filled)
    return Counters(threads.view(before.threads.dtype), cells, thread_ids, cell_ids, *rest)


def _expected(cells: int, row: I64, bucket: I64, grown: U64) -> Expected:
    """How much columns of so many cells grow with their histograms: count, and roughly total."""
    columns = {"count": np.zeros(cells, "u8"), "total": np.zeros(cells, "u8")}
    first = np.flatnonzero(np.diff(row, prepend=-1))
    if len(first):
        columns["count"][row[first]] = np.add.reduceat(grown, first)
        columns["total"][row[first]] = np.add.reduceat(grown * MIDDLES[bucket], first)
    return columns


def _scaled(values: U64, by: U64, of: U64, unknown: float) -> U64:
    """values * by / of, roughly, but the same on all machines; unknown: by / of, where that is 0 / 0."""
    ratio = np.full(len(values), unknown)
    np.divide(by.astype("f8"), of.astype("f8"), out=ratio, where=of != 0)
    scaled = values.astype("f8") * ratio
    return np.where(scaled < 2.0**62, scaled, 0.0).astype("u8")


class _Guess:
    """How much columns of cells grow, by their histograms and by what they were: `old`, of which `at` are the rows."""

    def __init__(self, old: Array, at: I64 | None, filled: Filled) -> None:
        """filled: of the rows that grow."""
        self._old, self._at, self.filled = old, at, filled
        self.total = take(_wide(old[TOTAL]), at)
        self.expected: Expected = {}
        self.rough: U64 = np.zeros(0, "u8")  # ns by which they grow, by their histograms alone
        self.order: I64 = np.zeros(0, "i8")  # of the values of `total`

    def grown(self, row: I64, bucket: I64, grown: U64) -> Expected:
        """By how much histograms did; what of other columns goes with that is added to, as they become known."""
        self.expected = _expected(len(self.total), row, bucket, grown)
        self.rough = self.expected[TOTAL]
        # Where in its buckets a reason's durations lie is its own, and stays.
        self.expected[TOTAL] = _scaled(self.rough, self.total, self.filled.ns, 1.0)
        self.order = by_size(self.rough)
        return self.expected

    def spent(self, ns: U64) -> None:
        """By how much `total` did: which part of it is user space, say, is a reason's own, too."""
        for name in OUTSIDE[1:]:
            if name in (self._old.dtype.names or ()):
                part = take(_wide(self._old[name]), self._at)
                if part.any():
                    self.expected[name] = _scaled(ns, part, self.total, 0.0)


def _check_reasons(threads: Array, cells: Array) -> None:
    """Whoever reads them makes tables of threads and reasons."""
    keys = [pack(rows["isa"], rows["reason"]) for rows in (threads, cells)]
    reasons = len(np.unique(np.concatenate(keys)))
    if reasons > MOST_REASONS or reasons * len(threads) > MOST_PAIRS:
        raise BadFrame("too many reasons for a recording")


def _inflate(frame: bytes) -> bytes:
    unpack = zlib.decompressobj()
    try:
        payload = unpack.decompress(frame, MOST_BYTES + 1)
    except zlib.error as error:
        raise BadFrame(str(error)) from None
    if len(payload) > MOST_BYTES or not unpack.eof or unpack.unused_data:
        raise BadFrame("of another length than it says")
    return payload


def _keys(ids: U64, cells: Array) -> U64:
    """What tells cells apart: their ids; isa and reason of those that threads that ended long ago have left."""
    keys: U64 = np.where(ids != 0, ids, _ENDED | pack(cells["isa"], cells["reason"]))
    return keys


def _wide(column: npt.NDArray[np.integer]) -> U64:
    return column.astype("u8")


def _find(ids: U64, old: U64) -> I64 | None:
    """Which of `old` each of `ids` is, -1 for none of them; None where they are the same in the same order."""
    return None if np.array_equal(ids, old) else find(old, ids)


def _set(rows: Array, name: str, values: U64) -> None:
    if rows.dtype[name].itemsize < 8 and values.max(initial=0) >> np.uint64(32):
        raise BadFrame(f"{name} too large")
    rows[name] = values.view("i8") if rows.dtype[name].kind == "i" else values


def _zigzag(difference: U64) -> U64:
    signed = difference.view("i8")
    return ((signed << 1) ^ (signed >> 63)).view("u8")


def _unzigzag(values: U64) -> U64:
    # numpy's unsigned arithmetic wraps, as it should here.
    return (values >> np.uint64(1)) ^ (~(values & np.uint64(1)) + np.uint64(1))


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def column(self, values: U64) -> None:
        width = (int(values.max(initial=0)).bit_length() + 7) // 8
        if not width:  # most are: what nobody looked at, what did not change
            self.parts.append(b"\0")
            return
        planes = np.ascontiguousarray(values, "<u8").view("u1").reshape(len(values), 8)[:, :width]
        self.parts += [bytes([width]), planes.T.tobytes()]

    def ids(self, ids: U64, old: U64) -> I64 | None:
        at = _find(ids, old)
        self.column(np.array([len(ids), at is not None], "u8"))
        if at is not None:
            self.column(_zigzag(np.diff(ids, prepend=np.uint64(0))))
        return at

    def buckets(self, change: U64) -> dict[str, U64]:
        """By how much histograms changed, shape (rows, BUCKETS); what is expected of other columns then."""
        where = np.flatnonzero(change)
        grown = change.reshape(-1)[where]
        self.column(np.array([len(where)], "u8"))
        self.column(np.diff(where, prepend=-1).astype("u8"))
        self.column(_zigzag(grown))
        return _expected(len(change), *np.divmod(where, BUCKETS), grown)

    def by_size(self, hist: U64, old: U64, filled: Filled) -> tuple[I64, I64, U64]:
        """The same, of those that were not 0 in the order of what they were; then as above of those that were.

        Which buckets changed, and by how much.
        """
        # Nothing here is as large as the histograms: to have such memory from the kernel takes longer than all else.
        self.column(np.array([len(filled.where)], "u8"))
        change = hist[filled.at] - filled.counts
        self.column(change[filled.order])  # they never become less, so the sign would be for nothing
        where = np.flatnonzero(hist != old)
        row, bucket = at = cells_of(where)
        grown, new = hist[at] - old[at], old[at] == 0
        self.column(np.array([np.count_nonzero(new)], "u8"))
        self.column(np.diff(where[new], prepend=-1).astype("u8"))
        self.column(_zigzag(grown[new]))
        return row, bucket, grown


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.filled: Filled | None = None  # of the cells, before them and after them

    def column(self, count: int) -> U64:
        if self.at >= len(self.data) or self.data[self.at] > 8:
            raise BadFrame("a column too short or too wide")
        width = self.data[self.at]
        start, self.at = self.at + 1, self.at + 1 + width * count
        if not width * count:
            return np.zeros(count, "u8")
        if self.at > len(self.data):
            raise BadFrame("a column too short")
        values = np.zeros(count, "u8")
        for byte, plane in enumerate(np.frombuffer(self.data, "u1", width * count, start).reshape(width, count)):
            values |= plane.astype("u8") << np.uint64(8 * byte)
        return values

    def ids(self, old: U64, most: int) -> tuple[U64, I64 | None]:
        count, others = self.column(2).tolist()
        if count > most or others > 1 or (not others and count != len(old)):
            raise BadFrame("a table of a wrong length")
        if not others:
            return old, None
        ids = np.cumsum(_unzigzag(self.column(count)), dtype="u8")
        at = _find(ids, old)
        return ids, np.arange(count) if at is None else at

    def table(self, names: Sequence[str], old_ids: U64, old: Array, most: int) -> tuple[U64, Array]:
        """The ids and rows of a table, of which there are not more; `old` has the columns that are wanted."""
        ids, at = self.ids(old_ids, most)
        filled = self.filled if old.dtype == HEAD else None
        if filled and at is not None:
            filled = self.filled = filled.rows(at)
        if not len(ids):
            self.leave_out(names, 0)
            return ids, np.zeros(0, old.dtype)
        rows = old.copy() if at is None else np.zeros(len(ids), old.dtype)
        expected, ended = Expected(), np.zeros(len(ids), bool)
        guess = None
        for name in names:
            wanted = name in (old.dtype.names or ())
            if name in (HIST, BY_SIZE):
                if name == BY_SIZE and filled:
                    guess = _Guess(old, at, filled)
                    self.filled = self.by_size(guess)
                    expected = guess.expected
                    continue
                row, bucket, grown = self.buckets(len(ids)) if name == HIST else self.unsorted(len(ids))
                if wanted:
                    if at is not None:
                        rows[HIST][at >= 0] = old[HIST][at[at >= 0]]
                    first = rows.dtype.fields[HIST][1] // 8 if rows.dtype.fields else 0
                    rows.view("u8")[row * (rows.itemsize // 8) + first + bucket] += grown
                expected = _expected(len(ids), row, bucket, grown)
            elif name == ENDED:
                ended = np.unpackbits(self.column((len(ids) + 7) // 8).astype("u1"), count=len(ids)).astype(bool)
            else:
                values = self.column(len(ids))
                if guess and name == TOTAL:
                    values = back(values, guess.order)
                change = _unzigzag(values) + expected.get(name, np.uint64(0))
                if guess and name == TOTAL:
                    guess.spent(change)
                if wanted:
                    _set(rows, name, take(_wide(old[name]), at) + change)
        return np.where(ended, np.uint64(0), ids), rows

    def skip(self, names: Sequence[str]) -> None:
        """A table that nobody here knows."""
        count, others = self.column(2).tolist()
        if count > MOST_CELLS:
            raise BadFrame("a table of a wrong length")
        if others:
            self.column(count)
        self.leave_out(names, count)

    def leave_out(self, names: Sequence[str], count: int) -> None:
        """So many rows of these columns."""
        for name in names:
            if name == HIST:
                self.buckets(count)
            elif name == BY_SIZE:
                self.unsorted(count)
            else:
                self.column((count + 7) // 8 if name == ENDED else count)

    def buckets(self, cells: int) -> tuple[I64, I64, U64]:
        """Which buckets of so many cells changed, in ascending order, and by how much."""
        count, most = int(self.column(1)[0]), cells * BUCKETS
        if count > most:
            raise BadFrame("more buckets than there are")
        steps = self.column(count)
        if count and (not steps.all() or int(steps.max()) > most):
            raise BadFrame("buckets out of order")
        where = np.cumsum(steps.astype("i8")) - 1
        if count and where[-1] >= most:
            raise BadFrame("a bucket beyond the last")
        # Shifts take a tenth of the time of a division, which numpy does not replace by them.
        return *cells_of(where), _unzigzag(self.column(count))

    def unsorted(self, cells: int) -> tuple[I64, I64, U64]:
        """What _Writer.by_size() wrote, but for what is in the order of histograms that nobody knows here."""
        count = int(self.column(1)[0])
        if count > cells * BUCKETS:
            raise BadFrame("more buckets than there are")
        self.column(count)
        return self.buckets(cells)

    def by_size(self, guess: _Guess) -> Filled:
        """The same, all of it: what histograms become, and what is expected of other columns then."""
        known = guess.filled
        if int(self.column(1)[0]) != len(known.where):
            raise BadFrame("buckets of another histogram")
        by = back(self.column(len(known.where)), known.order)
        row, bucket, new = self.buckets(len(guess.total))
        where, by, filled = known.grown(by, (row << SHIFT) + bucket, new)
        guess.grown(*cells_of(where), by)
        return replace(filled, ns=known.ns + guess.rough)

    def end(self) -> None:
        if self.at != len(self.data):
            raise BadFrame("more bytes than it should have")
