"""The tables of what exits touched, slow exits and polls, in words and columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from kvmtop import units
from kvmtop.insight import slow_exits
from kvmtop.insight.accesses import Touched
from kvmtop.insight.halt_polling import Polling
from kvmtop.model.histogram import bucket_bounds
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import SVM, VMX, Vm
from kvmtop.reference import exit_reasons
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean
from kvmtop.tables import view
from kvmtop.tables.halt_polling import verdict
from kvmtop.tables.rows import Heading, Row

from ..support.fake import Host

COM = Touched("io", 0x3F8, 0x101, 2.0, 8, 4, 40_000, 20_000, 16_000, 0.25, (), (1.0, 2.0, 4.0))
COM_P99 = sum(bucket_bounds(view.bucket_of(10_000))) / 2


def cells(table: tuple[list[Heading], list[Row]], row: int = 0) -> dict[str, object]:
    headings, rows = table
    assert all(len(one.cells) == len(headings) for one in rows)
    return dict(zip([heading.key for heading in headings], rows[row].cells, strict=True))


def width(table: tuple[list[Heading], list[Row]]) -> int:
    return sum(heading.width + 1 for heading in table[0])


def test_what_was_touched() -> None:
    hist = [0] * 128
    hist[view.bucket_of(10_000)] = 4
    table = view.touch_table([replace(COM, hist=tuple(hist))], 160, Labels())
    found = cells(table)
    assert found["p99"] == units.duration(COM_P99)
    assert found == {
        "what": "port 0x3f8 COM1 out 1 B", "rate": "4.0", "time": "20.0µs", "share": "25.0%", "avg": "10.0µs",
        "p99": found["p99"], "max": "16.0µs", "trend": "     ▃▅█",
    }  # fmt: skip
    assert table[1][0].fill == 0.25 and table[1][0].key == ("io", 0x3F8, 0x101)


def test_what_is_unknown_is_a_dash() -> None:
    none = replace(COM, exits=0, total=0, max=None, share=None, trend=())
    found = cells(view.touch_table([none], 160, Labels()))
    assert found["avg"] == found["p99"] == found["max"] == found["share"] == "–"


@pytest.mark.parametrize("room", [40, 60, 79, 80, 100, 120, 160, 300])
def test_tables_fit(room: int) -> None:
    touched = view.touch_table([COM], room, Labels())
    assert width(touched) <= room
    assert {heading.key for heading in touched[0]} >= {"what", "rate", "time", "p99"}
    host = Host()
    host.add(100, "web")
    host.linger(101, 0x7B, 5_000_000)
    late = view.slow_table(slow_exits.read(host.slow(), host.read()), room, Labels())
    assert width(late) <= max(room, 47)
    assert {heading.key for heading in late[0]} >= {"vm", "vcpu", "reason", "ns", "user"}
    assert ("what" in cells(late)) == (room >= 76)


def test_the_columns_that_matter_most_stay_longest() -> None:
    order = ["max", "trend", "share", "avg"]
    for room in range(140, 40, -1):
        there = {heading.key for heading in view.touch_table([COM], room, Labels())[0]}
        gone = [key for key in order if key not in there]
        assert gone == order[: len(gone)]
    assert gone == order


def test_slow_exits() -> None:
    host = Host()
    host.add(100, "web", 2)
    host.linger(102, 0x7B, 9_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.linger(101, 0x60, 2_000_000)
    labels = Labels(symbols=Symbols([(0xFFFFFFFF81000000, "outb")]))
    table = view.slow_table(slow_exits.read(host.slow(), host.read()), 200, labels)
    first, second = cells(table, 0), cells(table, 1)
    first.pop("time"), second.pop("time")
    assert first == {
        "vm": "web", "vcpu": "1", "reason": "io", "ns": "9.00ms", "kernel": "4.00ms", "user": "5.00ms", "idle": "0",
        "cpu": "1", "what": "port 0x3f8 COM1 out 1 B", "rip": "0xffffffff81000010 outb+0x10 (kernel)",
    }  # fmt: skip
    assert (second["what"], second["reason"], second["rip"]) == ("–", "interrupt", "0x0 (user)")
    assert len({row.key for row in table[1]}) == 2


def test_polling() -> None:
    host = Host()
    host.add(100, "web", 2)
    ours, theirs = (Polling(pid << 32 | pid + 2, 2.0, 6, 4, 3, 860_000, window) for pid, window in ((100, 200_000), (7, None)))  # fmt: skip
    headings, rows = view.polling_table([ours, theirs], diff(None, host.read()))
    assert rows[0].cells == ["web vCPU 1", "6", "4", "430µs/s", "200µs", verdict(ours)]
    assert rows[1].cells == ["7 vCPU –", "6", "4", "430µs/s", "–", verdict(theirs)]
    assert len(headings) == 6


def test_hostile_names_are_plain_text_in_every_table() -> None:
    host = Host()
    host.add(100, "x")
    host.vms[100] = Vm(100, clean("\x1b[31m[bold]w\u202eeb\n"))
    host.linger(101, 0x7B, 5_000_000, rip=0x1000)
    snapshot = host.read()
    labels = Labels(symbols=Symbols([(0x1000, clean("\x1b]0;x\x07[red]f"))]))
    late = slow_exits.read(host.slow(), snapshot)
    tables = (
        view.slow_table(late, 200, labels), view.touch_table([replace(COM, kind="rip", value=0x1000)], 200, labels),
        view.polling_table([Polling(100 << 32 | 101, 1, 1, 1, 0, 1, None)], diff(None, snapshot)),
    )  # fmt: skip
    for _, rows in tables:
        text = " ".join(str(cell) for row in rows for cell in row.cells)
        assert text.isprintable() and cell_len(text) and ("[bold]" in text or "[red]" in text)


def test_meanings_have_what_causes_and_advice() -> None:
    for key in ((SVM, 0x7B), (VMX, 30), (VMX, 48 | 1 << 31)):
        text = view.meaning(*key)
        found = exit_reasons.meaning(*key)
        assert found and text == f"{found.what}\nUsual causes: {found.causes}\nWhat to try: {found.advice}"
    assert view.meaning(SVM, 0x99999) == ""


@pytest.mark.parametrize("text", ["a{99999999999}", "(" * 5000, "(" * 5000 + "a" + ")" * 5000, "[", "a(", "\\"])
def test_a_filter_that_is_no_regular_expression_is_the_text(text: str) -> None:
    assert view.matcher(text)(f"in it {text.upper()} is") and not view.matcher(text)("another")


def test_a_filter_that_is_a_regular_expression() -> None:
    assert view.matcher("^EPT|hlt$")("ept_violation") and not view.matcher("^EPT|hlt$")("hlt x")
