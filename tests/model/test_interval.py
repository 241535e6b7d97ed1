from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kvmtop.model import interval as stats
from kvmtop.model.interval import (
    PARTS,
    Interval,
    Reason,
    bucket_bounds,
    by_reason,
    counts,
    diff,
    percentile,
    silence,
    tops,
)
from kvmtop.model.snapshot import BUCKETS, SVM, UNKNOWN, VMX, Snapshot, Vm
from kvmtop.tables.view import bucket_of

from ..support.fake import SECOND, Busy, Host

MS = 1_000_000
CPUID, HLT, MSR, IO, INTERRUPT, NPF = 0x72, 0x78, 0x7C, 0x7B, 0x60, 0x400


def reasons(interval: Interval, threads: stats.Mask | None = None) -> dict[int, Reason]:
    return {reason.code: reason for reason in by_reason(interval, threads)}


def budget(interval: Interval, row: int = 0) -> dict[str, int]:
    return dict(zip(PARTS, interval.budget[row].tolist(), strict=True))


def one(vcpus: int = 1, isa: int = SVM) -> Host:
    host = Host(isa=isa)
    host.add(100, "vm", vcpus)
    return host


# ---- diff


def test_since_the_start() -> None:
    host = one()
    host.exits(101, MSR, 2_000, 4_000, user=500)
    host.now += 2 * SECOND
    interval = diff(None, host.read())
    (msr,) = by_reason(interval)
    assert (msr.isa, msr.code, msr.name, msr.key) == (SVM, MSR, "msr", (SVM, MSR))
    assert (msr.count, msr.total, msr.time, msr.user, msr.min, msr.max) == (2, 6_000, 6_000, 1_000, 2_000, 4_000)
    assert (interval.seconds, msr.rate, msr.time_rate, msr.avg) == (2, 1, 3_000, 3_000)


def test_between_two_snapshots() -> None:
    host = one(2)
    host.exits(101, MSR, 2_000, 4_000, user=500)
    host.exits(102, IO, 9_000)
    before = host.read()
    host.now += SECOND
    host.exits(101, MSR, 1_000, user=700)
    host.exits(102, MSR, 8_000)
    interval = diff(before, host.read())
    found = reasons(interval)
    msr, io = found[MSR], found[IO]
    assert (msr.count, msr.total, msr.time, msr.user) == (2, 9_000, 9_000, 700)
    assert {n: c for n, c in enumerate(msr.hist) if c} == {bucket_of(1_000): 1, bucket_of(8_000): 1}
    assert (io.count, io.total, io.time, io.rate, io.avg, io.max, io.percentile(0.5)) == (0, 0, 0, 0, None, None, None)
    assert io.min == 9_000  # since the start


def test_nothing_at_all() -> None:
    host = Host()
    before = host.read()
    for interval in (diff(None, before), diff(before, before)):
        assert by_reason(interval) == []
        assert top_reasons(interval) == {}
        assert counts(interval.after) == {}
        assert interval.budget.shape == (0, 5)
        assert interval.known.shape == (0,)
        assert interval.seconds > 0


def test_rates_use_the_measured_interval() -> None:
    host = one()
    before = host.read()
    host.now += 1_700 * MS
    host.exits(101, MSR, *[10_000] * 34)
    interval = diff(before, host.read())
    assert interval.seconds == 1.7
    assert interval.start_ns == before.time_ns
    assert reasons(interval)[MSR].rate == 20
    assert reasons(interval)[MSR].time_rate == pytest.approx(200_000)


def test_lost_is_of_the_interval() -> None:
    host = one()
    host.counters["lost"] = 3
    before = host.read()
    host.counters["lost"] = 10
    assert diff(before, host.read()).lost == 7
    assert diff(None, host.read()).lost == 10


