"""Each rule just below and just above its bound, and what looks like it and is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.finding import SCHEDULER, Finding
from kvmtop.insight.findings import MOST, findings
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import (
    BEHIND,
    BLOCKED,
    IDLE,
    INTERRUPT,
    SOFTIRQ,
    TASK,
    TIMER,
    UNKNOWN,
    Placement,
    Process,
)
from kvmtop.model.scope import Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import (
    HIT,
    LOGGED,
    NESTED,
    PRESENT,
    REFLECTED,
    STATES,
    SVM,
    VMX,
    WASTED,
    WRITE,
    DetailRequest,
    Vm,
)
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean

from ..support.fake import SECOND, Host
from ..support.scheduling import Scheduler

MS = 1_000_000
WEB, DB = pack(100, 101), pack(200, 201)
CPUID, IO, MSR, PAUSE, HLT, MWAIT, NPF, VMRUN = 0x72, 0x7B, 0x7C, 0x77, 0x78, 0x8B, 0x400, 0x80


class Run:
    """A host with one vCPU of web, 101, and two of db, and a session that watches them."""

    def __init__(self, isa: int = SVM) -> None:
        self.host, self.session = Host(isa=isa), Session()
        self.host.add(100, "web")
        self.host.add(200, "db", 2)
        self.host.now += SECOND
        for tid in self.host.vcpus:
            self.host.exits(tid, HLT if isa == SVM else 12, 1_000)
        self.session.add(self.host.read())

    def second(self) -> list[Finding]:
        """A second passes: what stands out in it."""
        self.host.now += SECOND
        interval = self.session.add(self.host.read())
        return findings(self.session, interval, vcpu_rows(self.session, interval), Labels(self.host.names))

    def texts(self) -> list[str]:
        return [found.text for found in self.second()]


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_quiet_host_has_no_findings(run: Run) -> None:
    for _ in range(15):
        for tid in run.host.vcpus:
            run.host.exits(tid, HLT, *[9 * MS] * 100, user=0)
            run.host.exits(tid, MSR, *[2_000] * 200)
        assert run.second() == []


def test_before_the_first_exit() -> None:
    session = Session()
    host = Host()
    interval = session.add(host.read())
    assert findings(session, interval, vcpu_rows(session, interval), Labels()) == []


# ---- lost


def test_lost_exits_of_the_interval_alone(run: Run) -> None:
    run.host.counters["lost"] = 7
    (found,) = run.second()
    assert (found.text, found.rule) == (
        "7 exits of this interval are missing from all figures: a map was full",
        "lost > 0",
    )
    assert run.second() == []  # no more were lost


# ---- stuck


def stuck(texts: list[str]) -> list[str]:
    return [text for text in texts if "has not run" in text]


@pytest.mark.parametrize(
    ("state", "reached", "words"),
    [
        ("user", False, "on a CPU in the VMM 3.00s, in an exit for io"),
        ("kernel", False, "on a CPU in the kernel 3.00s, in an exit for io"),
        ("blocked", True, "blocked in the VMM 3.00s, in an exit for io"),
        ("blocked", False, "blocked in the kernel 3.00s, in an exit for io"),
        ("wait", True, "runnable but not scheduled 3.00s, in an exit for io"),
        ("throttled", False, "throttled by a CPU quota 3.00s, in an exit for io"),
    ],
)
def test_stuck_says_in_which_state_from_three_seconds_on(run: Run, state: str, reached: bool, words: str) -> None:
    run.host.leave(101, IO)
    if reached:
        run.host.to_user(101)
        run.host.now += 1
    run.host.turn(101, state)
    for _ in range(2):
        assert not stuck(run.texts())
    run.host.now -= 1
    assert not stuck(run.texts())
    run.host.now -= SECOND - 1
    (found,) = (found for found in run.second() if stuck([found.text]))
    assert found.text == f"vCPU 0 of web has not run guest code for a while: {words}"
    assert found.rule == "in one state for 3 s, neither guest nor idle"
    assert found.more == (SCHEDULER if state in ("wait", "blocked") else "")


def test_stuck_without_an_exit_says_no_more_than_the_state(run: Run) -> None:
    run.host.turn(101, "blocked")
    for _ in range(3):
        found = run.texts()
    assert stuck(found) == ["vCPU 0 of web has not run guest code for a while: blocked 3.00s"]


def test_a_vcpu_asleep_or_ended_is_not_stuck(run: Run) -> None:
    run.host.leave(101, HLT)
    run.host.leave(201, IO)
    run.host.turn(202, "idle")  # never started
    run.host.end(200)
    for _ in range(5):
        found = run.texts()
    assert found == []


# ---- standing still


def test_a_stopped_vmm_is_stopped_and_no_device_is_busy(run: Run) -> None:
    for tid in (201, 202):
        run.host.leave(tid, IO)
        run.host.to_user(tid)
        run.host.now += 1000
        run.host.turn(tid, "blocked")
    run.host.vms[200] = replace(run.host.vms[200], stopped=True)
    for seconds in (1, 2, 3, 4):
        (found,) = run.second()
        assert (found.text, found.rule) == (
            f"db is stopped by a signal, for {seconds}.00s",
            "/proc says of all of its threads that they are stopped, and of none that it is traced",
        )
    run.host.vms[200] = replace(run.host.vms[200], stopped=False)
    for tid in (201, 202):
        run.host.enter(tid)
    assert run.texts() == []


def test_a_debugger_is_told_from_a_signal(run: Run) -> None:
    for tid in (201, 202):
        run.host.leave(tid, IO)
        run.host.turn(tid, "blocked")
    run.host.vms[200] = replace(run.host.vms[200], stopped=True, traced=True)
    (found,) = run.second()
    assert (found.name, found.text) == ("debugger", "db is stopped by a debugger, for 1.00s")


def test_a_stop_that_is_over_is_told_as_what_was_measured(run: Run) -> None:
    run.host.leave(101, IO)
    run.host.turn(101, "blocked")
    run.host.now += SECOND // 2
    run.host.to_user(101)
    run.host.now += 1000
    run.host.enter(101)
    run.host.now -= SECOND // 2 + 1000
    run.host.leave(201, HLT)
    assert run.texts() == [
        "vCPU 0 of web is blocked 50.0% of its time, all of it for io: the VMM sleeps before it answers an emulated device"
    ]


def test_a_paused_vm_is_one_sentence(run: Run) -> None:
    for tid in (201, 202):
        run.host.leave(tid, HLT, "blocked")
    run.host.vms[200] = replace(run.host.vms[200], paused=True)
    for seconds in (1, 2, 3, 4):
        assert run.texts() == [f"db is paused, for {seconds}.00s: all of its vCPUs sleep in the VMM"]


# ---- nothing seen


@pytest.mark.parametrize(("how", "words"), [("paused", "is paused: all of its"), ("stopped", "is stopped by a signal")])
def test_a_vm_that_has_stood_still_since_before_anybody_watched(run: Run, how: str, words: str) -> None:
    """How long is not known."""
    run.host.vms[300] = replace(Vm(300, "shop", "qemu"), **{how: True})  # type: ignore[arg-type]
    for _ in range(4):
        (found,) = run.second()
        assert found.name == how and found.text.startswith(f"shop {words}") and not found.since


def test_vcpus_that_were_never_started(run: Run) -> None:
    run.host.vms[200] = replace(run.host.vms[200], unstarted=(1,))
    (found,) = run.second()
    assert (found.name, found.text) == ("unstarted", "vCPU 1 of db waits to be started by its guest")
    run.host.vms[200] = replace(run.host.vms[200], unstarted=tuple(range(1, 16)))
    (found,) = run.second()
    assert found.text == "15 vCPUs of db wait to be started by its guest"
    assert found.evidence == ("numbers: 1, 2, 3, 4, 5, 6, 7, 8 …",)
    run.host.vms[200] = replace(run.host.vms[200], unstarted=())
    assert run.second() == []


def test_a_vm_of_which_nothing_was_seen(run: Run) -> None:
    """As one that was paused before kvmtop started; a moment later it may just be starting."""
    run.host.vms[300] = Vm(300, "shop", "qemu")
    assert run.second() == []
    (found,) = run.second()
    assert found.name == "silent" and "no vCPU of shop has entered or left its guest" in found.text
    assert found.since and found.since.longer
    run.host.add(300, "shop")
    run.host.exits(301, HLT, 1_000)
    assert run.second() == []
    run.host.vms[400] = Vm(400, "new", "qemu")  # it has come just now
    assert run.second() == []


# ---- throttled


def spend(run: Run, tid: int, **parts: int) -> None:
    """What a vCPU does in the next second, in ms of each state, beside any exit; the rest in the guest."""
    for state, ms in parts.items():
        run.host.vcpus[tid].states[state] += ms * MS


def test_throttled_just_below_and_above_and_by_which_quota(run: Run) -> None:
    spend(run, 101, throttled=200)
    assert run.second() == []
    spend(run, 101, throttled=201, wait=200)
    (found,) = run.second()
    assert found.text == "vCPU 0 of web is throttled 20.1% of its time: the CPU quota of its cgroup is used up"
    assert found.rule == "throttled > 20% of a vCPU's time"
    run.host.vms[100] = replace(run.host.vms[100], quota="/machine.slice/web: 50 ms of 100 ms")
    run.host.vms[200] = replace(run.host.vms[200], quota="/other: 1 ms of 2 ms")
    spend(run, 101, throttled=500)
    assert run.texts() == [
        "vCPU 0 of web is throttled 50.0% of its time: the CPU quota of /machine.slice/web, 50 ms of 100 ms, is used up"
    ]


# ---- waiting for a CPU, and behind whom


def look(run: Run, pid: int = 0) -> Scheduler:
    """Somebody looks at the scheduler from now on."""
    scheduler = Scheduler(run.host.now, pid)
    scheduler.processes = {4000: Process("tar", "/system.slice/backup.service")}
    return scheduler


def seen(run: Run, scheduler: Scheduler) -> list[str]:
    run.host.scheduling = scheduler.read()
    return run.texts()


def test_waiting_names_who_had_the_cpu(run: Run) -> None:
    scheduler = look(run)
    spend(run, 201, wait=760)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=520 * MS)
    scheduler.charge(DB, BEHIND, TASK, pack(30, 30), ns=110 * MS, comm=b"ksoftirqd/3", kernel=1)
    scheduler.charge(DB, BEHIND, TASK, pack(4000, 4001), ns=60 * MS, comm=b"tar")
    scheduler.charge(DB, BEHIND, TASK, pack(4000, 4000), ns=40 * MS, comm=b"tar")
    scheduler.charge(DB, BEHIND, IDLE, ns=30 * MS)
    run.host.scheduling = scheduler.read()
    (found,) = run.second()
    assert (found.text, found.rule) == (
        "vCPU 0 of db waits for a CPU 76.0% of its time: 52.0% behind vCPU 0 of web, 11.0% behind ksoftirqd/3,"
        " 10.0% behind tar (backup.service)",
        "wait > 20% of a vCPU's time, and more than half of that behind others than its own VM",
    )
    assert (found.name, found.more) == ("neighbour", "")


def test_small_culprits_and_unknown_ones_are_not_claimed(run: Run) -> None:
    scheduler = look(run)
    spend(run, 201, wait=400)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=20 * MS)
    scheduler.charge(DB, BEHIND, TIMER, ns=19 * MS)
    scheduler.charge(DB, BEHIND, UNKNOWN, ns=361 * MS)
    assert seen(run, scheduler) == ["vCPU 0 of db waits for a CPU 40.0% of its time: 2.0% behind vCPU 0 of web"]
    spend(run, 201, wait=400)  # of which nobody knows anything
    assert seen(run, scheduler) == ["vCPU 0 of db waits for a CPU 40.0% of its time"]


def test_behind_many_small_ones(run: Run) -> None:
    scheduler = look(run)
    spend(run, 201, wait=400)
    for pid in range(3000, 3040):
        scheduler.charge(DB, BEHIND, TASK, pack(pid, pid), ns=10 * MS, comm=b"p%d" % pid)
    assert seen(run, scheduler) == [
        "vCPU 0 of db waits for a CPU 40.0% of its time: behind many, none of them for 5% of that"
    ]
    spend(run, 201, wait=400)
    for pid in range(4001, 4041):  # one program that is started over and over
        scheduler.charge(DB, BEHIND, TASK, pack(pid, pid), ns=10 * MS, comm=b"cc1")
    assert "40.0% behind cc1" in seen(run, scheduler)[0]


def test_an_idle_cpu_and_an_interrupt_are_called_so(run: Run) -> None:
    scheduler = look(run)
    spend(run, 201, wait=400)
    scheduler.charge(DB, BEHIND, IDLE, ns=300 * MS)
    scheduler.charge(DB, BEHIND, INTERRUPT, 27, ns=60 * MS)
    scheduler.charge(DB, BEHIND, SOFTIRQ, 3, ns=40 * MS)
    assert seen(run, scheduler) == [
        "vCPU 0 of db waits for a CPU 40.0% of its time: 30.0% for an idle CPU on its way, 6.0% behind interrupt 27,"
        " 4.0% behind softirq NET_RX"
    ]


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement("0-7", all=True), ", though it may run on any CPU"),
        (Placement("1", all=False), "; it may run on CPU 1 only"),
        (Placement("1,3", all=False), "; it may run on CPUs 1,3"),
        (None, ""),
    ],
)
def test_whether_it_may_run_elsewhere(run: Run, placement: Placement | None, words: str) -> None:
    scheduler = look(run)
    scheduler.placements = {201: placement} if placement else {}
    spend(run, 201, wait=400)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=400 * MS)
    assert seen(run, scheduler) == [
        f"vCPU 0 of db waits for a CPU 40.0% of its time: 40.0% behind vCPU 0 of web{words}"
    ]


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement("0-3", all=True), ", though it may run on any CPU, and CPU 2 was idle 97.0% of the time"),
        (Placement("1,3", all=False), "; it may run on CPUs 1,3, and CPU 3 was idle 60.0% of the time"),
        (Placement("0-1", all=False), "; it may run on CPUs 0-1"),  # neither was idle for long enough to be of use
        (Placement("9", all=False), "; it may run on CPU 9 only"),  # nobody knows
    ],
)
def test_whether_a_cpu_was_idle_on_which_it_may_run(run: Run, placement: Placement, words: str) -> None:
    scheduler = look(run)
    scheduler.placements, scheduler.idle = {201: placement}, {0: 0, 1: 50 * MS, 2: 7 * MS, 3: 0}
    seen(run, scheduler)
    spend(run, 201, wait=400)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=400 * MS)
    scheduler.idle = {0: 0, 1: 90 * MS, 2: 977 * MS, 3: 600 * MS, 9: 10**12}
    assert seen(run, scheduler)[0].endswith(f"behind vCPU 0 of web{words}")


ONE = Placement("1", all=False)


@pytest.mark.parametrize(
    ("theirs", "behind", "idle", "rule"),
    [
        (ONE, 300, {2: 900, 3: 800}, "same-cpu"),
        (ONE, 300, {2: 900}, "same-cpu"),
        (ONE, 300, {}, "neighbour"),  # the others are at work
        (ONE, 300, {1: 900, 2: 900}, "neighbour"),  # its own is idle: why does it wait?
        (ONE, 190, {2: 900}, "waits"),  # most of it is behind nobody knows whom
        (Placement("1,2", all=False), 300, {2: 900}, "neighbour"),  # it could go away by itself
        (Placement("0-3", all=True), 300, {2: 900}, "neighbour"),
        (None, 300, {2: 900}, "neighbour"),
    ],
)
def test_two_vms_that_are_held_on_one_cpu(
    run: Run, theirs: Placement | None, behind: int, idle: dict[int, int], rule: str
) -> None:
    scheduler = look(run)
    scheduler.placements = {201: ONE} | ({101: theirs} if theirs else {})
    scheduler.idle = dict.fromkeys(range(4), 0)
    seen(run, scheduler)
    spend(run, 201, wait=400)
    spend(run, 101, wait=150)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=behind * MS)
    scheduler.charge(DB, BEHIND, UNKNOWN, ns=(400 - behind) * MS)
    scheduler.idle = {**scheduler.idle, **{cpu: ns * MS for cpu, ns in idle.items()}}
    run.host.scheduling = scheduler.read()
    (found,) = [one for one in run.second() if one.state == "wait"]
    assert found.name == rule
    if rule == "same-cpu":
        free = "CPUs 2, 3 were idle 80.0% of the time or more" if len(idle) > 1 else "CPU 2 was idle 90.0% of the time"
        assert found.text == (
            "vCPU 0 of db and vCPU 0 of web may both run on CPU 1 only: the one waits for a CPU 40.0% of its time, 30.0%"
            f" behind the other, which waits 15.0%; {free}"
        )
        assert found.other == Scope(100, 101) and found.evidence[0] == "their threads: 201 and 101"
        assert found.cost == pytest.approx(0.55, abs=0.001) and found.short == "db vCPU 0 shares its CPU"


def test_several_vms_that_are_held_on_some_cpus(run: Run) -> None:
    scheduler = look(run)
    run.host.add(300, "mail")
    some = Placement("0-1", all=False)
    scheduler.placements = {201: some, 101: some, 301: some}
    scheduler.idle = dict.fromkeys(range(3), 0)
    seen(run, scheduler)
    spend(run, 201, wait=400)
    scheduler.charge(DB, BEHIND, TASK, WEB, ns=250 * MS)
    scheduler.charge(DB, BEHIND, TASK, pack(300, 301), ns=150 * MS)
    scheduler.idle = {0: 0, 1: 0, 2: 700 * MS}
    run.host.scheduling = scheduler.read()
    (found,) = [one for one in run.second() if one.state == "wait"]
    assert found.text == (
        "vCPU 0 of db may run on CPUs 0-1, as may vCPU 0 of web and 1 more vCPUs of other VMs: it waits for a CPU 40.0% of"
        " its time, 40.0% behind these; CPU 2 was idle 70.0% of the time"
    )
    assert (found.name, found.other, found.short) == ("same-cpu", None, "db vCPU 0 shares its CPUs")


def test_while_somebody_looks_at_another_vm_it_says_where_to_look(run: Run) -> None:
    scheduler = look(run, 100)
    spend(run, 201, wait=400)
    run.host.scheduling = scheduler.read()
    (found,) = run.second()
    assert found.more == SCHEDULER and found.text.endswith("runs something else or is waking up")


def test_preemption_of_a_lock_holder_by_whom(run: Run) -> None:
    scheduler = look(run)
    spend(run, 201, wait=250)
    spend(run, 202, wait=300)
    run.host.exits(202, PAUSE, 100 * MS)
    scheduler.charge(DB + 1, BEHIND, TASK, WEB, ns=300 * MS)
    text = next(text for text in seen(run, scheduler) if "waits" in text)
    assert text.endswith("lock-holder preemption; it waits 30.0% behind vCPU 0 of web")


def test_blocked_on_what_and_by_whom(run: Run) -> None:
    scheduler = look(run)
    scheduler.stacks = {3: ("futex_wait_queue", "futex_wait"), 5: ("futex_wait",), 4: ("do_swap_page",)}
    spend(run, 201, blocked=500)
    scheduler.charge(DB, BLOCKED, TASK, WEB, ns=200 * MS, stack=3)
    scheduler.charge(DB, BLOCKED, TASK, WEB, ns=50 * MS, stack=5)  # the same by another way
    scheduler.charge(DB, BLOCKED, UNKNOWN, ns=150 * MS, stack=4, count=0)
    scheduler.charge(DB, BLOCKED, UNKNOWN, ns=76 * MS)
    scheduler.charge(DB, BLOCKED, TIMER, ns=24 * MS, stack=4)
    run.host.scheduling = scheduler.read()
    swapped, found = run.second()
    assert swapped.text == "Swap-in takes 17.4% of a vCPU's time in db"  # less than half of it
    assert found.text == (
        "vCPU 0 of db is blocked 50.0% of its time; 25.0% on a lock or event (futex), woken by vCPU 0 of"
        " web, 15.0% on swap-in"
    )
    assert not found.more


def test_blocked_says_where_to_look_while_nobody_does(run: Run) -> None:
    spend(run, 201, blocked=500)
    (found,) = run.second()
    assert found.text == "vCPU 0 of db is blocked 50.0% of its time"
    assert (found.rule, found.more) == ("blocked > 20% of a vCPU's time", SCHEDULER)


def test_stuck_on_what(run: Run) -> None:
    scheduler = look(run)
    scheduler.stacks = {4: ("handle_userfault",)}
    run.host.turn(201, "blocked")
    for _ in range(3):
        scheduler.charge(DB, BLOCKED, UNKNOWN, ns=SECOND, stack=4, count=0)
        run.host.scheduling = scheduler.read()
        found = run.second()
    assert found[0].text.endswith("blocked 3.00s; 100% on memory that somebody else brings (userfaultfd)")
    assert not found[0].more


def test_waiting_just_below_and_above(run: Run) -> None:
    spend(run, 101, wait=200)
    assert run.second() == []
    spend(run, 101, wait=201)
    (found,) = run.second()
    assert (
        found.text
        == "vCPU 0 of web waits for a CPU 20.1% of its time: its host CPU runs something else or is waking up"
    )
    assert found.rule == "wait > 20% of a vCPU's time"


def test_what_waits_for_its_quota_does_not_wait_for_a_cpu(run: Run) -> None:
    spend(run, 101, throttled=800, wait=100)
    (text,) = run.texts()
    assert "something else" not in text and "is throttled 80.0%" in text


def test_where_the_quotas_part_is_unknown_it_may_be_that(run: Run) -> None:
    run.host.told = STATES[:-1]
    spend(run, 101, wait=800)
    assert run.texts() == [
        "vCPU 0 of web waits for a CPU 80.0% of its time: its host CPU runs something else or is waking up, or its CPU quota is used up"
    ]


@pytest.mark.parametrize(("isa", "code"), [(SVM, PAUSE), (VMX, 40)])
@pytest.mark.parametrize(
    ("pause", "other", "preempted"),
    [(20_000_000, 201, True), (19_999_000, 201, False), (20_000_000, 200, False)],
)
def test_waiting_with_pause_exits_is_preemption(isa: int, code: int, pause: int, other: int, preempted: bool) -> None:
    run = Run(isa)
    spend(run, 201, wait=250)
    spend(run, 202, wait=other)
    run.host.exits(201, code, pause)
    run.host.exits(202, code, 300 * MS)  # another's PAUSE exits do not matter
    found = next(found for found in run.second() if "waits" in found.text)
    assert ("lock-holder preemption" in found.text) == preempted
    if preempted:
        assert found.text == (
            "vCPU 0 of db waits for a CPU 25.0% of its time and spends 2.0% in PAUSE exits, vCPU 1 waits 20.1%:"
            " lock-holder preemption"
        )
        assert found.rule == "wait > 20% of the time of two vCPUs of a VM, and PAUSE ≥ 2%"


def test_a_lone_vcpu_spins_for_no_other(run: Run) -> None:
    """Another VM's vCPU holds none of its locks."""
    spend(run, 101, wait=500)
    spend(run, 201, wait=400)
    run.host.exits(101, PAUSE, 300 * MS)
    assert run.texts() == [
        "vCPU 0 of web waits for a CPU 50.0% of its time: its host CPU runs something else or is waking up"
    ]


