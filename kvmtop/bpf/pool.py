"""Memory for the copies of the cells, a GB in ten seconds where thousands of vCPUs run."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..model.arrays import U64, Array
from ..model.snapshot import CELL


class Pool:
    """Memory for cells. What no Snapshot needs any more is used again: new pages cost more than the copying."""

    def __init__(self) -> None:
        self._known: list[Array] = []

    def space(self, number: int, ended: Array, earlier: Array) -> Array:
        """A copy of these cells, with room before them for so many others."""
        size = number + len(ended) + len(earlier)
        used = [holders > _UNUSED for holders in _holders(self._known)]
        free = next((a for a, is_used in zip(self._known, used, strict=True) if len(a) >= size and not is_used), None)
        if free is None or len(free) > 2 * size + 1024:
            free = np.empty(size + size // 16, CELL)
            self._known = [a for a, is_used in zip(self._known, used, strict=True) if is_used][-2:]
            self._known.append(free)
        cells = free[:size]
        cells[number : number + len(ended)] = ended
        cells[size - len(earlier) :] = earlier
        return cells


def _holders(arrays: list[Array]) -> list[int]:
    """How many hold each array: every array that looks into its memory does."""
    return [sys.getrefcount(a) for a in arrays]


(_UNUSED,) = _holders([np.empty(0, CELL)])  # which part the list and the question have differs among Pythons


def take(source: Array, which: Any, out: Array) -> None:
    """Copy these rows."""
    if len(which) and which[-1] - which[0] == len(which) - 1:  # side by side, as a rule
        _words(out)[:] = _words(source[which[0] : which[-1] + 1])
    else:
        np.take(_words(source), which, axis=0, out=_words(out), mode="clip")


def _words(rows: Array) -> U64:
    """The same memory as 64-bit words, which numpy copies much faster than a structure; shape (n, words)."""
    return rows.view("u8").reshape(len(rows), rows.dtype.itemsize // 8)
