"""Counters of other threads: they only grow, and no VM has many."""

from __future__ import annotations

import random

from kvmtop.output.thread_times import MOST_SERIES, OTHERS, ThreadTimes

from ..support.others import Others


def cpu(times: ThreadTimes) -> dict[tuple[str, str, str], int]:
    return {labels: total.cpu for labels, total in times.collect()}


def test_who_comes_and_goes_shares_a_series() -> None:
    times, others = ThreadTimes(), Others()
    others.add(100, 104, "io", "IO a")
    for tid in (105, 106):
        others.add(100, tid, "worker", "worker")
    times.add(others.rows(1))
    for tid in (104, 105, 106):
        others.grow(tid, cpu_ns=10)
    times.add(others.rows(2))
    assert cpu(times) == {("io", "IO a", "104"): 10, ("worker", "worker", ""): 20}
    for tid in (104, 105, 106):
        others.remove(tid)
    times.add(others.rows(3))
    assert cpu(times) == {("worker", "worker", ""): 20}
    others.add(100, 107, "worker", "worker")
    others.grow(107, cpu_ns=5)  # it has just been seen
    times.add(others.rows(4))
    assert cpu(times) == {("worker", "worker", ""): 20}


def test_threads_of_several_vms() -> None:
    times, others = ThreadTimes(), Others()
    for pid in (100, 200):
        others.add(pid, pid, "main", "qemu")
    times.add(others.rows(1))
    others.grow(200, cpu_ns=7)
    times.add(others.rows(2))
    assert cpu(times) == {("main", "qemu", "100"): 0, ("main", "qemu", "200"): 7}


def test_another_thread_has_the_id() -> None:
    times, others = ThreadTimes(), Others()
    others.add(100, 100, "main", "qemu")
    others.grow(100, cpu_ns=50)
    times.add(others.rows(1))
    others.grow(100, cpu_ns=-20)
    times.add(others.rows(2))
    others.grow(100, cpu_ns=5)
    times.add(others.rows(3))
    assert cpu(times) == {("main", "qemu", "100"): 5}


def test_no_vm_has_many_and_none_goes_back() -> None:
    """Names that change all the time, as a VMM that means harm would choose them."""
    times, others, rnd = ThreadTimes(), Others(), random.Random(1)
    before: dict[tuple[str, str, str], int] = {}
    tids: list[int] = []
    for turn in range(300):
        tids.append(1000 + turn)
        others.add(100, tids[-1], rnd.choice(("io", "worker", "other")), f"n{turn}", throttled_ns=rnd.choice((0, -1)))
        if len(tids) > 60:
            others.remove(tids.pop(rnd.randrange(len(tids))))
        for tid in tids:
            others.grow(tid, cpu_ns=rnd.randrange(9), wait_ns=rnd.randrange(9))
        times.add(others.rows(turn))
        now = cpu(times)
        assert len(now) <= MOST_SERIES + 1
        assert all(now[labels] >= ns for labels, ns in before.items() if labels in now)
        before = now
    assert before["other", OTHERS, ""] > 0 and list(before) == sorted(before)