def test_only_the_worst_of_a_rule_is_told(run: Run) -> None:
    for tid, wait in ((101, 300), (201, 500), (202, 400)):
        spend(run, tid, wait=wait)
    assert run.texts() == [
        "vCPU 0 of db waits for a CPU 50.0% of its time: its host CPU runs something else or is waking up"
    ]


# ---- blocked


def test_blocked_just_below_and_above(run: Run) -> None:
    run.host.exits(101, NPF, 200 * MS, blocked=200 * MS)
    assert run.second() == []
    run.host.exits(101, NPF, 250 * MS, blocked=201 * MS)
    (found,) = run.second()
    assert found.text == "vCPU 0 of web is blocked in the kernel 20.1% of its time, all of it for npf"
    assert found.rule == "blocked > 20% of a vCPU's time"


def test_a_thread_asleep_on_a_page_fault_keeps_no_cpu_at_work(run: Run) -> None:
    """As in userfaultfd, until it is stuck and after."""
    run.host.leave(101, NPF, "blocked")
    asleep = "vCPU 0 of web is blocked in the kernel 100% of its time, all of it for npf"
    assert [run.texts(), run.texts()] == [[asleep]] * 2
    for seconds in (3, 4):
        assert run.texts() == [
            f"vCPU 0 of web has not run guest code for a while: blocked in the kernel {seconds}.00s, in an exit for npf"
        ]


