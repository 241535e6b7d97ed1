"""scheduling.bpf.c in this machine's kernel: a Player is the vCPU, what runs instead is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.bpf.scheduling import SchedulingProbes, below
from kvmtop.errors import KvmtopError
from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack, unpack
from kvmtop.model.scheduling import BEHIND, BLOCKED, TASK, UNKNOWN, WOKEN, Scheduling
from kvmtop.model.vocabulary import STATES

from ..support.attached import attached
from ..support.control_flow import fallen_into
from .machine import Player, enter, hog, leave, nap, needs_two, row, spin, states

CPUID, HLT = 0x72, 0x78
MS = 1_000_000
FUTEX, READ, NANOSLEEP = 202, 0, 230


@pytest.fixture(scope="module")
def loaded(counting: Collector) -> Iterator[SchedulingProbes]:
    one = SchedulingProbes(counting.sched_flags, counting.threads, counting.shared())
    yield one
    one.close()


@pytest.fixture
def probes(loaded: SchedulingProbes) -> Iterator[SchedulingProbes]:
    loaded.look(0)
    yield loaded
    loaded.look(None)


def test_what_was_attached_is_detached(loaded: SchedulingProbes) -> None:
    """Some of the programs are on several tracepoints."""
    before = attached()
    loaded.look(0)
    more = attached() - before
    assert {"sched_waking", "reschedule_entry", "reschedule_exit", "call_function_entry"} <= more
    loaded.look(None)
    assert attached() == before


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The test keeps to one CPU; the other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield max(before)
    os.sched_setaffinity(0, before)


def told(counting: Collector, probes: SchedulingProbes) -> Scheduling:
    found = probes.read(counting.read(probes.sample))
    assert found is not None
    return found


def charges(found: Scheduling, pid: int, kind: int) -> Array:
    one: Array = found.charges[(found.charges["id"] == pack(pid, pid)) & (found.charges["kind"] == kind)]
    return one


def behind(found: Scheduling, pid: int) -> dict[tuple[int, int], int]:
    """ns by (by, tid) of what it waited behind."""
    sums: dict[tuple[int, int], int] = {}
    for one in charges(found, pid, BEHIND):
        who = (int(one["by"]), unpack(int(one["who"]))[1])
        sums[who] = sums.get(who, 0) + int(one["ns"])
    return sums


@needs_two
@pytest.mark.parametrize("sleeps", [False, True], ids=["preempted", "woken"])
def test_a_wait_is_charged_to_who_ran_while_it_lasts_and_after(
    counting: Collector, probes: SchedulingProbes, elsewhere: int, sleeps: bool
) -> None:
    def act(player: Player) -> None:
        os.sched_setaffinity(0, {elsewhere})
        leave(CPUID)
        player.step()
        enter()
        if sleeps:
            player.step()  # until the hog has the CPU
        else:
            spin(400)
        player.step()

    with Player(act) as player:
        player.wait()
        player.go()
        if sleeps:
            player.wait()
        else:
            time.sleep(0.05)
        with hog(elsewhere, 0.4) as pid:
            if sleeps:
                player.go()
            for _ in range(30):
                first, _ = row(counting, player.pid)
                if STATES[first["state"]] == "wait":
                    break
                time.sleep(0.01)
            time.sleep(0.05)
            snapshot = counting.read(probes.sample)
            during = probes.read(snapshot)
            assert during is not None
            mine = snapshot.threads[snapshot.threads["id"] == pack(player.pid, player.pid)][0]
            assert during.running[elsewhere] == pack(pid, pid)
        player.wait()
        after = told(counting, probes)
        found, _ = row(counting, player.pid)
    # What is open counts, too.
    assert behind(during, player.pid)[TASK, pid] > 50 * MS
    assert sum(behind(during, player.pid).values()) == pytest.approx(states(mine)["wait"], abs=MS)
    assert sum(behind(after, player.pid).values()) == pytest.approx(states(found)["wait"], abs=MS)
    assert behind(after, player.pid)[TASK, pid] > 300 * MS
    named = charges(after, player.pid, BEHIND)
    named = named[(named["who"] == pack(pid, pid)) & (named["count"] > 0)]
    assert len(named) == 1 and named["comm"][0] == Path("/proc/self/comm").read_text().strip().encode()
    assert not named["kernel"][0] and named["cgroup"][0]
    # What was open is a row of its own, which stays, and is nothing now.
    still = after.charges[np.isin(after.charge_ids, during.charge_ids)]
    assert set(during.charge_ids.tolist()) <= set(after.charge_ids.tolist())
    assert not still[(still["id"] == pack(player.pid, player.pid)) & (still["count"] == 0)]["ns"].any()


@needs_two
@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_FIFO], ids=["in turns", "at once"])
def test_who_becomes_another_program_is_called_so(
    counting: Collector, probes: SchedulingProbes, elsewhere: int, policy: int
) -> None:
    """A process has the name of its parent when it is charged first."""

    def act(player: Player) -> None:
        os.sched_setaffinity(0, {elsewhere})
        leave(CPUID)
        player.step()
        enter()
        spin(600)
        player.step()

    name = Path("/proc/self/comm")
    with Player(act) as player:
        player.wait()
        player.go()
        before, pid = name.read_text(), os.fork()
        if not pid:
            os.sched_setaffinity(0, {elsewhere})
            os.sched_setscheduler(0, policy, os.sched_param(50 if policy == os.SCHED_FIFO else 0))
            for comm in ("parent", "child"):
                name.write_text(comm)
                for _ in range(20):
                    spin(5)
                    os.sched_yield()
            os._exit(0)
        os.waitpid(pid, 0)
        player.wait()
        found = charges(told(counting, probes), player.pid, BEHIND)
    assert name.read_text() == before
    assert [one["comm"] for one in found if one["who"] == pack(pid, pid) and one["count"]] == [b"child"]


@needs_two
def test_who_is_moved_to_another_run_queue_waits_behind_those_there(
    counting: Collector, probes: SchedulingProbes, elsewhere: int
) -> None:
    here = min(os.sched_getaffinity(0))

    def act(player: Player) -> None:
        os.sched_setaffinity(0, {elsewhere})
        leave(CPUID)
        player.step()
        enter()
        spin(10_000)

    with Player(act) as player:
        player.wait()
        player.go()
        with hog(elsewhere, 0.5) as first:
            time.sleep(0.1)
            assert STATES[row(counting, player.pid)[0]["state"]] == "wait"
            with hog(here, 0.3) as second:
                # Only now does this run again: both have had their CPUs.
                os.sched_setaffinity(player.pid, {elsewhere})
            found = behind(told(counting, probes), player.pid)
            assert found[TASK, first] > 50 * MS and (TASK, second) not in found
            with hog(elsewhere, 0.3) as second:
                time.sleep(0.05)
                os.sched_setaffinity(player.pid, {here})
                time.sleep(0.05)
        found = behind(told(counting, probes), player.pid)
        assert found.get((TASK, os.getpid()), 0) > 0 or (TASK, first) in found
        waits = states(row(counting, player.pid)[0])["wait"]
        assert sum(found.values()) == pytest.approx(waits, abs=50 * MS)


def test_wakers_and_how_long_it_took_to_run(counting: Collector, probes: SchedulingProbes) -> None:
    def act(player: Player) -> None:
        leave(HLT)
        for _ in range(20):
            player.step()  # woken by the test
        for _ in range(30):
            nap(1)  # woken by a timer
        enter()
        player.step()

    with Player(act) as player:
        for _ in range(20):
            player.next() if _ else player.wait()
        player.go()
        player.wait()
        found = told(counting, probes)
    woken = charges(found, player.pid, WOKEN)
    by_test = woken[woken["who"] == pack(os.getpid(), os.getpid())]
    assert by_test["count"].sum() == 20 and (by_test["by"] == TASK).all()
    assert 10 < woken["count"].sum() - 20 <= 30 + 50  # a busy machine lets a timer expire before it is waited for
    latency = found.latencies[found.latencies["id"] == pack(player.pid, player.pid)]
    assert len(latency) == 1 and 30 < latency["count"][0] == latency["hist"][0].sum() <= woken["count"].sum()
    assert 0 < latency["max"][0] <= latency["total"][0] < 10_000 * MS


def test_what_it_is_blocked_on_and_who_lets_it_go(counting: Collector, probes: SchedulingProbes) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        player.step()
        nap(20)
        player.step()

    with Player(act) as player:
        player.wait()
        time.sleep(0.05)
        still = charges(told(counting, probes), player.pid, BLOCKED)
        still = still[still["ns"] > 0]
        assert len(still) == 1 and unpack(int(still["call"][0]))[0] == READ
        assert still["by"][0] == UNKNOWN and not still["count"][0] and still["ns"][0] > 40 * MS
        player.next()
        found = told(counting, probes)
        ours = charges(found, player.pid, BLOCKED)
        ours = ours[ours["count"] > 0]
        calls = unpack(ours["call"])[0].tolist()
        (read,) = ours[[call == READ for call in calls]]
        (slept,) = ours[[call == NANOSLEEP for call in calls]]
        assert read["who"] == pack(os.getpid(), os.getpid()) and read["by"] == TASK and read["count"] == 1
        assert read["ns"] >= still["ns"][0] and slept["ns"] >= 20 * MS and slept["max"] == slept["ns"]
        blocked = states(row(counting, player.pid)[0])["blocked"]
        total = int(charges(told(counting, probes), player.pid, BLOCKED)["ns"].sum())
        assert total == pytest.approx(blocked, abs=30 * MS)
        assert any("pipe_read" in name for name in found.stacks[int(read["stack"])])
        assert found.stacks[int(slept["stack"])][0] == "do_nanosleep"


def test_only_the_vcpus_of_the_vm_that_is_looked_at(counting: Collector, loaded: SchedulingProbes) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        for _ in range(5):
            player.step()

    with Player(act) as one, Player(act) as other:
        loaded.look(one.pid)
        for player in (one, other):
            player.wait()
            player.next()
        found = told(counting, loaded)
        loaded.look(None)
        assert loaded.read(counting.read(loaded.sample)) is None
    assert found.pid == one.pid
    assert set(unpack(found.charges["id"])[0].tolist()) == {one.pid} == set(unpack(found.latencies["id"])[0].tolist())


@needs_two
def test_a_thousand_others_are_told_apart_and_nothing_is_lost(
    counting: Collector, probes: SchedulingProbes, elsewhere: int
) -> None:
    """Each runs once, for a moment, before the vCPU that waits."""
    program = f"""
