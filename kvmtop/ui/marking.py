"""Marks of findings in a recording's line, looked up while nobody does anything: a few intervals of each part of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import KvmtopError
from ..insight.finding import Limits
from ..insight.standouts import Standouts
from ..recording.store import Store

PARTS = 128  # of a recording
ROUNDS = 6  # intervals of each part
BREATH = 0.02  # s between two: the screen comes first


class Marking:
    """Looks in a thread of its own, and for the next finding when it is asked to."""

    def __init__(self, store: Store, limits: Limits, idle: Callable[[], bool], told: Callable[[], object]) -> None:
        """idle: whether there is time to look; told: called after each interval, from the thread."""
        self._store, self._limits, self._idle, self._told = store, limits, idle, told
        self._ending = threading.Event()
        self._wish = 0  # how often the next one has been asked for
        self.marks: set[int] = set()  # intervals that have findings
        self.seen = 0  # intervals that were looked at
        self._thread = threading.Thread(target=self._run, name="marks", daemon=True)

    @property
    def share(self) -> float:
        """How much of the recording has been looked at."""
        return self.seen / len(self._store)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let all of its threads end."""
        self._wish += 1
        self._ending.set()

    def find(self, n: int, by: int, found: Callable[[int | None], object], at: Callable[[int], object]) -> None:
        """The next finding (by: 1) or the last (-1); at: how far it is. Both are called from a thread.

        It gives up where another one is asked for.
        """
        self._wish += 1
        wish = self._wish

        def goes_on(place: int) -> bool:
            at(place)
            return self._wish == wish

        def search() -> None:
            standouts = Standouts(self._store, self._limits)
            try:
                place = standouts.next(n, by, goes_on)
            except KvmtopError:
                place = None
            finally:
                standouts.close()
            if self._wish == wish:
                if place is not None:
                    self.marks.add(place)
                found(place)

        threading.Thread(target=search, name="finding", daemon=True).start()

    def give_up(self) -> None:
        """Nobody waits for what was asked for."""
        self._wish += 1

    def _run(self) -> None:
        standouts = Standouts(self._store, self._limits)
        try:
            for n in order(len(self._store)):
                while not self._idle():
                    if self._ending.wait(0.3):
                        return
                if self._ending.wait(BREATH):
                    return
                if standouts.keys(n):
                    self.marks.add(n)
                self.seen += 1
                self._told()
        except KvmtopError:  # the reader says what is wrong, where somebody goes there
            return
        finally:
            standouts.close()


def order(count: int) -> list[int]:
    """Which of so many intervals are looked at, and when: first one of each part, then others between."""
    most = PARTS * ROUNDS
    if count <= most:
        steps = [count]
        while steps[-1] > 1:
            steps.append((steps[-1] + 1) // 2)
        return list(dict.fromkeys(n for step in steps for n in range(0, count, step)))
    return [int((part + (turn + 0.5) / ROUNDS) * count / PARTS) for turn in range(ROUNDS) for part in range(PARTS)]
