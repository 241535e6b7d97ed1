from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.model.exit_stats import Reason
from kvmtop.model.histogram import BUCKETS, bucket_of
from kvmtop.model.session import Line
from kvmtop.model.vocabulary import OUTSIDE, SVM
from kvmtop.tables.columns import Column, fitting
from kvmtop.tables.exit_reasons import BY_KEY, COLUMNS, ordered

NEVER_DROPPED = ["reason", "rate", "time", "time_share", "avg"]


def line(
    name: str, count: int = 10, ns: int = 1_000, share: float | None = 0.5, trend: tuple[float, ...] = (1, 2)
) -> Line:
    hist = [0] * BUCKETS
    hist[bucket_of(ns)] = count
    total, longest = count * ns, ns if count else None
    parts = dict.fromkeys(OUTSIDE, 0) | {"kernel": total // 2, "user": total // 4, "wait": total - 3 * (total // 4)}
    reason = Reason(SVM, 0x72, name, 2.0, count, total, parts, total, ns, longest, tuple(hist))
    return Line(reason, share, share, list(trend), count)


def words(column: Column[Line], of: Line) -> str:
    cell = column.cell(of)
    return cell if isinstance(cell, str) else "".join(run for run, _ in cell)


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
        "user": "–",
        "blocked": "–",
        "wait": "–",
        "where": "–",
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
    cells = {key: words(BY_KEY[key], one) for key in ("user", "blocked", "wait", "where")}
    assert cells == {"user": "20.0%", "blocked": "30.0%", "wait": "40.0%", "where": "▓▒▞▞╳╳╱"}
    assert words(BY_KEY["wait"], parted("x", ("kernel", "wait"), kernel=10, wait=30)) == "75.0%"


def test_what_is_not_told_is_a_dash() -> None:
    one = parted("x", ("user",), kernel=30, user=10, blocked=0)
    assert {words(BY_KEY[key], one) for key in ("blocked", "wait")} == {"–"}
    assert words(BY_KEY["user"], one) == "25.0%" and words(BY_KEY["where"], one) == "▒▒–––––"


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