import os, threading
os.sched_setaffinity(0, {{{elsewhere}}})
gate = threading.Event()
for _ in range(300):
    threading.Thread(target=gate.wait).start()
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
print(flush=True)
input()
gate.set()
"""

    def act(player: Player) -> None:
        os.sched_setaffinity(0, {elsewhere})
        os.nice(5)
        leave(CPUID)
        player.step()
        enter()
        spin(30)
        player.step()

    with (
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd,
        Player(act) as player,
    ):
        assert crowd.stdout and crowd.stdin
        crowd.stdout.readline()
        player.wait()
        player.go()
        crowd.communicate(b"\n")
        player.wait()
        found = told(counting, probes)
        waits = states(row(counting, player.pid)[0])["wait"]
        assert sum(behind(found, player.pid).values()) == pytest.approx(waits, abs=MS)
        assert (UNKNOWN, 0) not in behind(found, player.pid)


def test_a_look_at_another_time_starts_anew(counting: Collector, loaded: SchedulingProbes) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        for _ in range(4):
            player.step()

    with Player(act) as player:
        loaded.look(0)
        player.wait()
        player.next()
        first = told(counting, loaded)
        loaded.look(None)
        player.next()
        loaded.look(0)
        second = told(counting, loaded)
        player.next()
        third = told(counting, loaded)
        loaded.look(None)
    assert first.since_ns < second.since_ns == third.since_ns
    assert (
        not charges(second, player.pid, WOKEN)["count"].sum() and charges(third, player.pid, WOKEN)["count"].sum() == 1
    )
    # It has slept since before the look; what counts is since then.
    assert 0 < charges(third, player.pid, BLOCKED)["ns"].max() < third.latencies["total"].max() + 60_000 * MS


def test_a_look_that_fails_tells_nothing(
    counting: Collector, loaded: SchedulingProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's waits would be charged to anybody."""
    with monkeypatch.context() as refusing:
        refusing.setattr(loaded._probes, "attach", Mock(side_effect=KvmtopError("the kernel refuses")))
        with pytest.raises(KvmtopError):
            loaded.look(0)
    assert loaded.read(counting.read(loaded.sample)) is None
    loaded.look(0)
    assert told(counting, loaded).since_ns
    loaded.look(None)


