"""Histograms of durations in ns, as the kernel fills them."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import I64

# The histogram is log-linear: four equal buckets to each power of two from 32 ns to 137 s (2**37 ns).
# A value is at most 12.5 % from the middle of its bucket. Bucket 0 also takes what is shorter, the last
# what is longer; min and max are exact. The same in bpf/collector.bpf.c.
BUCKETS = 128

FIRST_OCTAVE = 5


def bucket_bounds(index: int) -> tuple[int, int]:
    """The durations in ns that a bucket of the histogram holds: from the first, below the second."""
    octave, quarter = FIRST_OCTAVE + (index >> 2), index & 3
    low = (4 + quarter) << (octave - 2)
    high = (5 + quarter) << (octave - 2)
    return (0 if index == 0 else low), (1 << 63 if index == BUCKETS - 1 else high)


_ENDS = [bucket_bounds(index)[1] for index in range(BUCKETS)]

# ns; of the first and the last the middle of what the others' pattern gives them.
MIDDLES = np.array(
    [
        (max(a, 1 << FIRST_OCTAVE) + min(b, 1 << FIRST_OCTAVE + BUCKETS // 4)) / 2
        for a, b in map(bucket_bounds, range(BUCKETS))
    ]
)


def bucket_of(ns: float) -> int:
    """The histogram's bucket of a duration."""
    return min(bisect.bisect_right(_ENDS, ns), BUCKETS - 1)


def percentile(hist: Sequence[int], share: float, low: int | None, high: int | None) -> float | None:
    """The middle of the bucket that holds the exit of that rank, kept between the exact min and max."""
    count = sum(hist)
    if count <= 0:
        return None
    rank, seen = max(1, -(-share * count // 1)), 0
    for index, number in enumerate(hist):
        seen += number
        if seen >= rank:
            middle = float(MIDDLES[index])
            return min(max(middle, low or 0), middle if high is None else max(high, 0))
    return None


@dataclass(frozen=True)
class Buckets:
    """The buckets of histograms that are not empty, all shape (n,): the row, the bucket, its exits."""

    row: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.uint8]
    count: I64

    def sums(self, groups: I64, number: int) -> I64:
        """Shape (number, BUCKETS): the histograms of groups of rows, groups[row] being a row's; -1: of none."""
        start, count = (groups * BUCKETS)[self.row], self.count
        mine = start >= 0
        start, bucket, count = (
            (start, self.bucket, count) if mine.all() else (start[mine], self.bucket[mine], count[mine])
        )
        # Float sums are exact here: 2**53 exits.
        return np.bincount(start + bucket, count, number * BUCKETS).astype("i8").reshape(number, BUCKETS)
