from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.model.exit_stats import Reason
from kvmtop.model.histogram import BUCKETS, bucket_of
from kvmtop.model.session import Line
from kvmtop.model.vocabulary import OUTSIDE, SVM
from kvmtop.tables.columns import Column, fitting
from kvmtop.tables.exit_reasons import BY_KEY, COLUMNS, foot, ordered, reason_table, together
from kvmtop.tables.rows import Cell
from kvmtop.tables.states import UNKNOWN

NEVER_DROPPED = ["reason", "rate", "time", "p99"]


def line(
    name: str, count: int = 10, ns: int = 1_000, share: float | None = 0.5, trend: tuple[float, ...] = (1, 2)
) -> Line:
    hist = [0] * BUCKETS
    hist[bucket_of(ns)] = count
    total, longest = count * ns, ns if count else None
    parts = dict.fromkeys(OUTSIDE, 0) | {"kernel": total // 2, "user": total // 4, "wait": total - 3 * (total // 4)}
    reason = Reason(SVM, 0x72, name, 2.0, count, total, parts, total, ns, longest, tuple(hist))
    return Line(reason, share, share, list(trend), count, share)


def plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else "".join(run for run, _ in cell)


def states(of: Line) -> list[str]:
    """Of its bar."""
    cell = BY_KEY["where"].cell(of)
    assert not isinstance(cell, str)
    return [state for _, state in cell]


def words(column: Column[Line], of: Line) -> str:
    return plain(column.cell(of))


def width(columns: list[str], gap: int = 1) -> int:
    return sum(BY_KEY[key].width for key in columns) + gap * (len(columns) - 1)


LEAST = width(NEVER_DROPPED)
MOST = width(list(BY_KEY))


@pytest.mark.parametrize("space", range(40, 201))
def test_fitting(space: int) -> None:
    chosen = [column.key for column in fitting(COLUMNS, space)]
    assert chosen == [column.key for column in COLUMNS if column.key in chosen]  # in order
    assert set(NEVER_DROPPED) <= set(chosen)
    assert width(chosen) <= max(space, LEAST)
    if chosen != list(BY_KEY):  # none went without need: the last to go would not have fitted
        last = min((column for column in COLUMNS if column.key not in chosen), key=lambda column: column.drop)
        assert width([*chosen, last.key]) > space
    assert set(chosen) <= {column.key for column in fitting(COLUMNS, space + 1)}


def test_fitting_extremes() -> None:
    assert [column.key for column in fitting(COLUMNS, 0)] == NEVER_DROPPED
    assert fitting(COLUMNS, MOST) == list(COLUMNS)
    assert len(fitting(COLUMNS, MOST - 1)) == len(COLUMNS) - 1
    assert len(fitting(COLUMNS, MOST, gap=2)) < len(COLUMNS)


@pytest.mark.parametrize(
    ("space", "keys"),  # of the reasons' pane in screens of 160, 140, 120, 80, 59 and 40 columns
    [
        (89, "reason rate time time_share where user avg p50 p99 max trend"),
        (78, "reason rate time time_share user avg p50 p99 max trend"),
        (66, "reason rate time time_share user p99 max trend"),
        (76, "reason rate time time_share user p50 p99 max trend"),
        (55, "reason rate time time_share p99 max"),
        (36, "reason rate time p99"),
    ],
)
def test_what_gives_way(space: int, keys: str) -> None:
    headings, rows = reason_table([line("cpuid"), line("msr")], space)
    assert [heading.key for heading in headings] == keys.split()
    assert sum(heading.width + 1 for heading in headings) <= max(space, 36) + 1
    for row in rows:
        for heading, cell in zip(headings, row.cells, strict=True):
            assert len(plain(cell)) <= heading.width or heading.key == "reason"


def test_each_column_is_known_and_explained() -> None:
    assert len(BY_KEY) == len(COLUMNS)
    for column in COLUMNS:
        assert len(column.title) <= column.width
        assert column.help


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.key)
@pytest.mark.parametrize(
    "extreme",
    [
        line("x"),
        line("x", 0, share=None, trend=()),
        line("x", 10**9, share=1.0, trend=tuple(range(99))),
        line("x", 8, 10**12),
        line("x", 1, 1),
    ],
    ids=["usual", "nothing", "many", "long", "little"],
)
def test_each_cell_fits(column: Column[Line], extreme: Line) -> None:
    assert 0 < len(words(column, extreme)) <= column.width


def test_unknown_is_not_zero() -> None:
    nothing = line("x", 0, share=None, trend=())
    cells = {key: str(column.cell(nothing)).strip() for key, column in BY_KEY.items()}
    assert cells == {
        "reason": "x",
        "rate": "0",
        "share": "–",
        "time": "0",
        "time_share": "–",
        "where": "–",
        "user": "–",
        "blocked": "–",
        "wait": "–",
        "avg": "–",
        "p50": "–",
        "p99": "–",
        "max": "–",
        "trend": "",
        "total": "0",
    }


def parted(name: str, told: tuple[str, ...] = OUTSIDE, **parts: int) -> Line:
    """A reason whose time is in these states."""
    whole = {state: parts.get(state, 0) for state in told}
    one = line(name)
    return replace(one, reason=replace(one.reason, time=sum(parts.values()), parts=whole))


def test_where_the_time_goes() -> None:
    one = parted("x", kernel=10, user=20, blocked=30, wait=25, throttled=15)
    cells = {key: words(BY_KEY[key], one) for key in ("time", "user", "blocked", "wait")}
    assert cells == {"time": "30ns", "user": "33.3%", "blocked": "50.0%", "wait": "40.0%"}  # 60 ns in two seconds
    assert set(states(one)) == {"kernel", "user", "blocked", "wait", "throttled"}
    assert words(BY_KEY["wait"], parted("x", ("kernel", "wait"), kernel=10, wait=30)) == "75.0%"