def test_what_the_vmm_may_have_slept_is_not_the_kernels(run: Run) -> None:
    """An exit that reached the VMM in an earlier interval, or another for the same reason in this one."""
    run.host.leave(101, NPF)
    run.host.to_user(101)
    run.host.now += 1000
    run.host.turn(101, "blocked")
    run.host.now -= 1000
    run.second()
    assert run.texts() == ["vCPU 0 of web is blocked 100% of its time, all of it for npf"]
    run.host.enter(101)
    run.host.exits(101, NPF, 301 * MS, user=MS, blocked=300 * MS)
    run.host.turn(101, "guest")
    assert run.texts() == ["vCPU 0 of web is blocked 30.0% of its time, all of it for npf"]


def test_a_device_that_sleeps_is_busy(run: Run) -> None:
    run.host.look(DetailRequest(frozenset({"io"})))
    run.host.touch(101, "io", 0x1F0, 0, 401 * MS, user=MS, blocked=400 * MS)
    run.host.exits(101, IO, 401 * MS, user=MS, blocked=400 * MS)
    (text,) = run.texts()
    assert text == (
        "vCPU 0 of web is blocked 40.0% of its time, all of it for io, most on port 0x1f0 IDE primary in:"
        " the VMM sleeps before it answers an emulated device"
    )


