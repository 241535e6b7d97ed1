from __future__ import annotations

import numpy as np

from kvmtop.model.exit_stats import by_reason, counts
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import OUTSIDE, SVM, VMX

from ..support.fake import SECOND, Busy
from ..support.intervals import HLT, IO, MSR, NPF, one, reasons, top_reasons


def test_a_reason_is_added_up_once() -> None:
    host = Busy(1, 1)
    interval = diff(None, host.read())
    assert by_reason(interval)[0] is by_reason(interval)[0]
    by_reason(interval).clear()
    assert by_reason(interval)


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


def test_idle_is_by_state() -> None:
    """A halt that is over at once, as KVM polls, burns a CPU; so does MWAIT, which KVM makes a no-op."""
    host = one()
    host.exits(101, HLT, 1_000, idle=500)
    host.exits(101, 0x8B, 2_000)
    host.exits(101, 0x400, 3_000, idle=1_600, blocked=400)
    hlt, mwait, npf = by_reason(diff(None, host.read()))
    assert (hlt.idle, hlt.busy, mwait.idle, mwait.busy, npf.idle, npf.busy) == (False, 500, False, 2_000, True, 1_400)
    assert npf.parts == {"kernel": 1_000, "user": 0, "idle": 1_600, "blocked": 400, "wait": 0, "throttled": 0}


def test_waiting_and_throttling_are_not_its_own() -> None:
    host = one()
    host.exits(101, HLT, 9_000, idle=5_000, wait=3_000)
    host.exits(101, IO, 10_000, user=3_000, idle=1_000, blocked=2_000, wait=1_500, throttled=500)
    hlt, io = by_reason(diff(None, host.read()))
    assert (hlt.time, hlt.idle, hlt.own) == (9_000, True, 5_000)
    assert (io.time, io.own, io.own_rate) == (10_000, 7_000, 7_000 / diff(None, host.read()).seconds)
    host.told = ("guest",)  # all that is not known to be something else
    hlt, io = by_reason(diff(None, host.read()))
    assert (hlt.own, io.own) == (5_000, 9_000)


def test_flags_make_a_reason_of_its_own() -> None:
    host = one(isa=VMX)
    host.exits(101, 12, 1_000)
    host.exits(101, 12 | 1 << 27, 3_000)
    host.exits(101, 0xFFFFFFFF, 1_000)
    found = by_reason(diff(None, host.read()))
    assert [(reason.code, reason.time) for reason in found] == [(12, 1_000), (12 | 1 << 27, 3_000), (0xFFFFFFFF, 1_000)]


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
        for name in ("count", "time", "total", "busy"):
            assert sum(getattr(r, name) for r in mine) == getattr(reason, name)
        assert {state: sum(r.parts[state] for r in mine) for state in OUTSIDE} == reason.parts
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
    host.exits(201, NPF, SECOND // 4, idle=SECOND // 4)
    assert top_reasons(diff(before, host.read())) == {(100, -1): (SVM, IO), (100, 0): (SVM, MSR), (100, 1): (SVM, IO)}


def test_top_reasons_counts_open_exits() -> None:
    host = one()
    host.leave(101, NPF)
    before = host.read()
    host.now += SECOND
    host.exits(101, MSR, 1_000)
    assert top_reasons(diff(before, host.read())) == {(100, -1): (SVM, NPF), (100, 0): (SVM, NPF)}
