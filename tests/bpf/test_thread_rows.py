from __future__ import annotations

import time
from typing import Any, cast

import numpy as np
import pytest

from kvmtop.bpf.syscalls import BpfArray
from kvmtop.bpf.thread_rows import (
    BATCH,
    BLOCKED,
    ENDED,
    GUEST,
    HEAD,
    IDLE,
    KERNEL,
    TRIES,
    UNSEEN,
    USER,
    WAIT,
    peeked,
    read,
    resolve,
    waits,
)
from kvmtop.model.arrays import Array
from kvmtop.model.vocabulary import OUTSIDE, STATES

NOW = 10_000


def made(**given: Any) -> Array:
    """A row of a thread that was first seen at 1,000; spent and part: state → ns."""
    row = np.zeros(1, HEAD)
    row["id"], row["first_ns"], row["where"] = 7 << 32 | 8, 1_000, KERNEL
    for name, value in given.items():
        if isinstance(value, dict):
            for state, ns in value.items():
                row[name][0, state] = ns
        else:
            row[name] = value
    return row


def resolved(row: Array, now: int = NOW) -> np.void:
    return cast(np.void, resolve(row, np.array([now], "i8"))[0])


def spent(found: np.void) -> dict[str, int]:
    return {state: ns for state, ns in zip(STATES, found["states"].tolist(), strict=True) if ns}


def opened(found: np.void) -> dict[str, int]:
    return {state: ns for state, ns in zip(OUTSIDE, found["open"].tolist(), strict=True) if ns}


SPENT = {GUEST: 2_000, USER: 500, WAIT: 300}  # of 9,000 since it was first seen
EXIT = {"exit_ns": 6_000, "spent": SPENT, "reason": 0x78, "isa": 2}


@pytest.mark.parametrize(
    ("given", "state", "since", "states", "open"),
    [
        # In the guest since 9,000: what is not told is the kernel's.
        ({"since_ns": 9_000, "spent": SPENT}, "guest", 9_000, {"guest": 3_000, "kernel": 5_200}, {}),
        # Outside since 6,000, in the kernel all the time: that of the guest before is told already.
        ({"since_ns": 5_000, **EXIT}, "kernel", 6_000, {"kernel": 6_200}, {"kernel": 4_000}),
        # In the kernel again since 8,000.
        (
            {"since_ns": 8_000, **EXIT, "parts": 1, "part": {USER: 500}},
            *("kernel", 8_000, {"kernel": 6_200}, {"kernel": 3_500, "user": 500}),
        ),
        (
            {"since_ns": 8_000, **EXIT, "where": USER, "parts": 1},
            *("user", 8_000, {"kernel": 4_200, "user": 2_500}, {"kernel": 2_000, "user": 2_000}),
        ),
        (
            {"since_ns": 7_000, **EXIT, "where": USER, "off": BLOCKED, "parts": 1, "part": {USER: 500}},
            *("blocked", 7_000, {"kernel": 3_200, "blocked": 3_000}, {"kernel": 500, "user": 500, "blocked": 3_000}),
        ),
        ({"since_ns": 7_000, **EXIT, "off": IDLE}, "idle", 7_000, {"kernel": 3_200, "idle": 3_000}, {"kernel": 1_000, "idle": 3_000}),
        ({"since_ns": 7_000, **EXIT, "off": WAIT}, "wait", 7_000, {"kernel": 3_200, "wait": 3_300}, {"kernel": 1_000, "wait": 3_000}),
        # Preempted in the guest: no exit's time.
        ({"since_ns": 7_000, "spent": SPENT, "off": WAIT}, "wait", 7_000, {"kernel": 3_200, "wait": 3_300}, {}),
        # A wait that on_peek has looked at: most of it was withheld, or little; or it was another wait.
        (
            {"since_ns": 7_000, **EXIT, "off": WAIT, "peek_since": 7_000, "peek_ns": 2_000, "peek_at": NOW},
            *("throttled", 7_000, {"kernel": 3_200, "wait": 1_300, "throttled": 2_000}),
            {"kernel": 1_000, "wait": 1_000, "throttled": 2_000},
        ),
        (
            {"since_ns": 7_000, **EXIT, "off": WAIT, "peek_since": 7_000, "peek_ns": 1_500, "peek_at": NOW},
            *("wait", 7_000, {"kernel": 3_200, "wait": 1_800, "throttled": 1_500}),
            {"kernel": 1_000, "wait": 1_500, "throttled": 1_500},
        ),
        (
            {"since_ns": 7_000, **EXIT, "off": WAIT, "peek_since": 3_000, "peek_ns": 2_000, "peek_at": 6_000},
            *("wait", 7_000, {"kernel": 3_200, "wait": 3_300}, {"kernel": 1_000, "wait": 3_000}),
        ),
    ],
)  # fmt: skip
def test_each_state(
    given: dict[str, Any], state: str, since: int, states: dict[str, int], open: dict[str, int]
) -> None:
    found = resolved(made(**given))
    assert STATES[found["state"]] == state and found["since_ns"] == since
    assert spent(found) == {"guest": 2_000, "user": 500, "wait": 300} | states
    assert sum(spent(found).values()) == NOW - 1_000
    assert opened(found) == open and sum(open.values()) == (NOW - 6_000 if given.get("exit_ns") else 0)
    assert found["exit_ns"] == given.get("exit_ns", 0)


