"""What a column is, whatever the table."""

from __future__ import annotations

import pytest

from kvmtop.tables.columns import Column, fitting, headings, laid_out, logged, ordered
from kvmtop.tables.rows import Row

Item = tuple[str, float | None]


def dash(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


COLUMNS: tuple[Column[Item], ...] = (
    Column("name", "NAME", 10, lambda item: item[0], left=True, grow=4, shrink=3),
    Column("value", "VALUE", 5, lambda item: item[1], dash),
    Column("away", "AWAY", 6, lambda item: item[1], dash, order=lambda value: value and -value, drop=1),
    Column("first", "FIRST", 5, len, drop=2),
    Column("too", "TOO", 3, len, drop=2),
)
ITEMS: list[Item] = [("b", 2), ("none", None), ("c", 3), ("a", 2), ("nor", None)]


@pytest.mark.parametrize(
    ("width", "keys"),
    [
        (33, "name value away first too"),
        (32, "name value away"),
        (23, "name value away"),
        (22, "name value"),
        (0, "name value"),
    ],
)
def test_columns_of_one_level_go_together_and_those_without_a_level_stay(width: int, keys: str) -> None:
    assert " ".join(column.key for column in fitting(COLUMNS, width)) == keys


@pytest.mark.parametrize(("width", "first"), [(34, 10), (35, 11), (38, 14), (99, 14), (33, 9), (31, 7), (10, 7)])
def test_who_may_grow_takes_what_is_left_and_gives_what_is_missing(width: int, first: int) -> None:
    widths = [heading.width for heading in headings(COLUMNS, width)]
    assert widths == [first, 5, 6, 5, 3]


@pytest.mark.parametrize(
    ("width", "widths"),
    [(12, [5, 5]), (14, [7, 5]), (15, [8, 5]), (17, [8, 7]), (99, [8, 9]), (10, [4, 4]), (0, [4, 3])],
)
def test_what_the_first_leaves_the_next_may_take(width: int, widths: list[int]) -> None:
    first: Column[Item] = Column("first", "FIRST", 5, len, grow=3, shrink=1)
    then: Column[Item] = Column("then", "THEN", 5, len, grow=4, shrink=2)
    assert [heading.width for heading in headings((first, then), width)] == widths


def test_laid_out() -> None:
    heads, rows = laid_out(COLUMNS, ITEMS, 24, lambda item, cells: Row(item[0], cells, dim=item[1] is None))
    assert [(head.key, head.title, head.left) for head in heads] == [
        ("name", "NAME", True),
        ("value", "VALUE", False),
        ("away", "AWAY", False),
    ]
    assert [row.cells for row in rows[:2]] == [["b", "2", "2"], ["none", "–", "–"]]
    assert [row.dim for row in rows] == [False, True, False, False, True]


def test_ordered_by_what_is_known() -> None:
    name, value, away, *_ = COLUMNS

    def names(column: Column[Item], descending: bool) -> str:
        return " ".join(item[0] for item in ordered(ITEMS, column, descending))

    assert names(name, False) == "a b c none nor" and names(name, True) == "nor none c b a"
    assert names(value, True) == "c b a none nor" and names(value, False) == "b a c none nor"  # equal ones as they are
    assert names(away, True) == "b a c none nor"  # by its own order


def test_logged_columns_are_the_same_in_other_clothes() -> None:
    value, name = logged(COLUMNS, ("value", "OF IT", 9), ("name", "WHO", 4))
    assert (value.title, value.width, value.cell(("x", 1.5))) == ("OF IT", 9, "1.5")
    assert (name.title, name.width, name.left) == ("WHO", 4, True)
