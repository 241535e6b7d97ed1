"""What somebody looked at comes back as it was, and where nobody looked, nothing does."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvmtop.model.apic import NOT_RECORDED
from kvmtop.model.provenance import HERE
from kvmtop.model.scheduling import Scheduling
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Details, Snapshot, Stacks
from kvmtop.model.vocabulary import SVM, DetailRequest
from kvmtop.output import csv_rows, json_lines, stacks
from kvmtop.recording import seen
from kvmtop.recording.folder import Folder
from kvmtop.recording.reader import Recording
from kvmtop.recording.segments import segments
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writer import Recorder
from kvmtop.recording.writing import Limits
from kvmtop.reference.labels import Labels

from ..support.recordings import NOT_STORED, complaint, differences, look_at_all, record
from ..support.watched import EVERYTHING, Watched


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot]]:
    """A run in which somebody looked at everything, at one reason, at one kind, and away; its Snapshots."""
    file, host = tmp_path_factory.mktemp("seen") / "run.kvmtop", Watched()
    recorder, snapshots = Recorder(host, file), []
    for turn in range(80):
        if turn == 3:
            host.look_at()
        if turn == 45:
            host.unnamed = "the kernel's functions have no names"
            host.look_at(look=replace(EVERYTHING, sched=4000, numa=True, pids=frozenset({4000, 4100})))
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
    # Each has something in one of them, so that its loss is seen.
    for cls, parts in (
        (Snapshot, snapshots),
        (Details, [one.details for one in snapshots if one.details]),
        (Scheduling, [one.scheduling for one in snapshots if one.scheduling]),
        (Stacks, [one.stacks for one in snapshots if one.stacks]),
    ):
        for field in [one for one in fields(cls) if f"{cls.__name__}.{one.name}" not in NOT_STORED]:
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


def test_slow_exits_that_were_printed_before_the_reading_go_into_its_segment(
    tmp_path: Path,
) -> None:
    host = Watched()
    host.look_at()
    writer = StoreRecorder(host, Folder(tmp_path / "store", replace(Limits(), hours=2.5 / 3600)))
    printed = list[int]()
    for n in range(8):
        writer.read()
        host.linger(4001, 0x7B, 7_000_000 + n)
        printed += writer.slow()["ns"].tolist()
    writer.close()
    found = [Recording(one.path) for one in segments(tmp_path / "store")]
    assert len(found) > 2 and printed == [*range(7_000_000, 7_000_008)]
    details = [one.at(n).details for one in found for n in range(len(one._times))]
    recorded = [ns for one in details if one for ns in one.slow["ns"].tolist()]
    assert [ns for ns in recorded if ns in printed] == printed


def test_a_file_begun_in_the_middle_is_complete(tmp_path: Path) -> None:
    """Whoever begins another file while somebody looks begins with all texts, and with what stacks count from."""
    host = Watched()
    host.look_at()
    first = Recorder(host, tmp_path / "first")
    first.read()
    first.end()
    second = Recorder(host, tmp_path / "second")
    snapshots = [second.read() for _ in range(3)]
    second.end()
    for found, told in zip(Recording(tmp_path / "second"), snapshots, strict=True):
        assert told.stacks and not list(differences("Snapshot", found, told))


def test_what_could_not_be_written_comes_with_the_next(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of a sample that found no room."""
    host = Watched()
    host.look_at()
    recorder = Recorder(host, file)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(recorder, "_write", disk_full_after(recorder._write))
        recorder.add(host.read())
    told = host.read()
    recorder.add(told)
    recorder.end()
    assert not list(differences("Snapshot", Recording(file).at(0), told))


def disk_full_after(write: Callable[..., object]) -> Callable[..., None]:
    """All is written but the end."""

    def full(*arguments: Any) -> None:
        recorder = write.__self__  # type: ignore[attr-defined]
        recorder._describe(arguments[0])
        recorder._looked(0, arguments[0])
        raise OSError(28, "No space left on device")

    return full


def test_what_was_recorded_before_is_unknown() -> None:
    """A recording of format 2, as it comes with kvmtop."""
    found = Recording(resources.files("kvmtop") / "demo" / "amd.kvmtop")  # type: ignore[arg-type]
    for snapshot in (found.at(3), found.close()):
        assert (snapshot.details, snapshot.scheduling, snapshot.stacks) == (None, None, None)
        assert snapshot.counted_by is None and snapshot.apic == NOT_RECORDED


