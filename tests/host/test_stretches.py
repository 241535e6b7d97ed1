"""What is taken out of the rings around slow exits, and of the last moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kvmtop.host import stretches
from kvmtop.host.stretches import BYTES, KEPT, LONGEST, Stretches, kept
from kvmtop.insight.tracks import Tracks
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.snapshot import CELL, THREAD, Snapshot
from kvmtop.model.timeline import EXIT, OPEN, RAN, SPAN, Stretch, Timeline
from kvmtop.model.vocabulary import STATES, Names, Vm

MS = 1_000_000
NOW = 10**15
ONE, TWO, OTHER = pack(100, 101), pack(100, 102), pack(200, 201)
HLT, NPF = 0x78, 0x400


class Rings:
    """TimelineProbes whose rings a test fills."""

    def __init__(self) -> None:
        self.exits, self.spans = list[Array](), list[Array]()
        self.rows = np.zeros(0, OPEN)
        self.cpus = list[tuple[int, int]]()
        self.lost = {"exits": np.zeros(2, "i8"), "spans": np.zeros(2, "i8")}
        self.losing = 0  # by the next take()
        self.attached = False

    def start(self) -> None:
        self.attached = True

    def stop(self) -> None:
        self.attached = False

    def skip(self) -> None:
        pass

    def take(self) -> tuple[Array, Array]:
        found = np.concatenate([np.zeros(0, EXIT), *self.exits]), np.concatenate([np.zeros(0, SPAN), *self.spans])
        self.exits, self.spans = [], []
        self.lost["exits"][1] += self.losing
        self.losing = 0
        return found

    def opens(self) -> Array:
        return self.rows.copy()

    def running(self) -> list[tuple[int, int]]:
        return self.cpus

    def exit(self, thread: int, guest: int, begin: int, end: int, reason: int = NPF, **fields: Any) -> None:
        """In ms after NOW."""
        row = np.zeros(1, EXIT)
        row["id"], row["isa"], row["reason"], row["number"] = thread, 2, reason, 1
        row["guest_ns"], row["begin_ns"], row["end_ns"] = (NOW + at * MS for at in (guest, begin, end))
        for name, value in fields.items():
            row[name] = value
        self.exits.append(row)

    def span(self, thread: int, state: str, begin: int, end: int, cpu: int = 0) -> None:
        row = np.zeros(1, SPAN)
        row["id"], row["number"], row["cpu"] = thread, 1, cpu
        row["state"] = RAN if state == "ran" else STATES.index(state)
        row["begin_ns"], row["end_ns"] = NOW + begin * MS, NOW + end * MS
        self.spans.append(row)


class Clock:
    """CLOCK_MONOTONIC as a test has it."""

    def __init__(self) -> None:
        self.ms = 0

    def monotonic_ns(self) -> int:
        return NOW + self.ms * MS


class Machine:
    """Stretches over Rings, without its thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.rings = clock, Rings()
        self.threads = np.zeros(3, THREAD)
        self.threads["id"], self.threads["vcpu"] = [ONE, TWO, OTHER], [0, 1, 0]
        self.threads["since_ns"] = NOW - MS
        self.kept = Stretches(self.rings)  # type: ignore[arg-type]
        self.kept.look(0, 10 * MS)
        self.kept._run = lambda: None  # type: ignore[method-assign]
        self.kept.start(self.snapshot)

    def snapshot(self) -> Snapshot:
        none = np.zeros(0, "u8")
        vms = {100: Vm(100, "web01"), 200: Vm(200, "db01")}
        at = self.clock.monotonic_ns()
        return Snapshot(at, self.threads, np.zeros(0, CELL), none, none, Names(), vms=vms)

    def later(self, ms: int) -> None:
        """So far on, the rings are read."""
        self.clock.ms = ms
        self.kept.turn()

    def read(self) -> Timeline:
        told = self.kept.read(self.snapshot())
        assert told
        return told


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    clock = Clock()
    monkeypatch.setattr(stretches, "time", clock)
    yield Machine(clock)


