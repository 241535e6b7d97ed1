from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kvmtop.model import interval as module
from kvmtop.model.exit_stats import by_reason, counts
from kvmtop.model.histogram import BUCKETS, bucket_of
from kvmtop.model.interval import diff, open_ns
from kvmtop.model.vocabulary import NESTED, OUTSIDE, REFLECTED, STATES, SVM, VMX

from ..support.fake import SECOND, Busy, Host
from ..support.intervals import HLT, IO, MS, MSR, budget, folded, one, reasons, top_reasons, without

NOTHING = dict.fromkeys(STATES, 0)


def test_since_the_start() -> None:
    host = one()
    host.exits(101, MSR, 2_000, 4_000, user=500)
    host.now += 2 * SECOND
    interval = diff(None, host.read())
    (msr,) = by_reason(interval)
    assert (msr.isa, msr.code, msr.name, msr.key) == (SVM, MSR, "msr", (SVM, MSR))
    assert (msr.count, msr.total, msr.time, msr.parts["user"], msr.min, msr.max) == (
        2,
        6_000,
        6_000,
        1_000,
        2_000,
        4_000,
    )
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
    assert (msr.count, msr.total, msr.time, msr.parts["user"], msr.parts["kernel"]) == (2, 9_000, 9_000, 700, 8_300)
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
        assert interval.budget.shape == (0, 7)
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
    later = replace(after, cells=moved, cell_ids=after.cell_ids[cells])
    later = replace(later, threads=after.threads[threads], thread_ids=after.thread_ids[threads])
    shuffled = diff(before, later)
    assert by_reason(shuffled) == by_reason(straight)
    assert shuffled.budget.tolist() == straight.budget[threads].tolist()
    for row, old in enumerate(threads):
        mask = np.arange(len(threads))
        assert by_reason(shuffled, mask == row) == by_reason(straight, mask == old)


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
    assert diff(None, after).budget.shape == (1, 7)


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
    monkeypatch.setattr(module, "_CHUNK", chunk)
    assert by_reason(diff(before, after)) == whole


# ---- open exits


@pytest.mark.parametrize(
    ("isa", "halt"),
    [(SVM, HLT), (SVM, 0xA6), (VMX, 12)],
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
        assert budget(interval) == NOTHING | {"idle": SECOND}
    host.now += SECOND // 4
    host.enter(101)
    host.now += SECOND * 3 // 4
    now = host.read()
    interval, last = diff(last, now), now
    (hlt,) = by_reason(interval)
    assert (hlt.count, hlt.time, hlt.total) == (1, SECOND // 4, 10 * SECOND + SECOND // 4)
    assert budget(interval) == NOTHING | {"guest": SECOND * 3 // 4, "idle": SECOND // 4}
    host.now += SECOND
    interval = diff(last, host.read())
    assert [(hlt.count, hlt.time, any(hlt.parts.values())) for hlt in by_reason(interval)] == [(0, 0, False)]
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
        assert [(io.count, io.time, io.parts["user"]) for io in by_reason(interval)] == [(0, SECOND, SECOND)]
        assert budget(interval)["user"] == SECOND
    assert open_ns(last).tolist() == [5 * SECOND + SECOND // 2]
    host.enter(101)
    assert [(io.count, io.time, io.parts["user"]) for io in by_reason(diff(last, host.read()))] == [(1, 0, 0)]


def test_an_open_exit_goes_from_state_to_state() -> None:
    """Halted, kicked, in the VMM, and asleep in KVM again without another exit (defect 1 of issue 15)."""
    host = one()
    host.leave(101, HLT)
    last = host.read()
    for state in ("idle", "wait", "user", "blocked", "throttled", "kernel", "idle"):
        host.turn(101, state)
        host.now += SECOND
        now = host.read()
        interval, last = diff(last, now), now
        assert budget(interval) == NOTHING | {state: SECOND}
        (hlt,) = by_reason(interval)
        assert (hlt.time, hlt.parts[state], hlt.idle) == (SECOND, SECOND, state == "idle")
    assert open_ns(last).tolist() == [7 * SECOND]
    host.enter(101)
    (hlt,) = by_reason(diff(None, host.read()))
    assert hlt.parts == dict.fromkeys(OUTSIDE, SECOND) | {"idle": 2 * SECOND}


def test_no_exit_is_open_in_the_guest_and_before_the_first() -> None:
    host = one(2)
    host.enter(101)
    host.turn(102, "idle")
    host.now += SECOND
    assert open_ns(host.read()).tolist() == [0, 0]


@pytest.mark.parametrize("where", STATES)
def test_an_ended_thread_stands_still(where: str) -> None:
    host = one()
    host.enter(101)
    if where != "guest":
        host.leave(101, IO, where)
    first = host.read()
    host.now += SECOND // 4
    host.end(100)
    host.now += SECOND * 3 // 4
    second = host.read()
    interval = diff(first, second)
    assert budget(interval) == NOTHING | {where: SECOND // 4}
    assert interval.known.tolist() == [SECOND // 4]
    host.now += SECOND
    interval = diff(second, host.read())
    assert interval.budget.tolist() == [[0] * 7]
    assert interval.known.tolist() == [0]
    assert all(reason.time == 0 for reason in by_reason(interval))
    since_start = diff(None, host.read())
    assert since_start.known.tolist() == [SECOND // 4]
    assert since_start.budget.sum() == SECOND // 4


def test_an_exit_that_was_open_is_taken_from_the_level_that_it_turned_out_to_be_of() -> None:
    """KVM tells a moment after the exit that it is a nested guest's; a reading may come in between."""
    host = one()
    host.exits(101, MSR, 5 * MS, isa=SVM | NESTED)
    host.leave(101, MSR)
    host.now += 3 * MS
    before = host.read()
    vcpu = host.vcpus[101]
    assert vcpu.open
    vcpu.open = (SVM | NESTED | REFLECTED, *vcpu.open[1:])
    host.now += MS
    still = host.read()  # open as yet
    assert {r.key[0]: r.time for r in by_reason(diff(before, still)) if r.time} == {SVM | NESTED | REFLECTED: MS}
    host.enter(101)
    host.now += MS
    found = {r.key[0]: (r.count, r.time) for r in by_reason(diff(before, host.read()))}
    assert found == {SVM | NESTED: (0, 0), SVM | NESTED | REFLECTED: (1, MS)}
