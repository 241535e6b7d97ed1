"""What the Scheduler page says."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.interval import Interval
from kvmtop.model.scheduling import IDLE
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import DetailRequest, Vm
from kvmtop.tables.page import SchedulerView
from kvmtop.tables.scheduler_page import Memory, covers, page
from kvmtop.tables.scheduling import holdup_table

from ..support.culprits import DB, MS, STACK, WEB, Culprits
from ..support.fake import SECOND
from ..support.rows import cells

WIDTHS = dict.fromkeys(("culprits", "waking", "blocked", "vcpus", "others"), 120)
VCPU = Scope(DB, DB + 2)


class Run:
    """A host that somebody looks at, second by second."""

    def __init__(self, wish: DetailRequest | None) -> None:
        self.host, self.session = Culprits(), Session()
        self.host.look(wish)
        self.session.add(self.host.read())

    def second(self) -> Interval:
        self.host.now += SECOND
        return self.session.add(self.host.read())

    def view(self, scope: Scope, memory: Memory = MappingProxyType({}), hint: str = "") -> SchedulerView:
        interval = self.session.interval
        assert interval
        return page(interval, scope, vcpu_rows(self.session, interval), WIDTHS, memory, hint)


@pytest.fixture
def run() -> Run:
    return Run(DetailRequest(sched=0))


def test_the_headline_names_three_culprits_and_how_many_others(run: Run) -> None:
    run.second()
    behind = (
        " waited 760ms/s for a CPU: 520ms behind vCPU 0 of web01, 110ms behind ksoftirqd/3, 100ms behind tar"
        " (backup.service), 30.0ms behind 2 others"
    )
    for scope, who in (
        (VCPU, "vCPU 1 of db02"),
        (Scope(DB), "the vCPUs of db02 together"),
        (ALL, "all vCPUs together"),
    ):
        assert run.view(scope).headline == who + behind
    run.host.wait = 520
    run.second()
    assert run.view(VCPU).headline == "vCPU 1 of db02 waited 520ms/s for a CPU: 520ms behind vCPU 0 of web01"
    run.host.wait = 740
    run.second()
    assert run.view(VCPU).headline.endswith("100ms behind tar (backup.service), 10.0ms behind 1 other")


def test_the_headline_where_nobody_waited(run: Run) -> None:
    run.host.wait = 0
    run.second()
    for scope, text in (
        (VCPU, "vCPU 1 of db02 did not wait for a CPU"),
        (Scope(DB), "no vCPU of db02 waited for a CPU"),
        (ALL, "no vCPU waited for a CPU"),
    ):
        view = run.view(scope)
        assert view.headline == text and not view.tables["culprits"][1]
    run.host.wait = 3
    run.second()
    assert run.view(VCPU).headline == "vCPU 1 of db02 hardly waited for a CPU, 3.00ms/s: 3.00ms behind vCPU 0 of web01"


def test_what_a_quota_took_is_said_too(run: Run) -> None:
    run.host.wait = 0
    run.host.vms[DB] = Vm(DB, "db02", quota="db02.scope: 35ms of 100ms")
    run.host.vcpus[DB + 2].states["throttled"] += 350 * MS
    run.second()
    assert run.view(VCPU).headline == (
        "vCPU 1 of db02 did not wait for a CPU; a CPU quota took 350ms/s (db02.scope: 35ms of 100ms)"
    )
    assert run.view(Scope(WEB)).headline == "no vCPU of web01 waited for a CPU"


def test_before_anybody_looks_it_says_how_long_but_not_behind_whom() -> None:
    run = Run(None)
    interval = run.second()
    view = run.view(VCPU)
    assert view.headline == "vCPU 1 of db02 waited 760ms/s for a CPU"
    assert not covers(interval, VCPU) and "culprits" not in view.tables and not view.hist
    assert len(view.tables["vcpus"][1]) == 2


def test_a_wait_that_nobody_is_known_for_is_said_to_be_so(run: Run) -> None:
    """As in the interval in which somebody began to look."""
    run.host.vcpus[DB + 2].states["wait"] += 100 * MS
    run.second()
    assert run.view(VCPU).headline.endswith("30.0ms behind 2 others, 100ms not explained")


def test_nobody_waits_behind_a_cpu_that_nobody_has(run: Run) -> None:
    run.host.wait = 0
    run.second()
    assert run.host.scheduler
    run.host.vcpus[DB + 2].states["wait"] += 100 * MS
    run.host.scheduler.charge(DB << 32 | DB + 2, 1, IDLE, ns=100 * MS)
    run.second()
    assert run.view(VCPU).headline.endswith("waited 100ms/s for a CPU: 100ms for an idle CPU on its way")


def test_a_kernel_that_cannot_tell_waits(run: Run) -> None:
    run.host.told = ("guest", "idle")
    run.second()
    assert run.view(VCPU).headline == "How long vCPUs waited for a CPU cannot be told on this kernel"


def test_another_vm_is_not_covered() -> None:
    run = Run(DetailRequest(sched=WEB))
    interval = run.second()
    assert [covers(interval, scope) for scope in (Scope(WEB), Scope(WEB, WEB + 1), VCPU, ALL)] == [
        True,
        True,
        False,
        False,
    ]
    assert "culprits" not in run.view(VCPU).tables and not run.view(Scope(WEB)).tables["culprits"][1]


def test_waking_up_has_its_percentiles_and_a_histogram(run: Run) -> None:
    run.second()
    view = run.view(VCPU)
    assert view.waking == "810/s, p50 3.33µs, p99 1.18ms, max 4.10ms"
    assert sum(view.hist) == 810 and view.decades
    labels = dict(view.marks)
    assert labels.keys() == {"p50", "p99", "max"} and view.hist[labels["p50"]] == 600 and view.hist[labels["max"]] == 1
    assert run.view(Scope(WEB)).waking == "no wake-up in this interval"
    assert [cells(view.tables["waking"], at)["who"] for at in (0, 1)] == ["timer interrupt", "vCPU 0 of db02"]


def test_a_row_of_what_it_was_blocked_on_has_its_stack(run: Run) -> None:
    run.second()
    view = run.view(VCPU)
    (row,) = view.tables["blocked"][1]
    assert view.notes["blocked"](row.key) == " < ".join(STACK)
    run.host.scheduler.charge(  # type: ignore[union-attr]
        DB << 32 | DB + 1, 3, 1, 812 << 32 | 812, ns=5 * MS, stack=-14, comm=b"tar"
    )
    run.second()
    view = run.view(Scope(DB))
    assert "its kernel stack is not known" in [view.notes["blocked"](row.key) for row in view.tables["blocked"][1]]
    assert holdup_table([], 1.0, 80)[1] == []


def test_a_row_of_the_vcpus_has_its_place(run: Run) -> None:
    run.second()
    note = run.view(Scope(DB), hint="m: the NUMA nodes of its memory").notes["vcpus"]
    assert note(VCPU) == (
        "may run on CPUs 0-3; on CPU 2 (node 0), whose sibling CPU 3 runs vCPU 0 of web01; m: the NUMA nodes of its memory"
    )
    assert note(Scope(DB, 12345)) is None and note("else") is None


def test_on_which_nodes_the_memory_is(run: Run) -> None:
    run.second()
    for memory, text in (
        ({DB: {0: 800 << 20, 1: 3 << 30}}, "its memory: 3.00GiB on node 1, 800MiB on node 0"),
        ({WEB: {0: 1}}, "being read …"),
        ({DB: {}}, "being read …"),
    ):
        assert (run.view(ALL, memory, "being read …").notes["vcpus"](VCPU) or "").endswith(f"; {text}")


def test_a_vcpu_and_a_vm_that_are_gone_are_no_fault(run: Run) -> None:
    interval = run.second()
    assert run.view(Scope(DB, 12345)).headline == "Nothing is known of a vCPU of db02 that has ended in this interval"
    assert run.view(Scope(77)).headline == "Nothing is known of pid 77 in this interval"
    nobody = replace(interval.after, vms={})
    run.session.add(replace(nobody, time_ns=nobody.time_ns + SECOND))
    assert run.view(VCPU).headline == "Nothing is known of vCPU 1 of pid 4100 in this interval"
