"""Which tables the frames of a recording hold, and which columns, in which order: the recording says it itself.

A reader takes the columns that it knows, by their names, skips the others, and leaves zeros for those that are missing.
So whoever records more adds columns or tables and needs no new format.

    threads  the columns of THREAD, but states and open by the names of STATES and OUTSIDE (open_kernel …); `state` is a
             number in STATES, to which others may be added at the end
    cells    those of CELL; `hist`, and `ended` (left by threads that ended long ago), are packed in ways of their own
    cpus     by tid
    others   the columns of OTHER, but the id, which names the row; comm in two numbers, its first 8 bytes and the rest;
             what is below 0 in two's complement
    sample   what there is one of

The others are what somebody looked at: seen.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..model.arrays import U64, Array
from ..model.scheduling import OTHER, ROLES
from ..model.snapshot import CELL, THREAD
from ..model.vocabulary import OUTSIDE, STATES
from . import seen
from .format import MOST_COLUMNS, BadFrame

HIST, BY_SIZE, TOTAL, ENDED = "hist", "hist_by_size", "total", "ended"
LONGEST = 64  # letters of a name

_PARTS = {"states": STATES, "open": tuple(f"open_{state}" for state in OUTSIDE)}

_COMM = ("comm_0", "comm_8")
# OTHER as a frame has it.
OTHERS = np.dtype(
    [*((name, "i8") for name in OTHER.names or () if name not in ("id", "comm")), *((c, "u8") for c in _COMM)]
)


@dataclass(frozen=True)
class Layout:
    """tables: kind → its columns, in the order of the frames. told: the states whose figures they have."""

    tables: dict[str, tuple[str, ...]]
    told: tuple[str, ...]

    @classmethod
    def of(cls, told: tuple[str, ...]) -> Layout:
        """What is recorded where these states are known."""
        threads = flat(np.zeros(0, THREAD)).dtype.names or ()
        cells = (name for name in CELL.names or () if name not in ("next", HIST))
        columns = tuple(name for name in threads if name not in STATES or name in told)
        tables = {"threads": columns, "cells": (BY_SIZE, *cells, ENDED), "cpus": ("cpu",), "sample": ("wall_ns",)}
        looked = {kind: dtype.names or () for kind, dtype in seen.KINDS_OF_TABLES.items()}
        return cls({**tables, "others": OTHERS.names or (), **looked}, told)

    @classmethod
    def read(cls, rows: Iterable[tuple[str, str]]) -> Layout:
        """That of a file, from (kind, column) in order. Raises BadFrame."""
        tables: dict[str, list[str]] = {}
        for number, (kind, name) in enumerate(rows):
            if number >= MOST_COLUMNS or max(len(kind), len(name)) > LONGEST:
                raise BadFrame("too many columns, or too long a name")
            if (kind in tables and kind != next(reversed(tables))) or name in tables.setdefault(kind, []):
                raise BadFrame("a column twice, or a table in two places")
            tables[kind].append(name)
        told = tuple(state for state in STATES if state in tables.get("threads", ()))
        # They divide one time: where one is missing, the others are not what they say.
        divided = {*OUTSIDE} - {"throttled"} <= {*told} and {*told} - {"guest", "kernel"} <= {*tables.get("cells", ())}
        told = told if divided else tuple(state for state in told if state == "guest")
        return cls({kind: tuple(names) for kind, names in tables.items()}, told)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What read() is given."""
        return [(kind, name) for kind, names in self.tables.items() for name in names]


def flat(array: Array) -> Array:
    """The same threads with a name for each state, as the columns of a frame are called."""
    names = array.dtype.names or ()
    return array.view([(part, array.dtype[name].base.str) for name in names for part in _PARTS.get(name, (name,))])


def packed(others: Array) -> Array:
    """Rows of OTHER, in columns of OTHERS."""
    rows = np.zeros(len(others), OTHERS)
    for name in set(OTHERS.names or ()) - set(_COMM):
        rows[name] = others[name]
    words = np.ascontiguousarray(others["comm"]).view("<u8").reshape(len(others), 2)
    for name, column in zip(_COMM, words.T, strict=True):
        rows[name] = column
    return rows


def unpacked_others(ids: U64, rows: Array) -> Array:
    """The same in columns of OTHER; a role that came later is taken for the last, any other. Raises BadFrame."""
    others = np.zeros(len(rows), OTHER)
    others["id"] = ids
    for name in set(OTHERS.names or ()) - set(_COMM):
        if others.dtype[name].itemsize < 8 and (np.abs(rows[name]) >> 31).any():
            raise BadFrame(f"{name} too large")
        others[name] = rows[name]
    others["role"] = np.minimum(others["role"], len(ROLES) - 1)
    others["comm"] = np.column_stack([rows[name] for name in _COMM]).astype("<u8").view("S16").reshape(len(rows))
    return others
