"""Charts that plotext draws."""

from __future__ import annotations

import pytest

from kvmtop.tables.rows import Ticks
from kvmtop.widgets.canvas import Runs
from kvmtop.widgets.chart import histogram
from kvmtop.widgets.theme import _COLOURLESS, _DARK

DECADES = Ticks([0, 13, 26], ["10µs", "100µs", "1ms"])
MARKS = [("p50 100µs", 13), ("p99 1.05ms", 26), ("max 1.10ms", 27)]


def text(lines: list[Runs]) -> list[str]:
    return ["".join(run for run, _ in line) for line in lines]


def test_bars_are_as_high_as_they_are_many_in_eighths_of_cells() -> None:
    drawn = text(histogram([0, 80, 40, 1, 5], [], Ticks([0], ["1µs"]), 5, 13, _DARK))
    columns = ["".join(line[x] for line in drawn[2:12][::-1]).rstrip() for x in range(5)]
    assert columns == ["", "█" * 10, "█" * 5, "▁", "▅"]
    assert drawn[-1].startswith("1µs")


def test_marks_stand_over_their_buckets_and_their_words_over_none_other() -> None:
    labels, heads, *rows = text(histogram([9] + [1] * 29, MARKS, DECADES, 60, 12, _DARK))
    assert [at for at, char in enumerate(heads) if char == "▾"] == [27, 53, 55]
    assert "┊" in "".join(rows)
    assert labels.split("  ")[-2:] == ["p99 1.05ms", "max 1.10ms"] and "p50 100µs" in labels
    assert labels.index("p50") < 27 < labels.index("p50") + 9


def test_where_it_is_narrow_no_word_loses_a_letter() -> None:
    marks = [("p50 90.1µs", 2), ("p99 2.36ms", 20), ("max 2.62ms", 21)]
    assert text(histogram([1] * 30, marks, DECADES, 32, 12, _DARK))[0] == "p50 90.1µs p99 2.36ms max 2.62ms"
    assert "p99 2.36ms  max 2.62ms" in text(histogram([1] * 30, marks, DECADES, 40, 12, _DARK))[0]


@pytest.mark.parametrize("width", [16, 20, 46, 200])
@pytest.mark.parametrize("height", [4, 5, 15])
def test_it_fills_its_room(width: int, height: int) -> None:
    for colours in (_DARK, _COLOURLESS):
        drawn = text(histogram([n % 7 for n in range(40)], MARKS, DECADES, width, height, colours))
        assert len(drawn) == height and {len(one) for one in drawn} == {width}


def test_what_is_there_at_all_is_seen_and_nothing_is_nothing() -> None:
    drawn = text(histogram([1, 100_000, 0], [], Ticks([], []), 3, 8, _DARK))
    assert "".join(line[0] for line in drawn).strip() == "▁"
    assert not "".join(line[2] for line in drawn).strip()