def test_outside_without_an_exit_that_was_seen() -> None:
    """Seeded, or first seen when it left for user space: there is no open exit to tell of."""
    found = resolved(made(since_ns=1_000, exit_ns=UNSEEN, off=IDLE, parts=1))
    assert (STATES[found["state"]], found["exit_ns"], found["since_ns"]) == ("idle", 0, 1_000)
    assert spent(found) == {"idle": 9_000} and not opened(found)
    found = resolved(made(since_ns=3_000, exit_ns=UNSEEN, where=USER, parts=1))
    assert spent(found) == {"kernel": 2_000, "user": 7_000} and not opened(found)


@pytest.mark.parametrize("given", [{"where": USER}, {"off": WAIT, "peek_since": 7_000, "peek_ns": 500}, {}])
def test_an_ended_thread_stays_as_it_was(given: dict[str, Any]) -> None:
    row = made(id=int(ENDED) | 7 << 32 | 8, since_ns=7_000, end_ns=7_000, **EXIT, part={USER: 400}, **given)
    found = resolved(row)
    assert found["id"] == 7 << 32 | 8 and found["end_ns"] == 7_000
    assert spent(found) == {"guest": 2_000, "user": 500, "wait": 300, "kernel": 3_200}
    assert opened(found) == {"user": 400, "kernel": 600}
    assert found == resolved(row, 10**12)


def test_what_is_copied_is_copied() -> None:
    given = {"unpaired": 3, "overwritten": 4, "pairs": 5, "reason": 6, "isa": 1, "vcpu": 8, "cpu": 9}
    found = resolved(made(since_ns=9_000, **given))
    assert {name: found[name] for name in given} == given


def test_a_row_that_moved_while_it_was_read_wraps_nowhere() -> None:
    """A clock that is ahead of the reader's, and sums that do not fit together: nothing below nothing."""
    found = resolved(made(since_ns=NOW + 50, **EXIT))
    assert sum(spent(found).values()) == NOW - 1_000
    found = resolved(made(since_ns=NOW, first_ns=NOW - 100, exit_ns=NOW - 50, spent={USER: 10**6}, part={USER: 10**6}))
    assert found["states"].max() == found["open"].max() == 10**6
    assert spent(found) == {"user": 10**6} == opened(found)


def test_who_waits_and_who_was_looked_at() -> None:
    rows = np.concatenate(
        [
            made(off=WAIT, since_ns=5, peek_since=5),
            made(off=WAIT, since_ns=5, peek_since=4),
            made(off=WAIT, since_ns=5, peek_since=5, end_ns=6),
            made(off=IDLE, since_ns=5, peek_since=5),
        ]
    )
    assert waits(rows).tolist() == [True, True, False, False]
    assert peeked(rows).tolist() == [True, False, False, False]


class Moving:
    """A map whose rows go on for so many readings: each counts its own."""

    def __init__(self, *moves: int) -> None:
        self.moves, self.counts = list(moves), [0] * len(moves)
        self.asked: list[list[int]] = []

    def take(self, indices: Any, head: np.dtype[Any]) -> Array:
        assert head == HEAD
        rows = np.zeros(len(indices), HEAD)
        self.asked.append(list(map(int, indices)))
        for place, index in enumerate(self.asked[-1]):
            if self.moves[index]:
                self.moves[index] -= 1
                self.counts[index] += 1
            rows[place]["id"], rows[place]["pairs"] = index, self.counts[index]
        return rows


def test_a_row_that_moves_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 1_000))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    moving = Moving(0, 3, 0, 5)
    rows, instants = read(cast(BpfArray, moving), np.array([0, 1, 3]))
    assert rows["id"].tolist() == [0, 1, 3]
    assert rows["pairs"].tolist() == [0, 3, 5]  # as it was when it stood still
    # Their own instants: before the reading that found them the same.
    assert instants[0] == 100 and instants[0] < instants[1] < instants[2]
    assert [1, 3] in moving.asked and [3] in moving.asked and moving.asked[-1] == [3]


def test_a_row_that_never_stands_still_is_taken_as_it_is() -> None:
    moving = Moving(*[10_000] * 2, 0)
    rows, instants = read(cast(BpfArray, moving), np.arange(3))
    assert rows["pairs"][:2].min() > 0 and (instants > 0).all()
    assert sum(indices.count(0) for indices in moving.asked) == 2 * TRIES
    assert sum(indices.count(2) for indices in moving.asked) == 2  # the one that stood still is left alone


def test_many_rows_are_read_in_batches() -> None:
    moving = Moving(*[0] * (2 * BATCH + 1))
    rows, _ = read(cast(BpfArray, moving), np.arange(2 * BATCH + 1))
    assert rows["id"].tolist() == list(range(2 * BATCH + 1))
    assert max(map(len, moving.asked)) == BATCH
    assert len(read(cast(BpfArray, moving), np.arange(0))[0]) == 0
