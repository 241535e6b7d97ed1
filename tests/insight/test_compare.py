"""Comparing: what has changed, and what is no more than the runs' own variation."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest

from kvmtop import cli
from kvmtop.errors import KvmtopError
from kvmtop.insight.compare import Change, RecordingSpan, changes, growth, spread
from kvmtop.insight.report import report
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.keys import unpack
from kvmtop.model.selection import Selection
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.reader import Recording
from kvmtop.recording.store import Store
from kvmtop.recording.thinning import thin
from kvmtop.recording.writer import Recorder
from kvmtop.tables.compare import BY_KEY, LOGGED, text
from kvmtop.tables.text import lines

from ..support.fake import Busy
from ..support.intervals import Forgetful
from ..support.pair import IO, MSR, record
from ..support.recordings import record as recorded
from ..support.stores import BEGAN, Dated, write


def by_name(a: str, b: str) -> dict[str, Change]:
    return {change.name: change for change in changes(RecordingSpan.read(a), RecordingSpan.read(b))}


def test_what_changed_and_what_did_not(pair: tuple[str, str]) -> None:
    found = by_name(*pair)
    assert found["msr"].rates == (100, 105) and found["msr"].notable is False
    assert found["io"].rates == (50, 60) and found["io"].notable is True
    assert growth(*found["io"].rates) == pytest.approx(0.2)
    before, after = found["io"].before, found["io"].after
    assert before and after
    assert before.percentile(0.5) == pytest.approx(40_000, rel=0.125)
    assert after.percentile(0.5) == pytest.approx(20_000, rel=0.125)
    assert found["cpuid"].before is None and growth(*found["cpuid"].rates) is None and found["cpuid"].notable is True
    assert next(iter(found)) == "io"  # 2 ms/s became 1.2 ms/s: the most


def test_each_figure_is_marked_on_its_own(tmp_path: Path) -> None:
    """90 and 110 in turns; then twice as long, then twice as many, each half as long."""
    turns = [{MSR: (90 + 20 * (n % 2), 2000), IO: (100, 1000)} for n in range(20)]
    a = record(tmp_path / "a", turns)
    longer = [turn | {MSR: (turn[MSR][0], 4000)} for turn in turns]
    more = [turn | {MSR: (2 * turn[MSR][0], 1000)} for turn in turns]
    for name, side, changed, verdict in (
        ("same", turns[::-1], set(), "noise"),
        ("longer", longer, {"time", "p50", "p99"}, "longer"),
        ("more", more, {"rate", "p50", "p99"}, "more"),
    ):
        found = by_name(a, record(tmp_path / name, side))
        assert (found["msr"].changed, found["io"].changed) == (frozenset(changed), frozenset())
        assert found["msr"].notable is bool(changed) and found["io"].notable is False
        assert BY_KEY["verdict"].cell(found["msr"]) == verdict
        line = next(line for line in lines(LOGGED, [found["msr"]]) if line.startswith("msr"))
        assert line.count("*") == len(changed)


def test_halves_of_a_run_and_what_a_few_seconds_of_it_tell(tmp_path: Path) -> None:
    """Pieces are as long on both sides, whatever their intervals are."""
    file = record(tmp_path / "run", [{MSR: (90 + 20 * (n % 2) if n < 40 else 200, 1000)} for n in range(80)])

    def changed(a: str, b: str) -> frozenset[str] | None:
        (found,) = changes(RecordingSpan.read(f"{file}@{a}"), RecordingSpan.read(f"{file}@{b}"))
        return found.changed

    assert changed("0..20", "20..40") == changed("0..5", "5..40") == changed("7..40", "0..6") == frozenset()
    assert changed("0..40", "40..80") == changed("0..5", "40..80") == frozenset(("rate", "time"))
    assert changed("0..40", "40..45") == frozenset(("rate", "time"))
    assert changed("0..4", "40..80") is None
    span = RecordingSpan.read(f"{file}@0..40")
    assert [piece[2, MSR].count for _, piece in span.pieces(spread(span.cuts(5), 3))] == [490, 510, 510]
    assert len(span.pieces(spread(span.cuts(1), 16))) == 16


def test_intervals_of_other_lengths(tmp_path: Path) -> None:
    """Bursts, seen each second and every two: half as much is half as much, and the same is the same."""
    seconds = record(tmp_path / "a", [{MSR: (0 if n % 2 else 100, 1000)} for n in range(32)])
    same = record(tmp_path / "b", [{MSR: (100, 1000)}] * 16, 2)
    half = record(tmp_path / "c", [{MSR: (50, 1000)}] * 16, 2)
    assert by_name(seconds, same)["msr"].changed == by_name(same, seconds)["msr"].changed == frozenset()
    assert by_name(seconds, half)["msr"].changed == by_name(half, seconds)["msr"].changed == frozenset(("rate", "time"))


def test_a_store_whose_older_part_was_thinned(tmp_path: Path) -> None:
    """Pieces are as long where intervals are of 10 s as where they are of 1 s, and what is the same is the same."""
    write(tmp_path, Dated(), [100, 100])
    for _ in thin(min(tmp_path.glob("*.kvmtop")), 10, 10**7):
        pass
    whole = RecordingSpan.read(str(tmp_path))
    assert 110 < whole.intervals < 115 and whole.seconds == 200 and whole.usual == 10
    lengths = [seconds for seconds, _ in whole.pieces(whole.cuts(10))]
    assert len(lengths) >= 19 and {9, 10} >= {*lengths}
    older, newer = (RecordingSpan.read(f"{tmp_path}@{part}") for part in ("0..100", "100..200"))
    assert older.intervals < 15 and newer.intervals == 100
    assert [one.notable for one in changes(older, newer)] == [False] * 6


def test_parts_of_one(tmp_path: Path) -> None:
    file = record(tmp_path / "run", [{MSR: (10 if n < 5 else 40, 1000)} for n in range(10)])
    a, b = RecordingSpan.read(f"{file}@0..5"), RecordingSpan.read(f"{file}@5..10")
    assert (a.intervals, b.intervals, a.seconds, b.seconds) == (5, 5, 5.0, 5.0)
    (change,) = changes(a, b)
    assert change.rates == (10, 40) and change.notable
    assert RecordingSpan.read(f"{file}@..5").reasons == a.reasons == RecordingSpan.read(f"{file}@0..5.5").reasons
    assert RecordingSpan.read(f"{file}@5..").reasons == b.reasons
    assert RecordingSpan.read(file).intervals == 10
    (single,) = changes(RecordingSpan.read(f"{file}@0..1"), b)
    assert single.notable is None
    for bad in ("@5..5", "@7..6", "@11..12", "@10..", "@0..0.5", "@4.5..5.5"):
        with pytest.raises(KvmtopError, match="no whole interval"):
            RecordingSpan.read(file + bad)


def test_an_at_sign_in_a_name(tmp_path: Path) -> None:
    file = record(tmp_path / "run@1..2", [{MSR: (10, 1000)}] * 3)
    assert RecordingSpan.read(file).intervals == 3 and RecordingSpan.read(f"{file}@1..2").intervals == 1


def test_as_text(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *pair]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == "\n".join(text(RecordingSpan.read(pair[0]), RecordingSpan.read(pair[1]))) + "\n"
    rows = {line.split()[0]: line.split() for line in out.splitlines()[4:7]}
    assert rows["msr"][1:4] == ["100", "105", "+5%"] and "*" not in rows["msr"]
    assert rows["io"][1:5] == ["50", "60", "+20%", "*"]
    assert rows["cpuid"][1:5] == ["0", "7.0", "new", "*"]
    assert cli.main(["compare", pair[0], "/nowhere"]) == 2
    assert capsys.readouterr().err == "kvmtop: there is no file /nowhere\n"


def test_two_hours_of_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the clock; over the border of two segments, and of two runs, between which nothing counts."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    first = write(tmp_path, Dated(), [20, 20])
    second = write(tmp_path, Dated(BEGAN + 100, started=50, seed=2), [20])

    def counts(*ends: tuple[Snapshot | None, Snapshot]) -> dict[str, int]:
        found: dict[str, int] = {}
        for before, after in ends:
            for reason in by_reason(diff(before, after)):
                found[reason.name] = found.get(reason.name, 0) + reason.count
        return found

    for part, seconds, expected in (
        ("06:00:10..06:00:30", 20, counts((first[9], first[29]))),
        ("06:00:30..2026-11-24T06:01:50", 20, counts((first[29], first[39]), (None, second[9]))),
        ("-15s..", 15, counts((second[4], second[19]))),
    ):
        span = RecordingSpan.read(f"{tmp_path}@{part}")
        assert span.seconds == seconds and span.intervals == seconds
        assert {reason.name: reason.count for reason in span.reasons.values()} == expected
        pieces = [piece for _, piece in span.pieces(span.cuts(1))]
        assert len(pieces) == seconds
        for key, reason in span.reasons.items():
            assert sum(piece[key].count for piece in pieces if key in piece) == reason.count
            assert np.array_equal(np.sum([piece[key].hist for piece in pieces if key in piece], axis=0), reason.hist)
    assert cli.main(["compare", f"{tmp_path}@06:00:00..06:00:20", f"{tmp_path}@06:00:20..06:00:40", "--batch"]) == 0
    assert "@06:00:00..06:00:20: 20.0s, 20 intervals" in capsys.readouterr().out
    for part, words in (("05:00..05:30", "is not in"), ("noon..", "is no moment"), ("06:00:50..06:01:20", "no whole")):
        with pytest.raises(KvmtopError, match=words):
            RecordingSpan.read(f"{tmp_path}@{part}")
    monkeypatch.undo()
    time.tzset()


def test_by_vm_all_exits_of_each_but_halts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "run")
    recorded(tmp_path / "run", 20)
    of_vms = RecordingSpan.read(file, of_vms=lambda reason: True)
    assert set(of_vms.reasons) == {"web01", "db01"}
    for name, whole in of_vms.reasons.items():
        alone = RecordingSpan.read(file, Selection.of([str(name)])).reasons
        mine = [one for one in alone.values() if one.name != "hlt"]
        assert whole.count == sum(one.count for one in mine) > 0 and len(mine) < len(alone)
        assert whole.time == sum(one.time for one in mine) and sum(whole.hist) == whole.count
    only = RecordingSpan.read(file, of_vms=lambda reason: reason.name == "io").reasons["web01"]
    assert 0 < only.count < of_vms.reasons["web01"].count
    assert cli.main(["compare", "--batch", "--by", "vm", f"{file}@0..10", f"{file}@10..20"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^VM  ", out, re.MULTILINE) and re.search(r"^web01  ", out, re.MULTILINE) and "REASON" not in out


@pytest.mark.parametrize("vms", [(), ("job*",)])
def test_exits_of_what_came_and_went_count_in_any_stretch(tmp_path: Path, vms: tuple[str, ...]) -> None:
    file, selection = tmp_path / "run", Selection.of(vms)
    recorder = Recorder(Forgetful(), file)
    for _ in range(40):
        recorder.read()
    recorder.close()
    snapshots = list(Recording(file, selection=selection))
    for first, end in ((0, 40), (3, 30), (9, 24)):
        reasons, by_vm = Counter[Hashable](), Counter[Hashable]()
        for n, after in enumerate(snapshots[first:end], first):
            interval = diff(snapshots[n - 1] if n else None, after)
            reasons.update({one.key: one.count for one in by_reason(interval)})
            for pid, vm in interval.after.vms.items():
                mine = by_reason(interval, unpack(after.threads["id"])[0] == pid)
                by_vm[vm.name] += sum(one.count for one in mine if one.name != "hlt")
        text = f"{file}@{first}..{end}"
        span = RecordingSpan.read(text, selection)
        assert {key: one.count for key, one in span.reasons.items()} == +reasons and span.seconds == end - first
        span = RecordingSpan.read(text, selection, of_vms=lambda reason: True)
        assert {key: one.count for key, one in span.reasons.items() if one.count} == +by_vm and len(by_vm) > 2
        store = Store(file, selection=selection)
        told = report(store.between(store.first + first, store.first + end))
        assert told.intervals == end - first and told.whole.rows["count"].sum() == reasons.total()


def halves_by_vm(file: Path) -> list[Change]:
    a, b = (RecordingSpan.read(f"{file}@{part}", of_vms=lambda reason: True) for part in ("0..32", "32..64"))
    return changes(a, b)


def test_a_vm_that_changed_and_what_chance_does(tmp_path: Path) -> None:
    """Halves of steady runs of 60 VMs are not told apart; many more exits are."""
    marked = 0
    for seed in range(2):
        file = tmp_path / f"{seed}"
        recorded(file, 64, Busy(vms=30, vcpus=1, seed=seed))
        found = halves_by_vm(file)
        assert len(found) == 30
        marked += sum(bool(one.notable) for one in found)
    assert not marked
    file = tmp_path / "grows"
    host = Busy(vms=2, vcpus=1)
    recorder = Recorder(host, file)
    for n in range(64):
        if n >= 32:
            for _ in range(200):
                host.exits(4001, 0x7B, 50_000)
        recorder.read()
    recorder.close()
    changed = {one.name: one.notable for one in halves_by_vm(file)}
    assert changed == {"web01": True, "db01": False}
