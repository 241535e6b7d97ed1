"""The replay of ftrace's events that kvmtop's culprits are held against (on_host/test_culprits.py), without a host."""

from __future__ import annotations

import pytest

from .on_host.culprits_truth import IDLE, OTHER, TIMER, UNKNOWN, Actor, Sleep, Start, Story, Wake, replay
from .on_host.ftrace import Event, parse
from .on_host.states_truth import replay as states

VCPU, HOG, WAKER = 7, 8, 9


def at(ns: int, name: str, text: str = "", tid: int = HOG, cpu: int = 1, context: str = "") -> Event:
    return Event(ns, cpu, tid, name, text, context)


def switch(ns: int, before: int, after: int, state: str = "R", cpu: int = 1) -> Event:
    text = f"prev_comm=a b prev_pid={before} prev_prio=120 prev_state={state} ==> next_comm=x=1 next_pid={after} next_prio=120"
    return at(ns, "sched_switch", text, before, cpu)


def waking(ns: int, by: int = WAKER, context: str = "", cpu: int = 0) -> Event:
    return at(ns, "sched_waking", f"comm=CPU 0/KVM pid={VCPU} prio=120 target_cpu=001", by, cpu, context)


def wakeup(ns: int, target: int = 1) -> Event:
    return at(ns, "sched_wakeup", f"comm=CPU 0/KVM pid={VCPU} prio=120 target_cpu={target:03}", WAKER, 0)


def moved(ns: int, to: int) -> Event:
    return at(ns, "sched_migrate_task", f"comm=CPU 0/KVM pid={VCPU} prio=120 orig_cpu=1 dest_cpu={to}", WAKER, 0)


def story(*events: Event, end: int = 100) -> Story:
    return replay(events, [VCPU], end)[VCPU]


def charges(*events: Event, end: int = 100) -> list[tuple[int, int, Actor]]:
    return [charge[:3] for charge in story(*events, end=end).charges]


def test_preempted_it_waits_behind_each_that_has_its_cpu() -> None:
    events = switch(10, VCPU, HOG), switch(30, HOG, 0), switch(35, 0, HOG), switch(60, HOG, VCPU)
    assert charges(*events) == [(10, 30, ("task", HOG)), (30, 35, IDLE), (35, 60, ("task", HOG))]
    assert story(*events).behind(20, 40) == {("task", HOG): 15, IDLE: 5}
    assert charges(switch(10, VCPU, HOG), switch(30, HOG, 5, cpu=0)) == [(10, 100, ("task", HOG))]  # it goes on


def test_interrupts_and_softirqs_have_the_cpu_before_the_task() -> None:
    events = [
        switch(10, VCPU, HOG),
        at(20, "softirq_entry", "vec=3 [action=NET_RX]"),
        at(30, "irq_handler_entry", "irq=24 name=virtio0"),
        at(35, "irq_handler_exit", "irq=24 ret=handled"),
        at(40, "softirq_exit", "vec=3 [action=NET_RX]"),
        at(50, "local_timer_entry", "vector=236"),
        at(55, "local_timer_exit", "vector=236"),
        at(60, "reschedule_entry", "vector=253"),
        at(61, "reschedule_exit", "vector=253"),
        switch(70, HOG, VCPU),
    ]
    hog, net = ("task", HOG), ("softirq", 3)
    assert charges(*events) == [
        (10, 20, hog),
        (20, 30, net),
        (30, 35, ("interrupt", 24)),
        (35, 40, net),
        (40, 50, hog),
        (50, 55, TIMER),
        (55, 60, hog),
        (60, 61, OTHER),
        (61, 70, hog),
    ]


def test_softirqs_in_ksoftirqd_are_its_work() -> None:
    begun = switch(20, HOG, WAKER)._replace(
        text=f"prev_comm=a prev_pid={HOG} prev_prio=120 prev_state=R ==> next_comm=ksoftirqd/1 next_pid={WAKER} next_prio=120"
    )
    net = at(30, "softirq_entry", "vec=3 [action=NET_RX]", WAKER)
    woken = waking(35, context="s", cpu=1)
    found = story(switch(10, VCPU, HOG), begun, net, woken, switch(50, WAKER, VCPU))
    assert found.behind(0, 100) == {("task", HOG): 10, ("task", WAKER): 30}
    assert found.wakes == [Wake(35, ("task", WAKER))]


def test_an_end_without_a_beginning_is_none() -> None:
    assert charges(switch(10, VCPU, HOG), at(20, "softirq_exit", "vec=1 [action=TIMER]"), switch(30, HOG, VCPU)) == [
        (10, 20, ("task", HOG)),
        (20, 30, ("task", HOG)),
    ]


def test_who_is_moved_waits_behind_the_other_cpus_task() -> None:
    events = [
        at(5, "kvm_exit", tid=WAKER, cpu=0),
        switch(10, VCPU, HOG),
        moved(30, to=0),
        switch(40, HOG, 0),
        switch(50, WAKER, VCPU, cpu=0),
    ]
    assert charges(*events) == [(10, 30, ("task", HOG)), (30, 50, ("task", WAKER))]


def test_what_has_a_cpu_without_an_event_is_unknown() -> None:
    assert charges(switch(10, VCPU, HOG), moved(30, to=3), end=50) == [(10, 30, ("task", HOG)), (30, 50, UNKNOWN)]