def test_an_idle_reason_has_its_idle_time_is_marked_and_comes_last() -> None:
    hlt = replace(parted("hlt", idle=60, kernel=10, wait=30), aside=True, own_share=None)
    cells = {key: words(BY_KEY[key], hlt) for key in ("reason", "time", "time_share", "user", "where")}
    assert cells == {"reason": "hlt idle", "time": "30ns", "time_share": "–", "user": "–", "where": ""}
    for descending in (True, False):
        for key in ("time", "reason"):
            assert names(ordered([hlt, line("a"), line("z")], key, descending))[-1] == "hlt"
    _, rows = reason_table([line("io"), hlt], 89)
    assert [row.dim for row in rows] == [False, True]
    among = replace(hlt, aside=False, own_share=0.5)
    assert words(BY_KEY["reason"], among) == "hlt"
    assert names(ordered([line("a", ns=1), among], "reason", descending=False)) == ["a", "hlt"]


def test_a_bar_is_as_long_as_its_time_is_of_the_longest() -> None:
    lines = [parted("a", kernel=100, wait=300), parted("b", user=200), parted("c", user=1), parted("d", user=1)]
    lines[3] = replace(lines[3], own_share=0.0099)
    headings, rows = reason_table([*lines, replace(parted("hlt", idle=9_999), aside=True)], 89)
    at = [heading.key for heading in headings].index("where")
    assert [len(plain(row.cells[at])) for row in rows] == [7, 4, 1, 0, 0]
    assert [row.dim for row in rows] == [False, False, False, True, True]


def test_all_but_idle_is_the_foot() -> None:
    hlt = replace(line("hlt", 5, 9_000, 0.1), aside=True, own_share=None)
    lines = [line("io", 10, 1_000, 0.25), line("msr", 30, 3_000, 0.65), hlt]
    (found,) = together(lines)
    assert (found.reason.name, found.reason.count, found.share, found.own_share) == ("all but idle", 40, 0.9, 0.9)
    assert (found.reason.time, found.reason.avg, found.reason.max, found.total) == (100_000, 2_500, 3_000, 40)
    assert found.reason.own == sum(one.reason.own for one in lines[:2])
    assert found.trend == [2, 4] and sum(found.reason.hist) == 40
    headings, _ = reason_table(lines, 120)
    (row,) = foot([found], headings)
    assert plain(row.cells[0]) == "all but idle" and len(row.cells) == len(headings)
    assert together([line("io")])[0].reason.name == "all"
    assert together([hlt]) == together([]) == []


def test_columns_are_chosen_and_ordered_but_the_reason_is_first() -> None:
    headings, rows = reason_table([line("io")], 89, ["total", "wait", "reason", "rate"])
    assert [heading.key for heading in headings] == ["reason", "total", "wait", "rate"]
    assert plain(rows[0].cells[2]) == "25.0%"


def test_what_is_not_told_is_a_dash() -> None:
    one = parted("x", ("user",), kernel=30, user=10, blocked=0)
    assert {words(BY_KEY[key], one) for key in ("blocked", "wait")} == {"–"}
    assert words(BY_KEY["user"], one) == "25.0%"
    assert states(one) == ["user", UNKNOWN]
    assert words(BY_KEY["time"], one) == "20ns"  # all that is not known to be something else


def test_ordered_by_where() -> None:
    lines = [parted("a", kernel=9, wait=1), parted("b", blocked=1, throttled=1), parted("c", idle=2), parted("d")]
    assert names(ordered(lines, "where")) == ["b", "a", "c", "d"]


def names(lines: list[Line]) -> list[str]:
    return [line.reason.name for line in lines]


@pytest.mark.parametrize("key", ["rate", "share", "time", "time_share", "avg", "p50", "p99", "max", "total"])
def test_ordered(key: str) -> None:
    lines = [line("b", 20, 2_000, 0.2), line("c", 30, 3_000, 0.3), line("a", 10, 1_000, 0.1)]
    assert names(ordered(lines, key)) == ["c", "b", "a"]
    assert names(ordered(lines, key, descending=False)) == ["a", "b", "c"]


def test_ordered_by_trend() -> None:
    lines = [line("up", trend=(1, 5)), line("down", trend=(5, 1)), line("none", trend=()), line("flat", trend=(3, 3))]
    assert names(ordered(lines, "trend")) == ["up", "flat", "down", "none"]
    assert names(ordered(lines, "trend", descending=False)) == ["down", "flat", "up", "none"]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("key", ["avg", "p50", "max", "share", "user"])
def test_unknown_comes_last(key: str, descending: bool) -> None:
    lines = [line("z", 0, share=None), line("m"), line("a", 0, share=None), line("b")]
    assert names(ordered(lines, key, descending)) == ["b", "m", "a", "z"]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("key", [key for key in BY_KEY if key != "reason"])
def test_equal_ones_by_name(key: str, descending: bool) -> None:
    lines = [line("b"), line("c"), line("a")]
    assert names(ordered(lines, key, descending)) == ["a", "b", "c"]


def test_ordered_by_name() -> None:
    lines = [line("b"), line("c"), line("a")]
    assert names(ordered(lines, "reason", descending=False)) == ["a", "b", "c"]
    assert names(ordered(lines, "reason", descending=True)) == ["c", "b", "a"]


def test_ordered_leaves_its_argument() -> None:
    lines = [line("b"), line("c"), line("a")]
    ordered(lines, "reason")
    assert names(lines) == ["b", "c", "a"]
