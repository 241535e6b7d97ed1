from __future__ import annotations

from rich.cells import cell_len

from kvmtop.tables.columns import Column
from kvmtop.tables.rows import Cell
from kvmtop.tables.text import lines

Item = tuple[str, int, Cell]


def table(*items: Item, cut: bool = True) -> list[str]:
    columns: list[Column[Item]] = [
        Column("name", "NAME", 6, lambda item: item[0], left=True, cut=cut),
        Column("number", "NO", 4, lambda item: item[1]),
        Column("state", "STATE", 5, lambda item: item[2], lambda cell: cell, left=True),
    ]
    return list(lines(columns, items))


def test_numbers_to_the_right_text_to_the_left_and_nothing_behind_the_last() -> None:
    assert table(("a", 1, ""), ("bcdef", 1234, "well"), ("", 0, "longer than that")) == [
        "NAME     NO  STATE",
        "a         1",
        "bcdef  1234  well",
        "          0  longer than that",
    ]


def test_what_is_cut_keeps_a_blank_behind_it() -> None:
    assert table(("abcdefgh", 12345, "x"))[1] == "abcde  12345  x"
    assert table(("abcdefgh", 1, "x"), cut=False)[1] == "abcdefgh    1  x"


def test_wide_characters_take_two_places() -> None:
    for name in ("名前名前名前", "a名前名前"):
        line = table((name, 7, "x"))[1]
        assert cell_len(line) == cell_len(table(("a", 7, "x"))[1]) and line.endswith(" 7  x")
    assert table(("名前名前", 7, "x"), cut=False)[1] == "名前名前    7  x"


def test_runs_of_colour_are_plain_text() -> None:
    assert table(("a", 1, [("▒▒", "red"), ("█", "blue")]))[1].endswith("1  ▒▒█")