def test_a_sleep_is_no_wait_and_ends_by_who_woke() -> None:
    events = (
        switch(10, VCPU, HOG, "S"),
        switch(20, HOG, 0),
        switch(30, 0, HOG),
        waking(40),
        wakeup(45),
        switch(60, HOG, VCPU),
    )
    found = story(*events)
    assert charges(*events) == [(45, 60, ("task", HOG))]
    assert found.wakes == [Wake(40, ("task", WAKER))]
    assert found.sleeps == [Sleep(10, 45, ("task", WAKER))]
    assert found.starts == [Start(40, 60)]
    later = story(*events, switch(70, VCPU, HOG), switch(75, HOG, VCPU), switch(80, VCPU, 0, "S"), switch(90, 0, VCPU))
    assert [charge[:2] for charge in later.charges] == [(45, 60), (70, 75), (80, 90)]
    assert later.sleeps == found.sleeps and later.starts == found.starts


def test_who_was_never_woken_has_not_slept() -> None:
    found = story(switch(10, VCPU, HOG, "S"), switch(20, HOG, 0), switch(40, 0, VCPU))
    assert [charge[:3] for charge in found.charges] == [(10, 20, ("task", HOG)), (20, 40, IDLE)]
    assert not found.sleeps and not found.starts


def test_a_wake_up_of_who_is_awake_counts_and_has_no_latency() -> None:
    found = story(switch(5, 0, VCPU), waking(20), wakeup(21), switch(30, VCPU, HOG), switch(40, HOG, VCPU))
    assert len(found.wakes) == 1 and not found.starts and not found.sleeps


def test_a_waking_before_it_is_switched_out_ends_its_sleep() -> None:  # the waker waits until it is off its CPU
    found = story(switch(5, 0, VCPU), waking(20), switch(22, VCPU, 0, "S"), wakeup(24), switch(30, 0, VCPU))
    assert found.sleeps == [Sleep(22, 24, ("task", WAKER))] and found.starts == [Start(20, 30)]


@pytest.mark.parametrize(
    ("context", "actor"), [("h", TIMER), ("H", TIMER), ("s", ("softirq", 1)), ("", ("task", WAKER))]
)
def test_who_wakes_is_what_runs_there(context: str, actor: Actor) -> None:
    events = [
        at(10, "softirq_entry", "vec=1 [action=TIMER]", WAKER, 0),
        at(20, "local_timer_entry", "vector=236", WAKER, 0),
        waking(30, context=context),
    ]
    assert story(*events).wakes == [Wake(30, actor)]


def test_a_waker_in_an_interrupt_that_is_not_traced_and_in_the_idle_task() -> None:
    assert story(waking(30, context="h")).wakes == [Wake(30, OTHER)]
    assert story(waking(30, by=0)).wakes == [Wake(30, IDLE)]


def test_a_handler_that_is_not_traced_is_not_the_softirq_that_it_interrupts() -> None:
    events = at(10, "softirq_entry", "vec=1 [action=TIMER]", WAKER, 0), waking(30, context="H")
    assert story(*events).wakes == [Wake(30, OTHER)]


def test_what_never_ended_is_over_when_tasks_switch() -> None:
    events = switch(10, VCPU, HOG), at(10, "softirq_entry", "vec=1 [action=TIMER]"), switch(30, HOG, 0)
    assert charges(*events) == [(10, 30, ("softirq", 1)), (30, 100, IDLE)]


def test_who_runs_is_not_asleep() -> None:
    events = at(10, "asleep", "halted", VCPU, -1), at(20, "kvm_exit", tid=VCPU), waking(30), wakeup(31)
    assert not story(*events).sleeps and not story(*events).charges


def test_what_a_quota_withholds_is_nobodys() -> None:
    events = [
        at(10, "throttle", "(throttle_cfs_rq+0x0/0x2a0) queue=0xa", VCPU),
        at(10, "throttled", "(update_curr+0x1/0x2 <- throttle_cfs_rq) yes=1", VCPU),
        switch(12, VCPU, HOG),
        at(50, "unthrottle", "(unthrottle_cfs_rq+0x0/0x2a0) queue=0xa", 0, 0),
        switch(70, HOG, VCPU),
    ]
    assert charges(*events) == [(50, 70, ("task", HOG))]


def test_asleep_since_before_the_first_event() -> None:
    found = story(at(10, "asleep", "halted", VCPU, -1), waking(50), wakeup(51), switch(60, HOG, VCPU))
    assert found.sleeps == [Sleep(10, 51, ("task", WAKER))] and found.starts == [Start(50, 60)]


def test_the_waits_are_those_of_the_states() -> None:
    """Two replays that share nothing but the events."""
    events = [
        at(1, "kvm_exit", tid=VCPU),
        switch(10, VCPU, HOG),
        switch(25, HOG, VCPU),
        switch(30, VCPU, HOG, "S"),
        wakeup(40),
        moved(45, to=0),
        switch(60, WAKER, VCPU, cpu=0),
        switch(70, VCPU, WAKER, "D", cpu=0),
        switch(80, WAKER, VCPU, cpu=0),
        switch(90, VCPU, WAKER, "R+", cpu=0),
    ]
    waits = sum(span.end - span.start for span in states(events, 100)[VCPU] if span.states == ("wait",))
    assert sum(story(*events).behind(0, 100).values()) == waits == 15 + 20 + 10 + 10


TRACE = """\
       CPU 0/KVM-1234    [001] d..2.   123.456789: sched_switch: prev_comm=a
          <idle>-0       [000] dNh4.   123.456790: sched_waking: comm=a pid=1
     ksoftirqd/0-12      [000] ..s..   123.456791: softirq_entry: vec=3 [action=NET_RX]
"""


def test_the_context_is_read() -> None:
    found = list(parse(TRACE.splitlines()))
    assert [(event.tid, event.cpu, event.name, event.context) for event in found] == [
        (1234, 1, "sched_switch", ""),
        (0, 0, "sched_waking", "h"),
        (12, 0, "softirq_entry", "s"),
    ]
    assert found[2].text == "vec=3 [action=NET_RX]" and found[2].ns == 123_456_791_000
