"""A store of segments: replayed as one recording, from a moment to another."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from kvmtop import cli
from kvmtop.model.snapshot import Snapshot
from kvmtop.output import summary

from ..support.program import sentence
from ..support.stores import BEGAN, Dated, berlin, broken_off, write  # noqa: F401


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot], list[Snapshot]]:
    folder = tmp_path_factory.mktemp("store")
    return folder, *broken_off(folder)


def lines(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert cli.main(["replay", *argv]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_all_of_it(
    store: tuple[Path, list[Snapshot], list[Snapshot]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store[0]
    *found, last = lines(capsys, str(folder), "--json")
    assert len(found) == 40 and {one["length"] for one in found} == {1.0}
    assert [one["elapsed"] for one in found] == [*range(1, 31), *range(1, 11)]
    totals = [sum(reason["total"] for reason in one["reasons"]) for one in found]
    assert totals[30] < totals[29]  # another run counts anew
    sums = {row["code"]: row["count"] for row in last["reasons"]}
    assert sums == {
        code: sum(row.count for run in store[1:] for row in summary.rows(run[-1]) if row.code == code) for code in sums
    }
    out = tmp_path / "rows.csv"
    assert cli.main(["replay", str(folder), f"--csv={out}", "--batch"]) == 0
    text = capsys.readouterr().out
    assert text.count("REASON  ") == 40
    assert text.count("nothing was recorded from Tue 24 Nov 07:00:30 CET to Tue 24 Nov 07:01:40 CET") == 1
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    for row in rows:
        assert row["length"] == "1.0"
    assert sum(int(row["count"]) for row in rows) == sum(r["count"] for one in found for r in one["reasons"])


def test_a_stretch(store: tuple[Path, list[Snapshot], list[Snapshot]], capsys: pytest.CaptureFixture[str]) -> None:
    """Through two segments: its totals and its summary are those of the stretch."""
    folder = str(store[0])
    for options in (
        ("--from", "2026-11-24T07:00:10", "--to", "07:00:25"),
        ("--from", "07:00:10", "--to", "2026-11-24T06:00:25Z"),
        ("--from", "-100s", "--to", "-85s"),
    ):
        *found, last = lines(capsys, folder, *options, "--json")
        assert [one["elapsed"] for one in found] == [*range(11, 26)]
        for row in last["reasons"]:
            mine = [r for one in found for r in one["reasons"] if r["code"] == row["code"]]
            assert row["count"] == sum(r["count"] for r in mine) == mine[-1]["total"]
        assert last["length"] == 15 and None in [row["min_us"] for row in last["reasons"]]
    *found, last = lines(capsys, folder, "--from", "07:00:25", "--json")
    assert [one["elapsed"] for one in found] == [*range(26, 31), *range(1, 11)] and last["length"] == 5 + 1 + 10 + 1


def test_a_moment(store: tuple[Path, list[Snapshot], list[Snapshot]], capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(store[0])
    for text, elapsed in (
        ("07:00:20", 20),
        ("2026-11-24T06:00:20.5Z", 21),
        ("-5s", 5),
        ("07:01:00", 1),  # nothing was recorded then: what came next
    ):
        found, last = lines(capsys, folder, "--at", text, "--json")
        assert found["elapsed"] == elapsed and last["length"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at", "12:00"], "is not in"),
        (["--at", "yesterday 03:12"], "is not in"),
        (["--at", "noon"], "'noon' is no moment: write 03:12"),
        (["--from", "-1d", "--to", "-1h"], "is not in"),
        (["--from", "07:00:20", "--to", "2026-11-24T07:00:10"], "is not after"),
        (["--from", "07:00:40", "--to", "07:01:20"], "no whole interval"),
        (["--at", "07:00:20", "--to", "07:00:10"], "is not in"),
    ],
)
def test_what_there_is_not(
    store: tuple[Path, list[Snapshot], list[Snapshot]],
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["replay", str(store[0]), *options, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in sentence(err)
    if "is not in" in words:
        assert "which has Tue 24 Nov 07:00:00 CET to Tue 24 Nov" in err


def test_no_output_takes_the_place_of_a_segment(
    store: tuple[Path, list[Snapshot], list[Snapshot]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = min(store[0].iterdir())
    assert cli.main(["replay", str(store[0]), f"--json={path}"]) == 2
    assert "cannot write" in sentence(capsys.readouterr().err)


def test_a_single_file_has_moments_too(
    store: tuple[Path, list[Snapshot], list[Snapshot]], capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = lines(capsys, str(min(store[0].iterdir())), "--at", "07:00:07", "--json")
    assert found["elapsed"] == 7
