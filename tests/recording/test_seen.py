"""What somebody looked at comes back as it was, and where nobody looked, nothing does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvmtop.model.apic import Apic
from kvmtop.model.provenance import HERE
from kvmtop.model.scheduling import Scheduling
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Details, Snapshot, Stacks
from kvmtop.model.vocabulary import SVM, DetailRequest
from kvmtop.output import csv_rows, json_lines, stacks
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.reference.labels import Labels

from ..support.recordings import LEFT_OUT, look_at_all, same
from ..support.watched import EVERYTHING, Watched


def differences(name: str, found: Any, told: Any) -> Iterator[str]:
    """Which parts of it are not the same, by their names."""
    if isinstance(told, (Snapshot, Details, Scheduling, Stacks, Apic)):
        if type(found) is not type(told):
            yield name
            return
        for field in fields(told):
            full, (its, whole) = (
                f"{type(told).__name__}.{field.name}",
                (getattr(one, field.name) for one in (found, told)),
            )
            # What is counted from has counters alone: nobody looks up what was called how then.
            if field.name != "base":
                yield from differences(full, its, whole)
            elif not same(its, whole) or its.time_ns != whole.time_ns or its.start_ns != whole.start_ns:
                yield full
    elif isinstance(told, np.ndarray):
        if told.dtype.names is None:
            if not np.array_equal(found, told):
                yield name
        elif found.dtype != told.dtype or len(found) != len(told):
            yield name
        else:
            yield from (f"{name}[{n}]" for n in {*told.dtype.names} - LEFT_OUT if not np.array_equal(found[n], told[n]))
    elif found != told:
        yield name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot]]:
    """A run in which somebody looked at everything, at one reason, at one kind, and away; its Snapshots."""
    file, host = tmp_path_factory.mktemp("seen") / "run.kvmtop", Watched()
    recorder, snapshots = Recorder(host, file), []
    for turn in range(80):
        if turn == 3:
            host.look_at()
        if turn == 45:
            host.look_at(look=replace(EVERYTHING, sched=4000, numa=True))
        if turn == 30:
            host.look_at((SVM, 0x400))
        if turn == 20:
            host.look_at(look=DetailRequest(frozenset({"io"})))
        if turn == 40:
            host.look_away()
        if turn == 60:
            host.end(4000)
        snapshots.append(recorder.read())
    snapshots.append(recorder.close())
    assert recorder.trouble is None
    return file, snapshots


def test_every_field_comes_back(run: tuple[Path, list[Snapshot]]) -> None:
    file, snapshots = run
    # Whoever adds a field to these stores it, too: each has something in one of them, so that its loss is seen.
    for cls, parts in (
        (Snapshot, snapshots),
        (Details, [one.details for one in snapshots if one.details]),
        (Scheduling, [one.scheduling for one in snapshots if one.scheduling]),
        (Stacks, [one.stacks for one in snapshots if one.stacks]),
    ):
        for field in fields(cls):
            values = [getattr(part, field.name) for part in parts]
            filled = any(len(value) if hasattr(value, "__len__") else value for value in values)
            assert filled, f"{cls.__name__}.{field.name}"
    found = Recording(file)
    for n in (*range(80), *np.random.default_rng(1).integers(0, 80, 60).tolist()):
        assert not list(differences("Snapshot", found.at(n), snapshots[n])), n
    assert not list(differences("Snapshot", found.close(), snapshots[-1]))


def lines(snapshots: Iterator[Snapshot]) -> tuple[list[dict[str, Any]], str]:
    """JSON and CSV of all intervals; as a program gets them, but for what they are a recording of."""
    session, objects, rows = Session(), [], []
    for snapshot in snapshots:
        interval = session.add(snapshot)
        one = json.loads(json_lines.interval_line(session, interval, Labels(), HERE))
        objects.append(one)
        rows.append(csv_rows.interval_rows(session, interval, HERE))
    return objects, "".join(rows)


def test_a_replay_tells_programs_what_the_live_run_told(run: tuple[Path, list[Snapshot]]) -> None:
    file, (*snapshots, final) = run
    live, live_csv = lines(iter(snapshots))
    found = Recording(file)
    replayed, replayed_csv = lines(iter(found))
    for n, (told, one) in enumerate(zip(live, replayed, strict=True)):
        assert one == told, (n, [name for name in told if told[name] != one[name]])
    assert replayed_csv == live_csv
    # Everything is told in some interval, and nothing where nobody looked.
    for section in ("touched", "slow", "polling", "profile", "scheduling"):
        assert replayed[50][section] and replayed[42][section] is None
    assert any(one["findings"] for one in replayed) and any(vm["apic"]["inhibits"] for vm in replayed[5]["vms"])
    assert replayed[25]["touched"] and replayed[25]["slow"] is None
    assert stacks.folded(found.close()) == stacks.folded(final) != ""


def test_one_vm_of_it(run: tuple[Path, list[Snapshot]]) -> None:
    file, _ = run
    one = Recording(file, [4100]).at(50)
    assert one.details and {*(one.details.slow["id"] >> np.uint64(32)).tolist()} == {4100}
    assert one.stacks and {stack.thread >> 32 for stack in one.stacks.off} == {4100}
    look_at_all(file, (4100,))


def test_slow_exits_that_were_printed_before_the_reading_are_recorded(file: Path) -> None:
    host = Watched()
    host.look_at()
    recorder = Recorder(host, file)
    recorder.read()
    host.linger(4001, 0x7B, 5_000_000)
    assert recorder.slow()["ns"].tolist() == [5_000_000]
    told = recorder.read().details
    recorder.close()
    found = Recording(file).at(1).details
    assert told and found and found.slow["ns"].tolist() == [5_000_000, *told.slow["ns"].tolist()]
