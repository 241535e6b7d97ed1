"""Where vCPUs' time went, by a host whose vCPUs go from state to state as a random generator says."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from kvmtop.insight.vcpus import shares
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL
from kvmtop.model.vocabulary import OUTSIDE, STATES, SVM, VMX

from ..support.fake import SECOND, Host
from ..support.intervals import HLT, INTERRUPT, IO, MS, MSR, NPF, budget, one


class Simulated(Host):
    """What of the vCPUs' time went where, by state and by reason, is kept apart from the counters."""

    def __init__(self, seed: int, isa: int, vcpus: int) -> None:
        super().__init__(isa=isa)
        self.random = random.Random(seed)
        self.reasons = [1, 10, 12, 30, 48, 12 | 1 << 31] if isa == VMX else [HLT, MSR, IO, INTERRUPT, NPF]
        self.spent: dict[int, dict[str, int]] = {}
        self.parts: dict[tuple[int, str], int] = {}
        for pid in range(100, 100 + 10 * vcpus, 10):
            self.start_vm(pid)

    def start_vm(self, pid: int) -> None:
        self.add(pid, f"vm{pid}")
        self.spent[pid + 1] = dict.fromkeys(STATES, 0)
        # As one that has not been seen to enter its guest: a secondary vCPU that waits for its start.
        self.turn(pid + 1, self.random.choice(("idle", "guest")))

    def pass_time(self, ns: int) -> None:
        for tid, spent in self.spent.items():
            vcpu = self.vcpus[tid]
            if not vcpu.ended:
                spent[vcpu.state] += ns
                if vcpu.open:
                    key = vcpu.open[1], vcpu.state
                    self.parts[key] = self.parts.get(key, 0) + ns
        self.now += ns

    def step(self) -> None:
        self.pass_time(self.random.choice([0, 1, 700, 20_000, 3 * MS, 40 * MS]))
        tid = self.random.choice([tid for tid in self.spent if not self.vcpus[tid].ended])
        vcpu = self.vcpus[tid]
        if vcpu.state == "guest" and self.random.random() < 0.8:
            self.leave(tid, self.random.choice(self.reasons))
        elif self.random.random() < 0.6:  # from the guest, too: preempted before its exit is told
            self.turn(tid, self.random.choice(OUTSIDE))
        elif vcpu.open or vcpu.state == "idle":
            self.enter(tid)
        else:
            self.turn(tid, "guest")


@pytest.mark.parametrize("isa", [SVM, VMX])
@pytest.mark.parametrize("seed", range(6))
def test_the_states_are_the_whole(seed: int, isa: int) -> None:
    host = Simulated(seed, isa, 4)
    first = last = host.read()
    seen = {tid: dict.fromkeys(STATES, 0) for tid in host.spent}
    told: dict[tuple[int, str], int] = {}
    for turn in range(60):
        if turn == 20:
            host.end(110)
        if turn == 30:
            host.start_vm(300)
            seen[301] = dict.fromkeys(STATES, 0)
        began = {tid: max(vcpu.born, host.now) for tid, vcpu in host.vcpus.items()}
        for _ in range(host.random.randrange(60)):
            host.step()
        now = host.read()
        interval, last = diff(last, now), now
        lengths = [(vcpu.ended or host.now) - began[tid] for tid, vcpu in host.vcpus.items()]
        assert interval.budget.sum(axis=1).tolist() == interval.known.tolist() == [max(ns, 0) for ns in lengths]
        assert (interval.budget >= 0).all()
        for row, tid in enumerate(host.spent):
            mine = budget(interval, row)
            assert {state: mine[state] + seen[tid][state] for state in STATES} == host.spent[tid]
            seen[tid] = dict(host.spent[tid])
        for reason in by_reason(interval):
            assert reason.time == sum(reason.parts.values()) and reason.count >= 0
            assert all(ns >= 0 for ns in reason.parts.values())
            for state, ns in reason.parts.items():
                told[reason.code, state] = told.get((reason.code, state), 0) + ns
        assert {key: ns for key, ns in told.items() if ns} == {key: ns for key, ns in host.parts.items() if ns}
    whole = diff(first, last)
    assert [budget(whole, row) for row in range(5)] == list(host.spent.values())
    of_all = shares(whole, ALL)
    assert of_all and sum(of_all.values()) == pytest.approx(1, abs=1e-12)
    assert {key for key, ns in told.items() if ns} >= {
        (code, state) for code in host.reasons for state in OUTSIDE
    }  # all of it has been tried


def test_an_open_state_counts_up_to_the_reading() -> None:
    """A vCPU that waits for a CPU for seconds is seen to, before it runs again."""
    host = one()
    host.enter(101)
    before = host.read()
    host.now += SECOND // 4
    host.turn(101, "wait")
    for expected in (SECOND * 3 // 4, SECOND, SECOND):
        host.now += expected
        after = host.read()
        found = budget(diff(before, after))
        assert (found["wait"], found["guest"] + found["wait"], sum(found.values())) == (
            expected,
            after.time_ns - before.time_ns,
            after.time_ns - before.time_ns,
        )
        before = after


def test_threads_are_read_one_after_the_other() -> None:
    """Each a little before the Snapshot's instant or after it, but the states are the whole nevertheless."""
    host = one(2)
    before = host.read()
    host.now += SECOND
    host.exits(101, IO, 300 * MS, user=100 * MS)
    interval = diff(replace(before, time_ns=before.time_ns + 5 * MS), replace(host.read(), time_ns=host.now - 7 * MS))
    assert interval.known.tolist() == [SECOND, SECOND]
    found = shares(interval, ALL)
    assert found and sum(found.values()) == pytest.approx(1, abs=1e-12)


def test_what_a_kernel_does_not_tell_is_unknown() -> None:
    """As of an old recording, which knows the guest's time only."""
    host = one()
    host.exits(101, IO, 300 * MS, user=100 * MS)
    host.exits(101, HLT, 200 * MS)
    host.now += SECOND
    host.told = ("guest",)
    interval = diff(None, host.read())
    interval.after.threads["states"][:, 1:] = 0
    assert interval.known.tolist() == [SECOND]
    assert shares(interval, ALL) == {"guest": 0.5}
    hlt, io = by_reason(interval)
    assert (io.time, io.parts, io.idle, io.busy) == (300 * MS, {}, False, 300 * MS)
    assert (hlt.time, hlt.parts, hlt.idle, hlt.busy) == (200 * MS, {}, True, 0)  # its recording says so
    host.told = STATES[:-1]  # nor is the quota's part of waiting
    found = shares(diff(None, host.read()), ALL)
    _, io = by_reason(diff(None, host.read()))
    assert list(io.parts) == list(OUTSIDE[:-1]) and sum(io.parts.values()) == io.time
    assert found and list(found) == list(STATES[:-1]) and sum(found.values()) == pytest.approx(1)
    host.told = ()
    assert shares(diff(None, host.read()), ALL) is None


def test_known_is_the_time_watched() -> None:
    host = one()
    before = host.read()
    host.now += SECOND // 4
    host.add(200, "late")
    host.now += SECOND * 3 // 4
    for told in (STATES, ("guest",)):
        host.told = told
        assert diff(before, host.read()).known.tolist() == [SECOND, SECOND * 3 // 4]
        assert diff(None, host.read()).known.tolist() == [SECOND, SECOND * 3 // 4]
