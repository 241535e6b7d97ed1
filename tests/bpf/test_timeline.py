"""timeline.bpf.c in this machine's kernel, on tracepoints of system calls: this thread is the vCPU."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kvmtop.bpf import detail, timeline
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.probes import Probe
from kvmtop.bpf.timeline import CONFIG, RING, TimelineProbes
from kvmtop.bpf.tracepoint import Tracepoint
from kvmtop.errors import KvmtopError
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.timeline import EXIT, NO_REASON, OPEN, RAN, SPAN
from kvmtop.model.vocabulary import OUTSIDE, STATES

from ..support.formats import FORMATS
from . import c, machine
from .machine import Player, cells, enter, leave, nap, run, spin, to_user

SOURCE = c.whole("timeline.bpf.c")
CPUID, IO = 0x72, 0x7B
FIELDS = {
    "EXIT_REASON": "u32,16",
    "EXIT_ISA": "u32,24",
    "EXIT_RIP": "u64,32",
    "USER_REASON": "u32,16",
    "USER_ERRNO": "u32,24",
}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with machine.machine(tmp_path_factory.mktemp("timeline"), "notes", pids=[os.getpid()], threads=16) as one:
        yield one


def load(counting: Collector, **sizes: int) -> TimelineProbes:
    found = [f"-DAT_{flag}=FIELD({at})" for flag, at in FIELDS.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "Probes", machine._OnSystemCalls)
        patch.setattr(detail, "flags", lambda formats: (found, [Probe("kvm", "kvm_exit", "on_exit")], []))
        return TimelineProbes(counting.sched_flags, counting.threads, counting.shared(), **sizes)


@pytest.fixture(scope="module")
def loaded(counting: Collector) -> Iterator[TimelineProbes]:
    one = load(counting)
    yield one
    one.close()


@pytest.fixture
def probes(loaded: TimelineProbes) -> Iterator[TimelineProbes]:
    enter()  # this thread has its slot, and is in the guest
    loaded.start()
    yield loaded
    loaded.stop()


def me() -> int:
    return int(pack(os.getpid(), threading.get_native_id()))


def mine(rows: Array) -> Array:
    found: Array = rows[rows["id"] == me()]
    return np.sort(found, order="begin_ns")


def test_the_structures_are_as_python_reads_them() -> None:
    for name, dtype in (("exit", EXIT), ("span", SPAN), ("open", OPEN), ("ring", RING), ("config", CONFIG)):
        c.same(c.fields(SOURCE, name), dtype)


def test_what_exits_touch_is_told_by_the_same_tracepoints_as_details() -> None:
    there = set(re.findall(r"^(?:int |TOUCH\()(on_\w+)", SOURCE, re.M))
    others = {function for _, function in (*timeline._TYPED, *timeline._RAW)}
    assert there == timeline._AS_DETAIL | others
    path = FORMATS / "6.12"
    formats = {one.stem: Tracepoint.parse(one.read_text()) for one in path.glob("*.format")}
    assert {probe.function for probe in detail.flags({**formats})[1]} >= timeline._AS_DETAIL
    assert detail.tracepoints() >= {"kvm_exit", "kvm_pio", "kvm_userspace_exit"}


def test_an_exit_and_what_it_was_made_of(probes: TimelineProbes, counting: Collector) -> None:
    before = cells(counting, os.getpid(), threading.get_native_id())
    spin(1)
    leave(IO, 0x1234)
    to_user()
    nap(3)
    run()
    spin(1)
    enter()
    exits, spans = probes.take()
    after = cells(counting, os.getpid(), threading.get_native_id())
    (one,) = mine(exits)
    assert (one["reason"], one["isa"], one["rip"]) == (IO, 2, 0x1234)
    assert one["guest_ns"] < one["begin_ns"] - 1_000_000 and one["begin_ns"] < one["end_ns"]
    # To the nanosecond what is counted.
    here = {state: 0 for state in OUTSIDE[1:]}
    its = (spans["end_ns"] > one["begin_ns"]) & (
        spans["begin_ns"] < one["end_ns"]
    )  # it may wait for a CPU in the guest
    for span in mine(spans[(spans["state"] != RAN) & its]):
        assert one["begin_ns"] <= span["begin_ns"] < span["end_ns"] <= one["end_ns"]
        here[STATES[span["state"]]] += int(span["end_ns"] - span["begin_ns"]) - int(span["withheld"])
        here["throttled"] += int(span["withheld"])
    (io,) = after[after["reason"] == IO]
    old = before[before["reason"] == IO]
    assert int(io["total"]) - int(old["total"].sum()) == int(one["end_ns"] - one["begin_ns"])
    assert here == {state: int(io[state]) - int(old[state].sum()) for state in OUTSIDE[1:]}
    assert here["blocked"] > 2_000_000 and here["user"] > 0


def test_exits_follow_each_other_without_a_hole(probes: TimelineProbes) -> None:
    for at in range(50):
        leave(CPUID, at)
        enter()
    exits = mine(probes.take()[0])
    assert exits["rip"].tolist() == list(range(50)) and not probes.missed
    assert (exits["guest_ns"][1:] == exits["end_ns"][:-1]).all()
    assert not any(counts.any() for counts in probes.lost.values())


def test_what_is_overwritten_is_counted_and_the_newest_are_there(counting: Collector) -> None:
    probes = load(counting, exits=8, spans=8)
    cpus = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cpus)})
        enter()
        probes.start()
        for at in range(20):
            leave(CPUID, at)
            enter()
        exits = probes.take()[0]
        assert exits["rip"].tolist() == list(range(12, 20)) and exits["number"].tolist() == list(range(13, 21))
        assert probes.lost["exits"][min(cpus)] == 12 == probes.lost["exits"].sum()
        for at in range(3):
            leave(CPUID, at)
            enter()
        assert probes.take()[0]["rip"].tolist() == [0, 1, 2] and probes.lost["exits"].sum() == 12
        assert not len(probes.take()[0])
    finally:
        os.sched_setaffinity(0, cpus)
        probes.close()


def test_a_record_that_is_being_overwritten_is_not_taken(probes: TimelineProbes) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for at in range(3):
            leave(CPUID, at)
            enter()
    finally:
        os.sched_setaffinity(0, cpus)
    probes.freeze()
    rows = probes._maps["exits"].rows
    assert rows is not None
    written = probes._maps["rings"].read()["exits"]
    (cpu,) = np.flatnonzero(written >= 2)[:1]
    before = rows["number"][cpu * timeline.EXITS + 1]
    rows["number"][cpu * timeline.EXITS + 1] = 0
    assert before == 2
    assert len(mine(probes.take()[0])) == 2 and probes.lost["exits"].sum() == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: nothing is written while it is read")
def test_what_is_read_while_it_is_overwritten_is_whole(tmp_path: Path) -> None:
    cpus, number = sorted(os.sched_getaffinity(0)), 20_000

    def act(player: Player) -> None:
        os.sched_setaffinity(0, {cpus[-1]})
        player.step()
        enter()
        for at in range(number):
            leave(CPUID, at)
            enter()

    with Player(act) as player:
        player.wait()
        # Others' exits are not counted: on this machine more of these tests may run.
        with machine.machine(tmp_path, "notes", pids=[player.pid], threads=16) as counting:
            probes = load(counting, exits=4, spans=4)
            os.sched_setaffinity(0, {cpus[0]})
            probes.start()
            player.go()
            taken = list[Array]()
            while Path(f"/proc/{player.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                taken.append(probes.take()[0])
            probes.freeze()
            exits = np.concatenate([*taken, probes.take()[0]])
            lost = int(probes.lost["exits"].sum())
            os.sched_setaffinity(0, cpus)
            probes.close()
    assert len(exits) + lost == number and lost and len(exits)  # or nothing was put to the test
    assert (exits["number"] == exits["rip"] + 1).all() and (exits["reason"] == CPUID).all()
    assert (np.diff(exits["rip"].astype("i8")) > 0).all()
    assert (exits["guest_ns"] < exits["begin_ns"]).all() and (exits["begin_ns"] < exits["end_ns"]).all()
    follows = np.flatnonzero(np.diff(exits["rip"].astype("i8")) == 1)
    assert (exits["guest_ns"][1:][follows] == exits["end_ns"][:-1][follows]).all()


def test_what_is_open(probes: TimelineProbes) -> None:
    leave(IO, 7)
    to_user()
    (row,) = probes.opens()[probes.opens()["id"] == me()]
    assert row["begin_ns"] > 0 and (row["reason"], row["rip"]) == (IO, 7) and STATES[row["state"]] == "user"
    assert not len(mine(probes.take()[0]))
    enter()
    (row,) = probes.opens()[probes.opens()["id"] == me()]
    assert row["begin_ns"] == 0 and row["guest_ns"] == mine(probes.take()[0])["end_ns"][0]


def test_an_exit_that_was_open_when_somebody_began_to_look(loaded: TimelineProbes) -> None:
    enter()
    leave(IO)
    loaded.start()
    spin(1)
    enter()
    (one,) = mine(loaded.take()[0])
    loaded.stop()
    assert one["begin_ns"] in (0,) or one["reason"] == IO  # where it was switched out meanwhile it is known
    assert one["reason"] in (NO_REASON, IO)


def test_an_exit_that_nobody_saw_is_none_that_was_missed(loaded: TimelineProbes) -> None:
    """A new vCPU's thread is interrupted in its first KVM_RUN before it enters the guest, and goes on later."""
    told, goes_on, ids = threading.Event(), threading.Event(), list[int]()

    def act() -> None:
        ids.append(me())
        to_user()
        told.set()
        goes_on.wait()
        run()
        enter()

    thread = threading.Thread(target=act)
    thread.start()
    told.wait()
    loaded.start()
    goes_on.set()
    thread.join()
    exits, _ = loaded.take()
    missed = loaded.missed
    loaded.stop()
    (one,) = exits[exits["id"] == ids[0]]
    assert (one["begin_ns"], one["reason"], missed) == (0, NO_REASON, 0)


