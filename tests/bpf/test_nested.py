"""Exits of a guest's guest, in this machine's kernel: told apart, and what lies between them and the next entry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.model.interval import diff
from kvmtop.model.nesting import nested, nesting, together
from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM

from .machine import (
    INJECT,
    NESTED_ENTRY,
    NESTED_EXIT,
    WAYS,
    Mark,
    Player,
    call,
    cells,
    enter,
    halted,
    leave,
    nap,
    row,
    spin,
)

CPUID, HLT, INTERRUPT, NPF, VMRUN = 0x72, 0x78, 0x60, 0x400, 0x80
MS = 1_000_000


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def leave_nested(reason: int, given: int | None = None) -> None:
    """An exit of the guest's guest; given: for what its hypervisor is entered then."""
    leave(reason)
    call(NESTED_EXIT)
    if given is not None:
        call(INJECT, given)


def enter_nested() -> None:
    """The hypervisor's VMRUN."""
    leave(VMRUN)
    call(NESTED_ENTRY)
    enter()


def test_each_exit_is_of_the_level_that_it_was_of(counting: Collector) -> None:
    def act(player: Player) -> None:
        for reason, given in ((CPUID, CPUID), (NPF, None), (NPF, NPF), (INTERRUPT, None), (NPF, INTERRUPT)):
            enter_nested()
            leave_nested(reason, given)
            enter()
        for _ in range(3):  # of the hypervisor itself
            leave(CPUID)
            enter()
        player.step()

    with Player(act) as player:
        player.wait()
        found = {(int(one["isa"]), int(one["reason"])): int(one["count"]) for one in cells(counting, player.pid)}
        snapshot = counting.read()
    assert found == {
        (SVM, VMRUN): 5,
        (SVM, CPUID): 3,
        (SVM | NESTED | REFLECTED, CPUID): 1,
        (SVM | NESTED, NPF): 2,  # of one its hypervisor was given something else
        (SVM | NESTED | REFLECTED, NPF): 1,
        (SVM | NESTED, INTERRUPT): 1,
    }
    assert snapshot.isa == SVM and nested(diff(None, snapshot))
    merged = together(snapshot)
    mine = merged.threads["id"][merged.cells["thread"]] == player.pid << 32 | player.pid
    rows = merged.cells[mine & (merged.cell_ids != 0)]
    assert {(int(r["isa"]), int(r["reason"])): 0 for r in rows}.keys() == {
        (SVM, n) for n in (VMRUN, CPUID, NPF, INTERRUPT)
    }


def test_what_lies_between_an_exit_and_the_next_entry_is_nesting(counting: Collector, way: str) -> None:
    """The hypervisor's work and its exits, and VMRUN to its end; not what L2 runs, waits for a CPU, and halts."""

    def act(player: Player) -> None:
        schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)

        def l1(before: Mark) -> None:
            """L1 at work, up to its VMRUN."""
            enter()
            spin(3)
            leave(HLT)
            halt = Mark.take(schedstat)
            nap(4)
            awake = Mark.take(schedstat)
            enter()
            leave(VMRUN)
            spin(1)
            call(NESTED_ENTRY)
            spin(2)
            enter()
            after = Mark.take(schedstat)
            slept = awake.now - halt.now - (awake.cpu - halt.cpu) - (awake.delay - halt.delay)
            halts = slept if halted(way) == "idle" else 0
            player.tell(f"{before.now} {after.now} {after.delay - before.delay + halts} {after.delay} {halts}")

        enter_nested()
        for _ in range(5):
            spin(2)  # L2
            before = Mark.take(schedstat)
            leave_nested(CPUID, CPUID)
            spin(2)
            l1(before)
        leave_nested(NPF)  # KVM deals with it
        spin(5)
        enter()
        player.step()
        leave_nested(CPUID, CPUID)
        enter()
        spin(5)
        before = Mark.take(schedstat)
        player.step()
        l1(before)
        player.step()
        leave_nested(CPUID, CPUID)
        enter()
        spin(5)
        player.step()  # it never enters L2 again

    def observed() -> list[tuple[int, int]]:
        """Of what was found and what is so, in one interval after the other; ns."""
        before = counting.read()
        with Player(act) as player:

            def cost(truth: int = 0) -> tuple[int, int]:
                nonlocal before
                after = counting.read()
                mine = after.threads["id"] == player.pid << 32 | player.pid
                found = int(nesting(diff(before, after))[mine].sum())
                before = after
                return found, truth

            told = [[int(word) for word in line.split()] for line in player.wait().splitlines()]
            assert len(told) == 5
            first = cost(sum(end - begin - away for begin, end, away, *_ in told))
            player.next()
            undecided = cost()  # whether that is nesting is not known yet
            assert row(counting, player.pid)[0]["out_ns"] >= 5 * MS
            since = before.time_ns
            waited = int(Path(f"/proc/{player.pid}/schedstat").read_text().split()[1])  # it sleeps: none since then
            _, end, _, delay, halts = map(int, player.next().split())
            decided = cost(end - since - (delay - waited) - halts)  # what lies in the interval
            player.next()
            return [first, undecided, decided, cost()]

    for _ in range(3):  # a classic program loses events while somebody else's map system call is on its CPU
        found = observed()
        if all(one == pytest.approx(truth, rel=0.05, abs=MS) for one, truth in found):
            break
    else:
        pytest.fail(f"{found}")
    assert found[1][0] == found[3][0] == 0
