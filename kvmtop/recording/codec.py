"""A Snapshot's counters in few bytes: what changed since an earlier Snapshot, column by column.

A frame is zlib over four tables: threads, cells, ns waited for a CPU by tid, host CPU by tid. A table begins
with its number of rows, whether their ids are others than in the earlier Snapshot, and if so the ids, each as
its difference from the one before. The other numbers are differences from the row of the same id in the earlier
Snapshot (from 0 where it has none). Cells begin with their histograms: the distances between the buckets that
changed, row after row, and by how much; `count` and `total` are differences from what those let expect.
Differences are zigzag (0, -1, 1, -2 become 0, 1, 2, 3), modulo 2**64. A column is a byte that says how many bytes
its largest number needs, then all lowest bytes, all second ones, and so on: what hardly changes becomes runs of
zeros, which zlib takes well.

Frames are read from files that anybody may have written: what does not fit raises BadFrame, and no frame
makes more than the memory that the limits in format.py allow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..model.arrays import I64, U64, Array, find
from ..model.histogram import BUCKETS, FIRST_OCTAVE
from ..model.keys import pack
from ..model.snapshot import CELL, THREAD, Snapshot
from .format import MOST_BYTES, MOST_CELLS, MOST_PAIRS, MOST_REASONS, MOST_THREADS

LEVEL = 6  # of zlib: 9 gains 1 % and takes twice as long

# The columns, in this order. Left out: what links the rows of the BPF maps (THREAD's cells, CELL's next).
_THREAD = [
    *("id", "first_ns", "end_ns", "exit_ns", "entry_ns", "user_ns", "user", "guest", "unpaired", "overwritten"),
    *("pairs", "reason", "isa", "vcpu", "cpu"),
]
_CELL = ["reason", "isa", "thread", "count", "total", "user", "min", "max"]
_ENDED = np.uint64(1 << 63)  # marks the ids made for cells without one

_SHIFT = BUCKETS.bit_length() - 1
_HIST = CELL.fields["hist"][1] // 8 if CELL.fields else 0  # where a cell's histogram begins, in words

Rows = U64  # shape (columns, rows)


class BadFrame(Exception):
    """These bytes are no frame."""


@dataclass(frozen=True)
class Counters:
    """What a frame holds of a Snapshot, under the same names."""

    threads: Array = field(default_factory=lambda: np.zeros(0, THREAD))
    cells: Array = field(default_factory=lambda: np.zeros(0, CELL))
    thread_ids: U64 = field(default_factory=lambda: np.zeros(0, "u8"))
    cell_ids: U64 = field(default_factory=lambda: np.zeros(0, "u8"))
    run_delay: Mapping[int, int] = field(default_factory=dict)
    cpus: Mapping[int, int] = field(default_factory=dict)


NOTHING = Counters()  # what a frame that stands for itself is different from


def encode(now: Snapshot, before: Snapshot | Counters = NOTHING) -> bytes:
    """The frame of `now`, for a reader who has `before`. Raises BadFrame if it were too large to be read."""
    if len(now.threads) > MOST_THREADS or len(now.cells) > MOST_CELLS:
        raise BadFrame("too many vCPUs for a recording")
    _check_reasons(now.threads, now.cells)
    out = _Writer()
    at = out.ids(now.thread_ids, before.thread_ids)
    out.rows(_rows(now.threads, _THREAD) - _take(_rows(before.threads, _THREAD), at))
    at = out.ids(_keys(now.cell_ids, now.cells), _keys(before.cell_ids, before.cells))
    change = now.cells["hist"] - _take(before.cells["hist"].T, at).T
    where = np.flatnonzero(change)
    out.column(np.array([len(where)], "u8"))
    out.column(np.diff(where, prepend=-1).astype("u8"))
    grown = change.reshape(-1)[where]
    out.column(_zigzag(grown))
    expected = _expected(len(now.cells), *np.divmod(where, BUCKETS), grown)
    out.rows(_rows(now.cells, _CELL) - _take(_rows(before.cells, _CELL), at) - expected)
    out.column(np.packbits(now.cell_ids == 0).astype("u8"))
    for new, old in ((now.run_delay, before.run_delay), (now.cpus, before.cpus)):
        (tids, values), (old_tids, old_values) = _pairs(new), _pairs(old)
        out.rows(values - _take(old_values, out.ids(tids, old_tids)))
    payload = b"".join(out.parts)
    if len(payload) > MOST_BYTES:
        raise BadFrame("too many vCPUs for a recording")
    return zlib.compress(payload, LEVEL)


def decode(frame: bytes, before: Snapshot | Counters = NOTHING) -> Counters:
    """The counters of a frame. Raises BadFrame."""
    return unpacked(_inflate(frame), before)


def unpacked(payload: bytes, before: Snapshot | Counters = NOTHING) -> Counters:
    """The counters of a frame that zlib has unpacked. Raises BadFrame."""
    data = _Reader(payload)
    thread_ids, at = data.ids(before.thread_ids, MOST_THREADS)
    rows = _take(_rows(before.threads, _THREAD), at)
    threads = _fill(np.zeros(len(thread_ids), THREAD), rows + data.rows(rows.shape), _THREAD)
    keys, at = data.ids(_keys(before.cell_ids, before.cells), MOST_CELLS)
    cells = before.cells.copy() if at is None else np.zeros(len(keys), CELL)
    if at is not None:
        cells["hist"][at >= 0] = before.cells["hist"][at[at >= 0]]
    row, bucket, grown = data.buckets(len(keys))
    cells.view("u8")[row * (CELL.itemsize // 8) + _HIST + bucket] += grown
    rows = _take(_rows(before.cells, _CELL), at)
    cells = _fill(cells, rows + data.rows(rows.shape) + _expected(len(keys), row, bucket, grown), _CELL)
    ended = np.unpackbits(data.column((len(keys) + 7) // 8).astype("u1"), count=len(keys)).astype(bool)
    if (cells["thread"][~ended] >= len(threads)).any():
        raise BadFrame("a counter of no thread")
    _check_reasons(threads, cells)
    mappings = []
    for old_tids, old_values in (_pairs(before.run_delay), _pairs(before.cpus)):
        tids, at = data.ids(old_tids, MOST_THREADS)
        rows = _take(old_values, at)
        values = (rows + data.rows(rows.shape)).view("i8")[0]
        if (np.abs(values) >> 62).any():  # their differences must fit, too
            raise BadFrame("a time or CPU too large")
        mappings.append(dict(zip(tids.view("i8").tolist(), values.tolist(), strict=True)))
    data.end()
    return Counters(threads, cells, thread_ids, np.where(ended, np.uint64(0), keys), *mappings)


_MIDDLES = np.array([((9 + 2 * (n & 3)) << FIRST_OCTAVE + (n >> 2)) >> 3 for n in range(BUCKETS)], "u8")


def _expected(cells: int, row: I64, bucket: I64, grown: U64) -> Rows:
    """How much the columns of so many cells grow with their histograms: count, and roughly total."""
    rows = np.zeros((len(_CELL), cells), "u8")
    first = np.flatnonzero(np.diff(row, prepend=-1))
    if len(first):
        rows[_CELL.index("count"), row[first]] = np.add.reduceat(grown, first)
        rows[_CELL.index("total"), row[first]] = np.add.reduceat(grown * _MIDDLES[bucket], first)
    return rows


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


def _rows(array: Array, names: list[str]) -> Rows:
    return np.array([array[name] for name in names], "u8").reshape(len(names), len(array))


def _fill(array: Array, rows: Rows, names: list[str]) -> Array:
    for name, values in zip(names, rows, strict=True):
        if array.dtype[name].itemsize < 8 and values.max(initial=0) >> np.uint64(32):
            raise BadFrame(f"{name} too large")
        array[name] = values
    return array


def _pairs(mapping: Mapping[int, int]) -> tuple[U64, Rows]:
    """Ids, and one column; negative numbers (a clock that went back) as two's complement."""
    return np.array(list(mapping), "i8").view("u8"), np.array([list(mapping.values())], "i8").view("u8")