@pytest.mark.parametrize("threads", [128, 320, 20_000])
def test_the_kernel_takes_it_for_any_number_of_vcpus(counting: Collector, threads: int) -> None:
    """What the verifier knows of an index depends on how the compiler has written it, and that on the number."""
    SchedulingProbes(counting.sched_flags, threads, counting.shared()).close()


def test_without_the_kernels_types_it_says_so(counting: Collector) -> None:
    with pytest.raises(KvmtopError, match="cannot be told on this kernel"):
        SchedulingProbes((), counting.threads, counting.shared())


def test_a_stack_begins_below_the_scheduler() -> None:
    stack = ["bpf_prog_1", "__traceiter_sched_switch", "__schedule", "schedule", "futex_wait_queue", "futex_wait"]
    assert below(stack) == ["futex_wait_queue", "futex_wait"]
    assert below(["do_nanosleep"]) == ["do_nanosleep"] and below([]) == []


@pytest.mark.parametrize("threads", [64, 320, 20_000])
def test_older_kernels_take_its_loops(counting: Collector, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Clang decides how a loop is laid out, and 6.1's verifier does not like them all: here without such a kernel."""
    asked: list[Any] = []

    def load(*arguments: Any) -> None:
        asked.extend(arguments)
        raise KvmtopError("not now")

    monkeypatch.setattr("kvmtop.bpf.probes.loader.load", load)
    with pytest.raises(KvmtopError, match="not now"):
        SchedulingProbes(counting.sched_flags, threads, counting.shared())
    source, flags, programs = asked[:3]
    code = f"""
from pathlib import Path
from kvmtop.bpf import loader
bpf = loader._import_bcc().BPF(text=loader._whole(Path({str(source)!r})).encode(), cflags={list(flags)!r})
for name in {list(programs)!r}:
    print(name, bpf.dump_func(name.encode()).hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    compiled = dict(line.split() for line in done.stdout.splitlines())
    assert compiled.keys() == programs.keys()
    assert not [(name, at) for name, text in compiled.items() for at in fallen_into(bytes.fromhex(text))]