def test_a_vmm_that_halts_vcpus_itself_is_idle(run: Run) -> None:
    """As with kernel-irqchip=off. It may sleep in an HLT exit for another cause, too."""
    run.host.exits(101, HLT, 900 * MS, user=MS, idle=800 * MS)
    assert run.texts() == []
    run.host.exits(101, HLT, 900 * MS, user=MS, idle=99 * MS, blocked=700 * MS)
    assert run.texts() == ["vCPU 0 of web is blocked 70.0% of its time, all of it for hlt"]


# ---- user space


def user(run: Run, ns: int, reason: int = IO) -> list[str]:
    run.host.exits(101, reason, ns + 10, user=ns)
    return run.texts()


def test_user_space_just_below_and_above(run: Run) -> None:
    assert user(run, 200 * MS) == []
    assert user(run, 201 * MS) == [
        "vCPU 0 of web spends 20.1% of its time in user space, all of it for io: an emulated device is busy"
    ]


def test_user_space_that_is_no_devices(run: Run) -> None:
    """A VMM that answers RDMSR, and memory that is none of a device's as far as anybody has looked."""
    assert user(run, 300 * MS, MSR) == ["vCPU 0 of web spends 30.0% of its time in user space, all of it for msr"]
    assert user(run, 300 * MS, NPF) == ["vCPU 0 of web spends 30.0% of its time in user space, all of it for npf"]


