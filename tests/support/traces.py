"""Records of single exits as the rings have them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvmtop.host.tracing import Spool, Trace
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.timeline import EXIT, RAN, SPAN
from kvmtop.model.vocabulary import STATES, SVM, Names, Vm

PID, TID = 100, 101
START = 5_000_000_000_000
NAMES = Names({SVM: {0x72: "cpuid", 0x78: "hlt", 0x7B: "io"}})


def exits(*rows: tuple[int, int, int], **fields: Any) -> Array:
    """(guest, begin, end) in µs after START, of PID's vCPU 0; guest -1: not known."""
    out = np.zeros(len(rows), EXIT)
    for at, name in enumerate(("guest_ns", "begin_ns", "end_ns")):
        out[name] = [0 if row[at] < 0 else START + row[at] * 1000 for row in rows]
    out["id"], out["isa"], out["reason"], out["number"] = pack(PID, TID), SVM, 0x72, np.arange(1, len(rows) + 1)
    for name, value in fields.items():
        out[name] = value
    return out


def spans(*rows: tuple[str, int, int], **fields: Any) -> Array:
    """(state, begin, end) in µs after START, of the same; "ran": it had CPU 0."""
    out = np.zeros(len(rows), SPAN)
    out["state"] = [RAN if state == "ran" else STATES.index(state) for state, *_ in rows]
    out["begin_ns"] = [START + begin * 1000 for _, begin, _ in rows]
    out["end_ns"] = [START + end * 1000 for _, _, end in rows]
    out["id"], out["number"] = pack(PID, TID), np.arange(1, len(rows) + 1)
    for name, value in fields.items():
        out[name] = value
    return out


def trace(*pieces: tuple[Array, Array], us: int = 100, **fields: Any) -> Trace:
    """What was seen in so many µs."""
    spool = Spool()
    for piece in pieces:
        spool.add(*piece)
    more = {
        "vms": {PID: Vm(PID, "web01")},
        "vcpus": {pack(PID, TID): 0},
        "names": NAMES,
        "wall_ns": 1_700_000_000 * 10**9,
    }
    return Trace(start_ns=START, stop_ns=START + us * 1000, records=spool, **{**more, **fields})


@dataclass
class Slice:
    """ns since the trace began; depth: how many it is in."""

    pid: int
    tid: int
    begin: int
    name: str
    kind: str
    args: dict[str, Any]
    depth: int
    end: int = -1


def read(text: str) -> tuple[list[Slice], dict[str, Any]]:
    """The slices of a file, and all of it: what the format's specification and its readers want of it is checked.

    Trace Event Format (2016): each thread's B and E are in order and properly nested; M and C have their arguments.
    """
    whole = json.loads(text)
    assert whole.keys() == {"displayTimeUnit", "traceEvents", "otherData"} and whole["displayTimeUnit"] == "ns"
    stacks, found = defaultdict[tuple[int, int], list[Slice]](list), list[Slice]()
    for event in whole["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int), event
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index") and len(event["args"]) == 1
            continue
        at = round(event["ts"] * 1000)
        assert at >= 0, event
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values()), event
            continue
        stack = stacks[event["pid"], event["tid"]]
        if event["ph"] == "B":
            args = event.get("args", {})
            found.append(Slice(event["pid"], event["tid"], at, event["name"], event["cat"], args, len(stack)))
            stack.append(found[-1])
            assert len(stack) == 1 or stack[-2].begin <= at, event
        else:
            assert event["ph"] == "E" and stack and event["name"] == stack[-1].name, event
            stack.pop().end = at
    assert not any(stacks.values()), "a slice has no end"
    assert all(one.begin < one.end for one in found)
    return found, whole
