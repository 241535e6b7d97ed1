"""Structures as the C text has them, and as numpy has them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from kvmtop.bpf import loader
from kvmtop.model.histogram import BUCKETS
from kvmtop.model.vocabulary import KINDS, MOST_PIDS, STATES

_SIZES = {"u64": 8, "u32": 4, "u16": 2, "char": 1}
_LENGTHS = {
    "BUCKETS": BUCKETS,
    "KINDS": len(KINDS),
    "STATES": len(STATES),
    "PARTS": len(STATES) - STATES.index("user"),
    "STATES - USER": len(STATES) - STATES.index("user"),
    "PIDS": MOST_PIDS,
    "WAYS": 64,
}

Field = tuple[str, int, int]  # name, offset, bytes


def whole(name: str) -> str:
    """A C file of kvmtop/bpf with its own headers in it, as it is compiled."""
    return loader._whole(Path(loader.__file__).with_name(name))


def fields(text: str, name: str) -> list[Field]:
    """A C structure's fields, naturally aligned; in the place of one that is a structure that one's."""
    body = re.search(rf"^struct {name} {{(.*?)^}};", text, re.M | re.S)
    assert body
    found, offset = [], 0
    declared = re.findall(r"^    (u64|u32|u16|char|struct \w+) (\w+)(?:\[([^]]+)\])?;", body[1], re.M)
    for kind, field, length in declared:
        if kind.startswith("struct "):
            inner = fields(text, kind.split()[1])
            found += [(name, offset + at, size) for name, at, size in inner]
            offset += sum(size for _, _, size in inner)
            continue
        size = _SIZES[kind]
        assert offset % size == 0, "a hole that Python does not know of"
        whole = size * (int(_LENGTHS.get(length, 0) or length) if length else 1)
        found.append((field, offset, whole))
        offset += whole
    assert len(declared) == len(re.findall(r";", re.sub(r"/\*.*?\*/", "", body[1], flags=re.S)))  # none was overlooked
    return found


def same(theirs: list[Field], *dtypes: np.dtype[np.void]) -> None:
    """Numpy's fields, these dtypes one after the other, are C's: C's `part` is a column for each state there."""
    ours, start = [], 0
    for dtype in dtypes:
        assert dtype.fields and dtype.names
        ours += [(name, start + dtype.fields[name][1], dtype.fields[name][0].itemsize) for name in dtype.names]
        assert dtype.itemsize == sum(dtype.fields[name][0].itemsize for name in dtype.names)
        start += dtype.itemsize
    assert start % 8 == 0
    wanted: list[Field] = []
    states = STATES[STATES.index("user") :]
    for name, offset, size in theirs:
        if name == "part" and size == 8 * len(states):
            wanted += [(state, offset + 8 * i, 8) for i, state in enumerate(states)]
        else:
            wanted.append((name, offset, size))
    assert ours == wanted
