"""Which intervals of a recording have findings: one after the other, as each of them shows when one goes there.

No rule is asked of more than an interval at a time: where a finding is told, the screen shows it there.
"""

from __future__ import annotations

from collections.abc import Callable

from ..recording.store import Dropped, Store
from ..reference.labels import Labels
from .finding import USUAL, Limits
from .findings import gravest
from .rules.rule import View

Keys = frozenset[object]
NONE: Keys = frozenset()


class Standouts:
    """Of one store, by one thread."""

    def __init__(self, store: Store, limits: Limits = USUAL) -> None:
        self._store, self._limits = store.twin(), limits

    def close(self) -> None:
        """Nothing more is asked."""
        self._store.free()

    def keys(self, n: int) -> Keys:
        """What names the findings of interval n; none of one that has been dropped. Raises KvmtopError."""
        try:
            view = View.between(self._store.before(n), self._store.at(n), Labels(), self._limits)
        except Dropped:
            return NONE
        return frozenset(one.key for one in gravest(view))

    def next(self, n: int, by: int, goes_on: Callable[[int], bool]) -> int | None:
        """The next interval (by: 1) or the last (-1) in which a finding begins; None: none.

        goes_on: is told how far it is, and whether to. Raises KvmtopError.
        """
        now = self.keys(n)
        while 0 <= n + by < len(self._store) and goes_on(n):
            other = self.keys(n + by)
            n += by
            if by > 0:
                if other - now:
                    return n
            else:
                # What begins in an interval is not in the one before it.
                earlier = self.keys(n - 1) if n else NONE
                if other - earlier:
                    return n
            now = other
        return None
