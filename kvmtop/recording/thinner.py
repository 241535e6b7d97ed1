"""Which segments are thinned, and when: by who records them, a piece at a time.

A segment's age is the time that was recorded after it, as samples tell (CLOCK_MONOTONIC): a clock that is wrong or set,
into the future too, makes none of them older, and the last day is there in full even if it was recorded a month ago.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import KvmtopError
from .format import BadFrame, words
from .reader import Recording
from .segments import taken
from .thinning import NotWorthIt, thin

SHARE = 0.05  # of a core, at most, while there is something to be done
AT_ONCE = 0.1  # s of work after one reading; what is begun is done
PAUSE = 600.0  # s after which it is tried again, where a segment could not be written

Stages = Sequence[tuple[float, float]]  # s after which samples are so many s apart, ascending
Tell = Callable[[str], None]


@dataclass
class Old:
    """A segment that is whole."""

    path: Path
    size: int
    end: float  # when it was written, by the clock of Store
    span: float | None = None  # s from its first sample to its last; None: not looked at yet
    step: float = 0.0  # s between its samples, if it was thinned to that, or can not be


class Thinner:
    """Thins the segments of a store. tell: is given the reason while it cannot, and "" when it can again."""

    def __init__(self, stages: Stages, most: int, tell: Tell) -> None:
        """most: bytes that a new file may have."""
        self._stages, self._most, self._tell = stages, most, tell
        self._old: Old | None = None  # that is being thinned, to
        self._step = 0.0
        self._job: Generator[bool] | None = None
        self._seen: tuple[int, Path | None] = (0, None)  # how many there were, and the newest, when none was to be done
        self._credit, self._last = 0.0, time.monotonic()  # s that may be worked
        self._next = 0.0  # not before

    def work(self, segments: Sequence[Old]) -> None:
        """Go on, for as long as is due since the last time. segments: all that are whole, oldest first."""
        now = time.monotonic()
        self._credit = min(self._credit + SHARE * (now - self._last), AT_ONCE)
        self._last = now
        while self._credit > 0 and (start := time.monotonic()) >= self._next:
            if not (self._job or self._begin(segments)):
                return
            waits = self._go_on(self._job) if self._job else False
            self._credit -= time.monotonic() - start
            if waits:
                return

    def stop(self, path: Path | None = None) -> None:
        """Leave what is being done, if it is about this segment (None: about any); it is what it was."""
        if self._old and path in (None, self._old.path):
            self._end()
        self._seen = (0, None)

    def _begin(self, segments: Sequence[Old]) -> bool:
        """Look for the next; whether there may be more to do."""
        seen = len(segments), segments[-1].path if segments else None
        if seen == self._seen:
            return False
        age = 0.0
        for one in reversed(segments):
            if one.span is None:
                _look_at(one)
                return True
            step = max((step for after, step in self._stages if age >= after), default=0.0)
            if step > one.step:
                self._old, self._step, self._job = one, step, thin(one.path, step, min(self._most, one.size))
                return True
            age += one.span
        self._seen = seen
        return False

    def _go_on(self, job: Generator[bool]) -> bool:
        """Whether there is nothing to do but to wait."""
        assert self._old
        try:
            return next(job)
        except StopIteration:
            self._old.size, self._old.step = taken(self._old.path), self._step
            self._tell("")
        except (NotWorthIt, KvmtopError, BadFrame):  # it will not be otherwise the next time
            self._old.step = self._step
        except (sqlite3.Error, OSError) as error:
            self._tell(f"cannot thin {self._old.path.name} ({words(error)}): it stays as it is, and is tried again")
            self._next = time.monotonic() + PAUSE
        self._end()
        return False

    def _end(self) -> None:
        job, self._job, self._old = self._job, None, None
        with contextlib.suppress(sqlite3.Error, OSError):
            if job:
                job.close()


def _look_at(one: Old) -> None:
    """How long it is, and whether it was thinned."""
    try:
        recording = Recording(one.path)
    except KvmtopError:
        one.span, one.step = 0.0, float("inf")
        return
    one.span, one.step = (int(recording.times[-1]) - int(recording.times[0])) / 1e9, recording.step
    recording.free()
