"""stacks.bpf.c in this machine's kernel: a Player is the vCPU, what it sleeps in and runs is known."""

from __future__ import annotations

import os
import resource
import select
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.bpf.stacks import RING, SAMPLE, StackProbes
from kvmtop.errors import KvmtopError
from kvmtop.model.keys import pack
from kvmtop.model.snapshot import Stacks
from kvmtop.model.stacks import FREQUENCY, Off, Stack
from kvmtop.model.vocabulary import NESTED, OUTSIDE, REFLECTED, SVM, DetailRequest, Key

from . import machine
from .machine import INJECT, NESTED_EXIT, Player, call, enter, hog, leave, nap, needs_two, row, run, spin, to_user

CPUID, IO, NPF = 0x72, 0x7B, 0x400
MS = 1_000_000


@pytest.fixture(scope="module")
def loaded(counting: Collector) -> Iterator[StackProbes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kvmtop.bpf.stacks.Probes", machine._OnSystemCalls)
        one = StackProbes(counting.sched_flags, counting.threads, counting.shared())
    yield one
    one.close()


@pytest.fixture
def probes(counting: Collector, loaded: StackProbes) -> Iterator[StackProbes]:
    loaded.look(DetailRequest(stacks=True), counting.read)
    yield loaded
    loaded.look(None, counting.read)


def told(counting: Collector, probes: StackProbes) -> Stacks:
    found = probes.read(counting.read(probes.sample))
    assert found is not None
    return found


def off(found: Stacks, pid: int, state: str) -> dict[tuple[int, str], Off]:
    """By reason, and the innermost function."""
    mine = {stack: one for stack, one in found.off.items() if stack.thread == pack(pid, pid) and stack.state == state}
    return {(stack.code, stack.frames[0] if stack.frames else ""): one for stack, one in mine.items()}


def samples(found: Stacks, pid: int) -> Counter[tuple[int, str, bool]]:
    """By reason, state, and whether it ran the kernel's code."""
    counts = Counter[tuple[int, str, bool]]()
    for stack, count in found.samples.items():
        if stack.thread == pack(pid, pid):
            counts[stack.code, stack.state, bool(stack.frames)] += count
    return counts


def test_what_it_sleeps_in_and_how_long(counting: Collector, probes: StackProbes) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        enter()
        nap(30)  # in the guest, as far as anybody knows: no exit is open
        leave(IO)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        for _ in range(10):
            nap(5)
        slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        enter()
        leave(CPUID)
        nap(20)
        player.tell(str(slept))
        player.step()
        enter()
        player.step()

    with Player(act) as player:
        naps = int(player.wait())  # as a rule 10: on a busy machine it may be the timer's turn before it sleeps
        during = told(counting, probes)
        first, end = row(counting, player.pid)
        player.next()
        after, cells = told(counting, probes), machine.cells(counting, player.pid)
    io = off(after, player.pid, "blocked")[IO, "do_nanosleep"]
    assert io.times == naps > 5 and io.ns > 5 * naps * MS / 2 and 5 * MS <= io.longest <= io.ns
    slept = off(after, player.pid, "blocked")
    assert slept[CPUID, "do_nanosleep"].times == 1 and slept[CPUID, "do_nanosleep"].ns >= 20 * MS
    # To the ns what the collector has of the same exits, which are over.
    both = [one for state in ("blocked", "wait") for one in off(after, player.pid, state).values()]
    theirs = machine.parts(cells)
    assert sum(one.ns for one in both) == theirs["blocked"] + theirs["wait"] + theirs["throttled"] > 80 * MS
    assert sum(one.waited for one in both) == theirs["wait"] + theirs["throttled"]
    # Who has not come back counts, too: it has been read(2), from a pipe, since the last nap.
    (still,) = [one for (_, name), one in off(during, player.pid, "blocked").items() if "pipe" in name]
    assert still.times == 0 and 0 < still.ns <= end - int(first["exit_ns"])
    (still,) = [one for (_, name), one in slept.items() if "pipe" in name]
    assert still.times == 1
    stack = next(stack for stack in after.off if stack.frames[:1] == ("do_nanosleep",))
    assert {"hrtimer_nanosleep", "do_syscall_64"} <= set(stack.frames)


@needs_two
def test_who_is_preempted_has_waited_and_has_no_stack(counting: Collector, probes: StackProbes) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:

        def act(player: Player) -> None:
            os.sched_setaffinity(0, {max(before)})
            leave(CPUID)
            player.step()
            spin(300)
            player.step()

        with Player(act) as player:
            player.wait()
            clock = Path(f"/proc/{player.pid}/schedstat")
            spun = int(clock.read_text().split()[0])
            player.go()
            while int(clock.read_text().split()[0]) < spun + 5 * MS:  # it runs, and has not just been woken
                time.sleep(0.005)
            with hog(max(before), 0.2):
                pass
            player.wait()
            found = told(counting, probes)
    finally:
        os.sched_setaffinity(0, before)
    waited = off(found, player.pid, "wait")
    assert waited.keys() == {(CPUID, "")}
    assert waited[CPUID, ""].longest > 150 * MS and waited[CPUID, ""].waited == waited[CPUID, ""].ns


def test_samples_are_of_open_exits_alone(counting: Collector, probes: StackProbes) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        enter()
        spin(300)
        leave(CPUID)
        to_user()
        spin(500)
        run()
        enter()
        spin(300)
        leave(IO)
        end = time.thread_time_ns() + 500 * MS
        while time.thread_time_ns() < end:
            os.listdir("/proc/self/fd")  # most of it in the kernel
        enter()
        player.step()

    with Player(act) as player:
        player.wait()
        found, cells = told(counting, probes), machine.cells(counting, player.pid)
    counts = samples(found, player.pid)
    assert found.lost == 0
    assert counts[CPUID, "user", False] and counts[CPUID, "user", True]  # it asks for the time by a system call
    assert counts[IO, "kernel", True] > counts[IO, "kernel", False] > 0
    # Of 0.6 s without an open exit none, of the others as many as the time allows; a machine that is a VM misses some.
    spent = machine.parts(cells)
    expected = (spent["kernel"] + spent["user"]) / 1e9 * FREQUENCY
    assert 20 < sum(counts.values()) < expected * 1.1 + 3
    tops = Counter[str]()
    for stack, count in found.samples.items():
        if stack.thread == pack(player.pid, player.pid) and stack.frames:
            tops[stack.frames[-1]] += count
    assert tops.most_common(1)[0][0].startswith("entry_SYSCALL_64")


def test_one_reason_alone(counting: Collector, loaded: StackProbes) -> None:
    def act(player: Player) -> None:
        for reason in (CPUID, IO):
            leave(reason)
            nap(5)
            enter()
        player.step()

    loaded.look(DetailRequest(only=(2, IO), stacks=True), counting.read)
    try:
        with Player(act) as player:
            player.wait()
            found = told(counting, loaded)
    finally:
        loaded.look(None, counting.read)
    assert found.only == (2, IO)
    assert {stack.code for stack in found.off} == {IO} and off(found, player.pid, "blocked")


def test_one_vm_alone(counting: Collector, loaded: StackProbes) -> None:
    def act(player: Player) -> None:
        player.step()
        leave(IO)
        nap(5)
        spin(300)
        enter()
        player.step()

    with Player(act) as one, Player(act) as other:
        loaded.look(DetailRequest(stacks=True, pids=frozenset({one.pid, 1})), counting.read)
        try:
            for player in (one, other):
                player.wait()
                player.next()
            found = told(counting, loaded)
        finally:
            loaded.look(None, counting.read)
    assert found.pids == {one.pid, 1}
    assert {stack.thread for stack in (*found.off, *found.samples)} == {pack(one.pid, one.pid)}
    assert off(found, one.pid, "blocked") and samples(found, one.pid)


@pytest.mark.parametrize("only", [None, (SVM | NESTED | REFLECTED, NPF)], ids=["all", "one"])
def test_what_an_exit_sleeps_in_before_kvm_says_whose_it_is_is_its_own(
    counting: Collector, loaded: StackProbes, monkeypatch: pytest.MonkeyPatch, only: Key | None
) -> None:
    """And what it runs, where nobody fetches that meanwhile."""
    monkeypatch.setattr("kvmtop.bpf.stacks.DRAIN", 1000)

    def act(player: Player) -> None:
        for events in ((NESTED_EXIT,), (NESTED_EXIT, INJECT)):
            for _ in range(4):
                leave(NPF)
                for event in events:
                    nap(5)
                    spin(12)
                    call(event, NPF)
                nap(5)
                spin(12)
                enter()
        player.step()

    loaded.look(DetailRequest(only=only, stacks=True), counting.read)
    try:
        with Player(act) as player:
            player.wait()
            snapshot = counting.read(loaded.sample)
            found = loaded.read(snapshot)
            cells = machine.cells(counting, player.pid)
    finally:
        loaded.look(None, counting.read)
    assert found
    mine = pack(player.pid, player.pid)
    blocked = Counter[int]()
    for stack, one in found.off.items():
        if stack.thread == mine and stack.state == "blocked":
            blocked[stack.isa] += one.ns - one.waited
    assert blocked == {int(cell["isa"]): int(cell["blocked"]) for cell in cells}
    assert blocked.keys() == {SVM | NESTED, SVM | NESTED | REFLECTED}
    assert blocked.keys() == {stack.isa for stack in found.samples if stack.thread == mine}


def test_while_nobody_looks_there_is_nothing_and_a_new_look_begins_anew(
    counting: Collector, loaded: StackProbes
) -> None:
    def act(player: Player) -> None:
        for _ in range(3):
            leave(CPUID)
            nap(5)
            enter()
            player.step()

    with Player(act) as player:
        player.wait()
        assert loaded.read(counting.read()) is None and not loaded._probes.attached
        loaded.look(DetailRequest(stacks=True), counting.read)
        assert loaded._probes.attached == {"on_switch", "on_sample", "on_level"}
        player.next()
        assert off(told(counting, loaded), player.pid, "blocked")[CPUID, "do_nanosleep"].times == 1
        loaded.look(None, counting.read)
        assert not loaded._probes.attached
        loaded.look(DetailRequest(stacks=True), counting.read)
        assert not off(told(counting, loaded), player.pid, "blocked")
        player.next()
        assert off(told(counting, loaded), player.pid, "blocked")[CPUID, "do_nanosleep"].times == 1
        loaded.look(None, counting.read)


def test_rings_that_ran_over_are_counted(loaded: StackProbes) -> None:
    """A ring that was filled two and a half times since the last reading: the last RING - 1 are there, at most."""
    loaded._forget()
    rows = np.zeros(RING, SAMPLE)
    written = 5 * RING // 2
    for number in range(written - RING + 1, written + 1):
        rows[number % RING]["number"], rows[number % RING]["id"] = number, 7
    tally = loaded._maps["tallies"].read()
    loaded._maps["samples"].write(range(RING), rows)
    tally["samples"][0] = written
    loaded._maps["tallies"].write(range(len(tally)), tally)
    with loaded._lock:
        loaded._drain()
        kept = sum(loaded._samples.values())
        assert kept == RING - 1 and kept + loaded._lost == written
        loaded._drain()
        assert sum(loaded._samples.values()) == kept
    loaded._forget()


def test_another_stack_in_the_place_of_one_does_not_hide_it(
    counting: Collector, loaded: StackProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table of one place all but the first go to the second."""

    def act(player: Player) -> None:
        leave(CPUID)
        for _ in range(3):
            nap(5)
            select.select([], [], [], 0.005)
        player.step()

    monkeypatch.setattr("kvmtop.bpf.stacks.STACKS", 1)
    one = StackProbes(counting.sched_flags, counting.threads, counting.shared())
    try:
        one.look(DetailRequest(stacks=True), counting.read)
        with Player(act) as player:
            player.wait()
            found = off(told(counting, one), player.pid, "blocked")
    finally:
        one.close()
    assert found[CPUID, "do_nanosleep"].times == 3
    assert {name: one.times for (_, name), one in found.items() if "schedule" in name or "select" in name}
    assert (CPUID, "") not in found


def test_a_kernel_without_types_says_so() -> None:
    with pytest.raises(KvmtopError, match="stacks cannot be told on this kernel"):
        StackProbes([], 64, {})


def test_more_stacks_than_there_is_room_for_keep_their_time(
    loaded: StackProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvmtop.bpf.stacks.MOST", 2)
    loaded._forget()
    loaded._functions = Mock(full=lambda address: f"f{address}")
    rows = np.zeros(RING, SAMPLE)
    for number in range(1, 6):
        rows[number]["number"], rows[number]["size"], rows[number]["ip"][0] = number, 8, number
    tally = loaded._maps["tallies"].read()
    loaded._maps["samples"].write(range(RING), rows)
    tally["samples"][0] = 5
    loaded._maps["tallies"].write(range(len(tally)), tally)
    with loaded._lock:
        loaded._drain()
        assert sorted(loaded._samples.values()) == [1, 1, 3]
        assert loaded._samples[Stack(0, 0, 0, "guest", ())] == 3
    loaded._forget()


def _naps(status: Path) -> int:
    return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_what_it_has_slept_is_of_the_same_instant_as_its_states(counting: Collector, probes: StackProbes) -> None:
    """However long it takes to name the functions: a third of a second the first time."""

    def act(player: Player) -> None:
        leave(CPUID)
        player.step()
        for _ in range(1000):
            nap(5)

    with Player(act) as player:
        player.wait()
        asleep = Path(f"/proc/{player.pid}/status")
        before = _naps(asleep)
        player.go()
        while _naps(asleep) < before + 45:  # 44 of them are over
            time.sleep(0.01)
        snapshot = counting.read(probes.sample)
        found = probes.read(snapshot)
    assert found
    mine = [one for stack, one in found.off.items() if stack.thread == pack(player.pid, player.pid)]
    (thread,) = snapshot.threads[snapshot.threads["id"] == pack(player.pid, player.pid)]
    lasted = dict(zip(OUTSIDE, thread["open"].tolist(), strict=True))
    assert lasted["blocked"] > 200 * MS
    away = sum(lasted[state] for state in ("idle", "blocked", "wait", "throttled"))
    assert sum(one.ns for one in mine) == pytest.approx(away, abs=100 * MS)
