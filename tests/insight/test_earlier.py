"""Since when, by a recording: what is claimed is what was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.insight.diagnosis import Cause
from kvmtop.insight.earlier import Earlier
from kvmtop.insight.finding import Finding, Limits
from kvmtop.insight.rules import BY_NAME
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Snapshot
from kvmtop.output.diagnosis import _since
from kvmtop.recording.store import Store
from kvmtop.recording.writer import Recorder

from ..support.fake import SECOND, Host

IO = 0x7B


class Slow(Host):
    """A host whose VM is in its VMM from some reading on, until another one."""

    def __init__(self, begins: int, ends: int) -> None:
        super().__init__()
        self.add(100, "web")
        self.begins, self.ends, self.readings = begins, ends, 0

    def read(self) -> Snapshot:
        self.now += SECOND
        self.readings += 1
        slow = self.begins <= self.readings < self.ends
        self.exits(101, IO, *[1_000_000] * 100, user=900_000 if slow else 0)
        return super().read()


def recorded(path: Path, begins: int, ends: int = 10**9, readings: int = 100) -> Store:
    recorder = Recorder(Slow(begins, ends), path)
    for _ in range(readings):
        recorder.read()
    recorder.close()
    return Store(path)


def cause(name: str) -> Cause:
    session, host = Session(), Slow(0, 0)
    session.add(host.read())
    interval = session.add(host.read())
    (vm,) = (row for row in vcpu_rows(session, interval) if row.scope.thread is None)
    return Cause(Finding("it is so", name=name), BY_NAME[name], vm)


@pytest.mark.parametrize("begins", [1, 2, 3, 37, 64, 98, 99, 100])
def test_from_when_on_it_held(tmp_path: Path, begins: int) -> None:
    """A symptom stands for its cause: nobody looked at ports then."""
    store = recorded(tmp_path / "run.kvmtop", begins)
    (told,) = Earlier(store, Limits(user=0.05)).told([cause("pm-timer")])
    assert told.began
    first = begins - 1  # the interval that ends with this reading
    assert told.began.held == store.wall(first)
    assert told.began.before == (store.wall(first - 1) if first else None)
    assert told.began.moments <= 20
    store.free()


def test_what_was_over_when_the_recording_ended(tmp_path: Path) -> None:
    store = recorded(tmp_path / "run.kvmtop", 10, 50)
    earlier = Earlier(store, Limits(user=0.05))
    assert earlier.began("web", cause("vmm")) is None
    assert earlier.began("mail", cause("vmm")) is None  # of another VM nothing is known
    store.free()


def test_what_came_and_went_is_not_claimed_to_have_lasted(tmp_path: Path) -> None:
    """Between two moments at which it held, it may not have: the words say what was looked at."""
    store = recorded(tmp_path / "run.kvmtop", 40)
    began = Earlier(store, Limits(user=0.05)).began("web", cause("vmm"))
    assert began and "whenever it was looked at later" in _since(began) and "not yet at" in _since(began)
    store.free()
