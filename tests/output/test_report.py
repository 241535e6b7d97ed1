"""The page that `kvmtop report` writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kvmtop import cli, units
from kvmtop.commands.demo import FOLDER
from kvmtop.insight.report import report
from kvmtop.insight.rules import BY_NAME
from kvmtop.insight.slow_exits import Slow, read
from kvmtop.model.selection import Selection
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import STATES
from kvmtop.output.report import html
from kvmtop.recording.store import Store
from kvmtop.widgets.theme import _DARK, _LIGHT

from ..support.fake import Busy, Host
from ..support.program import sentence
from ..support.recordings import record
from ..support.watched import Watched

DEMO = FOLDER / "amd.kvmtop"
VOID = {"meta", "br", "link", "img", "input"}


class Page(HTMLParser):
    """Its elements and words. Ends in an error where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags = list[tuple[str, dict[str, str | None]]]()
        self.words = ""
        self.rows = list[list[str]]()
        self._open = list[str]()
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words += data
        if self.rows and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].strip() == name)


@pytest.fixture(scope="module")
def demo() -> Page:
    return Page(html(report(Store(DEMO))))


def test_its_figures_are_those_of_the_recording(demo: Page, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(DEMO), "--json"]) == 0
    *intervals, _ = map(json.loads, capsys.readouterr().out.splitlines())
    exits = sum(reason["count"] for one in intervals for reason in one["reasons"] if reason["name"] == "msr")
    heads = next(row for row in demo.rows if row and row[0] == "REASON")
    assert demo.row("msr")[heads.index("TOTAL")] == units.number(exits)
    assert f"{len(intervals)} intervals" in demo.words


def test_where_the_time_went_adds_up(demo: Page) -> None:
    found = dict(re.findall(r"([a-z]+) ([\d.]+)%", demo.words.partition("went")[2].partition("stood")[0]))
    assert set(found) == set(STATES) and sum(map(float, found.values())) == pytest.approx(100, abs=0.4)


def test_pieces_are_the_recordings_own_and_their_findings_the_dashboards(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(DEMO), "--batch"]) == 0
    said = set(re.findall(r"^! (.*?) \[", capsys.readouterr().out, re.MULTILINE))
    found = report(Store(DEMO))
    assert found.intervals == len(found.pieces) and found.stood
    assert {one.finding.text for one in found.stood} <= said
    assert all(found.began <= one.first < one.last <= found.ended for one in found.stood)
    told = [row[-1] for row in Page(html(found)).rows if row and "[" in row[-1]]
    for one, words in zip(found.stood, told, strict=True):  # each with what to try
        tries = BY_NAME[one.finding.name].remedy.words
        assert words.endswith("".join(f"Try {text}" for text in tries)) and tries


def test_a_long_recording_is_cut_into_pieces_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvmtop.insight.report.PIECES", 10)
    record(tmp_path / "run", 27)
    found = report(Store(tmp_path / "run"))
    assert len(found.pieces) == 10 and found.intervals == 27
    assert sum(piece.exits for piece in found.pieces) == found.whole.rows["count"].sum()
    assert (sum(piece.states for piece in found.pieces) == found.whole.budget.sum(axis=0)).all()


def test_a_stretch_has_its_own_exits_only(tmp_path: Path) -> None:
    record(tmp_path / "run", 20)
    parts = []
    for first, end in ((0, 7), (7, 20)):
        store = Store(tmp_path / "run")
        store.cut(first, end)
        parts.append(report(store))
    whole = report(Store(tmp_path / "run"))
    assert sum(int(part.whole.rows["count"].sum()) for part in parts) == whole.whole.rows["count"].sum()
    for part in parts:
        assert sum(line.total for line in part.lines) == part.whole.rows["count"].sum()
    assert parts[0].ended == pytest.approx(parts[1].began, abs=1e-6)


