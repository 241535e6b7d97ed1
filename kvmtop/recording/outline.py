"""Which rows a frame has, and what is looked at, without its counters: a twentieth of the time that it takes to unpack.

Who thins a recording (thinning.py) needs no more of most samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..model.arrays import U64, find
from ..model.scheduling import ROLES
from .codec import _unzigzag
from .format import MOST_CELLS, BadFrame
from .layout import BY_SIZE, ENDED, HIST, Layout
from .seen import LOOKS

# Rows with counters that nothing else has: what the last of them counted is lost with them.
COUNTED = ("threads", "cells", "others", "touched", "dropped", "charges", "latencies", "idle", "off", "on")
# Columns that are unpacked: where one of a look's is another, its counters began anew.
_SINCE = (("look", "since_ns"), ("scheduling", "since_ns"), ("scheduling", "pid"), ("stacks", "base"))
_ROLE = "role"
_TOLD = {*_SINCE, ("others", _ROLE)}
_NONE, _ONE = np.zeros(0, "u8"), np.zeros(1, "u8")  # ids of a table before the first frame; codec.py's of "sample"
_POOL = ROLES.index("worker")


@dataclass(frozen=True)
class Outline:
    """ids: by kind, of its rows; values: by kind and column, of those of _TOLD."""

    ids: Mapping[str, U64] = field(default_factory=dict)
    values: Mapping[tuple[str, str], U64] = field(default_factory=dict)

    @classmethod
    def read(cls, payload: bytes, layout: Layout, before: Outline) -> Outline:
        """Of a frame that zlib has unpacked; before: of that which it is packed against. Raises BadFrame."""
        data, ids, values = _Skimmer(payload), dict[str, U64](), dict[tuple[str, str], U64]()
        for kind, names in layout.tables.items():
            old = before.ids.get(kind, _ONE if kind == "sample" else _NONE)
            ids[kind] = data.ids(old)
            at = None if ids[kind] is old else find(old, ids[kind])
            for name in names:
                if (kind, name) in _TOLD:
                    known, values[kind, name] = before.values.get((kind, name), _NONE), data.column(len(ids[kind]))
                    if at is None:
                        values[kind, name] += known
                    else:
                        values[kind, name][at >= 0] += known[at[at >= 0]]
                else:
                    data.skip(name, len(ids[kind]))
        data.end()
        return cls(ids, values)


class Gone:
    """What rows a recording had that are there no more, as it is gone through."""

    def __init__(self) -> None:
        self._ids = dict[str, U64]()

    def between(self, before: Outline, after: Outline) -> bool:
        """Whether counters would be lost or mixed up, if the first of two samples were left out.

        It has rows that the next lacks, its looks are others, or it lacks one that was there before and comes again:
        as another's, who counts anew.
        """
        found = False
        for kind in COUNTED:
            if kind in before.ids:
                found |= self._changed(kind, before, after)
        for look, name in _SINCE:
            key = look, name
            if key in before.values and not np.array_equal(before.values[key], after.values[key]):
                found = True
                for kind in LOOKS[look]:  # it counts anew
                    self._ids.pop(kind, None)
        return found

    def _changed(self, kind: str, before: Outline, after: Outline) -> bool:
        old, new = before.ids[kind], after.ids[kind]
        if old is new or np.array_equal(old, new):
            return False
        gone, known = ~np.isin(old, new), self._ids.get(kind, _NONE)
        again = np.isin(new, known) & ~np.isin(new, old)
        self._ids[kind] = np.union1d(known, old[gone])
        if kind == "others" and (kind, _ROLE) in before.values:
            # The threads of QEMU's pool end whenever there is nothing to do: all would be kept for them. So what such
            # a one did in the step in which it ended is left out.
            gone &= before.values[kind, _ROLE] != _POOL
        return bool(gone.any() or again.any())


class _Skimmer:
    """Reads a payload as codec.py's reader does, but for what it need not know."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def ids(self, old: U64) -> U64:
        """Of the next table; `old` itself where they are the same."""
        count, others = self._numbers(2).tolist()
        if count > MOST_CELLS or others > 1 or (not others and count != len(old)):
            raise BadFrame("a table of a wrong length")
        return np.cumsum(_unzigzag(self._numbers(count)), dtype="u8") if others else old

    def column(self, count: int) -> U64:
        """By how much it changed."""
        return _unzigzag(self._numbers(count))

    def skip(self, name: str, count: int) -> None:
        if name == ENDED:
            self._pass((count + 7) // 8)
        elif name in (HIST, BY_SIZE):
            if name == BY_SIZE:
                self._pass(int(self._numbers(1)[0]))
            changed = int(self._numbers(1)[0])
            self._pass(changed)
            self._pass(changed)
        else:
            self._pass(count)

    def end(self) -> None:
        if self._at != len(self._data):
            raise BadFrame("more bytes than it should have")

    def _pass(self, count: int) -> tuple[int, int]:
        """Where a column of so many numbers begins, and how many bytes each of them has."""
        if self._at >= len(self._data) or self._data[self._at] > 8:
            raise BadFrame("a column too short or too wide")
        start, width = self._at + 1, self._data[self._at]
        self._at = start + width * count
        if self._at > len(self._data):
            raise BadFrame("a column too short")
        return start, width

    def _numbers(self, count: int) -> U64:
        start, width = self._pass(count)
        planes = np.frombuffer(self._data, "u1", width * count, start).reshape(width, count)
        values = np.zeros((count, 8), "u1")
        values[:, :width] = planes.T
        return values.view("<u8").reshape(count).astype("u8")