@pytest.mark.parametrize("kind", ["touched", "charges", "off"])
def test_more_than_can_be_read_is_left_out(file: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The counters and what else was looked at are there, and the recording goes on."""
    monkeypatch.setitem(seen.MOST, kind, 3)
    host = Watched()
    host.look_at()
    recorder = Recorder(host, file)
    told = recorder.read()
    recorder.close()
    assert recorder.trouble is None
    lost = {"touched": "Details", "charges": "Scheduling", "off": "Stacks"}[kind]
    names = {"Details": "details", "Scheduling": "scheduling", "Stacks": "stacks"}
    assert list(differences("Snapshot", Recording(file).at(0), told)) == [f"Snapshot.{names[lost]}"]
    look_at_all(file)


# ---- what others may have written


def look_at_everything(file: Path, samples: int = 3) -> None:
    host = Watched(vcpus=1)
    host.look_at()
    record(file, samples, host)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM bases", "the counters 1 are missing"),
        ("UPDATE bases SET time_ns = -1", "the counters 1 are missing"),
        ("UPDATE bases SET frame = x'00'", "damaged"),
        ("UPDATE texts SET content = CAST(x'ff' || content AS TEXT)", "Could not decode"),
        ("UPDATE slow SET tid = -1", "a thread that there cannot be"),
        ("UPDATE slow SET reason = -1", "reason too large"),
        ("UPDATE slow SET cpu = 4294967296", "cpu too large"),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 66000) INSERT INTO slow SELECT"
            " slow.* FROM n, (SELECT * FROM slow LIMIT 1) slow",
            "more than 65536 rows",
        ),
        ("UPDATE texts SET content = hex(zeroblob(9999)) WHERE content LIKE '%/%'", None),
        (
            "UPDATE texts SET content = replace(hex(zeroblob(9999)), '0', '1' || char(10)) WHERE content LIKE '%/%'",
            None,
        ),
        ("UPDATE texts SET content = char(27) || '[2J' || char(10, 0x202e) WHERE content LIKE '%/%'", None),
        ("DELETE FROM texts", None),
        ("DELETE FROM slow", None),
    ],
)
def test_changed_tables(file: Path, sql: str, words: str | None) -> None:
    look_at_everything(file)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute(sql)
        database.commit()
    if words:
        assert words in complaint(file)
    else:
        look_at_all(file)
        found = Recording(file).at(2).scheduling
        assert found and not any(re.search(r"[\x00-\x1f\u202e]", path) for path in found.cgroups.values())


@pytest.mark.parametrize(
    ("kind", "column", "value", "words"),
    [
        ("touched", "kind", 99, None),
        ("touched", "extra", -1, "extra too large"),
        ("charges", "by", 1 << 32, "by too large"),
        ("charges", "by", (1 << 32) - 1, None),
        ("charges", "kind", 77, None),
        ("charges", "call", -1, None),
        ("latencies", "count", -1, None),
        ("look", "kinds", -1, None),
        ("look", "only", 1, None),
        ("look", "code", 1 << 40, None),
        ("look", "pids", 1, "a CPU or a process that there cannot be"),
        ("stacks", "pids", 1, "a CPU or a process that there cannot be"),
        ("placements", "siblings", 1, "a CPU or a process that there cannot be"),
        ("stacks", "base", 0, "the counters 0 are missing"),
        ("stacks", "base", 9, "the counters 9 are missing"),
        ("on", "state", 7, "a state that there is not"),
        ("off", "state", -1, "a state that there is not"),
        ("off", "state", 0, "a state that there is not"),
        ("off", "isa", -1, "a reason that there cannot be"),
        ("off", "ns", -(1 << 63), None),
        ("on", "samples", -5, "less than a sample"),
        ("on", "samples", 0, "less than a sample"),
    ],
)
def test_changed_frames(
    file: Path, monkeypatch: pytest.MonkeyPatch, kind: str, column: str, value: int, words: str | None
) -> None:
    """As somebody would write them who knows the format."""
    pack = seen.Packer.pack

    def other(self: seen.Packer, snapshot: Snapshot) -> seen.Tables:
        tables = pack(self, snapshot)
        tables[kind][1][column][:1] = value
        return tables

    monkeypatch.setattr(seen.Packer, "pack", other)
    look_at_everything(file, 2)
    if words:
        assert words in complaint(file)
    else:
        look_at_all(file)


def test_more_text_than_a_sample_may_have(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file of texts that are called by each row."""
    host = Watched(vcpus=1)
    host.look_at()
    monkeypatch.setattr(host, "_name", lambda told: setattr(told, "cgroups", {n: f"{n}" for n in range(5000)}))
    record(file, 1, host)
    look_at_all(file)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE texts SET content = text || hex(zeroblob(500))")
        database.commit()
    assert "too many texts" in complaint(file)


def test_texts_are_written_once(file: Path) -> None:
    look_at_everything(file, 40)
    with contextlib.closing(sqlite3.connect(file)) as database:
        texts = [row[0] for row in database.execute("SELECT content FROM texts")]
        slowest = database.execute("SELECT pid, tid, ns, printf('%x', rip) FROM slow ORDER BY ns DESC").fetchone()
    assert len(texts) == len({*texts}) < 30
    assert slowest[:2] == (4100, 4101) or slowest[:2] == (4000, 4001)
    assert slowest[3] == "ffffffff81000001"


def test_as_many_rows_as_there_may_be_take_little_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some kilobytes, all of whose tables are full."""
    pack = seen.Packer.pack

    def full(self: seen.Packer, snapshot: Snapshot) -> seen.Tables:
        tables = pack(self, snapshot)
        for kind, dtype in seen.KINDS_OF_TABLES.items():
            if len(tables[kind][0]) != 1 or kind in ("idle", "memory", "apic", "quotas", "calls"):
                rows = np.zeros(seen.MOST[kind], dtype)
                if kind in ("off", "on"):
                    rows["state"], rows["thread"] = 1, np.arange(len(rows))
                if kind == "on":
                    rows["samples"] = 1
                tables[kind] = np.arange(1, len(rows) + 1, dtype="u8"), rows
        return tables

    with monkeypatch.context() as patch:
        patch.setattr(seen.Packer, "pack", full)
        host = Watched(vcpus=1)
        host.look_at()
        recorder = Recorder(host, file)
        recorder.read()
        recorder.end()
    assert file.stat().st_size < 100_000
    code = (
        "import resource, sys; from pathlib import Path; from kvmtop.recording.reader import Recording;"
        "Recording(Path(sys.argv[1])).at(0);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1 << 20  # KB
