"""How much of each step a thread was in which state: constructed records against a count by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmtop.insight.tracks import Tracks
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.timeline import EXIT, SPAN, Stretch
from kvmtop.model.vocabulary import STATES

from ..support.traces import PID, START, TID, exits, spans

THREAD = pack(PID, TID)


def stretch(rows: Array, others: Array, us: int = 100) -> Stretch:
    return Stretch(PID, START, START + us * 1000, rows, others)


def edges(*us: int) -> list[int]:
    return [START + at * 1000 for at in us]


def shares(one: Stretch, *us: int) -> list[dict[str, float]]:
    """Of each step what it has of states, in percent; "": unknown."""
    found = Tracks(one).of[THREAD].shares(edges(*us))
    names = (*STATES, "")
    return [{name: round(100 * share) for name, share in zip(names, row, strict=True) if share > 1e-9} for row in found]


def test_each_step_has_what_each_state_had_of_it() -> None:
    one = stretch(exits((0, 10, 50), (50, 70, 100)), spans(("user", 20, 30), ("idle", 80, 95)))
    assert shares(one, 0, 10, 20, 25, 45, 60, 100) == [
        {"guest": 100},
        {"kernel": 100},
        {"user": 100},
        {"user": 25, "kernel": 75},
        {"kernel": 33, "guest": 67},
        {"guest": 25, "kernel": 38, "idle": 38},
    ]


def test_what_is_outside_of_it_and_what_nobody_saw_is_unknown() -> None:
    one = stretch(exits((-1, 10, 20), (40, 50, 60)), spans())
    assert shares(one, -20, 0, 20, 40, 60, 80) == [
        {"": 100},
        {"kernel": 50, "": 50},
        {"": 100},
        {"guest": 50, "kernel": 50},
        {"": 100},
    ]


def test_the_quota_has_its_share_of_a_wait() -> None:
    others = spans(("wait", 20, 60))
    others["withheld"] = 30_000
    one = stretch(exits((0, 10, 100)), others)
    assert shares(one, 20, 40, 60, 100) == [{"throttled": 75, "wait": 25}] * 2 + [{"kernel": 100}]


def test_a_wait_in_the_guest_is_no_guest() -> None:
    one = stretch(exits((0, 60, 70)), spans(("wait", 20, 40)))
    assert shares(one, 0, 60) == [{"guest": 67, "wait": 33}]


def test_who_had_a_cpu() -> None:
    rows = spans(("ran", 0, 30), ("ran", 30, 40), ("ran", 60, 100))
    rows["id"] = [1, 2, 1]
    tasks, found = Tracks(stretch(exits(), rows)).tasks(0, edges(0, 20, 40, 60, 100))
    assert tasks["id"].tolist() == [1, 2]
    assert found.tolist() == [[1, 0], [0.5, 0.5], [0, 0], [1, 0]]
    assert Tracks(stretch(exits(), rows)).tasks(7, edges(0, 20))[1].shape == (1, 0)


def test_exits_are_found_by_their_time() -> None:
    track = Tracks(stretch(exits((0, 10, 50), (50, 70, 100)), spans())).of[THREAD]
    assert [track.at(START + at * 1000) for at in (0, 10, 49, 50, 70, 100, 200)] == [0, 0, 0, 1, 1, 1, 1]


@st.composite
def records(draw: st.DrawFn) -> Stretch:
    """A thread in the guest and in exits in turns, with other states in them; some exits were lost."""
    rows, others, now = [], [], draw(st.integers(-50, 50))
    for _ in range(draw(st.integers(0, 12))):
        guest, begin = now, now + draw(st.integers(1, 40))
        end = begin + draw(st.integers(1, 60))
        cuts = sorted(draw(st.lists(st.integers(begin, end), max_size=4)))
        for first, last in zip(cuts[::2], cuts[1::2], strict=False):
            if first < last:
                withheld = draw(st.integers(0, last - first))
                others.append((draw(st.sampled_from(STATES[2:6])), first, last, withheld))
        if draw(st.integers(0, 4)):
            rows.append((guest if draw(st.booleans()) else -1, begin, end))
        now = end
    out, inside = np.zeros(len(rows), EXIT), np.zeros(len(others), SPAN)
    out["id"] = inside["id"] = THREAD
    out["number"] = inside["number"] = 1
    for at, row in enumerate(rows):
        out["guest_ns"][at], out["begin_ns"][at], out["end_ns"][at] = (0 if ns == -1 else START + ns for ns in row)
    for at, (state, begin, end, withheld) in enumerate(others):
        inside["state"][at], inside["withheld"][at] = STATES.index(state), withheld
        inside["begin_ns"][at], inside["end_ns"][at] = START + begin, START + end
    return Stretch(PID, START, START + draw(st.integers(1, 400)), out, inside)


@settings(max_examples=40, deadline=None)
@given(records(), st.lists(st.integers(-100, 500), min_size=2, max_size=30, unique=True))
def test_the_shares_of_a_step_add_up_and_equal_a_count_ns_by_ns(one: Stretch, cuts: list[int]) -> None:
    tracks, at = Tracks(one), sorted(cuts)
    for track in tracks.of.values():
        found = track.shares([START + ns for ns in at])
        assert found.sum(axis=1) == pytest.approx(1) and (found >= 0).all()
        for (begin, end), row in zip(itertools.pairwise(at), found, strict=True):
            wanted = np.zeros(len(STATES) + 1)
            for ns in range(begin, end):
                wanted += by_hand(one, START + ns) / (end - begin)
            assert row == pytest.approx(wanted, abs=1e-6)


def by_hand(one: Stretch, ns: int) -> np.ndarray:
    """What it did in this ns: a state of its own before the exit, and that before the guest."""
    found = np.zeros(len(STATES) + 1)
    if one.start_ns <= ns < one.stop_ns:
        for span in one.spans:
            if span["begin_ns"] <= ns < span["end_ns"]:
                withheld = span["withheld"] / (span["end_ns"] - span["begin_ns"])
                if STATES[span["state"]] == "wait":
                    found[STATES.index("wait")], found[STATES.index("throttled")] = 1 - withheld, withheld
                else:
                    found[span["state"]] = 1
                return found
        for row in one.exits:
            if row["begin_ns"] <= ns < row["end_ns"]:
                found[STATES.index("kernel")] = 1
                return found
            if row["guest_ns"] and row["guest_ns"] <= ns < row["begin_ns"]:
                found[STATES.index("guest")] = 1
                return found
    found[-1] = 1
    return found
