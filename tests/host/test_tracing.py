"""What a trace is put together from: the rings, and what was open when it began and when it ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kvmtop.host import tracing
from kvmtop.host.tracing import Spool, Trace, record
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.snapshot import CELL, THREAD, Snapshot
from kvmtop.model.timeline import A_TASK, EXIT, NO_REASON, OPEN, RAN, SPAN
from kvmtop.model.vocabulary import STATES, Names, Vm

ID = int(pack(100, 101))
MS = 1_000_000
NO_EXITS, NO_SPANS = np.zeros(0, EXIT), np.zeros(0, SPAN)


class Machine:
    """A Live and its TimelineProbes, with a clock that goes on by a ms at each look at it."""

    def __init__(self) -> None:
        self.now = 10**15
        self.first = self.last = thread()
        self.rings = list[tuple[Array, Array]]()
        self.rows = np.zeros(0, OPEN)
        self.cpus = list[tuple[int, int]]()
        self.lost = {"exits": np.zeros(2, "i8"), "spans": np.zeros(2, "i8")}
        self.missed = 0
        self.calls = list[str]()

    def read(self) -> Snapshot:
        self.calls.append("read")
        threads = self.first if self.calls.count("read") == 1 else self.last
        none = np.zeros(0, "u8")
        vms = {100: Vm(100, "web01")}
        return Snapshot(self.now, threads, np.zeros(0, CELL), none, none, Names(), vms=vms)

    def take(self) -> tuple[Array, Array]:
        self.calls.append("take")
        return self.rings.pop(0) if self.rings else (NO_EXITS, NO_SPANS)

    def opens(self) -> Array:
        return self.rows

    def running(self) -> list[tuple[int, int]]:
        return self.cpus

    def __getattr__(self, name: str) -> Any:
        if name in ("start", "skip", "freeze", "stop"):
            return lambda: self.calls.append(name)
        raise AttributeError(name)

    def monotonic_ns(self) -> int:
        self.now += MS
        return self.now

    def monotonic(self) -> float:
        return self.monotonic_ns() / 1e9

    def trace(self, seconds: float = 0.02) -> Trace:
        return record(self, self, lambda seconds: False, seconds, Spool())  # type: ignore[arg-type]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    one = Machine()
    monkeypatch.setattr(tracing.time, "monotonic_ns", one.monotonic_ns)  # type: ignore[attr-defined]
    monkeypatch.setattr(tracing.time, "monotonic", one.monotonic)  # type: ignore[attr-defined]
    yield one


def thread(state: str = "guest", exit_ns: int = 0, **fields: Any) -> Array:
    rows = np.zeros(1, THREAD)
    rows["id"], rows["state"], rows["exit_ns"], rows["vcpu"] = ID, STATES.index(state), exit_ns, 3
    rows["reason"], rows["isa"] = 0x78, 2
    for name, value in fields.items():
        rows[name] = value
    return rows


def row(state: str, **fields: Any) -> Array:
    rows = np.zeros(1, OPEN)
    rows["id"], rows["state"], rows["reason"], rows["isa"] = ID, STATES.index(state), 0x7B, 2
    for name, value in fields.items():
        rows[name] = value
    return rows


def everything(trace: Trace) -> tuple[list[tuple[int, int, int, int]], list[tuple[str, int, int]]]:
    """(reason, guest, begin, end) and (state, begin, end) in ms since the beginning; -1: not known, or before."""
    pieces = list(trace.records)

    def ms(ns: int) -> int:
        return max((int(ns) - trace.start_ns) // MS, -1) if ns else -1

    return (
        [(int(e["reason"]), ms(e["guest_ns"]), ms(e["begin_ns"]), ms(e["end_ns"])) for one, _ in pieces for e in one],
        [
            ("ran" if s["state"] == RAN else STATES[s["state"]], ms(s["begin_ns"]), ms(s["end_ns"]))
            for _, one in pieces
            for s in one
        ],
    )


def length(trace: Trace) -> int:
    return (trace.stop_ns - trace.start_ns) // MS


def test_it_begins_when_all_is_known_and_ends_before_the_probes_go(machine: Machine) -> None:
    trace = machine.trace()
    takes = machine.calls.count("take")
    assert machine.calls == ["start", "read", "skip", *["take"] * (takes - 1), "freeze", "take", "read", "stop"]
    assert takes > 3 and 15 <= length(trace) <= 25 and trace.vcpus == {ID: 3}


def test_the_probes_go_whatever_happens(machine: Machine) -> None:
    machine.take = None  # type: ignore[assignment, method-assign]
    with pytest.raises(TypeError):
        machine.trace()
    assert machine.calls[-1] == "stop"


def test_a_signal_ends_it_with_what_there_is(machine: Machine) -> None:
    machine.rings = [(np.ones(2, EXIT), NO_SPANS)]
    trace = record(machine, machine, lambda seconds: True, 3600, Spool())  # type: ignore[arg-type]
    assert sum(len(one) for one, _ in trace.records) == 2 + 1  # and that it was in the guest


@pytest.mark.parametrize("state", ["guest", "kernel", "idle", "blocked", "user", "wait", "throttled"])
def test_a_vcpu_without_any_event_did_the_same_all_the_time(machine: Machine, state: str) -> None:
    machine.first = machine.last = thread(state, exit_ns=0 if state == "guest" else 5)
    trace = machine.trace()
    exits, spans = everything(trace)
    if state == "guest":
        assert exits == [(NO_REASON, 0, length(trace), length(trace))] and not spans
        return
    assert exits == [(0x78, -1, -1, length(trace))]
    told = "wait" if state == "throttled" else state
    assert spans == ([] if state == "kernel" else [(told, 0, length(trace))])


def test_one_that_was_out_of_the_guest_before_anybody_saw_why(machine: Machine) -> None:
    machine.first = machine.last = thread("idle")
    exits, _ = everything(machine.trace())
    assert exits[0][0] == NO_REASON


def test_what_it_did_until_its_first_event(machine: Machine) -> None:
    machine.first = thread("idle", exit_ns=5)
    start = machine.now + 10 * MS
    machine.rows = row("guest", first_ns=start + 3 * MS, guest_ns=start + 4 * MS, since_ns=start + 4 * MS)
    trace = machine.trace(0.05)
    exits, spans = everything(trace)
    (idle,) = spans
    assert idle[0] == "idle" and idle[1] == 0 and idle[2] == (int(machine.rows["first_ns"][0]) - trace.start_ns) // MS
    assert [one[0] for one in exits] == [NO_REASON]  # since then it is in the guest


def test_what_is_open_at_the_end(machine: Machine) -> None:
    at = machine.now + 8 * MS
    machine.rows = row(
        *("idle",),
        first_ns=1,
        guest_ns=at - MS,
        begin_ns=at,
        since_ns=at + MS,
        woken_ns=at + 3 * MS,
        by=A_TASK,
        waker=9,
    )
    trace = machine.trace()
    exits, spans = everything(trace)
    now = (at - trace.start_ns) // MS
    assert exits == [(0x7B, now - 1, now, length(trace))]
    assert spans == [("idle", now + 1, now + 3), ("wait", now + 3, length(trace))]
    (records,) = [one for _, one in trace.records if len(one)]
    assert records["by"].tolist() == [0, A_TASK] and records["waker"].tolist() == [0, 9]
    assert not records["number"].any()


def test_an_exit_that_was_not_seen_has_no_reason(machine: Machine) -> None:
    at = machine.now + 8 * MS
    machine.rows = row("user", first_ns=1, begin_ns=at, since_ns=at, unseen=1)
    exits, spans = everything(machine.trace())
    assert [one[0] for one in exits] == [NO_REASON] and [one[0] for one in spans] == ["user"]


def test_a_thread_that_has_ended_has_nothing_after_its_end(machine: Machine) -> None:
    at = machine.now + 8 * MS
    machine.rows = row("user", first_ns=1, begin_ns=at, since_ns=at + MS)
    machine.last = thread("user", end_ns=at + 5 * MS)
    trace = machine.trace(0.05)
    exits, spans = everything(trace)
    now = (at - trace.start_ns) // MS
    assert exits == [(0x7B, -1, now, now + 5)] and spans == [("user", now + 1, now + 5)]
    machine.rows = np.zeros(0, OPEN)
    machine.calls.clear()
    assert everything(machine.trace()) == ([], [])  # nobody knows what it did until it ended


def test_a_row_of_nobody_is_left_out(machine: Machine) -> None:
    machine.rows = row("user", id=pack(7, 8), first_ns=1, begin_ns=5)
    exits, _ = everything(machine.trace())
    assert len(exits) == 1 and exits[0][0] == NO_REASON  # that of the thread that there is


def test_who_has_the_cpus_at_the_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    at = machine.now + 8 * MS
    monkeypatch.setattr(tracing, "_comm", lambda tid: f"task{tid}".encode())
    machine.first = machine.last = thread("guest", cpu=3)
    machine.cpus = [(at, 77), (at, 0), (at, 101), (0, 0), (0, 0)]
    trace = machine.trace()
    ran = np.concatenate([one[one["state"] == RAN] for _, one in trace.records])
    assert ran["cpu"].tolist() == [0, 2, 3] and ran["id"].tolist() == [pack(77, 77), ID, ID]
    assert ran["begin_ns"].tolist() == [at, at, 0] and set(ran["end_ns"].tolist()) == {trace.stop_ns}
    assert ran["comm"][0] == b"task77"


def test_names_of_those_that_come_and_go_are_kept(machine: Machine) -> None:
    calls = itertools.count()

    def read() -> Snapshot:
        none = np.zeros(0, "u8")
        number = next(calls)
        threads = thread(id=pack(100 + number, 101))
        return Snapshot(
            machine.now,
            threads,
            np.zeros(0, CELL),
            none,
            none,
            Names(),
            vms={100 + number: Vm(100 + number, f"{number}")},
        )

    machine.read = read  # type: ignore[method-assign]
    trace = machine.trace(3)
    assert len(trace.vms) >= 4 and len(trace.vcpus) == len(trace.vms)


def test_what_was_lost_is_told(machine: Machine) -> None:
    machine.lost["exits"][:] = [3, 4]
    machine.missed = 5
    trace = machine.trace()
    assert trace.lost == {"exits": 7, "spans": 0} and trace.missed == 5


def test_a_name_of_a_task_that_has_gone_is_empty() -> None:
    assert tracing._comm(1 << 23) == b""
