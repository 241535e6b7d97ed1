from __future__ import annotations

import numpy as np
import pytest

from kvmtop.bpf.pool import Pool, take
from kvmtop.model.arrays import Array
from kvmtop.model.snapshot import CELL


def cells(*counts: int) -> Array:
    made = np.zeros(len(counts), CELL)
    made["count"] = counts
    made["hist"][:, 7] = counts
    return made


NONE = cells()


def address(rows: Array) -> int:
    return int(rows.ctypes.data)


def test_what_is_in_it() -> None:
    space = Pool().space(2, cells(3, 4), cells(5))
    space[:2] = cells(1, 2)
    assert (space == cells(1, 2, 3, 4, 5)).all()


def test_memory_is_used_again_when_nobody_needs_it() -> None:
    pool = Pool()
    first = pool.space(100, NONE, NONE)
    where = address(first)
    second = pool.space(100, NONE, NONE)
    assert address(second) != where
    del first
    assert address(pool.space(100, NONE, NONE)) == where


@pytest.mark.parametrize("part", [lambda rows: rows[5:9], lambda rows: rows["hist"], lambda rows: rows.view("u8")[3:]])
def test_whoever_holds_a_part_of_it_keeps_it(part) -> None:  # type: ignore[no-untyped-def]
    pool = Pool()
    rows = pool.space(100, NONE, NONE)
    where, held = address(rows), part(rows)
    del rows
    others = [pool.space(100, NONE, NONE) for _ in range(5)]
    assert where not in map(address, others)
    del others
    del held


def test_it_grows_and_keeps_three_at_most() -> None:
    pool = Pool()
    last: list[Array] = []
    for size in range(100, 200):
        last = [*last[-1:], pool.space(size, NONE, NONE)]
        assert len(last[-1]) == size
        assert len(pool._known) <= 3


def test_it_shrinks() -> None:
    pool = Pool()
    pool.space(100_000, NONE, NONE)
    pool.space(10, NONE, NONE)
    assert sum(len(known) for known in pool._known) < 2_000


@pytest.mark.parametrize("which", [[0, 1, 2, 3], [1, 2], [3], [0, 2], [0, 1, 3], []])
def test_take(which: list[int]) -> None:
    source, out = cells(10, 11, 12, 13), np.zeros(len(which), CELL)
    take(source, np.array(which, "i8"), out)
    assert (out == source[which]).all()