def test_maximum_of_an_interval_comes_from_its_histogram() -> None:
    host = one()
    host.exits(101, MSR, 10**9)
    before = host.read()
    host.now += SECOND
    host.exits(101, MSR, 5_000)
    longest = reasons(diff(before, host.read()))[MSR].max
    assert longest is not None
    assert 5_000 <= longest <= 1.25 * 5_000
    before = host.read()
    host.exits(101, MSR, 3 * 10**9)
    assert reasons(diff(before, host.read()))[MSR].max == 3 * 10**9  # exact where it is the longest ever


def test_the_order_of_rows_does_not_matter() -> None:
    host = Busy(3, 3)
    before, after = host.read(), host.read()
    straight = diff(before, after)
    rnd = np.random.default_rng(1)
    cells = rnd.permutation(len(after.cells))
    threads = rnd.permutation(len(after.threads))
    moved = after.cells[cells]
    moved["thread"] = np.argsort(threads)[moved["thread"]]
    shuffled = diff(before, replace(after, cells=moved, cell_ids=after.cell_ids[cells], threads=after.threads[threads],
                                    thread_ids=after.thread_ids[threads]))  # fmt: skip
    assert by_reason(shuffled) == by_reason(straight)
    assert shuffled.budget.tolist() == straight.budget[threads].tolist()
    for row, old in enumerate(threads):
        mask = np.arange(len(threads))
        assert by_reason(shuffled, mask == row) == by_reason(straight, mask == old)


def without(snapshot: Snapshot, row: int) -> Snapshot:
    """As if a thread had never been."""
    kept, mine = np.arange(len(snapshot.threads)) != row, snapshot.cells["thread"] != row
    cells = snapshot.cells[mine]
    cells["thread"] = (np.cumsum(kept) - 1)[cells["thread"]]
    return replace(snapshot, threads=snapshot.threads[kept], thread_ids=snapshot.thread_ids[kept], cells=cells,
                   cell_ids=snapshot.cell_ids[mine])  # fmt: skip


def folded(snapshot: Snapshot, row: int, thread: int = 0) -> Snapshot:
    """As after a thread that is long gone: its cells have no ids and the thread's row is meaningless."""
    gone = snapshot.cells[snapshot.cells["thread"] == row]
    gone["thread"] = thread
    left = without(snapshot, row)
    return replace(left, cells=np.concatenate([gone, left.cells]),
                   cell_ids=np.concatenate([np.zeros(len(gone), "u8"), left.cell_ids]))  # fmt: skip


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("open_too", [False, True])
def test_rows_that_vanish(row: int, open_too: bool) -> None:
    host = one(2)
    for tid in (101, 102):
        host.exits(tid, MSR, 5_000, 5_000)
    if open_too:
        host.leave(101 + row, HLT)
        host.now += SECOND
    before = host.read()
    host.exits(101, MSR, 1_000)
    host.exits(102, MSR, 1_000)
    found = reasons(diff(before, without(host.read(), row)))
    assert (found[MSR].count, found[MSR].time) == (1, 1_000)
    assert HLT not in found or not found[HLT].time


def test_rows_that_are_new() -> None:
    host = one(2)
    host.exits(101, MSR, 5_000)
    host.exits(102, MSR, 5_000)
    before = without(host.read(), 0)
    host.exits(102, MSR, 1_000)
    msr = reasons(diff(before, host.read()))[MSR]
    assert (msr.count, msr.time) == (2, 6_000)


@pytest.mark.parametrize("thread", [0, 1, 2**32 - 1])
def test_threads_long_gone_are_in_totals_only(thread: int) -> None:
    host = one(2)
    host.exits(101, MSR, 5_000, 5_000)
    host.exits(102, MSR, 5_000)
    before = host.read()
    host.now += SECOND
    host.exits(102, MSR, 1_000)
    host.exits(102, IO, 1_000)
    after = folded(host.read(), 0, thread)
    assert {code: reason.count for code, reason in reasons(diff(before, after)).items()} == {MSR: 1, IO: 1}
    assert {code: reason.count for code, reason in reasons(diff(None, after)).items()} == {MSR: 4, IO: 1}
    assert {code: reason.count for code, reason in reasons(diff(after, after)).items() if reason.count} == {}
    assert counts(after) == {(SVM, MSR): 4, (SVM, IO): 1}
    here = np.ones(1, bool)
    assert {code: reason.count for code, reason in reasons(diff(None, after), here).items()} == {MSR: 2, IO: 1}
    assert counts(after, here) == {(SVM, MSR): 2, (SVM, IO): 1}
    assert diff(None, after).budget.shape == (1, 5)


