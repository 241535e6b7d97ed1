from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from kvmtop import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.4, "0"),
        (1, "1"),
        (999, "999"),
        (999.4, "999"),
        (999.5, "1.00k"),
        (1000, "1.00k"),
        (9994, "9.99k"),
        (9995, "10.0k"),
        (12_345, "12.3k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (4_570_000, "4.57M"),
        (9.995e6, "10.0M"),
        (999_499_999, "999M"),
        (999_500_000, "1.00G"),
        (999.5e9, "1.00T"),
        (1e15, "1000T"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert units.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.3, "0.3"),
        (1, "1.0"),
        (9.94, "9.9"),
        (9.95, "10"),
        (47.2, "47"),
        (999.4, "999"),
        (999.5, "1.00k"),
        (12_345, "12.3k"),
    ],
)
def test_rate(value: float | None, text: str) -> None:
    assert units.rate(value) == text


MINUTE, HOUR = 60 * 10**9, 3600 * 10**9


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1, "1ns"),
        (870, "870ns"),
        (999.4, "999ns"),
        (999.5, "1.00µs"),
        (4_100, "4.10µs"),
        (9_994, "9.99µs"),
        (9_995, "10.0µs"),
        (99_949, "99.9µs"),
        (99_950, "100µs"),
        (999_499, "999µs"),
        (999_500, "1.00ms"),
        (1_200_000, "1.20ms"),
        (999_499_999, "999ms"),
        (999_500_000, "1.00s"),
        (12e9, "12.0s"),
        (99.94e9, "99.9s"),
        (99.95e9, "1m40s"),
        (125e9, "2m05s"),
        (59 * MINUTE + 59.4e9, "59m59s"),
        (59 * MINUTE + 59.6e9, "1h00m"),
        (HOUR, "1h00m"),
        (HOUR + 5 * MINUTE, "1h05m"),
        (1e15, "277h46m"),
    ],
)
def test_duration(ns: float | None, text: str) -> None:
    assert units.duration(ns) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (-0.0004, "0.0%"),
        (None, "–"),
        (0, "0.0%"),
        (0.0004, "0.0%"),
        (0.0006, "0.1%"),
        (0.123, "12.3%"),
        (0.9994, "99.9%"),
        (0.9995, "100%"),
        (1, "100%"),
        (1.5, "150%"),
        (10, "1000%"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert units.percent(share) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "0.98KiB"),
        (4096, "4.00KiB"),
        (800 << 20, "800MiB"),
        (3435973837, "3.20GiB"),
        (2000 << 40, "2000TiB"),
    ],
)
def test_size(amount: int, text: str) -> None:
    assert units.size(amount) == text


@pytest.mark.parametrize("unit", [units.number, units.rate, units.duration])
def test_seven_characters_at_most(unit: Callable[[float], str]) -> None:
    rnd = random.Random(1)
    edges = [mantissa * 10.0**power for power in range(16) for mantissa in (0.9994999, 0.9995, 0.9995001, 0.99951, 1)]
    edges += [60e9 * n + d for n in range(1, 200) for d in (-0.5e9, -1, 0, 1, 0.5e9)]
    drawn = [10 ** rnd.uniform(-3, 15) for _ in range(20_000)]
    for value in itertools.chain(edges, drawn):
        text = unit(value)
        assert len(text) <= 7, (value, text)
        assert "e" not in text


def test_five_characters_for_any_share() -> None:
    assert max(len(units.percent(n / 100_000)) for n in range(100_001)) <= 5


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [
        ([], 3, "   "),
        ([0, 0], 3, "   "),
        ([5, 5, 5, 5], 2, "⣿⣿"),  # flat is not nothing
        ([100, 99, 101], 2, "⢸⣿"),  # the base is zero, not the smallest
        ([8, 4, 2, 0], 2, "⣧⡀"),
        ([1, 2, 3, 4], 1, "⣾"),  # scaled to what is seen
        ([1000, 1, 1], 1, "⣿"),
        ([0, 8], 2, " ⢸"),
        ([7], 4, "   ⢸"),
        ([1, 2], 0, ""),
    ],
)
def test_sparkline(values: list[float], width: int, text: str) -> None:
    assert units.sparkline(values, width) == text


def test_sparkline_rises_with_its_values() -> None:
    text = units.sparkline([n / 100 for n in range(1, 101)], 50)
    dots = [(ord(char) - 0x2800).bit_count() for char in text]
    assert dots == sorted(dots) and dots[0] == 2  # little is not nothing
    assert {*dots} >= {2, 4, 6, 8}