def test_slow_exits_are_the_longest_of_all(tmp_path: Path) -> None:
    host = Watched()
    host.look_at()
    seen = [one for snapshot in record(tmp_path / "run", 8, host)[:-1] for one in slow_of(snapshot)]
    found = report(Store(tmp_path / "run")).slow
    assert [one.ns for one in found] == sorted((one.ns for one in seen), reverse=True)[:20] and found[0].ns > 0
    assert found[0] in seen
    of_one = report(Store(tmp_path / "run", selection=Selection.of(["db01"]))).slow
    assert {one.vm for one in of_one} == {"db01"}
    page = Page(html(report(Store(tmp_path / "run"))))
    assert next(row for row in page.rows if "lasted" in row) and units.duration(found[0].ns) in page.words
    assert "None: either nobody looked" in Page(html(report(Store(DEMO)))).words


def slow_of(snapshot: Snapshot) -> list[Slow]:
    assert snapshot.details
    return read(snapshot.details.slow, snapshot)


def test_runs_with_a_gap_between_them(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    later = Busy(seed=2)
    later.now += 10**12
    later.start = later.now
    for number, host in enumerate((Busy(), later)):
        record(store / f"2026-11-30T17120{number}Z.kvmtop", 6, host)
    found = report(Store(store))
    assert sum(piece.exits for piece in found.pieces) == found.whole.rows["count"].sum() > 0
    assert sum("Counting began anew" in one for one in found.unknown) == 1
    assert "VMs and vCPUs are those of the last run." in found.unknown
    html(found)


def test_names_are_text_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    host, name = Host(), '<script>alert(1)</script>"><img src=x onerror=y>'
    host.add(300, name)
    host.exits(301, 0x72, 1000)
    record(tmp_path / "run", 3, host)  # type: ignore[arg-type]
    text = html(report(Store(tmp_path / "run")))
    assert text.isascii()
    page = Page(text)
    assert name[:20] in page.words
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object"}
    attributes = {key for _, attrs in page.tags for key in attrs}
    assert not any(key.startswith("on") or key in ("href", "src", "xlink:href") for key in attributes)
    assert "url(" not in text and "@import" not in text and "http://" not in text and "https://" not in text


def test_what_is_not_known_is_not_zero(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "data/recordings/format1.kvmtop"
    page = Page(html(report(Store(old))))
    assert "Time in these states is not told apart: " in page.words
    heads = next(row for row in page.rows if row and row[0] == "VM / VCPU")
    vcpus = [row for row in page.rows if row and row[0].startswith("vCPU ")]
    assert {row[heads.index("WAIT")] for row in vcpus} == {units.DASH}


def test_its_colours_are_the_dashboards() -> None:
    css = (Path(cli.__file__).parent / "data/report.css").read_text()
    light, dark = re.findall(r"--guest:.*", css)
    for line, palette in ((light, _LIGHT), (dark, _DARK)):
        assert dict(re.findall(r"--(\w+): (#\w+)", line)) == palette.fill


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert cli.main(["report", str(DEMO), "-o", str(page), "--vm", "db01", "--no-config"]) == 0
    assert capsys.readouterr() == ("", "")
    assert "db01" in page.read_text() and "web01" not in page.read_text()
    assert cli.main(["report", str(DEMO), "--no-config"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/nowhere"], "there is no file /nowhere"),
        ([str(DEMO), "-o", str(DEMO)], "it is the recording"),
        ([str(DEMO), "-o", "/tmp"], "is a directory"),
        ([str(DEMO), "-o", "/no/such/place"], "No such file"),
        ([str(DEMO), "--vm", "nobody"], "nobody"),
        ([str(DEMO), "--at", "3 o'clock"], "is no moment"),
        ([str(DEMO), "--at", "2020-01-01"], "is not in"),
        ([str(DEMO), "--at", "03:12", "--to", "03:13"], "--to"),
    ],
)
def test_what_cannot_be_is_one_sentence(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *argv, "--no-config"]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == "" and words in sentence(err)


def test_what_the_host_is(tmp_path: Path) -> None:
    host = Host()
    host.origin = replace(host.origin, facts={"CPU": "<b>EPYC\x1b[2J", "kvm.halt_poll_ns": "200000"})
    record(tmp_path / "run", 3, host)  # type: ignore[arg-type]
    page = Page(html(report(Store(tmp_path / "run"))))
    assert page.row("CPU")[1] == "<b>EPYC [2J" and page.row("kvm.halt_poll_ns")[1] == "200000"