def test_frozen_nothing_changes(probes: TimelineProbes) -> None:
    leave(CPUID)
    probes.freeze()
    probes.take()
    enter()
    leave(CPUID)
    nap(1)
    assert not any(len(rows) for rows in probes.take())
    assert [int(row["begin_ns"]) > 0 for row in probes.opens() if row["id"] == me()] == [True]
    enter()


def test_nothing_is_attached_while_nobody_looks(loaded: TimelineProbes) -> None:
    assert not loaded._probes.attached


def test_who_had_the_cpu(probes: TimelineProbes) -> None:
    nap(2)
    spin(1)
    nap(2)
    _, spans = probes.take()
    ran = mine(spans[spans["state"] == RAN])
    assert len(ran) >= 2 and set(ran["comm"].tolist()) == {Path("/proc/thread-self/comm").read_bytes().strip()}
    for cpu in set(spans["cpu"].tolist()):
        here = np.sort(spans[(spans["state"] == RAN) & (spans["cpu"] == cpu)], order="begin_ns")
        assert (here["end_ns"][:-1] <= here["begin_ns"][1:]).all()


def test_a_kernel_without_types_is_told_so(counting: Collector) -> None:
    with pytest.raises(KvmtopError, match="cannot be told on this kernel"):
        TimelineProbes([], counting.threads, counting.shared())
