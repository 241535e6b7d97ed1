"""A recording says what its frames hold: a reader takes what it knows, whoever wrote it."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvmtop.model.snapshot import CELL, THREAD, Snapshot
from kvmtop.model.vocabulary import STATES
from kvmtop.recording import codec
from kvmtop.recording.format import MOST_COLUMNS, BadFrame
from kvmtop.recording.layout import LONGEST, Layout
from kvmtop.recording.reader import Recording

from ..support.fake import Busy
from ..support.recordings import equal, look_at_all, record, same

OURS = Layout.of(STATES)
LATER = Layout(
    {
        "threads": ("energy", *OURS.tables["threads"][::-1]),
        "memory": ("hist", "bytes", "ended", "more"),
        "cells": (*OURS.tables["cells"], "cycles"),
        "cpus": (*OURS.tables["cpus"],),
    },
    STATES,
)


def later(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, before: Snapshot | codec.Counters) -> bytes:
    """A frame with columns and a table that nobody knows yet, in another order."""

    def more(array: np.ndarray, name: str) -> np.ndarray:
        wider = np.zeros(len(array), [*array.dtype.descr, (name, "u8")])
        for known in array.dtype.names or ():
            wider[known] = array[known]
        wider[name] = 1 << np.arange(len(array), dtype="u8") % 60
        return wider

    def tables(now: Snapshot | codec.Counters) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        found = ours(now)
        threads, cells = found["threads"], found["cells"]
        return found | {
            "threads": (threads[0], more(threads[1], "energy")),
            "cells": (cells[0], more(cells[1], "cycles")),
            "memory": (cells[0] + np.uint64(7), more(more(cells[1], "bytes"), "more")),
        }

    ours = codec._tables
    with monkeypatch.context() as patch:
        patch.setattr(codec, "_tables", tables)
        return codec.encode(snapshot, LATER, before)


def test_columns_and_tables_that_nobody_knows_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Busy()
    first, second = host.read(), host.read()
    second.cell_ids[[1, 4]] = 0  # left by threads that ended long ago
    found = codec.decode(later(first, monkeypatch, codec.NOTHING), LATER)
    assert same(found, first)
    assert same(codec.decode(later(second, monkeypatch, first), LATER, found), second)


def test_columns_that_are_missing_are_zeros() -> None:
    snapshot = Busy().read()
    missing = {("threads", name) for name in ("pairs", "throttled", "guest")} | {("cells", "throttled")}
    less = {kind: tuple(n for n in names if (kind, n) not in missing) for kind, names in OURS.tables.items()}
    less.pop("cpus")
    layout = Layout.read(Layout(less, ()).rows)
    assert layout.told == tuple(state for state in STATES if state not in ("guest", "throttled"))
    found = codec.decode(codec.encode(snapshot, layout), layout)
    assert found.told == layout.told
    assert found.threads["pairs"].tolist() == found.threads["states"][:, 0].tolist() == [0] * 4
    assert (found.threads["states"][:, 3] == snapshot.threads["states"][:, 3]).all()
    assert (found.whole().cells["hist"] == snapshot.cells["hist"]).all()
    without = Layout({"cells": ("count",)}, ())
    assert same(codec.decode(codec.encode(Busy(0).read(), without), without), replace(Busy(0).read(), told=()))


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("threads", "user", ("guest",)),
        ("cells", "user", ("guest",)),
        ("cells", "throttled", ("guest",)),
        ("threads", "throttled", STATES[:6]),
        ("threads", "guest", STATES[1:]),
        ("threads", "since_ns", STATES),
    ],
)
def test_a_time_that_is_not_all_divided_is_not_told(file: Path, kind: str, name: str, told: tuple[str, ...]) -> None:
    host = Busy()
    host.leave(4101, 0x7B, "blocked")
    record(file, 4, host)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE columns SET name = 'x' WHERE kind = ? AND name = ?", (kind, name))
        database.commit()
    assert Recording(file).at(2).told == told
    look_at_all(file)


def test_what_a_kernel_cannot_tell_is_no_column(file: Path) -> None:
    host = Busy()
    host.told = STATES[:6]
    snapshots = record(file, 3, host)
    assert all(equal(a, b) for a, b in zip(Recording(file), snapshots, strict=False))
    assert Recording(file).at(1).told == STATES[:6]


def test_the_file_says_it(file: Path) -> None:
    record(file, 1)
    with contextlib.closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT kind, name FROM columns ORDER BY position").fetchall()
    assert Layout.read(rows) == OURS
    assert {"guest", "open_wait", "state"} < set(OURS.tables["threads"]) and "pad" not in OURS.tables["threads"]
    assert set(OURS.tables["cells"]) - {"ended", "hist_by_size"} == set(CELL.names or ()) - {"next", "hist"}


def test_limits_of_what_a_file_says() -> None:
    for bad in (
        [("threads", "id")] * 2,
        [("threads", "id"), ("cells", "min"), ("threads", "cpu")],
        [("x" * (LONGEST + 1), "id")],
        [("threads", "x" * (LONGEST + 1))],
        [("threads", str(n)) for n in range(MOST_COLUMNS + 1)],
    ):
        with pytest.raises(BadFrame):
            Layout.read(bad)
    assert Layout.read([]).told == ()
    assert THREAD["states"].shape == (len(STATES),)