def test_user_space_without_an_exit(run: Run) -> None:
    spend(run, 101, user=300)
    assert run.texts() == ["vCPU 0 of web spends 30.0% of its time in user space"]


@pytest.mark.parametrize(
    ("port", "where", "advice"),
    [
        (0x3F8, "port 0x3f8 COM1 out 1 B", "an emulated device is busy"),  # once, which is not chatty
        (0xABC, "port 0xabc out 1 B", "an emulated device is busy"),
    ],
)
def test_user_space_names_the_device(run: Run, port: int, where: str, advice: str) -> None:
    run.host.look(DetailRequest(frozenset({"io", "user"})))
    run.host.touch(101, "io", port, 0x101, 300 * MS, user=299 * MS)
    run.host.touch(101, "user", 2, 0, 300 * MS, user=299 * MS)
    run.host.touch(201, "io", 0x999, 0x101, 400 * MS, user=399 * MS)  # of another VM
    (text,) = user(run, 300 * MS)
    assert f", most on {where}" in text and text.endswith(f": {advice}")


def test_only_ports_are_those_of_a_disk(run: Run) -> None:
    """An MSR's name may have IDE in it."""
    run.host.look(DetailRequest(frozenset({"msr"})))
    run.host.touch(101, "msr", 0x3F8, 0, 300 * MS, user=299 * MS)
    (text,) = user(run, 300 * MS, MSR)
    assert text.endswith(", all of it for msr, most on MSR 0x3f8 PKG_C3_RESIDENCY read")


