from __future__ import annotations

import random

import pytest

from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import PARTS, SVM, VMX

from ..support.fake import SECOND, Host
from ..support.intervals import HLT, INTERRUPT, IO, MS, MSR, NPF, budget, one


class Simulated(Host):
    """vCPUs that do as a random generator says, and what of their time went where, kept apart from the counters."""

    def __init__(self, seed: int, isa: int, vcpus: int) -> None:
        super().__init__(isa=isa)
        self.random = random.Random(seed)
        self.halt, self.others = (12, [1, 10, 30, 48, 12 | 1 << 31]) if isa == VMX else (HLT, [MSR, IO, INTERRUPT, NPF])
        self.spent: dict[int, dict[str, int]] = {}
        for pid in range(100, 100 + 10 * vcpus, 10):
            self.start_vm(pid)

    def start_vm(self, pid: int) -> None:
        self.add(pid, f"vm{pid}")
        self.spent[pid + 1] = dict.fromkeys(PARTS, 0)
        self.enter(pid + 1)

    def where(self, tid: int) -> str | None:
        vcpu = self.vcpus[tid]
        if vcpu.ended:
            return None
        if not vcpu.open:
            return "guest"
        idle = vcpu.open[1] & (0xFFFF if self.isa == VMX else -1) == self.halt
        return "user" if vcpu.open[3] else "idle" if idle else "kernel"

    def pass_time(self, ns: int) -> None:
        for tid, spent in self.spent.items():
            if where := self.where(tid):
                spent[where] += ns
        self.now += ns

    def step(self) -> None:
        self.pass_time(self.random.choice([0, 1, 700, 20_000, 3 * MS, 40 * MS]))
        tid = self.random.choice([tid for tid in self.spent if not self.vcpus[tid].ended])
        where = self.where(tid)
        if where == "guest":
            self.leave(tid, self.random.choice([self.halt, *self.others]))
        elif where == "kernel" and self.random.random() < 0.5:
            self.to_user(tid)
        else:
            self.enter(tid)


@pytest.mark.parametrize("isa", [SVM, VMX])
@pytest.mark.parametrize("seed", range(6))
def test_the_parts_are_the_whole(seed: int, isa: int) -> None:
    host = Simulated(seed, isa, 4)
    first = last = host.read()
    seen = {tid: dict.fromkeys(PARTS, 0) for tid in host.spent}
    for turn in range(60):
        if turn == 20:
            host.end(110)
        if turn == 30:
            host.start_vm(300)
            seen[301] = dict.fromkeys(PARTS, 0)
        for _ in range(host.random.randrange(60)):
            host.step()
        now = host.read()
        interval, last = diff(last, now), now
        assert interval.budget.sum(axis=1).tolist() == interval.known.tolist()
        assert (interval.known <= interval.seconds * 1e9 + 1).all()
        assert (interval.budget >= 0).all()
        assert all(reason.time >= reason.user >= 0 and reason.count >= 0 for reason in by_reason(interval))
        for row, tid in enumerate(host.spent):
            mine = budget(interval, row)
            assert {part: mine[part] + seen[tid][part] for part in PARTS} == host.spent[tid]
            seen[tid] = dict(host.spent[tid])
        outside = sum(reason.time for reason in by_reason(interval))
        assert outside == interval.budget[:, 1:].sum()  # all that is not in the guest has a reason
    whole = diff(first, last)
    assert [budget(whole, row) for row in range(5)] == list(host.spent.values())


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        # guest 400, kernel 250 (150 of it interrupts), user 150, idle 200
        (0, (400, 250, 150, 200, 0)),
        (100, (400, 150, 150, 200, 100)),  # interrupts first
        (150, (400, 100, 150, 200, 150)),
        (300, (400, 100, 150, 50, 300)),  # then idle
        (400, (400, 50, 150, 0, 400)),  # then the kernel's others
        (500, (400, 0, 100, 0, 500)),  # then user
        (700, (300, 0, 0, 0, 700)),  # then the guest
        (1000, (0, 0, 0, 0, 1000)),
        (5000, (0, 0, 0, 0, 1000)),  # never more than there was
    ],
)
@pytest.mark.parametrize(
    ("isa", "interrupt", "io", "msr", "halt"),
    [(SVM, INTERRUPT, IO, MSR, HLT), (VMX, 1, 30, 32, 12), (VMX, 1 | 1 << 26, 30, 32, 12)],
)
def test_waiting_is_taken_out_of_the_others(
    wait: int, expected: tuple[int, ...], isa: int, interrupt: int, io: int, msr: int, halt: int
) -> None:
    host = one(isa=isa)
    host.delays[101] = 7 * MS
    before = host.read()
    host.now += SECOND
    host.exits(101, interrupt, 150 * MS)
    host.exits(101, io, 190 * MS, user=150 * MS)
    host.exits(101, msr, 60 * MS)
    host.exits(101, halt, 200 * MS)
    host.vcpus[101].guest += 400 * MS
    host.delays[101] += wait * MS
    interval = diff(before, host.read())
    assert tuple(interval.budget[0] // MS) == expected
    assert interval.budget.sum() == SECOND


def test_waiting_is_each_threads_own() -> None:
    host = one(3)
    before = host.read()
    host.now += SECOND
    for tid in (101, 102, 103):
        host.vcpus[tid].guest += SECOND
    host.delays = {102: 300 * MS}  # the others' is not known
    interval = diff(before, host.read())
    assert interval.budget[:, PARTS.index("wait")].tolist() == [0, 300 * MS, 0]


def test_waiting_that_runs_backwards_is_none() -> None:
    host = one()
    host.delays[101] = SECOND
    before = host.read()
    host.now += SECOND
    host.vcpus[101].guest += SECOND
    host.delays = {}
    assert budget(diff(before, host.read())) == {"guest": SECOND, "kernel": 0, "user": 0, "idle": 0, "wait": 0}


def test_known_is_the_time_watched() -> None:
    host = one()
    before = host.read()
    host.now += SECOND // 4
    host.add(200, "late")
    host.now += SECOND * 3 // 4
    assert diff(before, host.read()).known.tolist() == [SECOND, SECOND * 3 // 4]
    assert diff(None, host.read()).known.tolist() == [SECOND, SECOND * 3 // 4]