def begun(told: Timeline) -> list[tuple[int, int]]:
    """Of each slow exit that something is kept around of, from when to when, in ms."""
    return [((one.start_ns - NOW) // MS, (one.stop_ns - NOW) // MS) for one in told.around]


def states(one: Stretch, thread: int) -> dict[str, int]:
    """ms of each state, "": unknown."""
    shares = Tracks(one).of[thread].shares([one.start_ns, one.stop_ns])[0]
    length = (one.stop_ns - one.start_ns) / MS
    return {name: round(share * length) for name, share in zip((*STATES, ""), shares, strict=True) if share > 1e-9}


def test_a_slow_exit_is_kept_with_three_times_its_length_before_and_twice_after(machine: Machine) -> None:
    machine.later(100)
    machine.rings.exit(ONE, 1, 100, 120)
    machine.later(120)
    assert begun(machine.read()) == []
    machine.later(179)
    assert begun(machine.read()) == []
    machine.rings.exit(ONE, 120, 190, 191)
    machine.later(200)
    assert begun(machine.read()) == [(40, 160)]


def test_little_is_kept_around_a_short_one_and_no_more_than_there_is(machine: Machine) -> None:
    machine.kept.look(0, MS)
    machine.rings.exit(ONE, 1, 5, 6)
    machine.later(6)
    machine.later(40)
    assert begun(machine.read()) == [(0, 16)]


def test_short_and_idle_ones_and_those_of_other_vms_are_not_kept(machine: Machine) -> None:
    machine.kept.look(100, 10 * MS)
    machine.rings.exit(ONE, 1, 100, 105)
    machine.rings.exit(ONE, 105, 106, 150, HLT)
    machine.rings.exit(TWO, 1, 10, 60, idle_ns=45 * MS)
    machine.rings.exit(OTHER, 1, 10, 60)
    machine.later(150)
    machine.later(900)
    assert begun(machine.read()) == []


def test_all_states_of_all_its_vcpus_are_known_there_and_of_no_others(machine: Machine) -> None:
    machine.rings.span(ONE, "blocked", 105, 115)
    machine.rings.exit(ONE, 1, 100, 120)
    machine.rings.exit(OTHER, 1, 100, 105)
    machine.later(120)
    machine.rings.rows = np.zeros(1, OPEN)  # in its next exit since 125, asleep in it since 130
    for name, value in (("id", ONE), ("first_ns", NOW), ("begin_ns", NOW + 125 * MS), ("guest_ns", NOW + 120 * MS)):
        machine.rings.rows[name] = value
    machine.rings.rows["since_ns"], machine.rings.rows["state"] = NOW + 130 * MS, STATES.index("idle")
    machine.threads["state"][1], machine.threads["exit_ns"][1] = STATES.index("idle"), NOW - MS  # nothing happens to it
    machine.later(200)
    (one,) = machine.read().around
    assert states(one, ONE) == {"guest": 65, "kernel": 15, "blocked": 10, "idle": 30}
    assert states(one, TWO) == {"idle": 120} and set(Tracks(one).of) == {ONE, TWO}


def test_what_ends_while_the_rings_are_read_is_told_once(machine: Machine) -> None:
    machine.later(150)
    machine.rings.rows = np.zeros(1, OPEN)
    for name, value in (("id", ONE), ("first_ns", NOW), ("begin_ns", NOW + 160 * MS), ("guest_ns", NOW + 120 * MS)):
        machine.rings.rows[name] = value
    machine.rings.rows["since_ns"], machine.rings.rows["state"] = NOW + 160 * MS, STATES.index("kernel")
    machine.kept.look(100, 10 * MS)
    machine.clock.ms = 200
    machine.rings.exit(ONE, 120, 160, 201)
    recent = machine.read().recent
    assert recent and len(recent.exits[recent.exits["id"] == ONE]) == 1


def open_row(**fields: int) -> Array:
    row = np.zeros(1, OPEN)
    row["id"], row["first_ns"] = ONE, NOW
    for name, value in fields.items():
        row[name] = value
    return row


def test_the_guests_time_up_to_now_is_told_once(machine: Machine) -> None:
    machine.later(150)
    machine.rings.rows = open_row(guest_ns=NOW + 120 * MS)
    machine.kept.look(100, 10 * MS)
    machine.clock.ms = 200
    machine.rings.exit(ONE, 120, 201, 202)  # it left the guest when its row had been read
    recent = machine.read().recent
    assert recent and len(recent.exits[recent.exits["id"] == ONE]) == 1


def test_of_a_thread_whose_row_changes_whenever_it_is_read_nothing_is_made_up(machine: Machine) -> None:
    machine.kept.look(100, 10 * MS)
    machine.rings.exit(ONE, 1, 100, 190)
    machine.clock.ms = 200
    turns = iter(range(100))
    machine.rings.opens = lambda: open_row(begin_ns=NOW + next(turns))  # type: ignore[method-assign]
    recent = machine.read().recent
    assert recent and len(recent.exits[recent.exits["id"] == ONE]) == 1
    assert states(recent, ONE) == {"guest": 99, "kernel": 90, "": 11}


def test_a_row_that_is_written_now_and_then_is_read_again(machine: Machine) -> None:
    machine.kept.look(100, 10 * MS)
    machine.clock.ms = 200
    asleep = open_row(begin_ns=NOW + 50 * MS, guest_ns=NOW, since_ns=NOW + 60 * MS, state=STATES.index("idle"))
    rows = iter([open_row(), open_row(guest_ns=1), asleep, asleep, open_row()])
    machine.rings.opens = lambda: next(rows)  # type: ignore[method-assign]
    recent = machine.read().recent
    assert recent and states(recent, ONE) == {"guest": 50, "kernel": 10, "idle": 140}


def test_who_ran_is_told_of_the_cpus_that_these_vcpus_had(machine: Machine) -> None:
    machine.rings.exit(ONE, 1, 100, 120, cpu=1)
    machine.rings.span(ONE, "ran", 0, 110, 1)
    machine.rings.span(pack(9, 9), "ran", 110, 118, 1)
    machine.rings.span(pack(8, 8), "ran", 0, 118, 2)
    machine.later(120)
    machine.rings.cpus = [(0, 0), (NOW + 118 * MS, 101), (0, 0)]
    machine.later(200)
    (one,) = machine.read().around
    ran = Tracks(one).ran
    assert {cpu: rows["id"].tolist() for cpu, rows in ran.items() if cpu} == {1: [ONE, pack(9, 9), ONE]}


def test_what_is_overwritten_is_counted_where_it_was(machine: Machine) -> None:
    machine.later(50)
    machine.rings.losing = 7
    machine.rings.exit(ONE, 1, 100, 120)
    machine.later(120)
    machine.rings.losing = 5
    machine.later(200)
    told = machine.read()
    assert told.lost == 12 and told.around[0].lost == 12
    machine.rings.exit(ONE, 120, 900, 920)
    machine.later(920)
    machine.later(1000)
    told = machine.read()
    assert told.lost == 12 and told.around[1].lost == 0


def test_the_last_moments_are_of_one_vm_and_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.read().recent is None
    machine.kept.look(100, 10 * MS)
    monkeypatch.setattr(stretches, "OF_ONE", 50)
    monkeypatch.setattr(stretches, "PIECE", 10)
    for at in range(1, 200):
        machine.rings.exit(ONE, at - 1, at, at + 1)
        machine.rings.exit(OTHER, at - 1, at, at + 1)
        machine.later(at + 1)
    recent = machine.read().recent
    assert recent and recent.stop_ns == NOW + 200 * MS and (recent.stop_ns - recent.start_ns) // MS in range(40, 52)
    assert set(recent.exits["id"].tolist()) <= {ONE, TWO}


def test_memory_is_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "RECENT", 100)
    monkeypatch.setattr(stretches, "PIECE", 10)
    for at in range(1, 500):
        machine.rings.exit(ONE, at - 1, at, at + 1)
        machine.later(at + 1)
    assert sum(len(one.exits) for one in machine.kept._taken) <= 100
    monkeypatch.setattr(stretches, "OLDEST", 50 * MS)
    machine.later(2900)
    machine.later(2910)
    assert sum(len(one.exits) for one in machine.kept._taken) == 0


def test_what_is_kept_stays_when_nobody_looks_and_the_probes_go(machine: Machine) -> None:
    machine.rings.exit(ONE, 1, 100, 120)
    machine.later(120)
    machine.later(200)
    assert len(machine.read().around) == 1 and machine.rings.attached
    machine.kept.stop()
    assert not machine.rings.attached and machine.kept.read(machine.snapshot()) is None
    machine.kept.start(machine.snapshot)
    told = machine.read()
    assert len(told.around) == 1 and told.since_ns == NOW + 200 * MS


def test_it_begins_when_the_rings_are_empty_not_when_the_counters_were_read(machine: Machine) -> None:
    machine.kept.stop()
    before = machine.snapshot()
    machine.clock.ms = 5  # reading takes time, and what has ended by then is not told
    machine.kept.start(lambda: before)
    assert machine.read().since_ns == NOW + 5 * MS


def stretch(at: int, length: int, records: int = 0) -> Stretch:
    return Stretch(100, at, at + length, np.zeros(records, EXIT), np.zeros(0, SPAN), (ONE, at, at + length))


def test_the_newest_and_the_longest_stay() -> None:
    found = kept([stretch(at, 1000 if at < 5 else 10 + at) for at in range(2 * KEPT)])
    begun = [one.start_ns for one in found]
    assert len(begun) == KEPT and begun[:5] == [*range(5)] and begun == sorted(begun)
    assert begun[-(KEPT - LONGEST) :] == [*range(2 * KEPT)][-(KEPT - LONGEST) :]
    large = BYTES // EXIT.itemsize // 3
    assert [one.start_ns for one in kept([stretch(at, 10, large) for at in range(5)])] == [2, 3, 4]
    assert len(kept([stretch(0, 10, 4 * large)])) == 1
