"""Frames: every counter comes back, and what is no frame is told."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace

import numpy as np
import pytest

from kvmtop.model.snapshot import CELL, THREAD, Snapshot
from kvmtop.model.vocabulary import STATES
from kvmtop.recording import codec
from kvmtop.recording.codec import Counters
from kvmtop.recording.format import MOST_BYTES, MOST_CELLS, BadFrame
from kvmtop.recording.layout import Layout

from ..support.fake import SECOND, Busy, Host
from ..support.fleet import Fleet
from ..support.recordings import same

LAYOUT = Layout.of(STATES)


def shuffled(snapshot: Snapshot, rnd: random.Random) -> Snapshot:
    """Some rows fewer, the others in another order, and two cells that threads that ended long ago have left."""
    keep = rnd.sample(range(len(snapshot.threads)), max(len(snapshot.threads) - 1, 1))
    place = {row: n for n, row in enumerate(keep)}
    rows = [n for n, cell in enumerate(snapshot.cells) if int(cell["thread"]) in place]
    rnd.shuffle(rows)
    cells, earlier = snapshot.cells[rows], np.zeros(2, CELL)
    cells["thread"] = [place[t] for t in cells["thread"].tolist()]
    earlier["isa"], earlier["reason"], earlier["count"] = 2, (0x60, 0xFFFFFFFF), rnd.randrange(1 << 40)
    earlier["hist"][:, rnd.randrange(128)] = rnd.randrange(1 << 33)
    return replace(
        snapshot,
        threads=snapshot.threads[keep],
        thread_ids=snapshot.thread_ids[keep],
        cells=np.concatenate([cells, earlier]),
        cell_ids=np.concatenate([snapshot.cell_ids[rows], np.zeros(2, "u8")]),
        cpus={7: -3, 2**22: 1 << 60} | dict(list(snapshot.cpus.items())[1:]),
    )


def test_a_chain_of_differences() -> None:
    host, rnd, before = Busy(3, 2), random.Random(3), codec.NOTHING
    known: Snapshot | Counters = codec.NOTHING
    for turn in range(60):
        if turn == 20:
            host.add(9000, "late", 4)
        if turn == 30:
            host.end(4000)
        if turn == 40:
            host.leave(4101, 0x7B)
        snapshot = shuffled(host.read(), rnd) if turn % 7 == 6 else host.read()
        before = codec.decode(codec.encode(snapshot, LAYOUT, known), LAYOUT, before)
        known = snapshot
        assert same(before, snapshot), turn
        assert codec.encode(before, LAYOUT, before) == codec.encode(before, LAYOUT, snapshot), "as thinning.py has it"


def test_each_number_may_be_anything() -> None:
    """Also numbers that no counter has: 64 bits each, and some that went down."""
    random = np.random.default_rng(5)
    known: Snapshot | Counters = codec.NOTHING
    back = codec.NOTHING
    for _ in range(30):
        threads, cells = np.zeros(9, THREAD), np.zeros(31, CELL)
        for array in (threads, cells):
            for name in array.dtype.names or ():
                bits = 8 * array.dtype[name].base.itemsize
                array[name] = random.integers(0, 1 << int(random.integers(1, bits)), array[name].shape, "u8")
        threads["state"], cells["thread"] = random.integers(0, len(STATES), 9), random.integers(0, 9, 31)
        cells["min"][::3] = ~np.uint64(0)
        snapshot = Snapshot(
            time_ns=SECOND,
            threads=threads,
            cells=cells,
            names=Host().names,
            thread_ids=random.permutation(9).astype("u8") + np.uint64(1),
            cell_ids=random.permutation(50)[:31].astype("u8") << np.uint64(40) | np.uint64(1),
        )
        back = codec.decode(codec.encode(snapshot, LAYOUT, known), LAYOUT, back)
        assert same(back, snapshot)
        assert same(codec.decode(codec.encode(snapshot, LAYOUT), LAYOUT), snapshot)
        known = snapshot


def test_nothing_at_all() -> None:
    empty = Host().read()
    assert same(codec.decode(codec.encode(empty, LAYOUT), LAYOUT), empty)


def test_what_did_not_change_costs_nothing() -> None:
    snapshot = Fleet(64).read()
    assert len(codec.encode(snapshot, LAYOUT, snapshot)) < 200


def test_too_large_is_said_when_it_is_written() -> None:
    few = Fleet(4).read()
    many = replace(few, cells=np.zeros(MOST_CELLS + 1, CELL), cell_ids=np.arange(MOST_CELLS + 1, dtype="u8"))
    with pytest.raises(BadFrame):
        codec.encode(many, LAYOUT)


def test_what_is_no_frame() -> None:
    host, rnd = Busy(), random.Random(11)
    before, after = host.read(), host.read()
    good = zlib.decompress(codec.encode(after, LAYOUT, before))
    known = codec.decode(codec.encode(before, LAYOUT), LAYOUT)
    assert same(codec.unpacked(good, LAYOUT, known), after)
    for end in range(len(good)):
        with pytest.raises(BadFrame):
            codec.unpacked(good[:end], LAYOUT, known)
    with pytest.raises(BadFrame):
        codec.unpacked(good + b"\0", LAYOUT, known)
    told = 0
    for _ in range(3000):
        bad = bytearray(good)
        for _ in range(rnd.randrange(1, 4)):
            bad[rnd.randrange(len(bad))] = rnd.choice((0, 1, 8, 0x7F, 0x80, 0xFF, rnd.randrange(256)))
        try:
            counters = codec.unpacked(bytes(bad), LAYOUT, rnd.choice((known, codec.NOTHING)))
        except BadFrame:
            told += 1
        else:
            assert (counters.cells["thread"][counters.cell_ids != 0] < len(counters.threads)).all()
            assert (counters.threads["state"] < len(STATES)).all()
    assert told > 300


def test_a_state_that_there_is_not() -> None:
    snapshot = Busy().read()
    snapshot.threads["state"][1] = len(STATES)
    with pytest.raises(BadFrame, match="state"):
        codec.decode(codec.encode(snapshot, LAYOUT), LAYOUT)


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(BadFrame):
        codec.decode(zlib.compress(bytes(MOST_BYTES + 1), 9), LAYOUT)
    good = codec.encode(Busy().read(), LAYOUT)
    for bad in (b"", b"x", good[:-1], good + b"x"):
        with pytest.raises(BadFrame):
            codec.decode(bad, LAYOUT)


def test_histograms_that_are_not_sorted() -> None:
    """As recordings of format 2 have them, and as what somebody looked at has."""
    plain = replace(LAYOUT, tables=LAYOUT.tables | {"cells": ("hist", *LAYOUT.tables["cells"][1:])})
    host = Fleet(3)
    before, after = host.read(), host.read()
    first = codec.decode(codec.encode(before, plain), plain)
    assert same(codec.decode(codec.encode(after, plain, before), plain, first), after)
    assert len(codec.encode(after, LAYOUT, before)) < 0.9 * len(codec.encode(after, plain, before))


def test_sorted_histograms_of_another_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Fleet(3)
    before, after = host.read(), host.read()
    first = codec.decode(codec.encode(before, LAYOUT), LAYOUT)
    frame = codec.encode(after, LAYOUT, before)
    assert same(codec.decode(frame, LAYOUT, first), after)
    fewer = replace(first.whole(), cells=first.whole().cells.copy())
    fewer.cells["hist"][0] = 0
    with pytest.raises(BadFrame, match="buckets of another histogram"):
        codec.decode(frame, LAYOUT, fewer)