def test_no_device_has_most_of_it(run: Run) -> None:
    """But devices do; and one that has a little of what another exit spent is not busy."""
    run.host.look(DetailRequest(frozenset({"io", "msr"})))
    for port in (0x10, 0x20, 0x30):
        run.host.touch(101, "io", port, 0x101, 100 * MS, user=99 * MS)
    assert user(run, 300 * MS) == [
        "vCPU 0 of web spends 30.0% of its time in user space, all of it for io: an emulated device is busy"
    ]
    run.host.touch(101, "io", 0x3F8, 0x101, 100 * MS, user=99 * MS)
    for msr in (0x10, 0x11):
        run.host.touch(101, "msr", msr, 0, 150 * MS, user=150 * MS)
    run.host.exits(101, IO, 100 * MS, user=99 * MS)
    (text,) = user(run, 300 * MS, MSR)
    assert text == "vCPU 0 of web spends 39.9% of its time in user space, 75.2% of it for msr"


def test_exits_for_ports_of_which_few_were_seen(run: Run) -> None:
    """As where somebody has looked for a part of the interval."""
    run.host.look(DetailRequest(frozenset({"io"})))
    run.host.touch(101, "io", 0x3F8, 0x101, 10 * MS, user=10 * MS)
    assert user(run, 300 * MS) == [
        "vCPU 0 of web spends 30.0% of its time in user space, all of it for io: an emulated device is busy"
    ]


def test_exits_to_a_device_that_are_less_than_half(run: Run) -> None:
    run.host.exits(101, IO, 100 * MS, user=100 * MS)
    run.host.exits(101, MSR, 80 * MS, user=80 * MS)
    run.host.exits(101, NPF, 80 * MS, user=80 * MS)
    assert run.texts() == ["vCPU 0 of web spends 26.0% of its time in user space, 38.5% of it for io"]


def test_an_access_that_the_kernel_answers_keeps_no_device_busy(run: Run) -> None:
    run.host.look(DetailRequest(frozenset({"io"})))
    run.host.touch(101, "io", 0x3F8, 0x101, 300 * MS, blocked=300 * MS)
    run.host.exits(101, IO, 300 * MS, blocked=300 * MS)
    assert run.texts() == ["vCPU 0 of web is blocked in the kernel 30.0% of its time, all of it for io"]


def test_a_device_in_memory(run: Run) -> None:
    run.host.look(DetailRequest(frozenset({"mmio"})))
    run.host.touch(101, "mmio", 0xFED00000, 0x401, 300 * MS, user=299 * MS)
    (text,) = user(run, 300 * MS, NPF)
    assert "all of it for npf, most on " in text and text.endswith(": an emulated device is busy")