def test_buckets_are_the_histograms_differences() -> None:
    host = Busy(2, 3)
    before, after = host.read(), host.read()
    for first in (None, before, after):
        interval = diff(first, after)
        whole = np.zeros((len(interval.rows), BUCKETS), "i8")
        np.add.at(whole, (interval.buckets.row, interval.buckets.bucket), interval.buckets.count)
        then = (
            {int(id): cell["hist"].astype("i8") for id, cell in zip(first.cell_ids, first.cells, strict=True)}
            if first
            else {}
        )
        for row, (id, cell) in enumerate(zip(after.cell_ids.tolist(), after.cells, strict=True)):
            assert (whole[row] == cell["hist"].astype("i8") - then.get(id, 0)).all()
        assert (whole.sum(axis=1) == interval.rows["count"]).all()
        assert (interval.buckets.count != 0).all()


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_buckets_in_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    host = Busy(2, 2)
    before, after = host.read(), host.read()
    whole = by_reason(diff(before, after))
    monkeypatch.setattr(stats, "_CHUNK", chunk)
    assert by_reason(diff(before, after)) == whole


def test_a_reason_is_added_up_once() -> None:
    host = Busy(1, 1)
    interval = diff(None, host.read())
    assert by_reason(interval)[0] is by_reason(interval)[0]
    by_reason(interval).clear()
    assert by_reason(interval)


# ---- open exits