def _find(ids: U64, old: U64) -> I64 | None:
    """Which of `old` each of `ids` is, -1 for none of them; None where they are the same in the same order."""
    return None if np.array_equal(ids, old) else find(old, ids)


def _take(rows: Rows, at: I64 | None) -> Rows:
    """The rows that _find found, zeros for those it did not. Shape (columns, rows), as the result's."""
    if at is None:
        return rows
    taken = np.zeros((len(rows), len(at)), "u8")
    taken[:, at >= 0] = rows[:, at[at >= 0]]
    return taken


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
        planes = np.ascontiguousarray(values, "<u8").view("u1").reshape(len(values), 8)[:, :width]
        self.parts += [bytes([width]), planes.T.tobytes()]

    def ids(self, ids: U64, old: U64) -> I64 | None:
        at = _find(ids, old)
        self.column(np.array([len(ids), at is not None], "u8"))
        if at is not None:
            self.column(_zigzag(np.diff(ids, prepend=np.uint64(0))))
        return at

    def rows(self, rows: Rows) -> None:
        for row in rows:
            self.column(_zigzag(row))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def column(self, count: int) -> U64:
        if self.at >= len(self.data) or self.data[self.at] > 8:
            raise BadFrame("a column too short or too wide")
        width = self.data[self.at]
        start, self.at = self.at + 1, self.at + 1 + width * count
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

    def rows(self, shape: tuple[int, ...]) -> Rows:
        return np.array([_unzigzag(self.column(shape[1])) for _ in range(shape[0])], "u8").reshape(shape)

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
        return where >> _SHIFT, where & BUCKETS - 1, _unzigzag(self.column(count))

    def end(self) -> None:
        if self.at != len(self.data):
            raise BadFrame("more bytes than it should have")
