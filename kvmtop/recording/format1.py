"""Recordings of before 2027, format 1: what they know in today's columns.

They tell the guest's time, and exits with their durations. What else the vCPU did was guessed and is left out; only
halts count as idle, as they did then, so that they are nobody's work.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..model.arrays import I64, U64
from ..model.reasons import HLT, is_one_of
from ..model.snapshot import THREAD
from ..model.vocabulary import OUTSIDE, STATES
from .codec import Counters
from .format import COLUMNS, SCHEMA2
from .layout import ENDED, HIST, Layout

FORMAT1 = 1
SCHEMA1 = SCHEMA2.replace(f"{COLUMNS}\n", "")

_TIMES = ("id", "first_ns", "end_ns", "exit_ns", "entry_ns", "user_ns", "of_user", "of_guest")
_NUMBERS = ("reason", "isa", "vcpu", "cpu")
LAYOUT1 = Layout(
    {
        "threads": (*_TIMES, "unpaired", "overwritten", "pairs", *_NUMBERS),
        "cells": (HIST, "reason", "isa", "thread", "count", "total", "of_user", "min", "max", ENDED),
        "run_delay": ("ns",),
        "cpus": ("cpu",),
    },
    ("guest",),
)
# of_guest, entry_ns: ns in the guest before it was entered last, and when that was; 0 outside.
THREAD1 = np.dtype(
    [*((name, "u8") for name in (*_TIMES, "unpaired", "overwritten", "pairs")), *((name, "u4") for name in _NUMBERS)]
)
NOTHING1 = Counters(np.zeros(0, THREAD1))


def today(counters: Counters, time_ns: int) -> Counters:
    """Counters as of that time whose threads are of THREAD1, in today's columns."""
    old, threads = counters.threads, np.zeros(len(counters.threads), THREAD)
    for name in set(THREAD1.names or ()) & set(THREAD.names or ()):
        threads[name] = old[name]
    now = np.where(old["end_ns"], old["end_ns"], np.uint64(time_ns))
    threads["states"][:, STATES.index("guest")] = old["of_guest"] + _since(old["entry_ns"], now)
    lasted = _since(old["exit_ns"], now)
    halted = is_one_of(threads, HLT)
    threads["open"][:, OUTSIDE.index("idle")] = np.where(halted, lasted, 0)
    threads["open"][:, OUTSIDE.index("kernel")] = np.where(halted, 0, lasted)
    threads["state"] = np.select(
        [old["exit_ns"] == 0, halted], [STATES.index("guest"), STATES.index("idle")], STATES.index("kernel")
    )
    threads["since_ns"] = np.maximum(old["exit_ns"], old["entry_ns"])
    cells = counters.cells  # no frame tells this column: what is in it is nobody's difference
    cells["idle"] = np.where(is_one_of(cells, HLT), cells["total"], 0)
    return replace(counters, threads=threads)


def _since(start: U64, now: U64) -> U64:
    """ns since then; 0 where it is 0, or later."""
    lasted: I64 = np.where(start > 0, np.maximum(now.astype("i8") - start.astype("i8"), 0), 0)
    return lasted.astype("u8")
