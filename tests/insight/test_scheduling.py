"""Who had the CPU, who woke whom, and what held vCPUs up, from Schedulings made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kvmtop.insight import scheduling as insight
from kvmtop.insight.actors import unit
from kvmtop.insight.scheduling import culprits, holdups, latency, placement_words, wakers
from kvmtop.model.histogram import MIDDLES, bucket_bounds, bucket_of
from kvmtop.model.interval import Interval, diff
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import (
    BEHIND,
    BLOCKED,
    IDLE,
    INTERRUPT,
    OTHER,
    OTHER_INTERRUPT,
    SOFTIRQ,
    TASK,
    TIMER,
    UNKNOWN,
    WOKEN,
    Placement,
    Process,
)
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.vocabulary import Vm

from ..support.fake import SECOND, Host
from ..support.scheduling import Scheduler

MS = 1_000_000
WEB, DB = pack(100, 101), pack(200, 201)
VCPU = Scope(100, 101)


class Run:
    """A host with one vCPU of web, 101, and two of db, at whose scheduler somebody looks from the start."""

    def __init__(self, pid: int = 0) -> None:
        self.host = Host()
        self.host.add(100, "web")
        self.host.add(200, "db", 2)
        self.scheduler = Scheduler(self.host.now, pid)
        self.last = self.host.read()

    def second(self, **waits: int) -> Interval:
        """A second passes. waits: ms that vCPUs waited in it, by tid: t101=300."""
        self.host.now += SECOND
        for tid, ms in waits.items():
            self.host.vcpus[int(tid[1:])].states["wait"] += ms * MS
        self.host.scheduling = self.scheduler.read()
        before, self.last = self.last, self.host.read()
        return diff(before, self.last)


@pytest.fixture
def run() -> Run:
    return Run()


def told(found: Sequence[insight.Culprit] | None) -> list[tuple[str, str, int]]:
    return [(one.actor.kind, one.actor.text, one.ns // MS) for one in found or ()]


# ---- who ran instead


def test_nobody_looks(run: Run) -> None:
    run.host.now += SECOND
    interval = diff(run.last, run.host.read())
    assert [ask(interval, ALL) for ask in (culprits, wakers, latency, holdups)] == [None] * 4
    assert insight.change(interval) is None and placement_words(interval, ALL) == {}
    assert not insight.looked_at(interval, ALL)


def test_culprits_add_up_to_the_wait_and_have_names(run: Run) -> None:
    run.host.others = np.zeros(2, OTHER)
    run.host.others["id"] = [pack(200, 210), pack(200, 999)]
    run.scheduler.processes = {4000: Process("tar", "/system.slice/backup.service")}
    run.scheduler.cgroups = {7: "/system.slice/docker-" + "0123456789abcdef" * 4 + ".scope"}
    for by, who, ms, more in (
        (TASK, DB, 300, {}),
        (TASK, pack(200, 210), 100, {"comm": b"IO iothread1"}),
        (TASK, pack(999, 999), 90, {"comm": b"vhost-200", "kernel": 1}),
        (TASK, pack(33, 33), 80, {"comm": b"ksoftirqd/3", "kernel": 1}),
        (TASK, pack(4000, 4001), 30, {"comm": b"worker"}),
        (TASK, pack(4000, 4000), 40, {"comm": b"tar"}),
        (TASK, pack(5000, 5001), 50, {"comm": b"java\x1b[2J", "cgroup": 7}),
        (IDLE, 0, 20, {}),
        (INTERRUPT, 27, 9, {}),
        (SOFTIRQ, 3, 8, {}),
        (SOFTIRQ, 99, 7, {}),
        (TIMER, 0, 6, {}),
        (OTHER_INTERRUPT, 0, 5, {}),
        (UNKNOWN, 0, 4, {}),
    ):
        run.scheduler.charge(WEB, BEHIND, by, who, ns=ms * MS, **more)
    found = culprits(run.second(t101=749), VCPU)
    assert told(found) == [
        ("vcpu", "vCPU 0 of db", 300),
        ("vm thread", "IO iothread1 of db", 100),
        ("vm thread", "vhost-200 of db", 90),
        ("kernel thread", "ksoftirqd/3", 80),
        ("process", "tar (backup.service)", 70),
        ("process", "java [2J (docker-0123456789ab)", 50),
        ("idle", "an idle CPU on its way", 20),
        ("interrupt", "interrupt 27", 9),
        ("softirq", "softirq NET_RX", 8),
        ("softirq", "softirq 99", 7),
        ("timer", "timer interrupt", 6),
        ("interrupt", "an interrupt", 5),
        ("unknown", "not known", 4),
    ]
    assert found and sum(one.ns for one in found) == 749 * MS and sum(one.share for one in found) == pytest.approx(1)
    tar = found[4].actor
    assert (tar.pid, tar.tid, tar.cgroup) == (4000, None, "/system.slice/backup.service")
    assert (found[0].actor.pid, found[0].actor.tid) == (200, 201)


def test_each_kernel_thread_and_process_is_its_own(run: Run) -> None:
    run.scheduler.charge(WEB, BEHIND, TASK, pack(50, 50), ns=10 * MS, comm=b"kworker/0:1", kernel=1)
    run.scheduler.charge(WEB, BEHIND, TASK, pack(51, 51), ns=20 * MS, comm=b"kworker/0:2", kernel=1)
    run.scheduler.charge(WEB, BEHIND, TASK, pack(60, 60), ns=30 * MS, comm=b"cc1")
    run.scheduler.charge(WEB, BEHIND, TASK, pack(61, 61), ns=40 * MS, comm=b"cc1")
    found = told(culprits(run.second(t101=100), VCPU))
    assert [(text, ms) for _, text, ms in found] == [("cc1", 40), ("cc1", 30), ("kworker/0:2", 20), ("kworker/0:1", 10)]


def test_only_what_the_interval_added(run: Run) -> None:
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=300 * MS)
    run.second(t101=300)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=100 * MS, count=2)
    run.scheduler.charge(WEB, BEHIND, TIMER, ns=50 * MS)
    (first, second) = culprits(run.second(t101=150), VCPU) or []
    assert (first.ns, first.count, second.ns) == (100 * MS, 2, 50 * MS)
    assert culprits(run.second(), VCPU) == []


def test_another_look_starts_from_zero(run: Run) -> None:
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=300 * MS)
    run.second(t101=300)
    run.scheduler = Scheduler(run.host.now)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=200 * MS)
    assert told(culprits(run.second(t101=200), VCPU)) == [("vcpu", "vCPU 0 of db", 200)]


def test_a_wait_that_is_not_over(run: Run) -> None:
    """It has a row of its own until it is charged, and a name before that."""
    run.scheduler.charge(WEB, BEHIND, TASK, pack(30, 30), ns=10 * MS, comm=b"ksoftirqd/3", kernel=1)
    run.scheduler.charge(WEB, BEHIND, TASK, pack(30, 30), ns=40 * MS, open=True)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=5 * MS, open=True)
    found = [("kernel thread", "ksoftirqd/3", 50), ("vcpu", "vCPU 0 of db", 5)]
    assert told(culprits(run.second(t101=55), VCPU)) == found
    run.scheduler.settle()
    run.scheduler.charge(WEB, BEHIND, TASK, pack(30, 30), ns=60 * MS, comm=b"ksoftirqd/3", kernel=1)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=5 * MS)
    assert told(culprits(run.second(t101=20), VCPU)) == [("kernel thread", "ksoftirqd/3", 20)]
    run.scheduler.charge(WEB, BEHIND, TASK, pack(30, 30), ns=30 * MS, open=True)  # of the interval nothing else
    assert told(culprits(run.second(t101=30), VCPU)) == [("kernel thread", "ksoftirqd/3", 30)]


def test_a_wait_that_was_charged_too_far(run: Run) -> None:
    """Threads are read a moment before: what was charged since then is taken back, and told in the next interval."""
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=100 * MS)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=-30 * MS, open=True)
    assert told(culprits(run.second(t101=70), VCPU)) == [("vcpu", "vCPU 0 of db", 70)]
    run.scheduler.settle()
    assert told(culprits(run.second(t101=30), VCPU)) == [("vcpu", "vCPU 0 of db", 30)]
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=-5 * MS, open=True)
    run.scheduler.charge(WEB, BEHIND, TIMER, ns=20 * MS)  # it was not he who had the CPU just then
    run.scheduler.charge(WEB, BLOCKED, TASK, DB, ns=50 * MS)
    interval = run.second(t101=15)
    assert told(culprits(interval, VCPU)) == [("timer", "timer interrupt", 15)]
    assert [one.ns for one in holdups(interval, VCPU) or []] == [50 * MS]
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=-7 * MS, open=True)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=2 * MS)
    rows = insight.change(run.second())
    assert rows is not None and rows["ns"].tolist() == [0]


def test_what_nobody_is_known_for(run: Run) -> None:
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=200 * MS)
    run.scheduler.charge(WEB, BEHIND, UNKNOWN, ns=10 * MS)
    assert told(culprits(run.second(t101=300), VCPU)) == [("vcpu", "vCPU 0 of db", 200), ("unknown", "not known", 100)]
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=299 * MS)  # a reading's rounding
    assert told(culprits(run.second(t101=300), VCPU)) == [("vcpu", "vCPU 0 of db", 299)]
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=301 * MS)
    (found,) = culprits(run.second(t101=300), VCPU) or []
    assert found.ns == 301 * MS and found.share == 1


def test_scopes_and_who_is_looked_at() -> None:
    run = Run(pid=200)
    run.scheduler.charge(DB, BEHIND, TASK, WEB, ns=100 * MS)
    run.scheduler.charge(DB + 1, BEHIND, TASK, WEB, ns=200 * MS)
    interval = run.second(t101=500, t201=100, t202=200)
    for scope, ms in ((ALL, 300), (Scope(200), 300), (Scope(200, 201), 100), (Scope(200, 202), 200)):
        assert told(culprits(interval, scope)) == [("vcpu", "vCPU 0 of web", ms)]
        assert insight.looked_at(interval, scope)
    assert culprits(interval, Scope(100)) == []  # nobody looks at it, so nothing is claimed
    assert not insight.looked_at(interval, Scope(100))


def test_the_part_before_the_look_is_not_known(run: Run) -> None:
    run.scheduler = Scheduler(run.host.now + SECOND // 2)
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=200 * MS)
    run.scheduler.charge(WEB, WOKEN, TIMER, count=10)
    interval = run.second(t101=400)
    assert told(culprits(interval, VCPU)) == [("vcpu", "vCPU 0 of db", 200), ("unknown", "before somebody looked", 200)]
    (waker,) = wakers(interval, VCPU) or []
    assert waker.rate == 20  # of the half second


def test_a_vm_without_a_name_and_a_thread_without_one(run: Run) -> None:
    run.host.vms[200] = Vm(200, "")
    run.scheduler.charge(WEB, BEHIND, TASK, DB, ns=3 * MS)
    run.scheduler.charge(WEB, BEHIND, TASK, pack(200, 200), ns=2 * MS)
    run.scheduler.charge(WEB, BEHIND, TASK, pack(77, 77), ns=1 * MS)
    found = told(culprits(run.second(t101=6), VCPU))
    assert [text for _, text, _ in found] == ["vCPU 0 of pid 200", "thread 200 of pid 200", "pid 77"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", ""),
        ("/", ""),
        ("/init.scope", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/system.slice/cron.service", "cron.service"),
        ("/system.slice/cron.service/payload", "cron.service"),
        (r"/machine.slice/machine-qemu\x2d1\x2dweb01.scope/libvirt/vcpu0", "machine-qemu-1-web01.scope"),
        ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + "ab" * 32 + ".scope", "cri-containerd-abababababab"),
        ("/docker/" + "cd" * 32, "cdcdcdcdcdcd"),
        ("/lxc/ct101/ns", "ct101"),
    ],
)
def test_what_a_cgroup_is_called(path: str, name: str) -> None:
    assert unit(path) == name


# ---- waking up


def test_wakers_most_often_first(run: Run) -> None:
    run.scheduler.charge(WEB, WOKEN, TIMER, count=100)
    run.scheduler.charge(WEB, WOKEN, IDLE, count=1)
    run.second()
    run.scheduler.charge(WEB, WOKEN, TIMER, count=5)
    run.scheduler.charge(WEB, WOKEN, TASK, DB, count=20)
    run.scheduler.charge(WEB, WOKEN, IDLE, count=1)
    run.scheduler.charge(DB, WOKEN, TIMER, count=1000)
    found = wakers(run.second(), VCPU) or []
    assert [(one.actor.text, one.count, one.rate) for one in found] == [
        ("vCPU 0 of db", 20, 20),
        ("timer interrupt", 5, 5),
        ("an idle CPU", 1, 1),
    ]


def test_latency_of_the_interval_alone(run: Run) -> None:
    run.scheduler.woke(WEB, *[50 * MS] * 10)
    run.second()
    run.scheduler.woke(WEB, *[10_000] * 98, 1 * MS, 1 * MS)
    run.scheduler.woke(DB, 3 * MS)
    interval = run.second()
    found = latency(interval, VCPU)
    assert found and found.count == 100 and sum(found.hist) == 100
    assert found.p50 == MIDDLES[bucket_of(10_000)] and found.p99 == MIDDLES[bucket_of(MS)]
    assert found.max == bucket_bounds(bucket_of(MS))[1]  # the 50 ms were before
    both = latency(interval, ALL)
    assert both and both.count == 101 and both.max == bucket_bounds(bucket_of(3 * MS))[1]
    nothing = latency(run.second(), VCPU)
    assert nothing and (nothing.count, nothing.p50, nothing.p99, nothing.max) == (0, None, None, None)


def test_a_latency_that_began_anew_is_another_threads(run: Run) -> None:
    run.scheduler.woke(WEB, 1000, 1000)
    run.second()
    run.scheduler.latencies.clear()
    run.scheduler.woke(WEB, 5000)
    found = latency(run.second(), VCPU)
    assert found and found.count == 1 and sum(found.hist) == 1


# ---- what held them up

FUTEX = ("futex_wait_queue", "futex_wait", "do_futex", "__x64_sys_futex")


def test_holdups_say_what_and_who(run: Run) -> None:
    run.scheduler.stacks = {3: FUTEX, 4: ("handle_userfault", "do_anonymous_page")}
    run.scheduler.calls = {(100, 9): "/dev/vda"}
    run.scheduler.charge(WEB, BLOCKED, TASK, DB, ns=250 * MS, count=50, stack=3, call=(202, 0), max=6 * MS)
    run.scheduler.charge(WEB, BLOCKED, TASK, DB, ns=50 * MS, count=2, stack=-1, call=(0, 9), max=40 * MS)
    run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=300 * MS, stack=4, max=300 * MS, open=True)
    found = holdups(run.second(), VCPU) or []
    assert [(one.what, one.actor and one.actor.text, one.count, one.ns // MS, one.max // MS) for one in found] == [
        ("memory that somebody else brings (userfaultfd)", None, 0, 300, 300),
        ("a lock or event (futex)", "vCPU 0 of db", 50, 250, 6),
        ("read of /dev/vda", "vCPU 0 of db", 2, 50, 40),
    ]
    assert found[1].stack == FUTEX and found[2].stack == ()


def test_who_ends_a_sleep_does_not_get_what_an_earlier_interval_had(run: Run) -> None:
    run.scheduler.stacks = {3: FUTEX}
    run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=900 * MS, stack=3, max=900 * MS, open=True)
    (still,) = holdups(run.second(), VCPU) or []
    assert still.actor is None and still.ns == 900 * MS
    run.scheduler.settle()
    run.scheduler.charge(WEB, BLOCKED, TASK, DB, ns=1100 * MS, stack=3, max=1100 * MS)
    (found,) = holdups(run.second(), VCPU) or []
    assert found.actor and (found.actor.text, found.count, found.ns, found.max) == (
        "vCPU 0 of db",
        1,
        200 * MS,
        1100 * MS,
    )


@pytest.mark.parametrize("stack", [3, 8])
def test_an_open_sleep_that_another_follows(run: Run, stack: int) -> None:
    """In the same place or elsewhere, beside other sleeps that have ended."""
    run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=100 * MS, stack=3, open=True)
    run.second()
    run.scheduler.settle()
    run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=400 * MS, stack=stack, open=True)
    run.scheduler.charge(WEB, BLOCKED, TASK, DB, ns=150 * MS, stack=3)
    run.scheduler.charge(WEB, BLOCKED, TIMER, ns=300 * MS, stack=9)
    found = holdups(run.second(), VCPU) or []
    assert [(one.actor and one.actor.kind, one.ns // MS) for one in found] == [
        (None, 400),
        ("timer", 300),
        ("vcpu", 50),
    ]


def test_an_open_sleep_that_goes_on(run: Run) -> None:
    for _ in range(2):
        run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=SECOND, open=True)
        (found,) = holdups(run.second(), VCPU) or []
        assert (found.actor, found.ns) == (None, SECOND)


def test_nobody_known_is_not_nobody(run: Run) -> None:
    run.scheduler.charge(WEB, BLOCKED, UNKNOWN, ns=5 * MS, count=3)
    (found,) = holdups(run.second(), VCPU) or []
    assert found.actor and found.actor.text == "not known" and found.what == "not known"


# ---- where they may run


def test_placement_in_words(run: Run) -> None:
    run.host.add(300, "cache", 2)
    run.scheduler.placements = {
        101: Placement("0-3", all=False, siblings=(3,), node=0),
        201: Placement("0-7", all=True, siblings=(2, 5)),
        202: Placement("2", all=False),
    }
    run.scheduler.running = np.zeros(4, "u8")
    run.scheduler.running[3] = DB + 1
    words = placement_words(run.second(), ALL)
    assert words == {
        101: "may run on CPUs 0-3; on CPU 1 (node 0), whose sibling CPU 3 runs vCPU 1 of db",
        201: "may run on any CPU; on CPU 1",  # CPU 2 is idle, and what CPU 5 does is not known
        202: "may run on CPU 2 only; on CPU 2",
        301: "on CPU 1",
        302: "on CPU 2",
    }
    run.scheduler.running[3] = pack(4000, 4000)
    assert placement_words(run.second(), VCPU)[101].endswith("CPU 3 runs another thread")
    run.scheduler.processes = {4000: Process("tar", "/system.slice/backup.service")}
    assert placement_words(run.second(), VCPU)[101].endswith("CPU 3 runs tar (backup.service)")


def test_nothing_of_a_contract_is_lost(run: Run) -> None:
    """Rows of threads that are gone, and of kinds that are not known, hurt nobody."""
    run.scheduler.charge(pack(888, 888), BEHIND, TASK, DB, ns=5)
    run.scheduler.charge(WEB, 99, TASK, DB, ns=5)
    run.scheduler.charge(WEB, BEHIND, 99, 5, ns=5 * MS)
    interval = run.second(t101=5)
    assert told(culprits(interval, ALL)) == [("unknown", "not known", 5)]
    assert wakers(interval, ALL) == [] and holdups(interval, ALL) == []
