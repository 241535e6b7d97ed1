from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from kvmtop import units
from kvmtop.insight.accesses import Access
from kvmtop.model.histogram import bucket_bounds, bucket_of
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean
from kvmtop.tables.accesses import access_table

from ..support.rows import cells, width

COM = Access("io", 0x3F8, 0x101, 2.0, 8, 4, 40_000, {"user": 20_000}, 16_000, 0.5, (), (1.0, 2.0, 4.0), 30_000, 0.25)
COM_P99 = sum(bucket_bounds(bucket_of(10_000))) / 2


def test_what_was_touched() -> None:
    hist = [0] * 128
    hist[bucket_of(10_000)] = 4
    table = access_table([replace(COM, hist=tuple(hist))], 160, Labels())
    found = cells(table)
    assert found["p99"] == units.duration(COM_P99)
    assert found == {
        "what": "port 0x3f8 COM1 out 1 B",
        "rate": "4.0",
        "time": "15.0µs",
        "share": "25.0%",
        "avg": "10.0µs",
        "p99": found["p99"],
        "max": "16.0µs",
        "trend": "      ⢀⣼",
    }
    assert table[1][0].key == ("io", 0x3F8, 0x101)


def test_why_the_vmm_was_asked_is_no_second_exit() -> None:
    asked = replace(COM, kind="user", value=2, extra=0)
    assert cells(access_table([asked], 160, Labels()))["what"] == "to the VMM: KVM_EXIT_IO"


def test_what_is_unknown_is_a_dash() -> None:
    none = replace(COM, exits=0, total=0, max=None, own_share=None, trend=())
    found = cells(access_table([none], 160, Labels()))
    assert found["avg"] == found["p99"] == found["max"] == found["share"] == "–"


def test_most_time_of_its_own_comes_first() -> None:
    waits = replace(COM, value=0x80, total=90_000, own=10_000)
    assert [row.key for row in access_table([waits, COM], 160, Labels())[1]] == [
        ("io", 0x3F8, 0x101),
        ("io", 0x80, 0x101),
    ]


@pytest.mark.parametrize("room", [40, 60, 79, 80, 100, 120, 160, 300])
def test_it_fits(room: int) -> None:
    table = access_table([COM], room, Labels())
    assert width(table) <= room
    assert {heading.key for heading in table[0]} >= {"what", "rate", "time", "p99"}


def test_the_columns_that_matter_most_stay_longest() -> None:
    order = ["max", "trend", "share", "avg"]
    for room in range(140, 40, -1):
        there = {heading.key for heading in access_table([COM], room, Labels())[0]}
        gone = [key for key in order if key not in there]
        assert gone == order[: len(gone)]
    assert gone == order


def test_hostile_names_are_plain_text() -> None:
    labels = Labels(symbols=Symbols([(0x1000, clean("\x1b]0;x\x07[red]f"))]))
    _, (row,) = access_table([replace(COM, kind="rip", value=0x1000)], 200, labels)
    text = " ".join(str(cell) for cell in row.cells)
    assert text.isprintable() and cell_len(text) and "[red]" in text
