"""Rows that stay where they are until another order has held for a while."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..tables.rows import Key

HELD = 3  # intervals
QUIET = 2.0  # s without a key
MOST = 200  # rows whose places are looked after


class Steady:
    """The order of a table from one interval to the next."""

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._held: dict[tuple[Key, Key], int] = {}  # pairs in the wrong order, for so many intervals
        self._context: object = None
        self._interval: object = None
        self.pressed = 0.0  # when the last key was, time.monotonic()

    def arrange(self, wanted: Sequence[Key], context: object, interval: object) -> list[Key]:
        """The order to show. context: what it is sorted by, and of what: another one begins anew; interval: of which
        the figures are."""
        if context != self._context or len(wanted) > MOST:
            self._context, self._interval, self._keys, self._held = context, interval, list(wanted), {}
            return self._keys
        rank = {key: number for number, key in enumerate(wanted)}
        keys = [key for key in self._keys if key in rank]
        for key in (key for key in wanted if key not in set(keys)):
            at = next((at for at, other in enumerate(keys) if rank[other] > rank[key]), len(keys))
            keys.insert(at, key)
        if interval != self._interval:
            self._interval = interval
            wrong = [(a, b) for at, a in enumerate(keys) for b in keys[at + 1 :] if rank[a] > rank[b]]
            self._held = {pair: self._held.get(pair, 0) + 1 for pair in wrong}
        if time.monotonic() - self.pressed > QUIET:
            self._settle(keys)
        self._keys = keys
        return keys

    def _settle(self, keys: list[Key]) -> None:
        """Let those pass that have been in the wrong order for long enough."""
        for end in range(1, len(keys)):
            at = end
            while at and self._held.get((keys[at - 1], keys[at]), 0) >= HELD:
                del self._held[keys[at - 1], keys[at]]
                keys[at - 1], keys[at] = keys[at], keys[at - 1]
                at -= 1
