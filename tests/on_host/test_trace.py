"""Every single exit on a timeline, against ftrace's events one by one, and against known guests."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytest

from kvmtop.bpf.timeline import TimelineProbes
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import CODE, Step
from kvmtop.host.tracing import Spool, Trace, record
from kvmtop.model.arrays import Array
from kvmtop.model.keys import unpack
from kvmtop.model.timeline import NO_REASON, RAN
from kvmtop.model.vocabulary import STATES

from ..support.traces import read
from . import ftrace, states_truth, truth
from .scenarios import HOG, ON_CPU, Vm, process

# Between the two probes lie some hundred instructions of the same event, and ftrace tells µs. An emulated host may stand
# still between the two, for ms on a busy machine: the bound is for the median.
USUALLY = 20_000  # ns
EDGE = 5_000_000  # ns at both ends of what ftrace recorded that are not compared: it begins on one CPU after the other
KNOWN = 1_000_000  # ns
SECONDS = 1.0


@contextlib.contextmanager
def loaded(**sizes: int) -> Iterator[tuple[Live, TimelineProbes]]:
    live = Live()
    one = live._collector
    probes = TimelineProbes(one.sched_flags, one.threads, one.shared(), **sizes)
    try:
        yield live, probes
    finally:
        probes.close()
        live.close()


class Exit(NamedTuple):
    begin: int
    end: int
    reason: str
    rip: int


def by_ftrace(events: list[ftrace.Event]) -> dict[int, list[Exit]]:
    """Of each thread, the exits that have both events."""
    found: dict[int, list[Exit]] = defaultdict(list)
    still: dict[int, tuple[int, str, int]] = {}
    for event in events:
        if event.name == "kvm_exit":
            said = re.search(r"reason (\S+) rip (0x[0-9a-f]+)", event.text)
            assert said, event
            still[event.tid] = (event.ns, said[1], int(said[2], 16))
        elif event.name == "kvm_entry" and event.tid in still:
            begin, reason, rip = still.pop(event.tid)
            found[event.tid].append(Exit(begin, event.ns, reason, rip))
    return found


def ours(trace: Trace) -> tuple[Array, Array]:
    pieces = list(trace.records)
    return np.concatenate([one[0] for one in pieces]), np.concatenate([one[1] for one in pieces])


def within(rows: Array, events: list[ftrace.Event]) -> Array:
    """Those that both have recorded, in order."""
    times = [event.ns for event in events]
    some = (rows["begin_ns"] >= min(times) + EDGE) & (rows["end_ns"] <= max(times) - EDGE)
    return np.sort(rows[some], order="begin_ns")


def usual(differences: list[int]) -> float:
    return float(np.median(np.abs(differences))) if differences else 0.0


def spread(differences: list[int]) -> str:
    """In words: median, 95 %, and most."""
    if not differences:
        return "nothing"
    return " ".join(f"{np.percentile(np.abs(differences), at):.0f}" for at in (50, 95, 100))


Theirs = TypeVar("Theirs", bound=tuple[Any, ...])


def from_the_first(mine: Array, theirs: list[Theirs]) -> list[Theirs]:
    """Of theirs, that begin with an instant, from the one that is the first of mine up to the last of mine."""
    first = min(range(len(theirs)), key=lambda at: abs(theirs[at][0] - int(mine["begin_ns"][0])))
    middle = (int(mine["begin_ns"][-1]) + int(mine["end_ns"][-1])) // 2
    return [one for one in theirs[first:] if one[0] < middle]


@pytest.fixture(scope="module")
def observed() -> Iterator[tuple[Trace, list[ftrace.Event], set[int]]]:
    """A trace of VMs that exit to user space, are halted by their VMM, blocked in a page fault, and wait for a CPU."""
    recorder = ftrace.Recorder("trace")
    with contextlib.ExitStack() as undo:
        undo.callback(recorder.close)
        live, probes = undo.enter_context(loaded())
        spool = undo.enter_context(contextlib.closing(Spool()))
        vms = [Vm("out"), Vm("hlt"), Vm("fault"), Vm("busy", before=ON_CPU)]
        for vm in vms:
            undo.callback(vm.close)
        hog = undo.enter_context(process([*ON_CPU, *HOG]))
        pids = [hog.pid, *(vm.ready().process.pid for vm in vms)]

        def all_of_them(number: int) -> None:
            for pid in pids:
                os.kill(pid, number)

        # They run while both record: attaching and detaching take long on a busy host.
        all_of_them(signal.SIGSTOP)
        end = float("inf")

        def begin() -> None:
            nonlocal end
            recorder.start()
            all_of_them(signal.SIGCONT)
            end = time.monotonic() + SECONDS

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            if time.monotonic() < end:
                return False
            recorder.pause()
            all_of_them(signal.SIGSTOP)
            return True

        trace = record(live, probes, wait, 600, spool, begin)
        yield trace, recorder.stop(), set().union(*(vm.tids() for vm in vms))


Observed = tuple[Trace, list[ftrace.Event], set[int]]


def test_every_exit_is_ftraces_one_by_one(observed: Observed) -> None:
    trace, events, tids = observed
    assert not any(trace.lost.values()) and not trace.missed, (trace.lost, trace.missed)
    exits, _ = ours(trace)
    theirs, differences, lengths = by_ftrace(events), list[int](), list[int]()
    exits = exits[exits["number"] > 0]
    assert set((exits["id"] & 0xFFFFFFFF).tolist()) == tids
    for tid in tids:
        mine = within(exits[(exits["id"] & 0xFFFFFFFF == tid) & (exits["reason"] != NO_REASON)], events)
        wanted = from_the_first(mine, theirs[tid])
        named = [trace.names.name(int(one["isa"]), int(one["reason"])) for one in mine]
        assert named == [one.reason for one in wanted]
        assert mine["rip"].tolist() == [one.rip for one in wanted]
        for one, other in zip(mine, wanted, strict=True):
            differences += [int(one["begin_ns"]) - other.begin, int(one["end_ns"]) - other.end]
            lengths.append(int(one["end_ns"]) - int(one["begin_ns"]) - other.end + other.begin)
    print(f"\n{len(lengths)} exits: instants differ by {spread(differences)} ns, lengths by {spread(lengths)}")
    assert len(lengths) > 500 and usual(differences) < USUALLY and usual(lengths) < USUALLY


@pytest.mark.parametrize("state", ["idle", "blocked", "wait"])
def test_every_sleep_and_wait_is_ftraces_one_by_one(observed: Observed, state: str) -> None:
    trace, events, tids = observed
    _, spans = ours(trace)
    replayed = states_truth.replay(events, trace.stop_ns + 10**9)
    spans = spans[(spans["number"] > 0) & (spans["state"] == STATES.index(state))]
    differences = list[int]()
    for tid in tids:
        theirs = list[tuple[int, int]]()
        for one in replayed[tid]:
            if one.states not in ((state,), (state, "wait")):  # from sched_waking to sched_wakeup it sleeps
                continue
            if theirs and theirs[-1][1] == one.start:  # it was moved, or asked for meanwhile
                theirs[-1] = (theirs[-1][0], one.end)
            else:
                theirs.append((one.start, one.end))
        mine = within(spans[spans["id"] & 0xFFFFFFFF == tid], events)
        if theirs:  # of what it did before its first events the replay knows nothing
            mine = mine[mine["begin_ns"] >= theirs[0][0] - KNOWN]
        if not len(mine):
            continue
        theirs = from_the_first(mine, theirs)
        assert len(mine) == len(theirs), (tid, len(mine), len(theirs))
        for one, other in zip(mine, theirs, strict=True):
            differences += [int(one["begin_ns"]) - other[0], int(one["end_ns"]) - other[1]]
    print(f"\n{len(differences) // 2} × {state}: instants differ by {spread(differences)} ns")
    assert len(differences) >= (4 if state == "blocked" else 40) and usual(differences) < USUALLY


def test_who_had_a_cpu_is_who_the_scheduler_switched_to(observed: Observed) -> None:
    trace, events, _ = observed
    _, spans = ours(trace)
    ran = within(spans[(spans["state"] == RAN) & (spans["number"] > 0)], events)
    on, theirs = dict[int, tuple[int, int, str]](), defaultdict[int, list[tuple[int, int, str, int]]](list)
    for event in events:
        if event.name == "sched_switch":
            said = re.search(r"next_comm=(.*) next_pid=(\d+)", event.text)
            assert said, event
            if before := on.get(event.cpu):
                theirs[event.cpu].append((*before, event.ns))
            on[event.cpu] = (event.ns, int(said[2]), said[1])
    differences = list[int]()
    for cpu in set(ran["cpu"].tolist()):
        mine = ran[ran["cpu"] == cpu]
        wanted = from_the_first(mine, [one for one in theirs[cpu] if one[1]])  # without the idle task
        assert (mine["id"] & 0xFFFFFFFF).tolist() == [one[1] for one in wanted]
        for one, other in zip(mine, wanted, strict=True):
            differences += [int(one["begin_ns"]) - other[0], int(one["end_ns"]) - other[3]]
    print(f"\n{len(differences) // 2} turns: instants differ by {spread(differences)} ns")
    assert len(differences) > 100 and usual(differences) < USUALLY


SCRIPT = ("cpuid:500", "out:50", "in:20", "rdmsr:30", "wrmsr:40", "mmio:7", "hlt:3")
COUNTS = {"cpuid": 500, "io": 70 + 1, "msr": 70, "hlt": 3}  # its last `out` ends it


def test_the_file_has_a_known_guests_exits_and_its_tracks_add_up(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    steady = Vm("busy", before=ON_CPU).ready()
    argv = [sys.executable, "-m", "kvmtop", "trace", "-T", "100", str(path)]
    try:
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracing:
            assert tracing.stderr and "tracing for 100 s" in (said := tracing.stderr.readline()), said
            guest = truth.start([Step.parse(step) for step in SCRIPT])
            os.waitpid(guest, 0)
            time.sleep(0.1)
            tracing.send_signal(signal.SIGINT)
            said = tracing.stderr.read()
            assert tracing.wait() == 0, said
    finally:
        steady.close()
    found, whole = read(path.read_text())
    exits = [one for one in found if one.kind == "exit" and one.pid == guest]
    counts = Counter(one.name for one in exits)
    assert {name: counts[name] for name in COUNTS} == COUNTS, (counts, said)
    touched = Counter(one.args["touched"].split(" out ")[0] for one in exits if one.name == "io")
    assert touched["port 0x10"] >= 50 and "missing" not in said
    assert {one.args["level"] for one in exits if one.args} == {"L1"}
    assert {one.args["rip"].split()[0] for one in exits if one.name == "cpuid"} <= {
        f"0x{CODE + at:x}" for at in range(200)
    }
    for pid in (guest, steady.process.pid):
        tids = {one.tid for one in found if one.pid == pid}
        assert tids
        for tid in tids:
            mine = sorted((one for one in found if (one.pid, one.tid) == (pid, tid)), key=lambda one: one.begin)
            outer, inner = ([one for one in mine if one.depth == depth] for depth in (0, 1))
            assert len(outer) + len(inner) == len(mine)
            assert all(one.end == other.begin for one, other in itertools.pairwise(outer)), "a hole, or an overlap"
            assert all(one.end <= other.begin for one, other in itertools.pairwise(inner)), "an overlap"
            for one in outer:
                parts = [part for part in inner if one.begin <= part.begin and part.end <= one.end]
                assert one.kind == "guest" or sum(p.end - p.begin for p in parts) == one.end - one.begin, (one, parts)
    whole_time = [one for one in found if one.pid == steady.process.pid and one.depth == 0]
    length = round(whole["otherData"]["lasted (s)"] * 1e9)
    assert whole_time[0].begin == 0 and sum(one.end - one.begin for one in whole_time) == length


@pytest.fixture(scope="module")
def small() -> Iterator[tuple[Live, TimelineProbes]]:
    with loaded(exits=64, spans=64) as both:
        yield both


def paired(live: Live) -> int:
    return int(live.read().threads["pairs"].sum())


def test_a_small_ring_keeps_the_newest_and_counts_the_others(small: tuple[Live, TimelineProbes]) -> None:
    live, probes = small
    before = paired(live)
    probes.start()
    os.waitpid(truth.start([Step("cpuid", 1000)]), 0)
    probes.freeze()
    exits, spans = probes.take()
    for cpu in set(exits["cpu"].tolist()):
        mine = exits[exits["cpu"] == cpu]
        assert (np.diff(mine["number"].astype("i8")) == 1).all() and len(mine) <= 64
        assert probes.lost["exits"][cpu] == int(mine["number"][0]) - 1
    lost = int(probes.lost["exits"].sum())
    assert len(exits) + lost == paired(live) - before and lost >= 1000 - 128 and len(spans) <= 128
    probes.stop()


def test_what_is_read_while_it_is_overwritten_is_whole(small: tuple[Live, TimelineProbes]) -> None:
    live, probes = small
    before = paired(live)
    probes.start()
    guest = truth.start([Step("cpuid", 20_000)])
    taken = [probes.take()[0]]
    while not os.waitpid(guest, os.WNOHANG)[0]:
        taken.append(probes.take()[0])
    probes.freeze()
    exits = np.concatenate([*taken, probes.take()[0]])
    lost = int(probes.lost["exits"].sum())
    print(f"\n{len(exits)} whole, {lost} lost")
    assert len(exits) + lost == paired(live) - before and lost > 0 and len(exits) > 64
    assert (exits["guest_ns"] <= exits["begin_ns"]).all() and (exits["begin_ns"] <= exits["end_ns"]).all()
    assert set(unpack(exits["id"])[0].tolist()) == {guest}
    for cpu in set(exits["cpu"].tolist()):
        mine = exits[exits["cpu"] == cpu]
        follows = np.flatnonzero(np.diff(mine["number"].astype("i8")) == 1)
        same = mine["guest_ns"][1:][follows] == mine["end_ns"][:-1][follows]
        assert same.mean() > 0.99  # but where it was on another CPU between
    probes.stop()
