from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest

from kvmtop.model.histogram import BUCKETS, bucket_bounds, bucket_of, percentile


def kernels_bucket(ns: int) -> int:
    """As bpf/collector.bpf.c finds it."""
    if ns < 32:
        return 0
    if ns >> 37:
        return BUCKETS - 1
    octave = ns.bit_length() - 1
    return (octave - 5 << 2) + (ns >> (octave - 2) & 3)


def test_buckets_follow_each_other_without_a_gap() -> None:
    bounds = [bucket_bounds(index) for index in range(BUCKETS)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 2**63
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    assert all(high <= low * 1.25 for low, high in bounds[1:-1])


def test_buckets_are_those_of_the_kernel() -> None:
    rnd = random.Random(1)
    edges = [edge + d for index in range(BUCKETS) for edge in bucket_bounds(index) for d in (-1, 0, 1)]
    for ns in [*(n for n in edges if 0 <= n < 2**63), *(int(2 ** rnd.uniform(0, 45)) for _ in range(5_000))]:
        low, high = bucket_bounds(kernels_bucket(ns))
        assert low <= ns < high
        assert bucket_of(ns) == kernels_bucket(ns)


def histogram(values: list[int]) -> list[int]:
    hist = [0] * BUCKETS
    for ns in values:
        hist[kernels_bucket(ns)] += 1
    return hist


def exact(values: list[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(math.ceil(round(share * len(values), 6)), 1) - 1]


def draw(rnd: random.Random) -> Callable[[], float]:
    typical = 10 ** rnd.uniform(2.5, 9)
    return rnd.choice(
        [
            lambda: rnd.uniform(0.1, 10) * typical,
            lambda: rnd.lognormvariate(0, 1) * typical,
            lambda: rnd.expovariate(1) * typical,
            lambda: rnd.paretovariate(1.1) * typical,
            lambda: rnd.choice((1, 1, 1, 1000)) * typical * rnd.uniform(0.99, 1.01),
            lambda: typical,
            lambda: 10 ** rnd.uniform(1.6, 11),
        ]
    )


@pytest.mark.parametrize("seed", range(50))
def test_percentiles_are_within_an_eighth(seed: int) -> None:
    rnd = random.Random(seed)
    for count in (1, 2, 3, 10, 100, 2000):
        drawn = draw(rnd)
        values = [min(max(int(drawn()), 40), 10**11) for _ in range(count)]
        hist, low, high = histogram(values), min(values), max(values)
        last = 0.0
        for share in (0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1):
            found = percentile(hist, share, low, high)
            alone = percentile(hist, share, None, None)  # without the extremes, too
            assert found is not None
            assert alone is not None
            assert abs(found / exact(values, share) - 1) <= 0.125
            assert abs(alone / exact(values, share) - 1) <= 0.125
            assert max(low, last) <= found <= high
            last = found


@pytest.mark.parametrize("ns", [32, 35, 39, 40, 2**36, 115 * 10**9, 121 * 10**9, 130 * 10**9, 2**37 - 1])
def test_percentiles_at_the_ends_of_the_scale(ns: int) -> None:
    """From 32 ns to 2**37 ns, whatever the longest since the start was."""
    for found in (percentile(histogram([ns]), 0.5, None, None), percentile(histogram([ns]), 0.5, 1, 10**13)):
        assert found is not None
        assert abs(found / ns - 1) <= 0.125


def test_percentile_of_nothing() -> None:
    assert percentile([0] * BUCKETS, 0.5, None, None) is None


@pytest.mark.parametrize(
    ("share", "count"),
    [(0.5, 2), (0.5, 10**6), (0.9, 10), (0.9, 70), (0.99, 100), (0.99, 700), (0.999, 1000), (0.999, 77_000)],
)
def test_percentile_takes_the_right_rank(share: float, count: int) -> None:
    """So many short ones as the share asks for, and a rest of long ones."""
    short = round(share * count)
    for shorter, expected in ((short, 1_000), (short - 1, 10**9)):
        hist = [0] * BUCKETS
        hist[kernels_bucket(1_000)], hist[kernels_bucket(10**9)] = shorter, count - shorter
        assert percentile(hist, share, 1_000, 10**9) == pytest.approx(expected, rel=0.125)


def test_extremes_are_exact() -> None:
    values = [1_001, 5_555, 123_456_789]
    assert percentile(histogram(values), 0, 1_001, 123_456_789) == pytest.approx(1_001, rel=0.125)
    assert percentile(histogram([1_001]), 0.5, 1_001, 1_001) == 1_001
    assert percentile(histogram([10]), 0.5, 10, 10) == 10
    assert percentile(histogram([10**12]), 0.5, 10**12, 10**12) == 10**12
