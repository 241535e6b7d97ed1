"""The scale of a histogram."""

from __future__ import annotations

from kvmtop.tables.spread import HELD, Held, Span


def test_a_scale_takes_in_what_is_new_and_lets_go_of_it_after_a_while() -> None:
    scale = Held()
    assert scale.hold(Span(20, 40), "db02", 0) == Span(20, 40)
    assert scale.hold(Span(10, 50), "db02", 1) == Span(10, 50)
    for now in range(2, 1 + HELD):
        for _ in range(2):  # drawn again: the interval is the same
            assert scale.hold(Span(20, 40), "db02", now) == Span(10, 50)
    assert scale.hold(Span(20, 40), "db02", 1 + HELD) == Span(20, 40)


def test_a_scale_of_something_else_begins_anew() -> None:
    scale = Held()
    scale.hold(Span(10, 50), "db02", 0)
    assert scale.hold(Span(20, 40), "web01", 0) == Span(20, 40)