@pytest.mark.parametrize(
    ("isa", "halt"),
    [(SVM, HLT), (SVM, 0xA6), (VMX, 12), (VMX, 36), (VMX, 12 | 1 << 27), (VMX, 12 | 1 << 31)],
)
def test_asleep_for_ten_intervals(isa: int, halt: int) -> None:
    host = one(isa=isa)
    host.enter(101)
    host.now += SECOND
    host.leave(101, halt)
    last = host.read()
    for _ in range(10):
        host.now += SECOND
        now = host.read()
        interval, last = diff(last, now), now
        (hlt,) = by_reason(interval)
        assert hlt.idle
        assert (hlt.count, hlt.time, hlt.time_rate) == (0, SECOND, SECOND)
        assert budget(interval) == {"guest": 0, "kernel": 0, "user": 0, "idle": SECOND, "wait": 0}
    host.now += SECOND // 4
    host.enter(101)
    host.now += SECOND * 3 // 4
    now = host.read()
    interval, last = diff(last, now), now
    (hlt,) = by_reason(interval)
    assert (hlt.count, hlt.time, hlt.total) == (1, SECOND // 4, 10 * SECOND + SECOND // 4)
    assert budget(interval) == {"guest": SECOND * 3 // 4, "kernel": 0, "user": 0, "idle": SECOND // 4, "wait": 0}
    host.now += SECOND
    interval = diff(last, host.read())
    assert [(hlt.count, hlt.time, hlt.user) for hlt in by_reason(interval)] == [(0, 0, 0)]
    assert budget(interval)["guest"] == SECOND


def test_stuck_in_user_space() -> None:
    host = one()
    host.leave(101, IO)
    host.now += SECOND // 2
    host.to_user(101)
    last = host.read()
    for _ in range(5):
        host.now += SECOND
        now = host.read()
        interval, last = diff(last, now), now
        assert [(io.count, io.time, io.user) for io in by_reason(interval)] == [(0, SECOND, SECOND)]
        assert budget(interval)["user"] == SECOND
    lasted, user = stats.open_ns(last)
    assert (lasted.tolist(), user.tolist()) == ([5 * SECOND + SECOND // 2], [5 * SECOND])
    host.enter(101)
    assert [(io.count, io.time, io.user) for io in by_reason(diff(last, host.read()))] == [(1, 0, 0)]


def test_open_exits_of_halted_and_in_the_guest() -> None:
    host = one(2)
    host.enter(101)
    host.now += SECOND
    lasted, user = stats.open_ns(host.read())
    assert (lasted.tolist(), user.tolist()) == ([0, 0], [0, 0])


@pytest.mark.parametrize("where", ["guest", "kernel", "user", "idle"])
def test_an_ended_thread_stands_still(where: str) -> None:
    host = one()
    host.enter(101)
    if where != "guest":
        host.leave(101, HLT if where == "idle" else IO)
    if where == "user":
        host.to_user(101)
    first = host.read()
    host.now += SECOND // 4
    host.end(100)
    host.now += SECOND * 3 // 4
    second = host.read()
    interval = diff(first, second)
    assert budget(interval) == {part: SECOND // 4 if part == where else 0 for part in PARTS}
    assert interval.known.tolist() == [SECOND // 4]
    host.now += SECOND
    interval = diff(second, host.read())
    assert interval.budget.tolist() == [[0] * 5]
    assert interval.known.tolist() == [0]
    assert all(reason.time == 0 for reason in by_reason(interval))
    since_start = diff(None, host.read())
    assert since_start.known.tolist() == [SECOND // 4]
    assert since_start.budget.sum() == SECOND // 4


# ---- where the time goes


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


# ---- by_reason and its like


def test_by_reason_is_in_the_order_of_codes() -> None:
    host = one()
    for code in (0xFFFFFFFF, 0x400, 0x9, 0x72, 0x80000010):
        host.exits(101, code, 1_000)
    assert [reason.code for reason in by_reason(diff(None, host.read()))] == [0x9, 0x72, 0x400, 0x80000010, 0xFFFFFFFF]


def test_an_isa_of_its_own_is_a_reason_of_its_own() -> None:
    host = one()
    host.exits(101, 12, 1_000, isa=SVM)
    host.exits(101, 12, 1_000, isa=VMX)
    found = by_reason(diff(None, host.read()))
    assert [(reason.isa, reason.idle) for reason in found] == [(VMX, True), (SVM, False)]


def test_flags_make_a_reason_of_its_own() -> None:
    host = one(isa=VMX)
    host.exits(101, 12, 1_000)
    host.exits(101, 12 | 1 << 27, 3_000)
    host.exits(101, 0xFFFFFFFF, 1_000)
    found = by_reason(diff(None, host.read()))
    assert [(reason.code, reason.idle) for reason in found] == [(12, True), (12 | 1 << 27, True), (0xFFFFFFFF, False)]


def test_svm_codes_have_no_flags() -> None:
    host = one()
    host.exits(101, HLT | 1 << 31, 1_000)
    assert not by_reason(diff(None, host.read()))[0].idle


def test_masks_partition_the_whole() -> None:
    host = Busy(2, 3)
    host.read()
    before, after = host.read(), host.read()
    interval = diff(before, after)
    rows = np.arange(len(after.threads))
    every = reasons(interval)
    alone = [reasons(interval, rows == row) for row in rows]
    for code, reason in every.items():
        mine = [found[code] for found in alone if code in found]
        for name in ("count", "time", "user", "total"):
            assert sum(getattr(r, name) for r in mine) == getattr(reason, name)
        assert np.sum([r.hist for r in mine], axis=0).tolist() == list(reason.hist)
        assert min(r.min for r in mine if r.min is not None) == reason.min
        longest = max(r.max for r in mine if r.max is not None)
        assert reason.max is not None
        assert longest <= reason.max <= 1.25 * longest  # the end of a bucket, of which one thread may know more
    nobody = np.zeros(len(rows), bool)
    assert by_reason(interval, nobody) == []
    assert by_reason(interval, ~nobody) == by_reason(interval)


def test_counts() -> None:
    host = one(2)
    host.exits(101, MSR, *[1_000] * 5)
    host.exits(102, MSR, *[1_000] * 7)
    host.exits(102, 0xFFFFFFFF, 1_000, isa=VMX)
    snapshot = host.read()
    assert counts(snapshot) == {(SVM, MSR): 12, (VMX, 0xFFFFFFFF): 1}
    assert counts(snapshot, np.array([True, False])) == {(SVM, MSR): 5}


def top_reasons(interval: Interval) -> dict[tuple[int, int], tuple[int, int]]:
    """The (isa, code) with the most time, idle ones aside, of each VM, (pid, -1), and each thread, (pid, its row)."""
    top = tops(interval)
    keys, pids = top.keys.tolist(), top.pids.tolist()
    owners = ([(pid, -1) for pid in pids], [(pids[v], row) for row, v in enumerate(top.vm.tolist())])
    return {
        owner: (keys[best] >> 32, keys[best] & 0xFFFFFFFF)
        for who, which in zip(owners, (top.of_vm, top.of_thread), strict=True)
        for owner, best in zip(who, which.tolist(), strict=True)
        if best >= 0
    }


def test_top_reasons() -> None:
    host = one(2)
    host.add(200, "other")
    before = host.read()
    host.now += SECOND
    host.exits(101, MSR, 3_000)
    host.exits(101, IO, *[1_000] * 2)
    host.exits(102, IO, *[1_000] * 2)
    host.exits(102, HLT, SECOND // 2)
    host.exits(201, HLT, SECOND // 2)
    assert top_reasons(diff(before, host.read())) == {(100, -1): (SVM, IO), (100, 0): (SVM, MSR), (100, 1): (SVM, IO)}


def test_top_reasons_counts_open_exits() -> None:
    host = one()
    host.leave(101, NPF)
    before = host.read()
    host.now += SECOND
    host.exits(101, MSR, 1_000)
    assert top_reasons(diff(before, host.read())) == {(100, -1): (SVM, NPF), (100, 0): (SVM, NPF)}


@pytest.mark.parametrize(("isa", "name"), [(VMX, "VMX"), (SVM, "SVM"), (UNKNOWN, "–"), (7, "–")])
def test_isa_name(isa: int, name: str) -> None:
    assert stats.isa_name(isa) == name


# ---- histograms


def kernels_bucket(ns: int) -> int:
    """As bpf/collector.bpf.c finds it."""
    if ns < 32:
        return 0
    if ns >> 37:
        return BUCKETS - 1
    octave = ns.bit_length() - 1
    return (octave - 5 << 2) + (ns >> (octave - 2) & 3)


def test_buckets_follow_each_other_without_a_gap() -> None:
    bounds = [bucket_bounds(index) for index in range(BUCKETS)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 2**63
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    assert all(high <= low * 1.25 for low, high in bounds[1:-1])


def test_buckets_are_those_of_the_kernel() -> None:
    rnd = random.Random(1)
    edges = [edge + d for index in range(BUCKETS) for edge in bucket_bounds(index) for d in (-1, 0, 1)]
    for ns in [*(n for n in edges if 0 <= n < 2**63), *(int(2 ** rnd.uniform(0, 45)) for _ in range(5_000))]:
        low, high = bucket_bounds(kernels_bucket(ns))
        assert low <= ns < high
        assert bucket_of(ns) == kernels_bucket(ns)


def histogram(values: list[int]) -> list[int]:
    hist = [0] * BUCKETS
    for ns in values:
        hist[kernels_bucket(ns)] += 1
    return hist


def exact(values: list[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(math.ceil(round(share * len(values), 6)), 1) - 1]


def draw(rnd: random.Random) -> Callable[[], float]:
    typical = 10 ** rnd.uniform(2.5, 9)
    return rnd.choice(
        [
            lambda: rnd.uniform(0.1, 10) * typical,
            lambda: rnd.lognormvariate(0, 1) * typical,
            lambda: rnd.expovariate(1) * typical,
            lambda: rnd.paretovariate(1.1) * typical,
            lambda: rnd.choice((1, 1, 1, 1000)) * typical * rnd.uniform(0.99, 1.01),
            lambda: typical,
            lambda: 10 ** rnd.uniform(1.6, 11),
        ]
    )


@pytest.mark.parametrize("seed", range(50))
def test_percentiles_are_within_an_eighth(seed: int) -> None:
    rnd = random.Random(seed)
    for count in (1, 2, 3, 10, 100, 2000):
        drawn = draw(rnd)
        values = [min(max(int(drawn()), 40), 10**11) for _ in range(count)]
        hist, low, high = histogram(values), min(values), max(values)
        last = 0.0
        for share in (0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1):
            found = percentile(hist, share, low, high)
            alone = percentile(hist, share, None, None)  # without the extremes, too
            assert found is not None
            assert alone is not None
            assert abs(found / exact(values, share) - 1) <= 0.125
            assert abs(alone / exact(values, share) - 1) <= 0.125
            assert max(low, last) <= found <= high
            last = found


@pytest.mark.parametrize("ns", [32, 35, 39, 40, 2**36, 115 * 10**9, 121 * 10**9, 130 * 10**9, 2**37 - 1])
def test_percentiles_at_the_ends_of_the_scale(ns: int) -> None:
    """From 32 ns to 2**37 ns, whatever the longest since the start was."""
    for found in (percentile(histogram([ns]), 0.5, None, None), percentile(histogram([ns]), 0.5, 1, 10**13)):
        assert found is not None
        assert abs(found / ns - 1) <= 0.125


def test_percentile_of_nothing() -> None:
    assert percentile([0] * BUCKETS, 0.5, None, None) is None


@pytest.mark.parametrize(
    ("share", "count"),
    [(0.5, 2), (0.5, 10**6), (0.9, 10), (0.9, 70), (0.99, 100), (0.99, 700), (0.999, 1000), (0.999, 77_000)],
)
def test_percentile_takes_the_right_rank(share: float, count: int) -> None:
    """So many short ones as the share asks for, and a rest of long ones."""
    short = round(share * count)
    for shorter, expected in ((short, 1_000), (short - 1, 10**9)):
        hist = [0] * BUCKETS
        hist[kernels_bucket(1_000)], hist[kernels_bucket(10**9)] = shorter, count - shorter
        assert percentile(hist, share, 1_000, 10**9) == pytest.approx(expected, rel=0.125)


def test_extremes_are_exact() -> None:
    values = [1_001, 5_555, 123_456_789]
    assert percentile(histogram(values), 0, 1_001, 123_456_789) == pytest.approx(1_001, rel=0.125)
    assert percentile(histogram([1_001]), 0.5, 1_001, 1_001) == 1_001
    assert percentile(histogram([10]), 0.5, 10, 10) == 10
    assert percentile(histogram([10**12]), 0.5, 10**12, 10**12) == 10**12


# ---- silence


def quiet(seconds: float, userspace: int = 0, vms: int = 0, ended: int = 0) -> Snapshot:
    host = Host()
    host.now += int(seconds * SECOND)
    host.counters["userspace"] = userspace
    host.vms = {pid: Vm(pid, "vm", ended=pid < ended) for pid in range(vms + ended)}
    return host.read()


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (quiet(4), "no VM runs here"),
        (quiet(4, ended=2), "no VM runs here"),
        (quiet(4, vms=1), "1 VM here, but "),
        (quiet(4, vms=2, ended=1), "2 VMs here, but "),
        (quiet(4, userspace=12, vms=1), "12 exits to user space seen"),
    ],
)
def test_silence(snapshot: Snapshot, words: str) -> None:
    said = silence(snapshot)
    assert said is not None
    assert words in said
    assert "VMs here" not in said or " its " not in said  # of theirs
    assert "\n" not in said


@pytest.mark.parametrize("snapshot", [quiet(0), quiet(2.9), quiet(2.9, userspace=5, vms=2)])
def test_too_early_to_say(snapshot: Snapshot) -> None:
    assert silence(snapshot) is None


def test_no_silence() -> None:
    host = one()
    host.now += 100 * SECOND
    assert silence(host.read()) is None
