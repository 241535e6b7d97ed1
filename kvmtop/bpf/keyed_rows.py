"""Rows of a BPF array that programs hand out to keys; this side takes those of light keys back when they run short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..model.arrays import U64, Array
from ..model.keys import pack
from . import syscalls
from .syscalls import BpfArray


class KeyedRows:
    """The map `rows` of a C file, with its `places` (row by key) and `free_rows`. A row in use has an id, not 0."""

    def __init__(self, rows: BpfArray, maps: Mapping[str, int], size: int, key: Callable[[Any], bytes]) -> None:
        """maps: descriptors; size: how many rows there are, of which 0 means none; key: a row's, as places has it."""
        self._rows, self._maps, self._size, self._key = rows, maps, size, key
        syscalls.push(maps["free_rows"], range(size - 1, 0, -1))
        self._generations = np.zeros(size, "u8")
        self._light: Any = np.zeros(0, "i8")  # rows whose keys are gone, to be freed at the next reading

    def forget(self) -> None:
        """Start anew: every key's row is given back."""
        rows = self._rows.read()
        used = np.flatnonzero(rows["id"])
        self._drop(rows[used])
        self._free(used)
        self._light = np.zeros(0, "i8")

    def read(self, rows: Array | None = None) -> tuple[Array, U64, Array]:
        """The rows in use, a name for each, which stays the same, and those that were given up meanwhile.

        rows: a copy of them that was made a moment ago, up to the last in use at least.
        A key that was given up gets a new row, with a new name, when it is seen again.
        """
        if rows is None:
            rows = self._rows.read()
        used, gone = np.flatnonzero(rows["id"]), rows[self._light]
        if len(self._light):  # nothing holds on to them any more
            used = np.setdiff1d(used, self._light)
            self._free(self._light)
            self._light = np.zeros(0, "i8")
        elif self._size - len(used) < self._size // 4:
            order = np.argsort(rows["count"][used], kind="stable")
            self._light = used[order[: len(used) // 2]]
            self._drop(rows[self._light])
        return rows[used], pack(self._generations[used], used), gone

    def _drop(self, rows: Any) -> None:
        for row in rows:
            syscalls.delete(self._maps["places"], self._key(row))

    def _free(self, indices: Any) -> None:
        self._rows.clear(indices)
        self._generations[indices] += 1
        syscalls.push(self._maps["free_rows"], indices.tolist())
