"""Slices of constructed records: they cover what they shall, once."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from kvmtop.insight.timeline import SLICE, KernelSlices, clipped, guests, joined, touching
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.timeline import EXIT, SPAN

from ..support.traces import START, exits, spans


def us(rows: Array) -> list[tuple[int, int]]:
    return [((int(one["begin_ns"]) - START) // 1000, (int(one["end_ns"]) - START) // 1000) for one in rows]


def test_what_no_other_state_has_of_an_exit_is_the_kernels() -> None:
    found = KernelSlices().add(exits((0, 10, 50)), spans(("user", 20, 30), ("wait", 40, 45)))
    assert us(found) == [(10, 20), (30, 40), (45, 50)]


def test_an_exit_without_anything_in_it_is_all_the_kernels() -> None:
    assert us(KernelSlices().add(exits((0, 10, 50), (50, 60, 61)), spans())) == [(10, 50), (60, 61)]


def test_nothing_is_left_where_the_others_have_all_of_it() -> None:
    found = KernelSlices().add(exits((0, 10, 50)), spans(("idle", 10, 40), ("wait", 40, 50)))
    assert us(found) == []


def test_what_is_waited_in_the_guest_is_no_exits() -> None:
    found = KernelSlices().add(exits((0, 10, 20), (20, 60, 70)), spans(("wait", 30, 50)))
    assert us(found) == [(10, 20), (60, 70)]


def test_spans_wait_for_the_exit_that_they_are_in() -> None:
    kernel = KernelSlices()
    assert us(kernel.add(exits((0, 1, 2)), spans(("user", 12, 20)))) == [(1, 2)]
    assert us(kernel.add(exits(), spans(("idle", 25, 30)))) == []
    assert us(kernel.add(exits((2, 10, 40)), spans())) == [(10, 12), (20, 25), (30, 40)]
    assert not len(kernel._waiting)


def test_threads_are_kept_apart() -> None:
    one, other = exits((0, 10, 50)), exits((0, 20, 30), id=pack(7, 8))
    inside, theirs = spans(("user", 20, 30)), spans(("user", 22, 24), id=pack(7, 8))
    found = KernelSlices().add(np.concatenate([one, other]), np.concatenate([inside, theirs]))
    assert {(int(row["id"]), *at) for row, at in zip(found, us(found), strict=True)} == {
        (int(one["id"][0]), 10, 20),
        (int(one["id"][0]), 30, 50),
        (pack(7, 8), 20, 22),
        (pack(7, 8), 24, 30),
    }


@pytest.mark.parametrize("seed", range(20))
def test_slices_cover_each_exit_once_however_the_records_come(seed: int) -> None:
    """The exits of three threads with random states, in random pieces, a span never after its exit."""
    at = random.Random(seed)
    records = list[tuple[int, Array, Array]]()
    whole = list[tuple[int, int, int]]()
    for thread in range(3):
        ns = START
        for _ in range(60):
            guest, begin = ns, ns + at.randrange(1, 50)
            end = begin + at.randrange(1, 100)
            cuts = sorted(at.sample(range(begin, end + 1), min(4, end - begin + 1)))[: 2 * at.randrange(3)]
            inside = np.zeros(len(cuts) // 2, SPAN)
            inside["id"], inside["state"] = thread + 1, 2
            inside["begin_ns"], inside["end_ns"] = cuts[: len(cuts) // 2 * 2 : 2], cuts[1::2]
            one = np.zeros(1, EXIT)
            one["id"], one["guest_ns"], one["begin_ns"], one["end_ns"], one["number"] = thread + 1, guest, begin, end, 1
            records.append((end, one, inside[inside["begin_ns"] < inside["end_ns"]]))
            whole.append((thread + 1, begin, end))
            ns = end
    records.sort(key=lambda record: record[0])
    kernel, found = KernelSlices(), list[tuple[int, int, int]]()
    while records:
        now, records = records[: at.randrange(1, 9)], records
        records = records[len(now) :]
        early = [record[2] for record in records[:3] if at.random() < 0.5]  # spans that come before their exits
        records = [
            (end, one, inside if not any(inside is other for other in early) else inside[:0])
            for end, one, inside in records
        ]
        some = np.concatenate([record[1] for record in now])
        others = np.concatenate([*(record[2] for record in now), *early])
        rows = np.concatenate([kernel.add(some, others), _slices(others)])
        found += [(int(row["id"]), int(row["begin_ns"]), int(row["end_ns"])) for row in rows]
    found.sort()
    assert all(one[2] <= other[1] for one, other in itertools.pairwise(found) if one[0] == other[0])
    for thread, begin, end in whole:
        mine = [one for one in found if one[0] == thread and begin <= one[1] and one[2] <= end]
        assert sum(one[2] - one[1] for one in mine) == end - begin, (thread, begin, end, mine)
    assert sum(one[2] - one[1] for one in found) == sum(one[2] - one[1] for one in whole)


def _slices(rows: Array) -> Array:
    out = np.zeros(len(rows), SLICE)
    for name in SLICE.names or ():
        out[name] = rows[name]
    return out


def test_the_guest_is_what_lies_before_an_exit_where_that_is_known() -> None:
    found = guests(exits((0, 10, 50), (-1, 60, 70), (70, 90, 95), (70, 70, 75)), START + 5000, START + 80_000)
    assert us(found) == [(5, 10), (70, 80)]


def test_clipped() -> None:
    rows = exits((0, 0, 10), (0, 20, 200), (0, 95, 100), (0, 120, 130), begin_ns=0)
    rows["begin_ns"] = [0, START + 20_000, START + 95_000, START + 120_000]
    assert us(clipped(rows, START, START + 95_000)) == [(0, 10), (20, 95)]


def test_stretches_are_joined_and_found() -> None:
    stretches = joined(np.array([[30, 40], [0, 10], [5, 20], [40, 50], [7, 8]], "i8"))
    assert stretches.tolist() == [[0, 20], [30, 50]]
    rows = np.zeros(6, SLICE)
    rows["begin_ns"], rows["end_ns"] = [0, 19, 20, 25, 29, 50], [1, 25, 30, 35, 60, 60]
    assert touching(rows, stretches).tolist() == [True, True, False, True, True, False]
    assert not touching(rows, joined(np.zeros((0, 2), "i8"))).any()


def test_instants_of_a_host_that_is_up_for_years_are_exact() -> None:
    """2**53 ns are 104 days: no float may come between."""
    rows = np.zeros(1, SLICE)
    rows["begin_ns"], rows["end_ns"] = 2**60, 2**60 + 1
    assert touching(rows, np.array([[2**60 - 1, 2**60]], "i8")).tolist() == [False]
    assert touching(rows, np.array([[2**60, 2**60 + 1]], "i8")).tolist() == [True]
