"""What is marked in a comparison: hardly anything of a steady run, and every great change."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from kvmtop.insight.chance import p_value, student
from kvmtop.insight.compare import MOST, what_changed
from kvmtop.model.exit_stats import Reason
from kvmtop.model.histogram import BUCKETS, bucket_bounds, bucket_of

from ..bench import chance as bench

RNG = np.random.default_rng


def test_student() -> None:
    """Two-sided, from tables."""
    for t, freedom, p in (
        (12.706, 1, 0.05),
        (2.776, 4, 0.05),
        (4.604, 4, 0.01),
        (3.551, 200, 0.00048),
        (1.96, 1e6, 0.05),
    ):
        assert student(t, freedom) == pytest.approx(p, rel=0.01)
    assert student(0, 3) == 1 and student(1e200, 3) == 0 and student(math.inf, 3) == 0


def test_two_samples() -> None:
    """3.5 and 10.67 with a pooled variance of 77/15 are t = 4.14 apart, at 5 degrees of freedom."""
    assert (
        p_value([7, 1, 4, 2], [11, 9, 12])
        == pytest.approx(student(4.1416, 5), rel=1e-3)
        == pytest.approx(0.009, rel=0.01)
    )
    assert p_value([1, 2, 4, 7], [9, 11, 12]) > 0.05, "neighbours are alike"
    assert p_value([5, 5, 5], [5, 5, 5]) == 1 and p_value([5, 5, 5], [6, 6, 6]) == 0
    assert p_value([1, 2, 3], [3, 2, 1]) == 1


# ---- made-up runs

MIDDLES = np.array([sum(bucket_bounds(n)) / 2 if 0 < n < BUCKETS - 1 else 32.0 for n in range(BUCKETS)])


@dataclass(frozen=True)
class Shape:
    """How many exits come in an interval, and how long they last. bursts: the lower, the heavier; None: none (Poisson)."""

    mean: float
    bursts: float | None = None
    spread: float = 0.5  # of the logarithms of durations

    def run(self, random: np.random.Generator, pieces: int, size: int, times: float = 1.0) -> list[Reason]:
        """One side, in pieces of so many intervals."""
        rates = np.full((pieces, size), self.mean * times)
        if self.bursts:
            rates = random.gamma(self.bursts, rates / self.bursts)
        counts = random.poisson(rates).sum(axis=1)
        return [self._piece(random, int(count), size) for count in counts]

    def _piece(self, random: np.random.Generator, count: int, seconds: float) -> Reason:
        hist = random.multinomial(count, SPREADS[self.spread])
        return reason(hist, seconds)


def _spread(sigma: float) -> np.ndarray:
    """Log-normal durations around 20 µs, by bucket."""
    ends = np.log([float(bucket_bounds(n)[1]) for n in range(BUCKETS)])
    below = np.array([0.5 * (1 + math.erf((end - math.log(20_000)) / sigma / math.sqrt(2))) for end in ends])
    return np.diff(below, prepend=0.0)


SPREADS = {sigma: _spread(sigma) for sigma in (0.1, 0.5, 2.0)}


def reason(hist: np.ndarray, seconds: float) -> Reason:
    time = int(hist @ MIDDLES)
    return Reason(2, 0x7B, "io", seconds, int(hist.sum()), time, {}, time, None, None, tuple(hist.tolist()))


def whole(pieces: list[Reason]) -> Reason:
    return reason(np.sum([piece.hist for piece in pieces], axis=0), sum(piece.seconds for piece in pieces))


Sides = tuple[int, int]  # pieces on either side, and intervals of a piece
SIDES: list[Sides] = [(5, 1), (8, 1), (MOST, 1), (MOST, 4), (MOST, 18)]
MEANS, SPREADS_OF = (0.3, 3, 30, 300, 3000), tuple(SPREADS)


def judged(random: np.random.Generator, shape: Shape, sides: Sides, times: float = 1.0) -> tuple[frozenset[str], float]:
    """What is marked, and how much more came in all; 0 where it is fewer than 100 exits."""
    a, b = shape.run(random, *sides), shape.run(random, *sides, times)
    both = whole(a), whole(b)
    changed = what_changed(both, (a, b))
    assert changed is not None
    return changed, both[1].rate / max(both[0].rate, 1 / both[0].seconds) if both[1].count >= 100 else 0.0


def test_hardly_anything_of_a_steady_run_is_marked() -> None:
    """In 4,200 reasons, rare and frequent, regular and in heavy bursts, from five intervals to five minutes a side."""
    random, marked, tried = RNG(15), Counter[Sides](), Counter[Sides]()
    for sides, bursts, spread, mean in product(SIDES, (None, 10, 1, 0.5, 0.2, 0.1), SPREADS_OF, MEANS):
        if bursts and bursts < 0.5 and sides[0] < MOST:
            continue  # see below
        for _ in range(13):
            marked[sides] += bool(judged(random, Shape(mean, bursts, spread), sides)[0])
            tried[sides] += 1
    print({sides: f"{marked[sides]} of {tried[sides]}" for sides in SIDES})
    assert tried.total() > 4000
    for sides in SIDES:
        assert marked[sides] < 0.01 * tried[sides], sides


def test_hardly_anything_is_marked_where_bursts_last_and_tails_are_heavy() -> None:
    """A share of the bench, for each figure of reasons and of VMs."""
    marked, tried = bench.count(6, seed=2)
    for what in ("reason", "VM"):
        assert tried[what, bench.STEADY] > 200
        for figure in bench.FIGURES:
            assert marked[what, bench.STEADY, figure] < 0.01 * tried[what, bench.STEADY], (what, figure)


def test_a_hundredfold_is_never_missed() -> None:
    """Even if all of it came in one burst: so a steady run of few intervals is marked where such bursts are usual."""
    random, most = RNG(16), 0
    for sides, bursts, mean in product(SIDES, (None, 10, 1, 0.5, 0.2, 0.1), (0.3, 3, 30, 300)):
        for _ in range(8):
            changed, fold = judged(random, Shape(mean, bursts), sides, 198)
            most += fold >= 100
            assert fold < 100 or "rate" in changed, (sides, bursts, mean, fold)
    assert most > 700
    steady = sum(bool(judged(random, Shape(300, 0.1), (5, 1))[0]) for _ in range(200))
    assert 10 < steady < 40


@pytest.mark.parametrize(
    ("bursts", "sides"),
    [*((bursts, sides) for sides in SIDES for bursts in (None, 10)), (1, SIDES[2]), (0.5, SIDES[3]), (0.1, SIDES[4])],
)
def test_198_times_as_many_are_found_whatever_chance_makes_of_them(bursts: float | None, sides: Sides) -> None:
    random = RNG(17)
    for mean in (1, 10, 100):
        assert all("rate" in judged(random, Shape(mean, bursts), sides, 198)[0] for _ in range(30))


def test_twice_as_many_or_twice_as_long() -> None:
    random, shape = RNG(18), Shape(300)
    assert all({"rate", "time"} <= judged(random, shape, (5, 1), 2)[0] for _ in range(50))
    a, b = shape.run(random, 5, 1), shape.run(random, 5, 1)
    slower = [reason(np.roll(r.hist, 4), r.seconds) for r in b]  # an octave
    assert what_changed((whole(a), whole(slower)), (a, slower)) == frozenset(("time", "p50", "p99"))


def test_a_change_too_small_to_care_for_is_none() -> None:
    random, shape = RNG(19), Shape(1_000_000, spread=0.1)
    assert not any(judged(random, shape, (16, 1), 1.09)[0] for _ in range(20))
    assert all(judged(random, shape, (16, 1), 1.11)[0] == {"rate", "time"} for _ in range(20))


@pytest.mark.parametrize(
    ("count", "more", "marked"), [(10, 100, True), (10, 99, False), (9, 99, False), (0, 100, True)]
)
def test_below_five_pieces_only_a_tenfold_of_a_hundred(count: int, more: int, marked: bool) -> None:
    one = np.zeros(BUCKETS, int)
    one[bucket_of(20_000)] = 1
    a, b = ([reason(n * one, 4.0), *[reason(0 * one, 4.0)] * 3] for n in (count, more))
    for sides in ((a, b), (b, a)):
        assert what_changed((whole(sides[0]), whole(sides[1])), sides) == ({"rate", "time"} if marked else None)
    usual, slow = [reason(100 * one, 1.0)], [reason(np.roll(100 * one, 14), 1.0)]
    assert what_changed((usual[0], slow[0]), (usual, slow)) == frozenset(("time", "p50", "p99"))
