"""Traces of constructed rings: the format, what each slice tells, and that a stretch is covered without a hole."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from kvmtop.host.tracing import PIECE, Spool, Trace
from kvmtop.model.keys import pack
from kvmtop.model.timeline import A_TASK, AN_INTERRUPT, NO_REASON
from kvmtop.model.vocabulary import KINDS, NESTED, Vm
from kvmtop.output.chrome_trace import CPUS, Around, Written, write
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels

from ..support.traces import PID, START, TID, Slice, exits, read, spans, trace


def written(
    one: Trace, pids: tuple[int, ...] = (PID,), around: Around | None = None
) -> tuple[list[Slice], Any, Written]:
    text = list[str]()
    done = write(one, pids, Labels(one.names), around, text.append)
    found, whole = read("".join(text))
    return found, whole, done


def told(found: list[Slice], tid: int = TID) -> list[tuple[str, float, float, int]]:
    return [(one.name, one.begin / 1000, one.end / 1000, one.depth) for one in found if one.tid == tid]


def test_a_track_is_covered_from_its_beginning_to_its_end() -> None:
    one = trace(
        (exits((-50, 0, 10), (10, 30, 60), begin_ns=[0, START + 30_000]), spans(("user", 35, 50))),
        (exits((60, 80, 120), number=0), spans(("idle", 85, 110), number=0)),
    )
    found, _, done = written(one)
    assert told(found) == [
        ("cpuid", 0, 10, 0),
        ("kernel", 0, 10, 1),
        ("guest", 10, 30, 0),
        ("cpuid", 30, 60, 0),
        ("kernel", 30, 35, 1),
        ("user", 35, 50, 1),
        ("kernel", 50, 60, 1),
        ("guest", 60, 80, 0),
        ("cpuid", 80, 100, 0),
        ("kernel", 80, 85, 1),
        ("idle", 85, 100, 1),
    ]
    assert done.exits == 3


def test_ends_and_beginnings_are_the_same_number() -> None:
    """A reader that has µs in floats must not see an overlap of 1e-12."""
    some = exits(*((at * 3, at * 3 + 1, at * 3 + 3) for at in range(200)))
    for name in ("guest_ns", "begin_ns", "end_ns"):
        some[name] += np.uint64(333)
    text = list[str]()
    write(trace((some, spans()), us=1000), [PID], Labels(), None, text.append)
    events = [one for one in json.loads("".join(text))["traceEvents"] if one["ph"] in "BE"]
    outer = [one["ts"] for one in events if one["ph"] == "E" or one["name"] != "kernel"]
    assert outer == sorted(outer)
    assert len({one["ts"] for one in events}) == 401  # each instant is written in one way


def test_what_an_exit_tells() -> None:
    kind = KINDS.index("io")
    some = exits((0, 10, 20), reason=0x7B, kind=kind, value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000000, cpu=3)
    nested = exits((20, 30, 40), isa=2 | 0x300)
    found, _, _ = written(trace((some, spans()), (nested, spans())))
    first, second = (one for one in found if one.kind == "exit")
    assert first.args == {
        "reason": "io",
        "code": 0x7B,
        "level": "L1",
        "touched": "port 0x3f8 COM1 out 1 B",
        "rip": "0xffffffff81000000 (kernel)",
        "cpu": 3,
    }
    assert (second.args["level"], second.args["given to"]) == ("L2", "L1")
    assert "rip" not in second.args and "touched" not in second.args


def test_code_of_a_nested_guest_is_not_named_by_its_hypervisors_symbols() -> None:
    labels = Labels(symbols=Symbols([(0xFFFFFFFF81000000, "pv_native_safe_halt")]))
    for isa, words in (
        (2, "0xffffffff81000000 pv_native_safe_halt (kernel)"),
        (2 | NESTED, "0xffffffff81000000 (kernel)"),
    ):
        text = list[str]()
        some = exits((0, 10, 20), isa=isa, rip=0xFFFFFFFF81000000)
        write(trace((some, spans())), (PID,), labels, None, text.append)
        (one,) = (one for one in read("".join(text))[0] if one.kind == "exit")
        assert one.args["rip"] == words


def test_what_was_not_over_says_so_and_what_nobody_saw_has_no_reason() -> None:
    found, _, done = written(trace((exits((0, 10, 20), (20, 90, 100), number=[1, 0]), spans())))
    assert [one.args.get("ended", True) for one in found if one.kind == "exit"] == [True, False]
    found, _, done = written(trace((exits((-1, 10, 20), reason=NO_REASON), spans())))
    assert [(one.name, one.args) for one in found if one.kind == "exit"] == [("outside the guest", {})]
    assert done.exits == 0


def test_who_woke_it_and_what_the_quota_withheld() -> None:
    waits = spans(("wait", 12, 14), ("wait", 15, 16), ("wait", 17, 18), ("wait", 18, 19))
    waits["by"], waits["waker"] = [A_TASK, AN_INTERRUPT, A_TASK, 0], [pack(7, 8), 0, 0, 0]
    waits["comm"], waits["withheld"] = [b"rest\x1bic", b"", b"swapper/1", b""], [0, 0, 0, 1500]
    found, _, _ = written(trace((exits((0, 10, 20)), waits)))
    assert [one.args for one in found if one.name == "wait"] == [
        {"woken by": "rest ic (pid 7, tid 8)"},
        {"woken by": "an interrupt"},
        {"woken by": "the idle CPU"},
        {"of it throttled by a CPU quota, µs": 1.5},
    ]


def test_who_has_the_cpus_that_its_vcpus_had() -> None:
    ran = spans(("ran", 0, 10), ("ran", 10, 30), ("ran", 5, 6), cpu=[2, 2, 9], comm=b"restic")
    ran["id"] = [pack(PID, TID), pack(700, 701), pack(700, 702)]
    found, whole, _ = written(trace((exits((0, 10, 20), cpu=2), ran)))
    assert told(found, CPUS + 2) == [("web01 vCPU 0", 0, 10, 0), ("restic 701", 10, 30, 0)]
    assert not told(found, CPUS + 9)
    names = {
        (one["tid"], one["args"]["name"])
        for one in whole["traceEvents"]
        if one["ph"] == "M" and one["name"] != "thread_sort_index"
    }
    assert names == {(CPUS, "CPUs"), (CPUS + 2, "CPU 2"), (TID, "vCPU 0"), (PID, "web01")}


def test_others_vms_are_left_out_but_not_where_they_ran_instead() -> None:
    other = exits((0, 10, 20), id=pack(200, 201))
    ran = spans(("ran", 20, 30), id=pack(200, 201))
    one = trace((np.concatenate([exits((0, 10, 20)), other]), ran), vms={PID: Vm(PID, "web01"), 200: Vm(200, "db02")})
    found, _, done = written(one)
    assert {one.pid for one in found} == {PID, CPUS} and done == Written(1, None, 1)


def test_around_slow_exits_alone() -> None:
    at = [(n * 10, n * 10 + 5, n * 10 + 10) for n in range(100)]
    at[40] = (400, 401, 470)
    at[41:47] = []
    some = exits(*at)
    some["reason"][10], some["begin_ns"][10] = 0x78, START + 100_000 - 60_000  # a halt: idle
    some["idle_ns"][60], some["begin_ns"][60] = 60_000, some["end_ns"][60] - np.uint64(60_000)
    found, whole, done = written(trace((some, spans()), us=4000), around=Around(25_000, 50_000))
    assert done.slow == 1 and {one.name for one in found} == {"guest", "cpuid", "kernel"}
    assert min(one.begin for one in found) == 370_000 + 5000 and max(one.end for one in found) == 495_000
    assert whole["otherData"]["slow exits"] == 1
    assert [one["ts"] for one in whole["traceEvents"] if one["ph"] == "C"] == [0]  # its bin alone


def test_without_a_slow_exit_there_is_nothing() -> None:
    found, whole, done = written(trace((exits((0, 10, 20)), spans())), around=Around(25_000, 50_000))
    assert not found and done.slow == 0 and whole["otherData"]["exits"] == 0


def test_exits_per_second() -> None:
    at = [*range(0, 1000, 10), *range(2000, 3000, 20)]
    one = trace((exits(*((n, n + 1, n + 2) for n in at)), spans()), us=3500)
    _, whole, _ = written(one)
    assert [(e["ts"], e["args"]["exits/s"]) for e in whole["traceEvents"] if e["ph"] == "C"] == [
        (0, 100_000),
        (1000, 0),
        (2000, 50_000),
        (3000, 0),
    ]


def test_what_the_rings_lost_is_said() -> None:
    _, whole, _ = written(trace((exits((0, 10, 20)), spans()), lost={"exits": 7, "spans": 3}, missed=2))
    about = whole["otherData"]
    assert (
        about["exits lost"],
        about["switches and states lost"],
        about["exits without an entry, or the reverse"],
    ) == (
        7,
        3,
        2,
    )
    assert about["began at (seconds since 1970)"] == 1_700_000_000 and about["lasted (s)"] == 0.0001


def test_a_hole_where_exits_were_lost_stays_a_hole() -> None:
    found, _, _ = written(trace((exits((0, 10, 20), (50, 60, 70)), spans())))
    outer = [one for one in told(found) if not one[3]]
    assert [one[1:3] for one in outer] == [(0, 10), (10, 20), (50, 60), (60, 70)]


@pytest.mark.parametrize("name", ['we"b\\01', "wéb\ud800", "x" * 200, "</script>"])
def test_names_of_vms_break_nothing(name: str) -> None:
    _, whole, _ = written(trace((exits((0, 10, 20)), spans()), vms={PID: Vm(PID, name)}))
    assert name in [one["args"].get("name") for one in whole["traceEvents"] if one["ph"] == "M"]


def test_memory_does_not_grow_with_the_trace() -> None:
    spool = Spool()
    for at in range(20):
        spool.add(exits(*((n, n + 1, n + 2) for n in range(at * 30_000, at * 30_000 + 30_000, 3))), spans())
    pieces = [len(one) + len(other) for one, other in spool]
    assert sum(pieces) == 200_000 and max(pieces) <= PIECE and len(pieces) <= 20
    again = [len(one) for one, _ in spool]
    assert sum(again) == 200_000
    assert all((one["begin_ns"][1:] > one["begin_ns"][:-1]).all() for one, _ in spool)
    spool.close()


def test_outer_slices_never_overlap_however_they_come() -> None:
    some = exits(*((n * 4, n * 4 + 1, n * 4 + 4) for n in range(500)))
    order = np.random.default_rng(1).permutation(500)
    pieces = [(some[part], spans()) for part in np.array_split(order, 7)]
    text = list[str]()
    write(trace(*pieces, us=2000), [PID], Labels(), None, text.append)
    events = json.loads("".join(text))["traceEvents"]
    ends = sorted((e["ts"], e["ph"]) for e in events if e["ph"] in "BE")
    assert all(one[0] <= other[0] for one, other in itertools.pairwise(ends))
    assert sum(e["ph"] == "B" for e in events) == 1500
