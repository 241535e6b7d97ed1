"""The timeline's words and figures, from constructed records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.timeline import A_TASK, AN_INTERRUPT, NO_REASON, Stretch
from kvmtop.model.vocabulary import KINDS, NESTED, REFLECTED, SVM
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels
from kvmtop.tables.timeline_page import Cast, Drawn
from kvmtop.tables.timeline_view import NOBODY, STATES, UNKNOWN, Window

from ..support.traces import NAMES, PID, START, TID, exits, spans

ONE = pack(PID, TID)
CAST = Cast({PID: "web01", 200: "db01"}, {ONE: 0, pack(200, 201): 3}, {TID: 2}, Labels(NAMES), 0)


def sheet(rows: Array, *others: Array, us: int = 100) -> Drawn:
    return Drawn(Stretch(PID, START, START + us * 1000, rows, np.concatenate([spans(), *others])), CAST)


def words(rows: Array, *others: Array) -> list[str]:
    return [f"{one.state}: {one.words}" for one in sheet(rows, *others).happened(ONE, 0).parts]


def test_an_exit_in_order() -> None:
    rows = exits((0, 10, 50), reason=0x7B, kind=KINDS.index("io"), value=0x3F8, extra=0x101)
    asleep, woken = (
        spans(("blocked", 20, 30)),
        spans(("wait", 30, 40), by=A_TASK, waker=pack(9, 8), comm=b"io\x1bthread"),
    )
    ran = spans(("ran", 30, 40), id=pack(77, 77), comm=b"restic")
    assert words(rows, asleep, woken, ran) == [
        "kernel: port 0x3f8 COM1 out 1 B",
        "blocked: asleep, until io thread (8) woke it",
        "wait: ready, but restic (77) had CPU 0",
        "kernel: the kernel, until the guest was entered",
    ]
    one = sheet(rows, asleep, woken, ran).happened(ONE, 0)
    assert (one.name, one.rest, one.state) == ("io", "vCPU 0 of web01 · 40.0µs", "kernel")
    assert [(part.after, part.lasted) for part in one.parts][1:3] == [("10.0µs", "10.0µs"), ("20.0µs", "10.0µs")]
    assert one.lines[0] == ("In short", [("50.0% kernel", "kernel"), (", ", ""), ("25.0% wait", "wait"), (", ", ""), ("25.0% blocked", "blocked")])  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"by": AN_INTERRUPT}, "halted: the guest had nothing to do, until an interrupt woke it"),
        ({"by": A_TASK}, "halted: the guest had nothing to do, until the idle CPU woke it"),
        ({"by": A_TASK, "waker": pack(200, 201)}, "halted: the guest had nothing to do, until db01 vCPU 3 woke it"),
        ({}, "halted: the guest had nothing to do"),
    ],
)
def test_who_woke_it(fields: dict[str, Any], said: str) -> None:
    assert words(exits((0, 10, 50)), spans(("idle", 20, 30)), spans(("wait", 30, 40), **fields))[1] == f"idle: {said}"


def test_what_a_wait_was_for() -> None:
    def told(*others: Array, **fields: Any) -> str:
        return words(exits((0, 10, 50)), spans(("wait", 20, 40), **fields), *others)[1]

    assert told() == "wait: ready to run, but not running"
    some = spans(("ran", 20, 30), id=pack(200, 201))
    assert told(some) == "wait: ready, but db01 · 3 had CPU 0 for 10.0µs of it"
    assert (
        told(some, withheld=5000)
        == "wait: ready, but db01 · 3 had CPU 0 for 10.0µs of it; its CPU quota withheld 5.00µs"
    )
    assert told(withheld=20_000) == "throttled: its cgroup's CPU quota was used up"


def test_what_is_known_of_an_exit_that_is_not_whole() -> None:
    rows = exits((0, 10, 50), number=0)
    assert sheet(rows).happened(ONE, 0).rest == "vCPU 0 of web01 · > 40.0µs · it had not ended"
    rows = exits((-1, 10, 50), reason=NO_REASON)
    rows["begin_ns"] = 0
    one = sheet(rows)
    assert one.exit(ONE, 0) == (START, START + 50_000) and one.label(ONE, 0) == "outside the guest > 50.0µs"
    assert one.happened(ONE, 0).key is None and one.exit(ONE, 1) is None and one.at(99, START) is None


@pytest.mark.parametrize(
    ("isa", "said"),
    [
        (SVM, "of this VM's own (L1)"),
        (SVM | NESTED, "of a nested guest (L2)"),
        (SVM | NESTED | REFLECTED, "of a nested guest (L2); its hypervisor (L1) was given it"),
    ],
)
def test_whose_exit_it_was(isa: int, said: str) -> None:
    lines = dict(sheet(exits((0, 10, 50), isa=isa, rip=0x1234)).happened(ONE, 0).lines)
    assert lines["Level"] == [(said, "")] and lines["Guest code"] == [("0x1234 (user)", "")]


def test_a_nested_guests_code_has_no_name_of_the_vms_symbols() -> None:
    labels = Labels(NAMES, Symbols([(0x1000, "main")]))
    for isa, name in ((SVM, "0x1234 main+0x234 (user)"), (SVM | NESTED, "0x1234 (user)")):
        rows = exits((0, 10, 50), isa=isa, rip=0x1234)
        one = Drawn(Stretch(PID, START, START + 100_000, rows, spans()), replace(CAST, labels=labels))
        assert dict(one.happened(ONE, 0).lines)["Guest code"] == [(name, "")]


def test_a_band_has_two_steps_a_cell_and_what_is_in_view() -> None:
    one = sheet(exits((0, 40, 60), (60, 90, 100)), spans(("user", 50, 60)))
    band = one.band(ONE, Window(START, 10_000, 6))
    guest, kernel, user = (STATES.index(state) for state in ("guest", "kernel", "user"))
    assert band.halves == [guest] * 4 + [kernel, user] + [guest] * 3 + [kernel] + [UNKNOWN] * 2
    assert band.cells == [guest, guest, kernel, guest, guest, UNKNOWN] and (band.name, band.place) == (
        "vCPU 0",
        "CPU 0",
    )
    assert band.shares == pytest.approx({"guest": 0.7, "kernel": 0.2, "user": 0.1})  # of what is kept
    assert band.most and band.most[0] == "kernel" and band.most[1] == pytest.approx(0.2)
    nobody = one.band(7, Window(START, 10_000, 6))
    assert nobody.halves == [UNKNOWN] * 12 and nobody.most is None


def test_who_ran() -> None:
    ran = spans(("ran", 0, 30), ("ran", 30, 40), ("ran", 60, 100))
    ran["id"], ran["comm"] = [ONE, pack(77, 78), pack(200, 201)], [b"CPU 0/KVM", b"restic", b"CPU 3/KVM"]
    (cpu,) = sheet(exits((0, 10, 50)), ran).cpus(ONE, Window(START, 5_000, 10), 4)
    names = [cpu.tasks[at].name if at != NOBODY else "" for at in cpu.cells]
    assert names == ["vCPU 0"] * 3 + ["restic 78"] + [""] * 2 + ["db01 · 3"] * 4
    assert cpu.most and cpu.most[0] == "db01 · 3" and cpu.most[1] == pytest.approx(0.4) and cpu.cpu == 0


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (1_000, ["−40 µs", "−20", "0", "+20", "+40", "+60"]),
        (50_000, ["−2 ms", "−1", "0", "+1", "+2", "+3"]),
        (1_000_000, ["−40 ms", "−20", "0", "+20", "+40", "+60"]),
        (1_000_000_000, ["−40 s", "−20", "0", "+20", "+40", "+60"]),
    ],
)
def test_the_scale(step: int, said: list[str]) -> None:
    origin = START + 7
    ticks = sheet(exits((0, 10, 50))).ticks(Window(origin - 40 * step, step, 60), origin)
    assert [words for _, words in ticks] == said and [at for at, _ in ticks][:3] == [0, 10, 20]


def test_vcpus_are_in_order_and_those_of_which_nothing_is_known_are_there() -> None:
    one = sheet(exits((0, 10, 50)))
    assert one.threads == [ONE]
    cast = replace(CAST, vcpus={**CAST.vcpus, pack(PID, 99): 1, pack(PID, 150): 11, pack(PID, 140): 2})
    more = Drawn(Stretch(PID, START, START + 1000, exits((0, 10, 50)), spans()), cast)
    assert [cast.vcpus[thread] for thread in more.threads] == [0, 1, 2, 11]
