"""Each rule just below and just above its bound."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from kvmtop.insight import findings as rules
from kvmtop.insight.findings import MOST, Finding, findings
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import HIT, SVM, VMX, WASTED, DetailRequest, Vm
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean

from ..support.fake import SECOND, Host

MS = 1_000_000
IO, MSR, PAUSE, INTERRUPT, HLT, NPF = 0x7B, 0x7C, 0x77, 0x60, 0x78, 0x400


class Run:
    """A host with one vCPU of web, 101, and two of db, and a session that watches them."""

    def __init__(self, isa: int = SVM) -> None:
        self.host, self.session = Host(isa=isa), Session()
        self.host.add(100, "web")
        self.host.add(200, "db", 2)
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
    assert found == Finding("7 exits of this interval are missing from all figures: a map was full", "lost > 0")
    assert run.second() == []  # no more were lost


# ---- stuck


def test_stuck_in_user_space_from_three_seconds_on(run: Run) -> None:
    run.host.leave(101, IO)
    run.host.to_user(101)
    for _ in range(2):
        assert not [text for text in run.texts() if "has not run" in text]
    assert run.texts()[0] == "vCPU 0 of web has not run guest code for a while: user 3.00s"


def test_stuck_exactly_at_its_bound(run: Run) -> None:
    run.host.leave(101, IO)
    run.host.now += 2 * SECOND - 1
    assert not [text for text in run.texts() if "has not run" in text]
    run.host.now -= SECOND - 1
    assert [text for text in run.texts() if "kernel 3.00s" in text and "has not run" in text]


def test_a_vcpu_asleep_or_ended_is_not_stuck(run: Run) -> None:
    run.host.leave(101, HLT)
    run.host.leave(201, IO)
    run.host.end(200)
    for _ in range(5):
        found = run.texts()
    assert found == []


# ---- waiting for a CPU


def test_waiting_just_below_and_above(run: Run) -> None:
    run.host.vcpus[101].guest += SECOND
    run.host.delays[101] = 200 * MS
    assert run.second() == []
    run.host.vcpus[101].guest += SECOND
    run.host.delays[101] += 201 * MS
    (found,) = run.second()
    assert found.text == "vCPU 0 of web waits for a CPU 20.1% of its time: its host CPU runs something else"
    assert found.rule == "wait > 20% of a vCPU's time"


@pytest.mark.parametrize(("isa", "code"), [(SVM, PAUSE), (VMX, 40)])
def test_waiting_with_pause_exits_is_preemption(isa: int, code: int) -> None:
    for pause, preempted in ((19_999_000, False), (20_000_000, True)):
        run = Run(isa)
        run.host.vcpus[101].guest += SECOND
        run.host.delays[101] = 250 * MS
        run.host.exits(101, code, pause)
        run.host.exits(201, code, 900 * MS)  # another's PAUSE exits do not matter
        found = next(found for found in run.second() if "waits" in found.text)
        assert ("lock-holder preemption" in found.text) == preempted
        if preempted:
            assert "25.0% of its time and spends 2.0% in PAUSE exits" in found.text and "PAUSE > 2%" in found.rule


def test_only_the_worst_of_a_rule_is_told(run: Run) -> None:
    for tid, wait in ((101, 300 * MS), (201, 500 * MS), (202, 400 * MS)):
        run.host.vcpus[tid].guest += SECOND
        run.host.delays[tid] = wait
    assert run.texts() == ["vCPU 0 of db waits for a CPU 50.0% of its time: its host CPU runs something else"]


# ---- user space


def user(run: Run, ns: int, reason: int = IO) -> list[str]:
    run.host.exits(101, reason, ns + 10, user=ns)
    return run.texts()


def test_user_space_just_below_and_above(run: Run) -> None:
    assert user(run, 200 * MS) == []
    assert user(run, 201 * MS) == [
        "vCPU 0 of web spends 20.1% of its time in user space, all of it for io: an emulated device is busy"
    ]


def test_user_space_that_no_device_needs(run: Run) -> None:
    (text,) = user(run, 300 * MS, MSR)
    assert text.endswith(
        "for msr: no device needs that, the VMM was stopped or interrupted (a pause, a debugger, signals)"
    )


@pytest.mark.parametrize(
    ("port", "where", "advice"),
    [
        (0x3F8, "port 0x3f8 COM1 out 1 B", "a serial console is chatty"),
        (0x1F0, "port 0x1f0 IDE", "the guest uses an emulated IDE disk; virtio costs far fewer exits"),
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
    assert "most on MSR 0x3f8 PKG_C3_RESIDENCY read" in text and text.endswith(": an emulated device is busy")


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
    assert found.text == "KVM works 40.1% of the time for vCPU 0 of web, most of it for npf"
    assert found.rule == "kernel > 40% of a vCPU's time"


def test_kernel_names_the_reason_with_the_most_kernel_time(run: Run) -> None:
    run.host.exits(101, NPF, 410 * MS)
    run.host.exits(101, IO, 550 * MS, user=540 * MS)
    assert "KVM works 42.0% of the time for vCPU 0 of web, most of it for npf" in run.texts()


# ---- a p99 that rose


def rise(run: Run, now: int, count: int = 100, minutes: int = 12, before: int = 100, idle: bool = False) -> list[str]:
    reason = HLT if idle else MSR
    for _ in range(minutes):
        run.host.exits(101, reason, *[1_000] * before)
        run.second()
    run.host.exits(101, reason, *[now] * count)
    return [text for text in run.texts() if "p99" in text]


def test_a_p99_that_rose_fourfold(run: Run) -> None:
    assert rise(run, 4_000) == ["p99 of msr rose 4×, from 960ns to 3.84µs"]


@pytest.mark.parametrize(
    "given",
    [
        {"now": 3_300},  # two buckets to the octave less
        {"now": 40_000, "count": 99},
        {"now": 40_000, "before": 99},
        {"now": 40_000, "minutes": 9},
        {"now": 40_000, "idle": True},
    ],
    ids=lambda given: str(given),
)
def test_a_p99_that_did_not_rise_enough_or_rests_on_too_little(run: Run, given: dict[str, Any]) -> None:
    assert rise(run, **given) == []


def test_a_p99_is_compared_with_the_minute_before_only(run: Run) -> None:
    for _ in range(12):
        run.host.exits(101, MSR, *[1_000] * 100)
        run.second()
    run.host.now += 61 * SECOND
    run.host.exits(101, MSR, *[90_000] * 100)
    assert run.second() == []


def test_the_reader_may_append_to_the_history_meanwhile(run: Run) -> None:
    """It does so in its own thread, while a copy is made at once."""

    class Growing:
        @property
        def time_ns(self) -> int:
            run.session.history.append(run.session.history[0])
            return 0

    for _ in range(3):
        run.second()
    history = run.session.history
    run.session.history = deque([*history, Growing()], maxlen=history.maxlen)  # type: ignore[list-item]
    interval = run.session.interval
    assert interval
    assert list(rules._rising(run.session, interval)) == []
    assert len(run.session.history) > len(history) + 1


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
