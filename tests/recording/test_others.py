"""The VMs' other threads come back as they were recorded, and what a file says of them is not trusted."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from kvmtop.model.scheduling import OTHER, ROLES
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import STATES
from kvmtop.recording import codec
from kvmtop.recording.format import MOST_THREADS, BadFrame
from kvmtop.recording.layout import OTHERS, Layout, packed, unpacked_others
from kvmtop.recording.reader import Recording

from ..support.fake import Busy
from ..support.others import Others
from ..support.recordings import equal, look_at_all, record


class Threads(Busy):
    """They come and go, sleep and change their names."""

    def __init__(self) -> None:
        super().__init__()
        self.threads, self.tids = Others(), [4000, 4100]
        for pid in self.tids:
            self.threads.add(pid, pid, "main", "qemu-system-x86_")
        self.threads.set(4100, throttled_ns=-1, cpu=-1)

    def read(self) -> Snapshot:
        rnd = random.Random(self.now)
        self.tids.append(5000 + self.now % 4999)
        self.threads.add(4000, self.tids[-1], rnd.choice(ROLES), rnd.choice(("IO a", "worker", "\xff\x1b[2J", "")))
        if len(self.tids) > 9:
            self.threads.remove(self.tids.pop(rnd.randrange(len(self.tids))))
        for tid in self.tids:
            self.threads.grow(tid, cpu_ns=rnd.randrange(1 << 30), wait_ns=rnd.randrange(1 << 40))
        self.threads.asleep = {tid for tid in self.tids[:-1] if rnd.random() < 0.3}
        self.others = self.threads.rows(self.now)
        return super().read()


def test_they_come_back(file: Path) -> None:
    snapshots = record(file, 40, Threads())
    assert all(len(snapshot.others) for snapshot in snapshots)
    assert all(equal(a, b) for a, b in zip(Recording(file), snapshots, strict=False))
    assert equal(Recording(file).close(), snapshots[-1])
    look_at_all(file)
    for snapshot in Recording(file, [4000]):
        assert set((snapshot.others["id"] >> np.uint64(32)).tolist()) == {4000}


def test_a_recording_without_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were made before."""
    tables = {kind: names for kind, names in Layout.of(STATES).tables.items() if kind != "others"}
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "of", classmethod(lambda cls, told: cls(tables, told)))
        record(file, 5, Threads())
    assert [len(snapshot.others) for snapshot in Recording(file)] == [0] * 5
    look_at_all(file)


def test_a_role_that_came_later(file: Path) -> None:
    host = Threads()
    rows = packed(host.threads.rows(1))
    rows["role"] = (len(ROLES) + 3, -1)
    found = unpacked_others(host.threads.rows(1)["id"], rows)
    assert [ROLES[role] for role in found["role"].tolist()] == ["other", "other"]


@pytest.mark.parametrize("name", ["cpu", "role"])
@pytest.mark.parametrize("value", [1 << 31, -(1 << 63), (1 << 63) - 1])
def test_numbers_too_large(name: str, value: int) -> None:
    rows = np.zeros(1, OTHERS)
    rows[name] = value
    with pytest.raises(BadFrame):
        unpacked_others(np.zeros(1, "u8"), rows)


def test_too_many_of_them() -> None:
    host = Busy()
    host.others = np.zeros(MOST_THREADS + 1, OTHER)
    with pytest.raises(BadFrame):
        codec.encode(host.read(), Layout.of(STATES))


def test_each_number_may_be_anything(file: Path) -> None:
    rnd, host = np.random.default_rng(3), Threads()
    layout, back, known = Layout.of(STATES), codec.NOTHING, host.read()
    back = codec.decode(codec.encode(known, layout), layout)
    for _ in range(20):
        host.others = np.frombuffer(rnd.bytes(9 * OTHER.itemsize), OTHER).copy()
        host.others["role"] %= len(ROLES)
        host.others["cpu"] //= 2
        snapshot = Busy.read(host)
        back = codec.decode(codec.encode(snapshot, layout, known), layout, back)
        assert np.array_equal(back.others, snapshot.others)
        known = snapshot


def test_columns_with_other_names(file: Path) -> None:
    record(file, 3, Threads())
    for name in OTHERS.names or ():
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE columns SET name = 'x' WHERE kind = 'others' AND name = ?", (name,))
            database.commit()
            look_at_all(file)
            database.execute("UPDATE columns SET name = ? WHERE name = 'x'", (name,))
            database.commit()