def test_user_space_names_the_device_with_the_most_of_it(run: Run) -> None:
    run.host.look(DetailRequest(frozenset({"io", "msr"})))
    run.host.touch(101, "msr", 0x10, 0, 500 * MS, user=1)
    run.host.touch(101, "io", 0x3F8, 0x101, 300 * MS, user=299 * MS)
    (text,) = (text for text in user(run, 300 * MS) if "user space" in text)
    assert "most on port 0x3f8 COM1" in text


def test_user_space_names_the_reason_with_the_most_of_it(run: Run) -> None:
    run.host.exits(101, MSR, 250 * MS, user=10 * MS)
    (text,) = user(run, 300 * MS)
    assert "31.0% of its time in user space, 96.8% of it for io" in text


# ---- kernel


def test_kernel_just_below_and_above(run: Run) -> None:
    run.host.exits(101, NPF, 400 * MS)
    assert run.second() == []
    run.host.exits(101, NPF, 401 * MS)
    (found,) = run.second()
    assert found.text == "KVM works 40.1% of the time for vCPU 0 of web, all of it for npf"
    assert found.rule == "kernel > 40% of a vCPU's time"


# ---- nesting


def test_nesting_just_below_and_above(run: Run) -> None:
    run.host.exits(101, CPUID, 1000, isa=SVM | NESTED | REFLECTED)
    run.host.vcpus[101].nested += 190 * MS
    run.host.exits(101, VMRUN, 10 * MS)
    assert run.second() == []
    run.host.vcpus[101].nested += 190 * MS
    run.host.exits(101, VMRUN, 10 * MS + 600_000)
    (found,) = run.second()
    assert found.text == (
        "nesting takes 20.1% of the time of vCPU 0 of web: it has a guest of its own, and between that one's exits and"
        " entries its hypervisor works, or what else it runs, and KVM for it"
    )
    assert found.rule == "nesting > 20% of a vCPU's time, without halts and waits for a CPU"


def test_nesting_is_not_what_may_have_no_end(run: Run) -> None:
    """L1 has left L2, and may be a host of none from now on."""
    run.host.exits(101, CPUID, 1000, isa=SVM | NESTED | REFLECTED)
    run.host.vcpus[101].out = 900 * MS
    assert run.second() == []


def test_vmrun_alone_is_not_nesting(run: Run) -> None:
    """As in a recording by a kvmtop that did not tell levels apart."""
    run.host.exits(101, VMRUN, 300 * MS)
    assert run.second() == []


def test_kernel_names_the_reason_with_the_most_kernel_time(run: Run) -> None:
    run.host.exits(101, NPF, 410 * MS)
    run.host.exits(101, IO, 550 * MS, user=540 * MS)
    assert "KVM works 42.0% of the time for vCPU 0 of web, 97.6% of it for npf" in run.texts()


def test_mwait_is_work_and_a_halt_what_it_costs(run: Run) -> None:
    run.host.exits(101, MWAIT, 900 * MS)
    run.host.exits(201, HLT, 900 * MS, idle=450 * MS)
    assert run.texts() == ["KVM works 90.0% of the time for vCPU 0 of web, all of it for 0x08b"]
    run.host.exits(201, HLT, 900 * MS, idle=450 * MS)
    assert run.texts() == ["KVM works 45.0% of the time for vCPU 0 of db, all of it for hlt"]


# ---- polling


