"""Recordings of the format before: tests/data/recordings/format1.kvmtop, and what its own version made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.reader import Recording

DATA = Path(__file__).parents[1] / "data" / "recordings"


def snapshots() -> list[Snapshot]:
    found = Recording(DATA / "format1.kvmtop")
    return [*found, found.close()]


def test_exits_and_the_guests_time_are_as_they_were() -> None:
    found = snapshots()
    told = json.loads((DATA / "format1.json").read_text())
    assert len(told) == len(found) == 13
    for before, after, then in zip([None, *found[:-1]], found, told, strict=True):
        assert after.threads["states"][:, 0].tolist() == then["guest"]
        reasons = by_reason(diff(before, after))
        assert {r.name: [r.count, r.time, r.total, r.idle] for r in reasons} == then["reasons"]


def test_what_it_does_not_know_is_unknown() -> None:
    found = snapshots()
    assert {snapshot.told for snapshot in found} == {("guest",)}
    assert not any(snapshot.threads["states"][:, 1:].any() for snapshot in found)
    assert not any(snapshot.cells[state].any() for snapshot in found for state in ("user", "blocked", "wait"))
    vms = {vm.name: vm for vm in found[-1].vms.values()}
    assert vms["web01"].ended and not vms["web01"].stopped and not vms["web01"].paused


def test_in_any_order() -> None:
    found, again = snapshots(), Recording(DATA / "format1.kvmtop")
    for n in (11, 3, 7, 3, 0, 10, 5):
        assert np.array_equal(again.at(n).threads, found[n].threads)
        assert np.array_equal(again.at(n).cells, found[n].cells)
