"""Tables of numbers and names, as compact as a header file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence


def names(text: str) -> dict[int, str]:
    """The names of "10 IA32_TSC 1b IA32_APICBASE": hexadecimal numbers, each followed by its name."""
    words = text.split()
    return {int(number, 16): name for number, name in zip(words[::2], words[1::2], strict=True)}


class Ranges:
    """Names of ranges of numbers that do not overlap."""

    def __init__(self, ranges: Sequence[tuple[int, int, str]]) -> None:
        """Each range: its first number, its last number, its name."""
        self._ranges = sorted(ranges)
        self._firsts = [first for first, _, _ in self._ranges]

    def __call__(self, number: int) -> str:
        """The name of the range that holds a number, or ""."""
        index = bisect_right(self._firsts, number) - 1
        if index < 0:
            return ""
        _, last, name = self._ranges[index]
        return name if number <= last else ""

    def __iter__(self) -> Iterator[tuple[int, int, str]]:
        return iter(self._ranges)