def polls(run: Run, ns: int, hits: int, wasted: int, *tids: int) -> list[str]:
    run.host.look(DetailRequest(frozenset({"poll", "window"})))
    for tid in tids:
        run.host.touch(tid, "poll", HIT, 0, *[0] * hits)
        run.host.touch(tid, "poll", WASTED, 0, *[ns // wasted] * wasted)
    return run.texts()


def test_wasted_polling_just_below_and_above(run: Run) -> None:
    assert polls(run, 50 * MS, 1, 10, 101) == []
    assert polls(run, 51 * MS, 1, 10, 101) == [
        "halt polling burns 5.1% of a CPU for 1 vCPU, and most polls miss: lower halt_poll_ns of the module kvm"
    ]


def test_wasted_polling_adds_up(run: Run) -> None:
    assert "burns 9.0% of a CPU for 3 vCPUs" in polls(run, 30 * MS, 1, 10, 101, 201, 202)[0]


def test_polling_that_pays_is_not_told(run: Run) -> None:
    assert polls(run, 500 * MS, 10, 10, 101) == []
    assert polls(run, 15 * MS, 1, 10, 101, 201, 202) == []  # 1.5 % of a CPU each is cheap


# ---- timers and interrupts, of which KVM may tell twice


@pytest.mark.parametrize(("kinds", "times"), [(("msr", "apic"), 250), (("apic",), 250), (("msr",), 250)])
def test_a_timer_that_is_told_as_msr_and_as_register_is_one(run: Run, kinds: tuple[str, ...], times: int) -> None:
    """x2APIC's; with 500 a second it would be no tick."""
    run.host.look(DetailRequest(frozenset({"msr", "apic"})))
    run.session.add(run.host.read())
    run.host.exits(101, HLT, *[3_500_000] * times)
    for kind in kinds:
        run.host.touch(101, kind, 0x838 if kind == "msr" else 0x380, 1, *[2_000] * times)
    (found,) = run.second()
    assert found.name == "ticks" and "some 250 times a second" in found.text
    assert found.cost == pytest.approx(times * 2_000 / SECOND)


def test_of_many_vms_the_costliest_are_told() -> None:
    run = Run()
    for n in range(8):
        run.host.add(1000 * (n + 1), f"vm{n}")
        run.host.exits(1000 * (n + 1) + 1, CPUID, *[(n + 1) * 100_000] * 1000)
    found = run.second()
    assert [one.text.split()[0] for one in found] == ["vm7", "vm6", "vm5", "vm4", "vm3"]


# ---- all together


def test_the_gravest_come_first_and_no_more_than_some() -> None:
    run = Run()
    run.host.counters["lost"] = 1
    for pid in range(300, 310):
        run.host.add(pid * 10, f"vm{pid}")
        run.host.leave(pid * 10 + 1, IO)
    run.second()
    run.second()
    run.host.counters["lost"] = 2
    run.second()
    run.host.counters["lost"] = 3
    found = run.second()
    assert len(found) == MOST and found[0].rule == "lost > 0" and "has not run" in found[1].text


def test_hostile_names_stay_text(run: Run) -> None:
    run.host.vms[100] = Vm(100, clean("\x1b[31m[bold]w\u202eeb\n"))
    run.host.exits(101, NPF, 500 * MS)
    (text,) = run.texts()
    assert text.isprintable() and "[31m[bold]w" in text


# ---- dirty log

FAULTS = DetailRequest(frozenset({"fault"}))
PROTECTED = WRITE | PRESENT | LOGGED


def faults(run: Run, tid: int, pages: int, times: int, extra: int = PROTECTED) -> None:
    for page in range(pages):
        run.host.touch(tid, "fault", page << 12, extra, *[2_000] * times)


def test_writes_to_pages_that_the_dirty_log_had_protected(run: Run) -> None:
    run.host.look(FAULTS)
    run.session.add(run.host.read())
    faults(run, 201, 40, 2)
    faults(run, 202, 19, 1)
    assert run.second() == []  # 99 of them
    faults(run, 201, 40, 2)
    faults(run, 202, 20, 1)
    faults(run, 202, 1000, 5, WRITE | PRESENT)  # what is copied on write, or shadows page tables
    faults(run, 101, 99, 1)
    (found,) = run.second()
    assert found.text == (
        "KVM logs what db writes: 100 writes/s met one of 40 pages that the log had protected, the same one up to 3"
        " times; a live migration or a backup reads the log, or a display that of its few pages"
    )
    assert found.rule == "writes to pages protected by the dirty log ≥ 100/s, or exits for PML_FULL"
    assert (found.scope, found.short) == (Scope(200), "db: dirty logging")
    faults(run, 101, 200, 1)
    (found,) = run.second()
    assert "200 writes/s met one of 200 pages that the log had protected, each once" in found.text


def test_full_pml_buffers() -> None:
    run = Run(isa=VMX)
    assert run.second() == []
    run.host.exits(201, 62 | 1 << 26, *[2_000] * 3)  # with a flag
    run.host.exits(202, 62, *[2_000] * 2)
    (found,) = run.second()
    assert found.text.startswith(
        "KVM logs what db writes: 5.0 full PML buffers/s, so it writes 10.5 MB/s at least; a live migration"
    )
    assert found.reason is not None and found.scope == Scope(200)
    assert run.second() == []


# ---- half a core


def test_who_shares_a_core_though_another_one_is_free(run: Run) -> None:
    """The first of those that do: another works more, and has a core of its own."""
    cores = {0: 0, 1: 0, 2: 2, 3: 2, 4: 4, 5: 4}

    def second(idle: dict[int, int], allowed: str = "0") -> list[str]:
        scheduler = look(run)
        scheduler.cores, scheduler.idle = cores, dict.fromkeys(cores, 0)
        scheduler.placements = {
            201: Placement("2", False, (3,)),
            101: Placement(allowed, False, (1,)),
            202: Placement("1", False, (0,)),
        }
        run.host.scheduling = scheduler.read()
        spend(run, 101, kernel=100)
        run.second()
        scheduler.idle = {cpu: idle.get(cpu, 0) * MS for cpu in cores}
        run.host.scheduling = scheduler.read()
        spend(run, 101, kernel=100)
        return [one.text for one in run.second() if one.name == "smt"]

    assert second({3: 1000, 4: 900, 5: 950}) == [
        "vCPU 1 of db is held on CPU 1, and the other thread of that core, CPU 0, was busy 100% of the time, by vCPU 0 of"
        " web: each has what the other leaves of the core; CPUs 4 and 5, a core as well, were idle"
    ]
    assert second({3: 1000, 4: 900, 5: 899}) == []  # no core is free
    assert second({0: 501, 1: 501, 3: 1000, 4: 900, 5: 950}) == []  # neither CPU is busy
    (found,) = second({1: 501, 3: 1000, 4: 900, 5: 950})
    assert found.startswith("vCPU 1 of db") and "CPU 0, was busy 100%" in found  # it is CPU 1 that is not
    (found,) = second({3: 1000, 4: 900, 5: 950}, "0-1")  # it may run on either
    assert ", by " not in found
