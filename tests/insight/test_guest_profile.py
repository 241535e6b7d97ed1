"""Where a guest is by its samples, and when that is worth a sentence."""

from __future__ import annotations

import pytest

from kvmtop.insight.guest_profile import profiles
from kvmtop.model.interval import Interval
from kvmtop.model.scope import Scope
from kvmtop.model.vocabulary import SAMPLED, DetailRequest
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels
from kvmtop.tables.guest_profile import profile_lines, profile_table

from ..support.fake import SECOND
from .test_findings import Run

LOCK, WORK = 0xFFFFFFFF81000100, 0xFFFFFFFF81002000
LABELS = Labels(symbols=Symbols([(LOCK, "spin_lock"), (WORK, "work")]))
LOOK = DetailRequest(frozenset({"rip"}))


@pytest.fixture
def run() -> Run:
    run = Run()
    run.host.look(LOOK)
    run.session.add(run.host.read())
    return run


def sample(run: Run, tid: int, address: int, times: int, extra: int = SAMPLED) -> None:
    run.host.touch(tid, "rip", address, extra, *[2_000] * times)


def interval(run: Run) -> Interval:
    run.host.now += SECOND
    return run.session.add(run.host.read())


def test_samples_alone_by_vcpu_and_function(run: Run) -> None:
    sample(run, 201, LOCK + 2, 30)
    sample(run, 201, LOCK + 8, 10)
    sample(run, 201, WORK, 20)
    sample(run, 201, 0x400000, 3)
    sample(run, 202, WORK, 5)
    sample(run, 202, LOCK, 500, 0)  # at an exit of its own making
    found = interval(run)
    one, other = profiles(found)
    assert (one.samples, one.code[0], other.samples) == (63, (LOCK + 2, 30), 5)
    assert one.functions(LABELS) == [("spin_lock", 40), ("work", 20), ("0x400000 (user)", 3)]
    assert profiles(found, Scope(100)) == []
    lines = [(line.who, line.where, line.samples) for line in profile_lines(found, LABELS)]
    assert lines[0] == ("db vCPU 0", "spin_lock", 40) and lines[-1] == ("db vCPU 1", "work", 5)
    run.host.look(None)
    assert profiles(interval(run)) == []


def test_on_the_screen_a_scopes_vcpus_are_together(run: Run) -> None:
    sample(run, 201, LOCK + 2, 30)
    sample(run, 201, 0x400000, 10)
    sample(run, 202, 0x500000, 10)
    sample(run, 202, WORK, 25)
    sample(run, 202, LOCK, 25)
    found = interval(run)
    _, rows = profile_table(found, Scope(200), LABELS, 80)
    assert [row.cells for row in rows] == [
        ["spin_lock", "55", "55.0%"],
        ["work", "25", "25.0%"],
        ["the guest's user space", "20", "20.0%"],
    ]
    assert profile_table(found, Scope(100), LABELS, 80)[1] == []


@pytest.mark.parametrize(
    ("near", "far", "busy", "said"),
    [
        (100, 0, 0, True),
        (100, 0, 200, True),
        (99, 1, 0, False),  # a loop of a program, whose kernel has a timer
        (50, 0, 0, True),
        (49, 0, 0, False),
        (100, 0, 110, False),
        (100, 0, 90, True),
    ],
)
def test_a_vcpu_that_sits_at_one_address(run: Run, near: int, far: int, busy: int, said: bool) -> None:
    """busy: ms of its second that it is not in its guest, but in KVM; from 200 on it waits for a CPU."""
    run.host.turn(201, "guest")
    sample(run, 201, LOCK, near - 10)
    sample(run, 201, LOCK + 15, 10)
    if far:
        sample(run, 201, LOCK + 16, far)
    run.host.now += SECOND - busy * 1_000_000
    run.host.turn(201, "kernel" if busy < 200 else "wait")
    run.host.now += busy * 1_000_000 - SECOND
    found = [one.text for one in run.second() if "sits at" in one.text]
    percent = {90: "91.0%"}.get(busy, "100%")
    assert found == said * [
        f"vCPU 0 of db sits at 0x{LOCK:x} (kernel), with {near} of {near + far} samples, and is in its guest {percent} of"
        " the time that it has a CPU: it may spin"
    ]
