"""From when on something has held, looked up in the history."""

from __future__ import annotations

from collections.abc import Callable

from ..model.history import Sample
from ..model.interval import Interval
from ..model.scope import Scope
from ..model.session import Session
from .finding import Since


def since(session: Session, interval: Interval, holds: Callable[[Sample], bool]) -> Since | None:
    """The start of the first of the intervals without a gap, up to this one, in which it holds; None: not even in it.

    The history may go on beyond the interval while this is asked, or have been cut.
    """
    began, longer = None, True
    for sample in reversed(session.history):
        if sample.time_ns > interval.after.time_ns:
            continue
        if not holds(sample):
            longer = False
            break
        began = sample.time_ns - round(sample.seconds * 1e9)
    return None if began is None else Since(began, longer)


def in_state(session: Session, interval: Interval, scope: Scope, state: str, more_than: float) -> Since | None:
    """From when on a scope has spent more than a share of its time in a state."""
    return since(session, interval, lambda sample: (sample.states(scope) or {}).get(state, 0.0) > more_than)
