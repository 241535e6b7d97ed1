"""Where the histograms of cells are not 0, as a rule a fifth of them: what a chain of frames is unpacked with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model.arrays import I64, U64, Array
from ..model.histogram import BUCKETS, FIRST_OCTAVE
from ..model.snapshot import CELL, HEAD
from .format import BadFrame
from .layout import HIST

SHIFT = BUCKETS.bit_length() - 1
MIDDLES = np.array([((9 + 2 * (n & 3)) << FIRST_OCTAVE + (n >> 2)) >> 3 for n in range(BUCKETS)], "u8")

_HEAD = HEAD.itemsize // 8


@dataclass(frozen=True)
class Filled:
    """where: flat, ascending; counts: what is there; ns: of each cell, roughly, as its histogram says."""

    where: I64
    counts: U64
    ns: U64

    @classmethod
    def of(cls, hist: U64) -> Filled:
        """Those of histograms."""
        where = np.flatnonzero(hist != 0)  # four times as quick as to look for numbers that are not 0
        row, bucket = at = cells_of(where)
        counts, ns = hist[at], np.zeros(len(hist), "u8")
        if len(first := np.flatnonzero(np.diff(row, prepend=-1))):
            ns[row[first]] = np.add.reduceat(counts * MIDDLES[bucket], first)
        return cls(where, counts, ns)

    @property
    def at(self) -> tuple[I64, I64]:
        """Where, as cell and bucket."""
        return cells_of(self.where)

    @property
    def order(self) -> I64:
        """By size."""
        return by_size(self.counts)

    def rows(self, at: I64) -> Filled:
        """Those of other cells, each of which was one of these, or none (-1)."""
        now = np.full(len(self.ns) + 1, -1)
        now[at] = np.arange(len(at))
        row = now[:-1][self.where >> SHIFT]
        where = (row << SHIFT | self.where & BUCKETS - 1)[row >= 0]
        order = np.argsort(where)
        return Filled(where[order], self.counts[row >= 0][order], take(self.ns, at))

    def grown(self, by: U64, fresh: I64, new: U64) -> tuple[I64, U64, Filled]:
        """When they have grown, and others are there that were 0: where that is, by how much, and what they are then.

        ns is what it was. Raises BadFrame.
        """
        place = np.searchsorted(self.where, fresh) + np.arange(len(fresh))
        old = np.ones(len(self.where) + len(fresh), bool)
        old[place] = False

        def merged(ours: U64, others: U64) -> U64:
            found = np.empty(len(old), "u8")
            found[old], found[place] = ours, others
            return found

        where = merged(self.where.view("u8"), fresh.view("u8")).view("i8")
        by = merged(by, new)
        counts = merged(self.counts, np.zeros(len(fresh), "u8")) + by
        if len(fresh) and (where[1:] == where[:-1]).any():
            raise BadFrame("a bucket that was there")
        changed, there = by != 0, counts != 0  # no counter goes back to 0, but a file may say so
        filled = Filled(where, counts, self.ns) if there.all() else Filled(where[there], counts[there], self.ns)
        return where[changed], by[changed], filled

    def into(self, cells: Array) -> Array:
        """Cells without histograms (HEAD) with these (CELL)."""
        words = np.zeros((len(cells), CELL.itemsize // 8), "u8")
        words[:, :_HEAD] = cells.view("u8").reshape(len(cells), _HEAD)
        words[self.where >> SHIFT, _HEAD + (self.where & BUCKETS - 1)] = self.counts
        return words.view(CELL).reshape(len(cells))


def cells_of(where: I64) -> tuple[I64, I64]:
    """A flat place in histograms as cell and bucket."""
    return where >> SHIFT, where & BUCKETS - 1


def histograms(cells: Array) -> U64:
    """Those of cells, side by side."""
    return np.ascontiguousarray(cells[HIST])


def heads(cells: Array) -> Array:
    """Cells without them."""
    if cells.dtype == HEAD:
        return cells
    words = np.ascontiguousarray(cells).view("u8").reshape(len(cells), CELL.itemsize // 8)
    return words[:, :_HEAD].copy().view(HEAD).reshape(len(cells))


def by_size(values: U64) -> I64:
    """Which order they have by size, roughly: what grows by about the same is side by side then."""
    # The exponent of the number and the first two digits after it, which are the same on all machines.
    sizes = values.astype("<f8").view("<u8") >> np.uint64(50)
    order: I64 = np.argsort((sizes - np.minimum(sizes, np.uint64(1023 << 2))).astype("u2"), kind="stable")
    return order


def back(values: U64, order: I64) -> U64:
    """What values[order] was made of."""
    found = np.empty_like(values)
    found[order] = values
    return found


def take(column: U64, at: I64 | None) -> U64:
    """The rows that _find found, zeros for those it did not."""
    if at is None:
        return column
    taken = np.zeros((len(at), *column.shape[1:]), "u8")
    taken[at >= 0] = column[at[at >= 0]]
    return taken
