"""Rows keep their places until another order has held."""

from __future__ import annotations

import time

from kvmtop.ui.steady import HELD, Steady


def test_an_order_is_taken_once_it_has_held() -> None:
    steady = Steady()
    assert steady.arrange("abc", "time", 0) == ["a", "b", "c"]
    for interval in range(1, HELD):
        assert steady.arrange("bac", "time", interval) == ["a", "b", "c"]
    assert steady.arrange("bac", "time", HELD) == ["b", "a", "c"]


def test_an_order_that_does_not_hold_changes_nothing() -> None:
    steady = Steady()
    for interval in range(10):
        assert steady.arrange("abc" if interval % 2 == 0 else "bac", "time", interval) == ["a", "b", "c"]


def test_drawing_an_interval_again_does_not_count() -> None:
    steady = Steady()
    steady.arrange("ab", "time", 0)
    for _ in range(2 * HELD):
        assert steady.arrange("ba", "time", 1) == ["a", "b"]


def test_another_context_begins_anew_and_rows_come_and_go() -> None:
    steady = Steady()
    steady.arrange("abc", "time", 0)
    assert steady.arrange("cba", "rate", 0) == ["c", "b", "a"]
    assert steady.arrange("cxa", "rate", 1) == ["c", "x", "a"]


def test_nothing_moves_while_keys_are_pressed() -> None:
    steady = Steady()
    steady.arrange("ab", "time", 0)
    steady.pressed = time.monotonic() + 3600
    for interval in range(1, 3 * HELD):
        assert steady.arrange("ba", "time", interval) == ["a", "b"]
    steady.pressed = 0.0
    assert steady.arrange("ba", "time", 3 * HELD) == ["b", "a"]
