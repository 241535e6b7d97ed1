"""The rows of vCPU threads in the kernel's map, and what they come to at the instant at which they were read."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..model.arrays import I64, Array
from ..model.snapshot import THREAD
from ..model.vocabulary import OUTSIDE, STATES
from .syscalls import BpfArray

# struct thread of thread.h, byte for byte; the cells, which only the kernel needs, apart.
HEAD = np.dtype(
    [
        *((name, "u8") for name in ("id", "task", "first_ns", "end_ns", "exit_ns", "since_ns")),
        ("spent", "u8", (len(STATES),)),
        ("part", "u8", (len(STATES),)),
        *((name, "u8") for name in ("unpaired", "overwritten", "pairs", "cfs", "withheld", "ahead")),
        *((name, "u8") for name in ("peek_since", "peek_ns", "peek_at", "record_ns", "checked_ns")),
        *((name, "u8") for name in ("out_ns", "out_away", "nested_ns", "address")),
        *((name, "u4") for name in ("off", "where", "parts", "halts", "reason", "isa", "vcpu", "cpu")),
    ]
)
ROW = np.dtype([("head", HEAD), ("cells", "u4", (64,))])

GUEST, KERNEL, USER, IDLE, BLOCKED, WAIT, THROTTLED = range(len(STATES))
ENDED = np.uint64(1 << 63)
UNSEEN = 1  # as exit_ns
BATCH = 64  # rows that are read so quickly that few change meanwhile
TRIES = 8


def read(array: BpfArray, indices: Any) -> tuple[Array, I64]:
    """These rows, dtype HEAD, and when each was so (ns): a thread that goes on meanwhile is read again.

    After some tries a row is taken as it is; what is inconsistent in it is gone at the next reading.
    """
    rows, instants = np.zeros(len(indices), HEAD), np.zeros(len(indices), "i8")
    left = np.arange(len(indices))
    size = BATCH
    for _ in range(TRIES):
        moved = []
        for start in range(0, len(left), size):
            which = left[start : start + size]
            rows[which] = _heads(array, indices[which])
            instants[which] = time.monotonic_ns()
            again = _heads(array, indices[which])
            same = (_words(rows[which]) == _words(again)).all(axis=1)
            moved.append(which[~same])
        left = np.concatenate([left[:0], *moved])
        if not len(left):
            break
        size = max(size // 4, 1)
    return rows, instants


def _heads(array: BpfArray, indices: Any) -> Array:
    return array.take(indices, HEAD)


def _words(rows: Array) -> Any:
    return rows.view("u8").reshape(len(rows), HEAD.itemsize // 8)


def waits(rows: Array) -> Any:
    """Which rows (dtype HEAD) are of threads that wait now."""
    return (rows["off"] == WAIT) & (rows["end_ns"] == 0)


def peeked(rows: Array) -> Any:
    """Which of them on_peek has looked at: what is withheld of the wait is known up to peek_at."""
    return waits(rows) & (rows["peek_since"] == rows["since_ns"])


def resolve(rows: Array, instants: I64) -> Array:
    """What raw rows (dtype HEAD) come to at these instants: dtype THREAD; what is open counts up to then."""
    out = np.zeros(len(rows), THREAD)
    for name in ("first_ns", "end_ns", "unpaired", "overwritten", "pairs", "nested_ns", "reason", "isa", "vcpu", "cpu"):
        out[name] = rows[name]
    out["id"] = rows["id"] & ~ENDED
    end = np.where(rows["end_ns"] > 0, rows["end_ns"].astype("i8"), instants)
    outside, alive = rows["exit_ns"] > 0, rows["end_ns"] == 0
    seen = rows["exit_ns"] > UNSEEN
    state = np.where(rows["off"] > 0, rows["off"], np.where(outside, rows["where"], GUEST)).astype("i8")
    since = rows["since_ns"].astype("i8")
    open_ns = np.where(alive, np.maximum(end - since, 0), 0)
    spent, part = rows["spent"].astype("i8"), rows["part"].astype("i8")
    every = np.arange(len(rows))
    # Of an open wait, what the quota has withheld is known only where somebody has just looked (on_peek).
    withheld = np.where(peeked(rows), np.minimum(rows["peek_ns"].astype("i8"), open_ns), 0)
    for sums in (spent, part):
        sums[every, state] += open_ns - withheld
        sums[:, THROTTLED] += withheld
        sums[:, KERNEL] = 0
    spent[:, KERNEL] = end - rows["first_ns"].astype("i8") - spent.sum(axis=1)
    part[:, KERNEL] = end - rows["exit_ns"].astype("i8") - part[:, USER:].sum(axis=1)
    out["states"] = np.maximum(spent, 0)
    out["open"] = np.where(seen[:, None], np.maximum(part[:, 1:], 0), 0)
    out["exit_ns"] = np.where(seen, rows["exit_ns"], 0)
    out["state"] = np.where((withheld > 0) & (2 * withheld > open_ns), THROTTLED, state)
    # As away() in nested.h has it, up to the open exit or else to now.
    away = (spent - np.where(seen[:, None], part, 0))[:, [IDLE, WAIT, THROTTLED]].sum(axis=1)
    until = np.where(seen, rows["exit_ns"].astype("i8"), end)
    lasted = until - rows["out_ns"].astype("i8") - (away - rows["out_away"].astype("i8"))
    out["out_ns"] = np.where(rows["out_ns"] > 0, np.maximum(lasted, 0), 0)
    out["in_vmm"] = outside & (rows["where"] == USER)
    out["since_ns"] = np.where(state == KERNEL, np.maximum(rows["since_ns"], out["exit_ns"]), rows["since_ns"])
    return out


assert THREAD["open"].shape == (len(OUTSIDE),)
